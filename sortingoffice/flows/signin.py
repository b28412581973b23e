"""Signing in without a password: a link mailed to the person's own mailbox opens a session, once.

Promise: whoever asks for a link learns nothing about who is here; a link works once and for a
quarter of an hour; a session's secret is stored as its hash, changes while it is used, and is as
good as none once the session was ended, ran out, or its account was suspended.

Rotation: the secret before the last change stays good until the new one was seen, and for a minute
more, so that neither a lost answer nor requests that were under way sign anybody out.

Sources: OWASP ASVS 5.0 §6.6, §7; NIST SP 800-63B §5 (session binding).
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sortingoffice.core.access import OneTime, Purpose, Session
from sortingoffice.core.model import Account, AccountState, MailboxState
from sortingoffice.core.notice import Notice
from sortingoffice.errors import NotThere
from sortingoffice.flows import notices
from sortingoffice.flows.office import Office
from sortingoffice.flows.tokens import digest, letters
from sortingoffice.mail import address as addresses
from sortingoffice.store import accounts, events
from sortingoffice.store import sessions as rows
from sortingoffice.store.database import Transaction

LINK_FOR = timedelta(minutes=15)
MOST_LINKS = 10  # for one account in that time
SESSION_FOR = timedelta(days=90)
IDLE_FOR = timedelta(days=14)
ROTATE_EVERY = timedelta(minutes=15)
_GRACE = timedelta(minutes=1)
_TOUCH_EVERY = timedelta(minutes=1)
_LENGTH = 40  # letters and digits: 238 bits


# ---- the link ------------------------------------------------------------------------------------


def mail_link(tx: Transaction, office: Office, typed: str, base: str) -> int:
    """Mail a link to this mailbox, one for each account that has it; how many.

    typed  what somebody typed as their mailbox
    base   where the pages are, from the config: never from the request, which a stranger wrote
    """
    parsed = addresses.parse(typed.strip())
    if parsed is None:
        return 0
    links: list[tuple[Account, str]] = []
    for mailbox in accounts.mailboxes_by_address(tx, parsed.normal):
        account = accounts.by_id(tx, mailbox.account_id)
        if (
            mailbox.state is MailboxState.PENDING
            or account is None
            or account.state is not AccountState.ACTIVE
        ):
            continue
        if rows.made_since(tx, account.id, Purpose.LINK, office.clock() - LINK_FOR) >= MOST_LINKS:
            continue  # the pages' own limit is each process's; nobody's mailbox is filled by several
        rows.use_all(tx, account.id, Purpose.LINK, office.clock())
        links.append((account, f"{base}/signin/{issue_once(tx, office, Purpose.LINK, LINK_FOR, account.id)}"))
        events.add(
            tx,
            at=office.clock(),
            actor="page",
            what="sign-in link sent",
            account_id=account.id,
            detail=f"mailbox #{mailbox.id}",
        )
    if links:
        notices.put(
            tx,
            office,
            _letter(links),
            to=parsed,
            author=notices.author(tx, office),
            account_id=links[0][0].id,
            rule="signin",
            now=office.clock(),
        )
    return len(links)


def _letter(links: list[tuple[Account, str]]) -> Notice:
    lines = []
    for account, link in links:
        lines += [f"Sign in as {account.name}:", "", f"    {link}", ""]
    lines += [
        "The link works once, within 15 minutes, on any device of yours.",
        "If you didn't ask for it, do nothing: without it nobody gets in.",
    ]
    return Notice("Your sign-in link", tuple(lines))


def issue_once(
    tx: Transaction, office: Office, purpose: Purpose, good_for: timedelta, account_id: int | None
) -> str:
    """A fresh one-time secret."""
    secret, now = letters(office.random, _LENGTH), office.clock()
    rows.add_once(tx, OneTime(0, account_id, purpose, digest(secret), now, now + good_for, None))
    return secret


def whose_link(tx: Transaction, office: Office, secret: str) -> Account | None:
    """Whom a link signs in, without using it up; None where it is no good."""
    found = rows.once(tx, Purpose.LINK, digest(secret), office.clock())
    account = accounts.by_id(tx, found.account_id) if found is not None and found.account_id else None
    return account if account is not None and account.state is AccountState.ACTIVE else None


def follow_link(tx: Transaction, office: Office, secret: str, device: str) -> str | None:
    """Use a link up: the secret of a new session; None where the link is no good."""
    account = whose_link(tx, office, secret)
    found = rows.once(tx, Purpose.LINK, digest(secret), office.clock())
    if account is None or found is None or not rows.use(tx, found.id, office.clock()):
        return None
    return begin(tx, office, account, device=device, how="link")


# ---- sessions ------------------------------------------------------------------------------------


def begin(tx: Transaction, office: Office, account: Account, *, device: str, how: str) -> str:
    """A new session; its secret."""
    secret, now = letters(office.random, _LENGTH), office.clock()
    ends = now + SESSION_FOR
    made = rows.add(
        tx, Session(0, account.id, digest(secret), None, device[:80], how, now, now, now, ends, None)
    )
    _event(tx, made, now, f"account {account.name}", "signed in")
    return secret


def current(tx: Transaction, office: Office, secret: str) -> tuple[Session, Account] | None:
    """Whose session a browser shows; None for whatever opens nothing."""
    found = rows.by_hash(tx, digest(secret))
    now = office.clock()
    if found is None or found.revoked is not None or found.expires <= now or now - found.last_used > IDLE_FOR:
        return None
    account = accounts.by_id(tx, found.account_id)
    if account is None or account.state is not AccountState.ACTIVE:
        return None
    return found, account


def due(session: Session, secret: str, now: datetime) -> bool:
    """Whether `keep` has anything to do: most requests need no write."""
    fresh = session.hash == digest(secret)
    return (
        now - session.rotated >= ROTATE_EVERY
        or now - session.last_used >= _TOUCH_EVERY
        or (fresh and session.previous is not None and now - session.rotated >= _GRACE)
    )


def keep(tx: Transaction, office: Office, secret: str) -> str | None:
    """Note the use of a session, and change its secret where it is old; the new secret, or None."""
    found = current(tx, office, secret)
    if found is None:
        return None
    session, now = found[0], office.clock()
    session = replace(session, last_used=now)
    fresh = None
    if session.hash == digest(secret) and session.previous is not None and now - session.rotated >= _GRACE:
        session = replace(session, previous=None)  # the new secret has arrived: the old one is over
    if now - session.rotated >= ROTATE_EVERY:
        fresh = letters(office.random, _LENGTH)
        session = replace(session, hash=digest(fresh), previous=digest(secret), rotated=now)
    rows.update(tx, session)
    return fresh


def end(tx: Transaction, office: Office, account: Account, session_id: int, *, actor: str) -> Session:
    """Raises `NotThere`."""
    found = next((each for each in rows.every(tx, account.id) if each.id == session_id), None)
    now = office.clock()
    if found is None or not rows.end(tx, account.id, now, session_id=session_id):
        raise NotThere("that device is not signed in")
    _event(tx, found, now, actor, "signed out")
    return replace(found, revoked=now)


def end_all(tx: Transaction, office: Office, account: Account, *, actor: str, but: int = 0) -> int:
    """Sign every device out, but for one; how many."""
    others = [each for each in live(tx, office, account) if each.id != but]
    for each in others:
        end(tx, office, account, each.id, actor=actor)
    return len(others)


def live(tx: Transaction, office: Office, account: Account) -> list[Session]:
    now = office.clock()
    return [
        each
        for each in rows.every(tx, account.id)
        if each.revoked is None and each.expires > now and now - each.last_used <= IDLE_FOR
    ]


def describe(each: Session, here: int = 0) -> dict[str, Any]:
    """One session as a person sees it.  here: the id of the one that looks."""
    return {
        "id": each.id,
        "device": each.device,
        "how": each.how,
        "created": each.created,
        "last_used": each.last_used,
        "expires": min(each.expires, each.last_used + IDLE_FOR),
        "here": each.id == here,
    }


def form_token(office: Office, session: Session) -> str:
    """What every form of this session carries: a page of somebody else's can't know it."""
    said = f"form\0{session.id}\0{session.created.timestamp()}".encode()
    return hmac.digest(office.keys.token, said, "sha256")[:20].hex()


def _event(tx: Transaction, of: Session, now: datetime, actor: str, what: str) -> None:
    detail = f"#{of.id} {of.device} ({of.how})"
    events.add(tx, at=now, actor=actor, what=what, account_id=of.account_id, detail=detail)
