"""Accounts, their mailboxes and their app passwords.

A mailbox that an admin names counts as verified; one that a person adds is verified by a
mail to it, and the answer also shows what proof the mailbox's mail carries.

Promise: a secret is stored as its hash and shown once; every change writes its event in the
same transaction.

Sources: RFC 9106 §4 (argon2id); OWASP's password storage parameters; RFC 3834 §5.
"""

from __future__ import annotations

import asyncio
import base64
import difflib
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sortingoffice.core.model import Account, AccountState, AppPassword, Mailbox, MailboxState
from sortingoffice.core.notice import Notice
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import notices
from sortingoffice.flows.office import Office
from sortingoffice.mail import address as addresses
from sortingoffice.mail.address import Address
from sortingoffice.store import accounts as rows
from sortingoffice.store import domains, events
from sortingoffice.store.database import Transaction

DEFAULT_TRIGGER = "card"
VERIFY_WITHIN = timedelta(days=3)
VERIFY_PREFIX = "verify"
_LIVE_PASSWORDS = 20  # each is tried at a login
_TOKEN = re.compile(r"([0-9]{1,18})\.([a-z2-7]{32})")  # a mailbox's number, 160 random bits
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")

# App passwords are 100 random bits: argon2's cost is for the office, not against a dictionary.
_TIME, _MEMORY_KIB, _LANES = 2, 19456, 1


# ---- accounts ------------------------------------------------------------------------------------


def named(office: Office, name: str) -> Account:
    """The account of that name, or the only one where the name is empty; `NotThere` otherwise."""
    return office.db.view(_named, name)


def _named(tx: Transaction, name: str) -> Account:
    if not name:
        return rows.the_only(tx)
    found = rows.by_name(tx, name.lower())
    if found is None:
        raise NotThere(
            f'there is no account "{name}"' + nearest(name, [each.name for each in rows.every(tx)])
        )
    return found


