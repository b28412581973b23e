"""By mail: an address for a vendor, asked for from any mail app, with no page and no program.

    new.<secret>@…       the subject is the vendor, a name or a site; the answer's first line is the alias
    pocket.<secret>@…    the answer is a list of pocket aliases; so it is for the subject `pocket 5`

Both stand in the account's address book file beside its card contacts (`flows.cardcontacts`); the secret is
derived, not stored, and another one once it was renewed.

Promise: only mail that the account itself wrote, by the rules for outward mail, is answered, and only at a
mailbox of its own; to anybody else the address is one that never existed.  The same mail is answered once.

Sources: issue 7, "By mail"; RFC 3834 (automatic answers); RFC 5322 §3.6.4 (threads).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import replace
from datetime import timedelta

from sortingoffice.core import decide
from sortingoffice.core.decide import Decision, Verdict
from sortingoffice.core.inward import author
from sortingoffice.core.model import Account
from sortingoffice.core.notice import Notice
from sortingoffice.core.secrets import Kind, Secret
from sortingoffice.core.text import one_line
from sortingoffice.errors import OfficeError
from sortingoffice.flows import issue, notices, signup
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import classify, headers, token, toplevel
from sortingoffice.mail.address import Address
from sortingoffice.store import accounts, events, relationships, spool
from sortingoffice.store.database import Transaction

NEW, POCKET = "new", "pocket"
REPEATED_WITHIN = timedelta(days=5)  # as long as a mail server may try again
MOST_AN_HOUR = 100  # new addresses of an account, however they were asked for
MOST_AT_ONCE = 50  # pocket aliases
_HOUR = timedelta(hours=1)
_ACTOR = "by mail"
_LOCAL = re.compile(rf"({NEW}|{POCKET})\.([a-z2-7]{{26}})")
# What mail apps put before the subject of an answer, in the languages that have a habit of it.
_AGAIN = re.compile(r"(?:(?:re|aw|antw|sv|vs|fwd?|wg|tr)\s*:\s*)+", re.IGNORECASE)
_LIST = re.compile(r"(?:pocket\b)?\s*(\d{0,9})", re.IGNORECASE)
_PAGE = re.compile(r"https?://\S+", re.IGNORECASE)
_THREAD = 10  # Message-IDs of the thread that an answer repeats


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the person is told, and the name of what was done."""

    rule: str
    said: Notice


# ---- the contacts --------------------------------------------------------------------------------


def find(tx: Transaction, office: Office, address: Address) -> Account | None:
    """Whose by-mail contact an address of ours is."""
    match = _LOCAL.fullmatch(address.local.lower())
    number = token.account_of(office.keys.token, match[2]) if match else None
    account = accounts.by_id(tx, number) if number is not None else None
    if match is None or account is None:
        return None
    return account if hmac.compare_digest(_secret(office, account), match[2]) else None


def contacts(tx: Transaction, office: Office, account: Account) -> dict[str, Address]:
    """The account's two contacts, by the name they have in an address book."""
    domain = notices.author(tx, office).domain
    secret = _secret(office, account)
    return {
        "New address": Address(f"{NEW}.{secret}", domain),
        "Pocket addresses": Address(f"{POCKET}.{secret}", domain),
    }


def renew(tx: Transaction, office: Office, account: Account, *, actor: str) -> Account:
    """Other contacts from now on; to the ones that there were nobody answers any more."""
    accounts.hold(tx, account.id)
    current = accounts.by_id(tx, account.id)
    assert current is not None, "who asks for it is signed in"
    changed = replace(current, contacts_renewed=current.contacts_renewed + 1)
    accounts.update(tx, changed)
    events.add(tx, at=office.clock(), actor=actor, what="by-mail contacts renewed", account_id=account.id)
    return changed


def secrets(tx: Transaction, office: Office, account: Account) -> tuple[Secret, ...]:
    """The contacts as what must not reach a vendor: they are the same for all, and would tell who is one."""
    return tuple(
        Secret(Kind.ADDRESS, str(each), f'your contact "{name}"')
        for name, each in contacts(tx, office, account).items()
    )


def _secret(office: Office, account: Account) -> str:
    return token.contact_secret(office.keys.token, account.id, account.contacts_renewed)


# ---- the answer ----------------------------------------------------------------------------------


def answered(
    tx: Transaction, office: Office, arrival: Arrival, account: Account, address: Address
) -> Decision:
    """Answer a mail that the account wrote to one of its by-mail contacts.

    A Decision that accepts: whatever can't be done is told by mail, in words.
    """
    if arrival.envelope.sender is None or classify.bulk(arrival.message):
        return _accepted(tx, arrival, account, "automatic_mail")  # RFC 3834 §2: or two machines would talk
    accounts.hold(tx, account.id)  # of two at once the second sees what the first one did
    fingerprint = _fingerprint(arrival, account, address)
    if spool.same(tx, fingerprint, arrival.now - REPEATED_WITHIN):
        return _accepted(tx, arrival, account, "repeated_message")
    answer = _made(tx, office, arrival, account, address)
    who = author(arrival.message)
    notices.send(
        tx,
        office,
        replace(answer.said, answers=_thread(arrival)),
        account_id=account.id,
        to="" if who is None else who.address.normal,
        by=Address(address.local.lower(), address.domain),
        rule=answer.rule,
        now=arrival.now,
        fingerprint=fingerprint,
    )
    return _accepted(tx, arrival, account, answer.rule)


