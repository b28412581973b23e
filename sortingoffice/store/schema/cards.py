"""Data cards, the grants of their fields, and the ledger of what was disclosed."""

from __future__ import annotations

import sqlalchemy as sa

from sortingoffice.core import model
from sortingoffice.store.schema.columns import Id, at, count, key, octets, partial, table, text, to, word

card = table(
    "card",
    key(),
    to("account", index=True),
    text("name"),
    text("kind"),
    word("sensitivity", model.Sensitivity),
    at("created"),
    at("removed", null=True),
)

card_field = table(
    "card_field",
    key(),
    to("card", index=True),
    text("key"),
    word("type", model.FieldType),
    text("category"),
    count("position"),
    at("created"),
    at("removed", null=True),
)

field_version = table(
    "field_version",
    key(),
    sa.Column("field_id", Id, sa.ForeignKey("card_field.id"), nullable=False),
    count("number"),
    octets("sealed"),
    octets("mac"),
    at("valid_from"),
    at("valid_to", null=True),
    text("provenance"),
    at("created"),
    sa.UniqueConstraint("field_id", "number"),
)

view = table(
    "view",
    key(),
    to("account"),
    text("name"),
    text("members"),
    at("created"),
    sa.UniqueConstraint("account_id", "name"),
)

grant = table(
    "grant",
    key(),
    to("account"),
    to("relationship", index=True),
    text("card"),
    text("fields"),
    word("mode", model.GrantMode),
    text("purpose"),
    text("terms"),
    at("not_before", null=True),
    at("expires", null=True),
    count("uses_left", null=True),
    at("created"),
    at("ended", null=True),
)

disclosure = table(
    "disclosure",
    key(),
    to("account", index=True),
    to("relationship", index=True),
    to("contact", null=True),
    to("grant", null=True),
    to("message", null=True),
    at("at"),
    text("form"),
    word("via", model.Via),
    text("purpose"),
)

disclosure_item = table(
    "disclosure_item",
    key(),
    to("disclosure", index=True),
    text("card"),
    text("field"),
    sa.Column("version_id", Id, sa.ForeignKey("field_version.id"), nullable=True),
    octets("sealed"),
    octets("mac"),
)

confirmation = table(
    "confirmation",
    key(),
    to("account"),
    to("relationship"),
    to("message", index=True),
    octets("token_hash", unique=True),
    text("leaving"),
    at("expires"),
    at("created"),
    at("answered", null=True),
    text("answer"),
)

inbound_directive = table(
    "inbound_directive",
    key(),
    to("relationship"),
    octets("mac"),
    at("created"),
    sa.UniqueConstraint("relationship_id", "mac"),
)

notification = table(
    "notification",
    key(),
    to("account", index=True),
    to("relationship", index=True),
    to("message", unique=True),
    text("card"),
    at("at"),
    at("silent_from"),
    at("acknowledged", null=True),
    to("notification", null=True),
)

partial("ix_notification_waiting", "acknowledged IS NULL", notification.c.silent_from)