def nearest(wrong: str, names: Sequence[str]) -> str:
    """ "; did you mean …?" where a name is near, else ""."""
    near = difflib.get_close_matches(wrong.casefold(), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def add(tx: Transaction, office: Office, name: str, *, admin: bool, actor: str) -> Account:
    """A new account with a data key of its own, wrapped by the office's key."""
    from sortingoffice.mail import cipher

    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise OfficeError(
            f'"{name}" is no account name: use up to 32 letters a–z, digits, dots, dashes or underscores'
        )
    if rows.by_name(tx, name) is not None:
        raise OfficeError(f'there is an account "{name}" already')
    if office.keys.card is None:
        raise OfficeError("the office's key can't be read here: run this as the account that owns data_dir")
    now = office.clock()
    made = rows.add(tx, Account(0, name, AccountState.ACTIVE, admin, None, DEFAULT_TRIGGER, now))
    wrapped = cipher.wrap(office.keys.card, office.random(cipher.KEY), made.id, office.random(cipher.NONCE))
    made = replace(made, wrapped_key=wrapped)
    rows.update(tx, made)
    events.add(tx, at=now, actor=actor, what="account added", rule="", account_id=made.id, detail=name)
    return made


def suspend(tx: Transaction, office: Office, name: str, *, actor: str, state: AccountState) -> Account:
    """Suspend an account, or let it go on."""
    found = _named(tx, name)
    if found.state is state:
        return found
    changed = replace(found, state=state)
    rows.update(tx, changed)
    events.add(
        tx,
        at=office.clock(),
        actor=actor,
        what=f"account {state.value}",
        rule="",
        account_id=found.id,
        detail=name,
    )
    return changed


# ---- mailboxes -----------------------------------------------------------------------------------


def parse_mailbox(tx: Transaction, office: Office, text: str) -> str:
    """A real address in normal form; `OfficeError` where it can't be a person's mailbox."""
    parsed = addresses.parse(text.strip())
    if parsed is None:
        raise OfficeError(f'"{text}" is no mail address: write it like anna@home.example')
    if domains.by_name(tx, parsed.domain) is not None or parsed.domain == office.config.hostname:
        raise OfficeError(
            f"{parsed.domain} is a domain of this office: a mailbox is somewhere else, where the mail is read"
        )
    return parsed.normal


def add_mailbox(
    tx: Transaction,
    office: Office,
    account: Account,
    text: str,
    *,
    verified: bool,
    delivers: bool = True,
    actor: str,
) -> Mailbox:
    """A mailbox, or with delivers=False a second sending identity; the first one is preferred."""
    normal = parse_mailbox(tx, office, text)
    holders = [each for each in rows.mailboxes_by_address(tx, normal) if each.account_id == account.id]
    if holders:
        raise OfficeError(f"{normal} is a mailbox of {account.name} already")
    now = office.clock()
    first = delivers and not any(each.preferred for each in rows.mailboxes(tx, account.id))
    state = MailboxState.VERIFIED if verified else MailboxState.PENDING
    made = rows.add_mailbox(
        tx, Mailbox(0, account.id, normal, state, delivers, first, None, "", None, None, now)
    )
    events.add(
        tx, at=now, actor=actor, what="mailbox added", rule="", account_id=account.id, detail=f"#{made.id}"
    )
    return made


def prefer_mailbox(tx: Transaction, office: Office, account: Account, text: str, *, actor: str) -> Mailbox:
    """Deliver to this mailbox whatever has no mailbox of its own."""
    chosen = mailbox(tx, account, text)
    if not chosen.delivers:
        raise OfficeError(f"{chosen.address} is a sending identity only: nothing is delivered to it")
    for each in rows.mailboxes(tx, account.id):
        if each.preferred != (each.id == chosen.id):
            rows.set_mailbox(tx, replace(each, preferred=each.id == chosen.id))
    events.add(
        tx,
        at=office.clock(),
        actor=actor,
        what="mailbox preferred",
        rule="",
        account_id=account.id,
        detail=f"#{chosen.id}",
    )
    return replace(chosen, preferred=True)


def mailbox(tx: Transaction, account: Account, text: str) -> Mailbox:
    """The account's mailbox of that address; `NotThere` otherwise."""
    parsed = addresses.parse(text.strip())
    own = rows.mailboxes(tx, account.id)
    found = next((each for each in own if parsed is not None and each.address == parsed.normal), None)
    if found is None:
        raise NotThere(
            f'{account.name} has no mailbox "{text}"'
            + (nearest(text, [each.address for each in own]) or "; `admin mailbox list` shows them")
        )
    return found


# ---- verification --------------------------------------------------------------------------------


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def verification_local(token: str) -> str:
    """The local part to which the mailbox's owner answers."""
    return f"{VERIFY_PREFIX}.{token}"


def token_of(local: str) -> str:
    """The token in such a local part; "" where it is none."""
    prefix, _, token = local.lower().partition(".")
    return token if prefix == VERIFY_PREFIX and _TOKEN.fullmatch(token) else ""


def begin_verification(tx: Transaction, office: Office, chosen: Mailbox, *, actor: str) -> Mailbox:
    """Mail a fresh token to a mailbox; an earlier one no longer counts."""
    secret = base64.b32encode(office.random(20)).decode("ascii").lower()
    now = office.clock()
    begun = replace(chosen, verify_hash=_hash(secret), verify_expires=now + VERIFY_WITHIN)
    rows.set_mailbox(tx, begun)
    events.add(
        tx,
        at=now,
        actor=actor,
        what="verification sent",
        rule="",
        account_id=chosen.account_id,
        detail=f"mailbox #{chosen.id}",
    )
    _ask(tx, office, begun, f"{chosen.id}.{secret}", now)
    return begun


def _ask(tx: Transaction, office: Office, chosen: Mailbox, token: str, now: datetime) -> None:
    to = addresses.parse(chosen.address)
    assert to is not None, "it was parsed when it was stored"
    lines = (
        "Is this mailbox yours? Then answer this mail; what you write doesn't matter.",
        "",
        "The answer also shows what proof your mail carries, and so whether you can reply to vendors",
        "from this mailbox. Instead of answering, this can be typed in within three days:",
        "",
        f"    sortingoffice admin mailbox verify {chosen.address} --token {token}",
        "",
        "If you don't know what this is about, do nothing.",
    )
    notices.put(
        tx,
        office,
        Notice("Please confirm this mailbox", lines),
        to=to,
        author=Address(verification_local(token), notices.author(tx, office).domain),
        account_id=chosen.account_id,
        rule="verification",
        now=now,
    )


def confirm(
    tx: Transaction, office: Office, token: str, *, proof: str, author: str, actor: str
) -> Mailbox | None:
    """Verify the mailbox that a token was sent to; None where no mailbox waits for it.

    proof   what the answer carried: "dkim", "spf" or "none"; "" when the token was typed in
    author  the answer's From in normal form: the mailbox itself; "" when the token was typed in
    """
    now = office.clock()
    match = _TOKEN.fullmatch(token.strip().lower())
    waiting = rows.mailbox_by_id(tx, int(match[1])) if match else None
    if match is None or waiting is None or waiting.verify_hash is None or waiting.verify_expires is None:
        return None
    if waiting.verify_expires <= now or not hmac.compare_digest(waiting.verify_hash, _hash(match[2])):
        return None
    if author and author != waiting.address:
        return None
    done = replace(
        waiting,
        state=MailboxState.VERIFIED,
        proof=proof or waiting.proof,
        dkim_seen=now if proof == "dkim" and waiting.dkim_seen is None else waiting.dkim_seen,
        verify_hash=None,
        verify_expires=None,
    )
    rows.set_mailbox(tx, done)
    events.add(
        tx,
        at=now,
        actor=actor,
        what="mailbox verified",
        rule=proof or "token",
        account_id=done.account_id,
        detail=f"mailbox #{done.id}",
    )
    return done


def proof_sentence(proof: str) -> str:
    """What a mailbox's proof means to its owner."""
    return {
        "dkim": "Its mail is signed (DKIM): replies from it are accepted.",
        "spf": "Its mail is known by its server (SPF): replies from it are accepted.",
        "none": "Its mail proves nothing: use submission with an app password to write to vendors.",
    }.get(proof, "What proof its mail carries is not known yet.")


# ---- app passwords -------------------------------------------------------------------------------


def new_password(office: Office, account: Account, label: str, *, actor: str) -> str:
    """A fresh app password, committed before it is returned: 20 letters and digits in four groups."""
    from argon2 import PasswordHasher

    letters = base64.b32encode(office.random(15)).decode("ascii").lower()[:20]
    password = "-".join(letters[at : at + 5] for at in range(0, 20, 5))
    hashed = PasswordHasher(_TIME, _MEMORY_KIB, _LANES).hash(password)
    office.db.call(_add_password, office, account, one_line(label, "the label", most=60), hashed, actor)
    return password


def _add_password(
    tx: Transaction, office: Office, account: Account, label: str, hashed: str, actor: str
) -> None:
    if len(live_passwords(tx, account.id)) >= _LIVE_PASSWORDS:
        raise OfficeError(
            f"{account.name} has {_LIVE_PASSWORDS} app passwords already: revoke one of them first"
        )
    now = office.clock()
    made = rows.add_password(tx, AppPassword(0, account.id, label, hashed, now, None, None))
    events.add(
        tx,
        at=now,
        actor=actor,
        what="password made",
        rule="",
        account_id=account.id,
        detail=f"#{made.id} {label}",
    )


def live_passwords(tx: Transaction, account_id: int) -> tuple[AppPassword, ...]:
    return tuple(each for each in rows.passwords(tx, account_id) if each.revoked is None)


def revoke_password(
    tx: Transaction, office: Office, account: Account, which: str, *, actor: str
) -> AppPassword:
    """Revoke by number or label; `NotThere` where none or several fit."""
    live = live_passwords(tx, account.id)
    fit = [each for each in live if which in (str(each.id), each.label)]
    if len(fit) != 1:
        why = "is no app password" if not fit else "is the label of several app passwords: give its number"
        raise NotThere(f'"{which}" {why}; `admin password list` shows them')
    now = office.clock()
    rows.revoke_password(tx, fit[0].id, now)
    events.add(
        tx,
        at=now,
        actor=actor,
        what="password revoked",
        rule="",
        account_id=account.id,
        detail=f"#{fit[0].id} {fit[0].label}",
    )
    return replace(fit[0], revoked=now)


async def check_password(office: Office, name: str, password: bytes) -> int | None:
    """The id of the active account whose app password this is; None otherwise.

    Hashing runs in a thread, and an unknown name costs as much as a wrong password.
    """
    found, live = await office.db.read(_live_for, name)
    used = await asyncio.to_thread(_matching, live, password)
    if used is None or found is None:
        return None
    now = office.clock()
    if used.last_used is None or now - used.last_used > timedelta(minutes=10):
        await office.db.write(rows.touch_password, used.id, now)
    return found.id


def _live_for(tx: Transaction, name: str) -> tuple[Account | None, tuple[AppPassword, ...]]:
    found = rows.by_name(tx, name.strip().lower())
    if found is None or found.state is not AccountState.ACTIVE:
        return None, ()
    return found, live_passwords(tx, found.id)


def _matching(live: Sequence[AppPassword], password: bytes) -> AppPassword | None:
    """The password that fits; a hash is always computed, so that silence takes as long as a no."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    hasher = PasswordHasher(_TIME, _MEMORY_KIB, _LANES)
    typed = password.strip().lower()  # a phone's keyboard begins with a capital
    if not live:
        hasher.hash(typed)
    recent_first = sorted(live, key=lambda each: each.last_used or each.created, reverse=True)
    for each in recent_first:
        try:
            hasher.verify(each.hash, typed)
        except (VerificationError, InvalidHashError):
            continue
        return each
    return None


def describe(each: Mailbox) -> dict[str, object]:
    """One mailbox as the command line shows it."""
    return {
        "id": each.id,
        "address": each.address,
        "state": each.state.value,
        "delivers": each.delivers,
        "preferred": each.preferred,
        "proof": each.proof,
        "created": each.created,
    }
