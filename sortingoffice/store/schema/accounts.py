"""Accounts: who they are, where their mail goes, and what opens their doors; and the hosted domains."""

from __future__ import annotations

import sqlalchemy as sa

from sortingoffice.core import access, model
from sortingoffice.store.schema.columns import at, count, flag, key, octets, partial, table, text, to, word

account = table(
    "account",
    key(),
    text("name", unique=True),
    word("state", model.AccountState),
    flag("admin"),
    octets("wrapped_key", null=True),
    text("trigger"),
    at("created"),
    count("contacts_renewed"),
    word("from_form", model.FromForm),
    flag("new_contacts"),
)

mailbox = table(
    "mailbox",
    key(),
    to("account"),
    text("address", index=True),
    word("state", model.MailboxState),
    flag("delivers"),
    flag("preferred"),
    at("dkim_seen", null=True),
    text("proof"),
    octets("verify_hash", null=True),
    at("verify_expires", null=True),
    at("created"),
    sa.UniqueConstraint("account_id", "address"),
)

domain = table("domain", key(), text("name", unique=True), at("created"))

dkim_key = table(
    "dkim_key",
    key(),
    to("domain"),
    text("selector"),
    text("algorithm"),
    text("public"),
    at("created"),
    at("retired", null=True),
    sa.UniqueConstraint("domain_id", "selector"),
)

app_password = table(
    "app_password",
    key(),
    to("account", index=True),
    text("label"),
    text("hash"),
    at("created"),
    at("last_used", null=True),
    at("revoked", null=True),
)

api_token = table(
    "api_token",
    key(),
    to("account", index=True),
    text("label"),
    octets("hash", unique=True),
    text("scopes"),
    at("created"),
    at("expires", null=True),
    at("last_used", null=True),
    at("revoked", null=True),
)

session = table(
    "session",
    key(),
    to("account", index=True),
    octets("hash", unique=True),
    octets("previous", null=True, index=True),
    text("device"),
    text("how"),
    at("created"),
    at("rotated"),
    at("last_used"),
    at("expires"),
    at("revoked", null=True),
)

one_time = table(
    "one_time",
    key(),
    to("account", null=True, index=True),
    word("purpose", access.Purpose),
    octets("hash", unique=True),
    at("created"),
    at("expires"),
    at("used", null=True),
)

passkey = table(
    "passkey",
    key(),
    to("account", index=True),
    text("label"),
    octets("credential", unique=True),
    octets("public"),
    sa.Column("count", sa.BigInteger, nullable=False),
    text("transports"),
    at("created"),
    at("last_used", null=True),
    at("revoked", null=True),
)

used = table(
    "used_proof",
    key(),
    to("account"),
    octets("digest"),
    at("until", null=True),
    sa.UniqueConstraint("account_id", "digest"),
)

partial("ix_used_proof_until", "until IS NOT NULL", used.c.until)
