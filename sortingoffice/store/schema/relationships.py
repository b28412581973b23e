"""Relationships: their aliases, contacts and bindings, and who else has written to them."""

from __future__ import annotations

import sqlalchemy as sa

from sortingoffice.core import model, names
from sortingoffice.store.schema.columns import at, count, flag, key, partial, table, text, to, word

relationship = table(
    "relationship",
    key(),
    to("account"),
    text("slug"),
    text("name"),
    word("kind", model.VendorKind),
    word("state", model.RelationshipState),
    text("site"),
    to("mailbox", null=True),
    word("strangers", model.Strangers),
    text("display_name"),
    text("note"),
    at("created"),
    count("received"),
    count("max_messages", null=True),
    at("until", null=True),
    at("muted_until", null=True),
    at("closing_until", null=True),
    word("remote_images", model.RemoteImages),
    count("pixels"),
    word("unsubscribe", model.Unsubscribe),
    text("leave_url"),
    text("leave_mailto"),
    flag("pinned"),
    sa.UniqueConstraint("account_id", "slug"),
)

alias = table(
    "alias",
    key(),
    to("relationship", index=True),
    text("address"),
    text("canonical", unique=True),
    word("state", model.AliasState),
    at("created"),
)

contact = table(
    "contact",
    key(),
    to("relationship"),
    text("address"),
    text("written"),
    text("name"),
    text("reverse_alias"),
    text("reverse_canonical", unique=True),
    at("created"),
    sa.UniqueConstraint("relationship_id", "address"),
)

binding = table(
    "binding",
    key(),
    to("relationship"),
    text("identity"),
    text("how"),
    at("created"),
    sa.UniqueConstraint("relationship_id", "identity"),
)

reference = table(
    "reference",
    key(),
    to("relationship"),
    text("inside"),
    text("outside"),
    at("created"),
    sa.UniqueConstraint("relationship_id", "inside"),
    sa.Index("ix_reference_outside", "outside", "relationship_id"),
)

private_name = table(
    "private_name",
    key(),
    to("account"),
    word("mark", names.Mark),
    text("name"),
    sa.UniqueConstraint("account_id", "mark", "name"),
)

writer = table(
    "writer",
    key(),
    to("relationship"),
    text("standing"),
    text("identity"),
    text("marks"),
    count("number"),
    at("first"),
    at("last"),
    text("last_message"),
    flag("pending"),
    at("told", null=True),
    sa.UniqueConstraint("relationship_id", "standing", "identity"),
)

reject = table(
    "reject",
    key(),
    text("address"),
    text("canonical", unique=True),
    to("alias", null=True),
    text("peer"),
    count("number"),
    at("first"),
    at("last"),
    at("accepted", null=True),
    flag("pending"),
    at("told", null=True),
    sa.Index("ix_reject_last", "last"),
)

guesses = table(
    "guesses",
    key(),
    text("domain"),
    at("day"),
    count("number"),
    sa.UniqueConstraint("domain", "day"),
)

# What housekeeping looks at.
partial("ix_relationship_until", "until IS NOT NULL", relationship.c.until)
partial("ix_relationship_muted_until", "muted_until IS NOT NULL", relationship.c.muted_until)
partial("ix_relationship_closing_until", "closing_until IS NOT NULL", relationship.c.closing_until)
# Whoever waits to be told, and refused recipients that are nearly an alias.
partial("ix_writer_pending", "pending", writer.c.relationship_id)
partial("ix_reject_near", "alias_id IS NOT NULL", reject.c.alias_id)
