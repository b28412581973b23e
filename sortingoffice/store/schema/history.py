"""What has happened: events, kept evidence, and the links of the chains. Append only."""

from __future__ import annotations

import sqlalchemy as sa

from sortingoffice.store.schema.columns import at, count, key, octets, table, text, to

event = table(
    "event",
    key(),
    at("at"),
    text("actor"),
    to("account", null=True),
    to("relationship", null=True, index=True),
    text("message", index=True),
    text("what"),
    text("rule"),
    text("detail"),
)

kept = table(
    "evidence",
    key(),
    to("account"),
    to("relationship", index=True),
    text("message"),
    at("at"),
    text("standing"),
    text("identity"),
    text("rule"),
    text("peer"),
    text("sender"),
    text("recipient"),
    text("results"),
    text("records"),
    count("guesses"),
    count("live"),
    count("size"),
    text("sha256"),
    octets("raw"),
    text("previous"),
    text("hash"),
)

link = table(
    "link",
    key(),
    text("line"),
    sa.Column("number", sa.BigInteger, nullable=False),
    text("digest"),
    text("hash"),
    sa.UniqueConstraint("line", "number"),
)
