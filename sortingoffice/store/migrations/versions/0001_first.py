"""The first schema.

Sources: the tables of the design; SQLite's and PostgreSQL's manuals on triggers and partial indexes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# Tables whose rows are written once and never touched again.
_APPEND_ONLY = ("disclosure", "disclosure_item", "event")


def upgrade() -> None:
    _accounts()
    _relationships()
    _references()
    _spool()
    _cards()
    _ledger()
    _indexes()
    if op.get_bind().dialect.name == "postgresql":
        _append_only_postgresql()
        # Mail hardly shrinks, and compressing it costs more than the disk.
        op.execute("ALTER TABLE message ALTER COLUMN raw SET STORAGE EXTERNAL")
    else:
        _append_only_sqlite()


def _accounts() -> None:
    _table(
        "account",
        _id(),
        _text("name", unique=True),
        _text("state"),
        _flag("admin"),
        _octets("wrapped_key", null=True),
        _text("trigger"),
        _at("created"),
    )
    _table(
        "mailbox",
        _id(),
        _to("account"),
        _text("address", index=True),
        _text("state"),
        _flag("delivers"),
        _flag("preferred"),
        _at("dkim_seen", null=True),
        _text("proof"),
        _octets("verify_hash", null=True),
        _at("verify_expires", null=True),
        _at("created"),
        sa.UniqueConstraint("account_id", "address"),
    )
    _table("domain", _id(), _text("name", unique=True), _at("created"))
    _table(
        "dkim_key",
        _id(),
        _to("domain"),
        _text("selector"),
        _text("algorithm"),
        _text("public"),
        _at("created"),
        _at("retired", null=True),
        sa.UniqueConstraint("domain_id", "selector"),
    )
    _table(
        "app_password",
        _id(),
        _to("account", index=True),
        _text("label"),
        _text("hash"),
        _at("created"),
        _at("last_used", null=True),
        _at("revoked", null=True),
    )


def _relationships() -> None:
    _table(
        "relationship",
        _id(),
        _to("account"),
        _text("slug"),
        _text("name"),
        _text("kind"),
        _text("state"),
        _text("site"),
        _to("mailbox", null=True),
        _text("strangers"),
        _text("display_name"),
        _text("note"),
        _at("created"),
        _count("received"),
        _count("max_messages", null=True),
        _at("until", null=True),
        _at("muted_until", null=True),
        _at("closing_until", null=True),
        sa.UniqueConstraint("account_id", "slug"),
    )
    _table(
        "alias",
        _id(),
        _to("relationship", index=True),
        _text("address"),
        _text("canonical", unique=True),
        _text("state"),
        _at("created"),
    )
    _table(
        "contact",
        _id(),
        _to("relationship"),
        _text("address"),
        _text("written"),
        _text("name"),
        _text("reverse_alias"),
        _text("reverse_canonical", unique=True),
        _at("created"),
        sa.UniqueConstraint("relationship_id", "address"),
    )
    _table(
        "binding",
        _id(),
        _to("relationship"),
        _text("identity"),
        _text("how"),
        _at("created"),
        sa.UniqueConstraint("relationship_id", "identity"),
    )


def _references() -> None:
    _table(
        "reference",
        _id(),
        _to("relationship"),
        _text("inside"),
        _text("outside"),
        _at("created"),
        sa.UniqueConstraint("relationship_id", "inside"),
    )
    op.create_index("ix_reference_outside", "reference", ["outside", "relationship_id"])


def _spool() -> None:
    _table(
        "message",
        _id(),
        _text("token", unique=True),
        _text("direction"),
        _to("account", null=True),
        _to("relationship", null=True),
        _text("sender"),
        _text("origin"),
        _text("results"),
        _octets("fingerprint", null=True, index=True),
        _text("rule"),
        _text("subject"),
        _flag("bulk"),
        _flag("authenticated"),
        _flag("utf8"),
        _count("size"),
        _at("accepted"),
        _octets("raw"),
    )
    _table(
        "delivery",
        _id(),
        _to("message", index=True),
        _to("account", null=True),
        _to("relationship", null=True),
        _to("contact", null=True),
        _text("recipient"),
        _text("destination"),
        _text("return_domain"),
        _text("state"),
        _text("reason"),
        _count("attempts"),
        _at("due"),
        _at("expires"),
        _flag("delay_told"),
        _text("lease_node"),
        _at("lease_until", null=True),
        _text("last_reply"),
        _at("created"),
        _at("ended", null=True),
    )
    _table(
        "attempt",
        _id(),
        _to("delivery", index=True),
        _at("at"),
        _text("host"),
        _text("tls"),
        _text("reply"),
        _count("milliseconds"),
    )


def _cards() -> None:
    _table(
        "card",
        _id(),
        _to("account", index=True),
        _text("name"),
        _text("kind"),
        _text("sensitivity"),
        _at("created"),
        _at("removed", null=True),
    )
    _table(
        "card_field",
        _id(),
        _to("card", index=True),
        _text("key"),
        _text("type"),
        _text("category"),
        _count("position"),
        _at("created"),
        _at("removed", null=True),
    )
    _table(
        "field_version",
        _id(),
        _to("card_field", "field_id"),
        _count("number"),
        _octets("sealed"),
        _octets("mac"),
        _at("valid_from"),
        _at("valid_to", null=True),
        _text("provenance"),
        _at("created"),
        sa.UniqueConstraint("field_id", "number"),
    )
    _table(
        "view",
        _id(),
        _to("account"),
        _text("name"),
        _text("members"),
        _at("created"),
        sa.UniqueConstraint("account_id", "name"),
    )
    _table(
        "grant",
        _id(),
        _to("account"),
        _to("relationship", index=True),
        _text("card"),
        _text("fields"),
        _text("mode"),
        _text("purpose"),
        _text("terms"),
        _at("not_before", null=True),
        _at("expires", null=True),
        _count("uses_left", null=True),
        _at("created"),
        _at("ended", null=True),
    )


def _ledger() -> None:
    _table(
        "disclosure",
        _id(),
        _to("account", index=True),
        _to("relationship", index=True),
        _to("contact", null=True),
        _to("grant", null=True),
        _to("message", null=True),
        _at("at"),
        _text("form"),
        _text("via"),
        _text("purpose"),
    )
    _table(
        "disclosure_item",
        _id(),
        _to("disclosure", index=True),
        _text("card"),
        _text("field"),
        _to("field_version", "version_id", null=True),
        _octets("sealed"),
        _octets("mac"),
    )
    _table(
        "inbound_directive",
        _id(),
        _to("relationship"),
        _octets("mac"),
        _at("created"),
        sa.UniqueConstraint("relationship_id", "mac"),
    )
    _table(
        "event",
        _id(),
        _at("at"),
        _text("actor"),
        _to("account", null=True),
        _to("relationship", null=True, index=True),
        _text("message", index=True),
        _text("what"),
        _text("rule"),
        _text("detail"),
    )


def _indexes() -> None:
    _partial("ix_delivery_queued", "delivery", ["due"], "state = 'queued'")
    _partial("ix_delivery_destination", "delivery", ["destination", "due"], "state = 'queued'")
    _partial("ix_delivery_leased", "delivery", ["lease_node", "destination"], "lease_node <> ''")
    _partial("ix_delivery_held", "delivery", ["account_id"], "state = 'held'")
    _partial("ix_message_outward", "message", ["account_id", "accepted"], "direction = 'outward'")
    _partial("ix_message_kept", "message", ["accepted"], "length(raw) > 0")
    _partial("ix_relationship_until", "relationship", ["until"], "until IS NOT NULL")
    _partial("ix_relationship_muted_until", "relationship", ["muted_until"], "muted_until IS NOT NULL")
    _partial("ix_relationship_closing_until", "relationship", ["closing_until"], "closing_until IS NOT NULL")


def _append_only_sqlite() -> None:
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append only'); END"
            )


def _append_only_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append only', TG_TABLE_NAME "
        "USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )


# ---- columns, in the words of this revision ------------------------------------------------------


def _table(name: str, *columns: Any) -> None:
    op.create_table(name, *columns, sqlite_autoincrement=True)


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def _id() -> sa.Column[Any]:
    return sa.Column("id", _Id, primary_key=True, autoincrement=True)


def _to(table: str, name: str = "", *, null: bool = False, index: bool = False) -> sa.Column[Any]:
    return sa.Column(name or f"{table}_id", _Id, sa.ForeignKey(f"{table}.id"), nullable=null, index=index)


def _text(name: str, *, unique: bool = False, index: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False, unique=unique, index=index)


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _count(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=null)


def _octets(name: str, *, null: bool = False, index: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary, nullable=null, index=index)


def _at(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=null)
