"""The states of a relationship: one total table, and what the clock makes of a state.

    unbound → active ⇄ muted → closing → revoked | expired

Promise: every state has an answer to every action: a next state, itself again, or a sentence
that says why not.  Everything but deletion can be undone.

Sources: the design, "States of a relationship".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from sortingoffice.core.model import Mailbox, MailboxState, Relationship, RelationshipState
from sortingoffice.frozen import dataclass

CLOSING_FOR = timedelta(days=45)

_UNBOUND = RelationshipState.UNBOUND
_ACTIVE = RelationshipState.ACTIVE
_MUTED = RelationshipState.MUTED
_CLOSING = RelationshipState.CLOSING
_REVOKED = RelationshipState.REVOKED
_EXPIRED = RelationshipState.EXPIRED


class Action(StrEnum):
    """What can happen to a relationship; `expire` and `bind` are the office's own doing."""

    BIND = "bind"  # a pocket alias's first mail, or the person naming its vendor
    PAUSE = "pause"
    RESUME = "resume"
    CLOSE = "close"  # revoke --properly
    REVOKE = "revoke"
    RESTORE = "restore"
    EXPIRE = "expire"  # its time, its number of messages, or its closing is over


@dataclass(frozen=True, slots=True)
class No:
    """Why an action is not possible in a state; completes "Lamp Shop …"."""

    why: str


_WAITS = No("waits for its first mail: there is nothing to pause yet")
_GONE = No("takes no mail any more: `restore` it first")
_ENDS = No("is being closed: `restore` it first")

TABLE: dict[RelationshipState, dict[Action, RelationshipState | No]] = {
    _UNBOUND: {
        Action.BIND: _ACTIVE,
        Action.PAUSE: _WAITS,
        Action.RESUME: _UNBOUND,
        Action.CLOSE: _REVOKED,  # nobody is there to answer
        Action.REVOKE: _REVOKED,
        Action.RESTORE: _UNBOUND,
        Action.EXPIRE: _EXPIRED,
    },
    _ACTIVE: {
        Action.BIND: _ACTIVE,
        Action.PAUSE: _MUTED,
        Action.RESUME: _ACTIVE,
        Action.CLOSE: _CLOSING,
        Action.REVOKE: _REVOKED,
        Action.RESTORE: _ACTIVE,
        Action.EXPIRE: _EXPIRED,
    },
    _MUTED: {
        Action.BIND: _MUTED,
        Action.PAUSE: _MUTED,
        Action.RESUME: _ACTIVE,
        Action.CLOSE: _CLOSING,
        Action.REVOKE: _REVOKED,
        Action.RESTORE: _MUTED,
        Action.EXPIRE: _EXPIRED,
    },
    _CLOSING: {
        Action.BIND: _CLOSING,
        Action.PAUSE: _ENDS,
        Action.RESUME: _ENDS,
        Action.CLOSE: _CLOSING,
        Action.REVOKE: _REVOKED,
        Action.RESTORE: _ACTIVE,
        Action.EXPIRE: _REVOKED,
    },
    _REVOKED: {
        Action.BIND: _GONE,
        Action.PAUSE: _GONE,
        Action.RESUME: _GONE,
        Action.CLOSE: _REVOKED,
        Action.REVOKE: _REVOKED,
        Action.RESTORE: _ACTIVE,
        Action.EXPIRE: _REVOKED,
    },
    _EXPIRED: {
        Action.BIND: _GONE,
        Action.PAUSE: _GONE,
        Action.RESUME: _GONE,
        Action.CLOSE: _REVOKED,
        Action.REVOKE: _REVOKED,
        Action.RESTORE: _ACTIVE,
        Action.EXPIRE: _EXPIRED,
    },
}


def after(
    of: Relationship, action: Action, now: datetime, *, until: datetime | None = None
) -> Relationship | No:
    """The relationship after an action; equal to `of` where the action changes nothing.

    until  for PAUSE: when it resumes by itself; None: when it is told to
    """
    state = TABLE[of.state][action]
    if isinstance(state, No):
        return state
    made = replace(
        of,
        state=state,
        muted_until=None if state is not _MUTED else until if action is Action.PAUSE else of.muted_until,
        closing_until=None if state is not _CLOSING else of.closing_until or now + CLOSING_FOR,
    )
    return _reopened(made, now) if action is Action.RESTORE else made


def _reopened(of: Relationship, now: datetime) -> Relationship:
    """Limits that have been reached are lifted, or the restored relationship would end at once."""
    return replace(
        of,
        until=None if of.until is not None and of.until <= now else of.until,
        max_messages=None
        if of.max_messages is not None and of.received >= of.max_messages
        else of.max_messages,
    )


def state_at(of: Relationship, now: datetime) -> RelationshipState:
    """The state that holds at a moment: what the clock has ended since the row was written.

    A used-up number of messages shows as expired, although what was begun may still be answered.
    """
    if of.state in (_REVOKED, _EXPIRED):
        return of.state
    if of.state is _CLOSING:
        return _REVOKED if of.closing_until is not None and of.closing_until <= now else _CLOSING
    if (of.until is not None and of.until <= now) or (
        of.max_messages is not None and of.received >= of.max_messages
    ):
        return _EXPIRED
    if of.state is _MUTED and of.muted_until is not None and of.muted_until <= now:
        return _ACTIVE
    return of.state


def mailbox_of(relationship: Relationship, mailboxes: Iterable[Mailbox]) -> Mailbox | None:
    """Where its mail goes: its own mailbox, else the account's preferred one, else the first that delivers.

    A failing mailbox is still it (its mail is held), a pending one never; None where there is no other.

    mailboxes  the account's, oldest first
    """
    verified = [each for each in mailboxes if each.state is not MailboxState.PENDING]
    own = [each for each in verified if each.id == relationship.mailbox_id]
    delivering = [each for each in verified if each.delivers]
    return next(iter([*own, *sorted(delivering, key=lambda each: not each.preferred)]), None)
