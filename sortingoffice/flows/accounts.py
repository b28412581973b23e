"""Accounts and their mailboxes.

A mailbox that an admin names counts as verified; one that a person adds is verified by a
mail to it, and the answer also shows what proof the mailbox's mail carries.

Promise: a token is stored as its hash; every change writes its event in the same transaction.

Sources: RFC 3834 §5; RFC 4648 §6 (base32).
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sortingoffice.core.model import Account, AccountState, DeliveryState, Mailbox, MailboxState
from sortingoffice.core.notice import Notice
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import notices, released
from sortingoffice.flows.office import Office
from sortingoffice.mail import address as addresses
from sortingoffice.mail.address import Address
from sortingoffice.store import accounts as rows
from sortingoffice.store import domains, events, spool
from sortingoffice.store.database import Transaction

DEFAULT_TRIGGER = "card"
VERIFY_WITHIN = timedelta(days=3)
VERIFY_PREFIX = "verify"
_TOKEN = re.compile(r"([0-9]{1,18})\.([a-z2-7]{32})")  # a mailbox's number, 160 random bits
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")


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


def nameable(name: str) -> bool:
    """Whether an account can be called so."""
    return _NAME.fullmatch(name.strip().lower()) is not None


def add(tx: Transaction, office: Office, name: str, *, admin: bool, actor: str) -> Account:
    """A new account with a data key of its own, wrapped by the office's key."""
    from sortingoffice.mail import cipher

    name = name.strip().lower()
    if not nameable(name):
        raise OfficeError(
            f'"{name}" is no account name: use up to 32 letters a–z, digits, dots, dashes or underscores'
        )
    if rows.by_name(tx, name) is not None:
        raise OfficeError(f'there is an account "{name}" already')
    if office.keys.card is None:
        raise OfficeError("the office's key can't be read here: run this as the account that owns the keys")
    now = office.clock()
    made = rows.add(tx, Account(0, name, AccountState.ACTIVE, admin, None, DEFAULT_TRIGGER, now))
    wrapped = cipher.wrap(office.keys.card, office.random(cipher.KEY), made.id, office.random(cipher.NONCE))
    made = replace(made, wrapped_key=wrapped)
    rows.update(tx, made)
    events.add(tx, at=now, actor=actor, what="account added", rule="", account_id=made.id, detail=name)
    return made


def add_with_mailbox(
    tx: Transaction, office: Office, name: str, mailbox: str | None, *, admin: bool, actor: str
) -> Account:
    made = add(tx, office, name, admin=admin, actor=actor)
    if mailbox is not None:
        add_mailbox(tx, office, made, mailbox, verified=True, actor=actor)
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


def admit_mailbox(
    tx: Transaction,
    office: Office,
    account: Account,
    text: str,
    *,
    delivers: bool,
    preferred: bool,
    verify: bool,
    actor: str,
) -> Mailbox:
    """What `admin mailbox add` does, in one transaction."""
    made = add_mailbox(tx, office, account, text, verified=not verify, delivers=delivers, actor=actor)
    if preferred:
        made = _prefer(tx, office, account, made, actor)
    return begin_verification(tx, office, made, actor=actor) if verify else made


def prefer_mailbox(tx: Transaction, office: Office, account: Account, text: str, *, actor: str) -> Mailbox:
    """Deliver to this mailbox whatever has no mailbox of its own."""
    return _prefer(tx, office, account, delivering(tx, account, text), actor)


def _prefer(tx: Transaction, office: Office, account: Account, chosen: Mailbox, actor: str) -> Mailbox:
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


def delivering(tx: Transaction, account: Account, text: str) -> Mailbox:
    """The account's mailbox of that address, where it takes mail; `OfficeError` otherwise."""
    chosen = mailbox(tx, account, text)
    if not chosen.delivers:
        raise OfficeError(f"{chosen.address} is a sending identity only: nothing is delivered to it")
    if chosen.state is MailboxState.PENDING:
        raise OfficeError(
            f"{chosen.address} takes no mail yet: first answer the mail that asks whether it is yours"
        )
    return chosen


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
    _let_go(tx, done, now)
    return done


def _let_go(tx: Transaction, done: Mailbox, now: datetime) -> None:
    """What was held for want of a mailbox is due again, now that this one's owner has answered: mail of
    vendors and what the office itself had to say."""
    for each in spool.queue(tx, state=DeliveryState.HELD, account_id=done.account_id):
        if each.delivery.reason == notices.UNUSABLE:
            released.let_go(tx, each, now)


def ask_mailbox(tx: Transaction, office: Office, account: Account, text: str, *, actor: str) -> Mailbox:
    return begin_verification(tx, office, mailbox(tx, account, text), actor=actor)


def confirm_typed(
    tx: Transaction, office: Office, account: Account, text: str, token: str, *, actor: str
) -> Mailbox:
    """Verify by a token that somebody typed in.  Raises `OfficeError` where it isn't this mailbox's."""
    chosen = mailbox(tx, account, text)
    match = _TOKEN.fullmatch(token.strip().lower())
    done = confirm(tx, office, token, proof="", author="", actor=actor) if match else None
    if done is None or done.id != chosen.id:
        raise OfficeError(
            f"this is no token for {chosen.address}, or it is used up or older than three days: "
            f"`sortingoffice admin mailbox verify {chosen.address}` sends a new one"
        )
    return done


def proof_sentence(proof: str) -> str:
    """What a mailbox's proof means to its owner."""
    return {
        "dkim": "Its mail is signed (DKIM): replies from it are accepted.",
        "spf": "Its mail is known by its server (SPF): replies from it are accepted.",
        "none": "Its mail proves nothing: use submission with an app password to write to vendors.",
    }.get(proof, "What proof its mail carries is not known yet.")


# ---- showing -------------------------------------------------------------------------------------


def describe_account(each: Account) -> dict[str, object]:
    """One account as the command line shows it."""
    state = "removed" if each.wrapped_key is None else each.state.value
    return {
        "name": each.name,
        "state": state,
        "admin": each.admin,
        "trigger": each.trigger,
        "from_form": each.from_form.value,
        "new_contacts": each.new_contacts,
        "created": each.created,
    }


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
