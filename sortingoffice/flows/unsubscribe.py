"""One press ends a subscription: the vendor's own way out is taken, from the alias, which is muted then.

By a relationship's setting its mail carries our List-Unsubscribe instead of the vendor's.  The link is a
MAC over the relationship, so it needs no row, and a second press finds everything done.

Promise: nothing is asked of the vendor that its own message did not offer; what is muted can be resumed.

Sources: RFC 2369 §3.2; RFC 8058 (one click); RFC 6068 (mailto).
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from urllib.parse import urlsplit

from sortingoffice.core.letter import Letter
from sortingoffice.core.model import Account, Relationship, RelationshipState, Unsubscribe
from sortingoffice.core.relationship import Action, No, after, state_at
from sortingoffice.errors import OfficeError
from sortingoffice.flows import issue, letters
from sortingoffice.flows import relationships as states
from sortingoffice.flows.attempt import here
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import token, unsubscribe
from sortingoffice.mail.message import Message
from sortingoffice.net import https, tls
from sortingoffice.store import accounts, relationships
from sortingoffice.store.database import Transaction

PATH = "/leave"
_ACTOR = "unsubscribe"
_WAITS = (0.0, 30.0, 300.0)  # seconds before each try at the vendor's server
_OPEN = frozenset({RelationshipState.ACTIVE, RelationshipState.MUTED, RelationshipState.UNBOUND})


@dataclass(frozen=True, slots=True)
class Pressed:
    """relationship: as it is now, but for the way out that was taken; changed: False for a second press."""

    relationship: Relationship
    account: Account
    changed: bool


def link(office: Office, of: Relationship) -> str:
    """Ours, for this relationship's mail; "" where the vendor's own stays."""
    base = office.config.http.base_url
    if of.unsubscribe is not Unsubscribe.OFFICE or not base:
        return ""
    return f"{base.rstrip('/')}{PATH}/{token.leaving(office.keys.token, of.id)}"


def note(tx: Transaction, of: Relationship, message: Message) -> None:
    """Keep the ways out that the message offers: the next press will take one."""
    if of.unsubscribe is not Unsubscribe.OFFICE:
        return
    found = unsubscribe.ways(message)
    if found and found != unsubscribe.Ways(of.leave_url, of.leave_mailto):
        relationships.leave(tx, of.id, found.one_click, found.mailto)


def find(tx: Transaction, office: Office, secret: str) -> tuple[Relationship, Account] | None:
    """Whom a link stands for; None where it is none of ours, or all is over."""
    number = token.left_by(office.keys.token, secret)
    of = relationships.by_id(tx, number) if number is not None else None
    account = accounts.by_id(tx, of.account_id) if of is not None else None
    if of is None or account is None or state_at(of, office.clock()) not in _OPEN:
        return None
    return of, account


def press(tx: Transaction, office: Office, secret: str) -> Pressed | None:
    """Mute, and write to the vendor where its way out is an address; None as for `find`.

    A way out is taken once: until the vendor's mail offers one again, a further press finds none.  At the
    vendor's own server that is when it has answered: nobody else will ask after a stop of ours.
    """
    found = find(tx, office, secret)
    if found is None:
        return None
    of, account = found
    now = office.clock()
    made = after(of, Action.PAUSE, now)
    if isinstance(made, No) or (made == of and not of.leave_url and not of.leave_mailto):
        return Pressed(of, account, changed=False)
    relationships.update(tx, made)
    if not of.leave_url:
        relationships.leave(tx, of.id, "", "")
    states.write_event(tx, office, made, _ACTOR, "paused", detail="unsubscribed")
    asked = unsubscribe.letter(of.leave_mailto) if not of.leave_url else None
    if asked is not None:
        _write(tx, office, account, made, asked)
    return Pressed(made, account, changed=True)


def _write(
    tx: Transaction, office: Office, account: Account, of: Relationship, asked: unsubscribe.Letter
) -> None:
    try:
        contact = issue.contact(tx, office, account, of.slug, str(asked.to), actor=_ACTOR)[1]
    except OfficeError as problem:  # an address that is nobody's to write to
        states.write_event(tx, office, of, _ACTOR, "unsubscribe failed", detail=str(problem))
        return
    letter = Letter(asked.subject, (asked.body or "unsubscribe",))
    letters.send(tx, office, of, contact, letter, rule="unsubscribe", now=office.clock())


async def tell_vendor(office: Office, of: Relationship, context: ssl.SSLContext | None = None) -> None:
    """The one click at the vendor's own server, tried a few times; what came of it stands in the log."""
    verified = context or tls.Contexts().verified
    parts = urlsplit(of.leave_url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    question = https.Question(
        parts.hostname or "",
        path,
        parts.port or https.PORT,
        {"Content-Type": "application/x-www-form-urlencoded"},
        unsubscribe.ONE_CLICK.encode("ascii"),
        outside=True,
    )
    said, answered = "", False
    for wait in _WAITS:
        await asyncio.sleep(wait)
        try:
            said = await https.ask(question, _answered, office.resolver, verified, here(office))
            answered = True
            break
        except https.Unanswered as problem:
            said = f"no answer: {problem}"

    def write(tx: Transaction) -> None:
        now = relationships.by_id(tx, of.id)
        if answered and now is not None and now.leave_url == of.leave_url:
            relationships.leave(tx, of.id, "", "")
        states.write_event(tx, office, of, _ACTOR, "unsubscribed", detail=f"{parts.hostname}: {said}")

    await office.db.write(write)


def _answered(answer: http.client.HTTPResponse) -> str:
    if answer.status >= 500:
        raise ValueError(f"answered {answer.status}")
    return f"answered {answer.status}"