def _accepted(tx: Transaction, arrival: Arrival, account: Account, rule: str) -> Decision:
    events.add(
        tx,
        at=arrival.now,
        actor=arrival.actor(),
        account_id=account.id,
        message=arrival.token,
        what="asked by mail",
        rule=rule,
    )
    return Decision(Verdict.ACCEPT, rule, decide.ACCEPTED)


def _fingerprint(arrival: Arrival, account: Account, address: Address) -> bytes:
    """Equal for the same mail, sent again by a program that missed our answer; the trace may differ."""
    digest = hashlib.sha256(f"by mail\0{account.id}\0{address.local.lower()}".encode())
    for name in ("Message-ID", "Date", "Subject"):
        value = arrival.message.value(name) or b""
        digest.update(len(value).to_bytes(8, "big") + value)
    digest.update(arrival.message.body)
    return digest.digest()


def _thread(arrival: Arrival) -> tuple[str, ...]:
    own = headers.message_ids(arrival.message.value("Message-ID") or b"")[:1]
    before = headers.message_ids(arrival.message.value("References") or b"") if own else ()
    return tuple(each for each in (*before[-_THREAD:], *own) if each.isascii() and len(each) < 900)


def _made(tx: Transaction, office: Office, arrival: Arrival, account: Account, address: Address) -> _Answer:
    subject = headers.decode(arrival.message.value("Subject") or b"")
    asked = _AGAIN.sub("", subject, count=1).strip()
    listed = _LIST.fullmatch(asked)
    pocket = address.local.lower().startswith(POCKET)
    try:
        wanted = "" if pocket else one_line(asked, "the subject")
        left = MOST_AN_HOUR - relationships.made_since(tx, account.id, arrival.now - _HOUR)
        if pocket or (listed is not None and asked.lower().startswith(POCKET)):
            return _pocket(tx, office, account, (listed[1] if listed else "") or str(issue.POCKET), left)
        return _new(tx, office, account, wanted, left)
    except OfficeError as error:
        reason = str(error)[:1].upper() + str(error)[1:]
        return _Answer("not_made", Notice(f"Not made: {error}"[:120], (f"{reason}.", *_HELP)))


_HELP = (
    "",
    "Write the vendor into the subject: its site, such as lampshop.example, or its name.",
    'For addresses to hand out later, write "pocket", or "pocket 5".',
)


def _new(tx: Transaction, office: Office, account: Account, wanted: str, left: int) -> _Answer:
    if not wanted:
        raise OfficeError("the subject is empty, so there is no vendor that the address could be for")
    _refuse_over(left, 1)
    name, host = _vendor(wanted)
    row = signup.take(tx, office, account, signup.Asked(hostname=host, name=name), actor=_ACTOR)
    of = row.relationship
    bound = f" It is bound to {of.site}." if of.site else ""
    lines = (
        row.alias.address,
        "",
        f"This is your address for {of.name}.{bound} What they write to it arrives here;",
        "answer it, and you write as this address.",
        *_link(office, f"/r/{of.slug}"),
    )
    return _Answer("made_by_mail", Notice(f"Re: {wanted}", lines))


def _vendor(wanted: str) -> tuple[str, str]:
    """The name and the host that a subject tells; "" for what it doesn't."""
    page = _PAGE.search(wanted)
    if page is not None:
        return " ".join((wanted[: page.start()] + wanted[page.end() :]).split()), page[0]
    host = wanted if " " not in wanted and "." in wanted.strip(".") else ""
    return ("", host) if host and toplevel.prolongs(f".{host.lower()}", 0) else (wanted, "")


def _pocket(tx: Transaction, office: Office, account: Account, number: str, left: int) -> _Answer:
    wanted = int(number)
    if not 1 <= wanted <= MOST_AT_ONCE:
        raise OfficeError(f"{wanted} are too many or too few: ask for 1 to {MOST_AT_ONCE} at once")
    _refuse_over(left, wanted)
    made = issue.pocket(tx, office, account, wanted, actor=_ACTOR)
    lines = (
        *(each["alias"] for each in made),
        "",
        "Hand each of them to one vendor: the first mail to it binds it to who wrote, and you are told.",
        *_link(office, "/?state=unbound"),
    )
    return _Answer("pocket_by_mail", Notice("Re: pocket", lines))


def _refuse_over(left: int, wanted: int) -> None:
    if wanted > left:
        raise OfficeError(
            f"more than {MOST_AN_HOUR} new addresses in an hour are not given out: ask again in an hour"
        )


def _link(office: Office, path: str) -> tuple[str, ...]:
    base = office.config.http.base_url.rstrip("/")
    return (f"{base}{path}",) if base else ()
