"""The tables, one per dataclass of the core, and their rows.

Core tables, no ORM.  Each subject has a room; here all tables stand together, as `schema.message` and
`schema.delivery`.  `disclosure` and `event` have no update and no delete.
"""

from sortingoffice.store.schema.accounts import (
    account,
    api_token,
    app_password,
    dkim_key,
    domain,
    mailbox,
    one_time,
    passkey,
    session,
    used,
)
from sortingoffice.store.schema.cards import (
    card,
    card_field,
    confirmation,
    disclosure,
    disclosure_item,
    field_version,
    grant,
    inbound_directive,
    notification,
    view,
)
from sortingoffice.store.schema.columns import Instant, Word, metadata
from sortingoffice.store.schema.history import event, kept, link
from sortingoffice.store.schema.mail import attempt, delivery, message, mta_sts
from sortingoffice.store.schema.relationships import (
    alias,
    binding,
    contact,
    guesses,
    private_name,
    reference,
    reject,
    relationship,
    writer,
)
from sortingoffice.store.schema.rows import TABLES, add_unless, every, insert, one, update, values

__all__ = [
    "TABLES",
    "Instant",
    "Word",
    "account",
    "add_unless",
    "alias",
    "api_token",
    "app_password",
    "attempt",
    "binding",
    "card",
    "card_field",
    "confirmation",
    "contact",
    "delivery",
    "disclosure",
    "disclosure_item",
    "dkim_key",
    "domain",
    "event",
    "every",
    "field_version",
    "grant",
    "guesses",
    "inbound_directive",
    "insert",
    "kept",
    "link",
    "mailbox",
    "message",
    "metadata",
    "mta_sts",
    "notification",
    "one",
    "one_time",
    "passkey",
    "private_name",
    "reference",
    "reject",
    "relationship",
    "session",
    "update",
    "used",
    "values",
    "view",
    "writer",
]
