"""Events: the audit lines."""

from __future__ import annotations

from datetime import datetime

from sortingoffice.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Audit line: who, what, which rule.  Append only.

    actor    "cli", "smtp 192.0.2.1", "queue", "account anna"
    what     "issued", "accepted", "refused", "delivered", "revoked" …
    message  token of the message, "" if none
    detail   words for a person; never a mailbox address
    """

    id: int
    at: datetime
    actor: str
    account_id: int | None
    relationship_id: int | None
    message: str
    what: str
    rule: str
    detail: str
