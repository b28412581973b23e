"""A vendor's message as the person gets it: the fields we name, rewritten; the rest untouched.

    rewrite(message, facts) == message, but for the fields of the table in docs/flow.md

Every address at which a mail client could answer becomes a reverse alias, so that no
answer can expose the mailbox.  Our trace, results and signature are added per attempt
(`flows.deliver`), and forged results of our name go in `mail.trace`.

Sources: RFC 5322 §3.6; RFC 2369 (List-*); RFC 8058 (one-click); RFC 8098 §2.1
(Disposition-Notification-To); RFC 5545 §3.8.4 (ORGANIZER, ATTENDEE).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from sortingoffice.core import invitation, mailto, naming
from sortingoffice.core.model import FromForm
from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers
from sortingoffice.mail.address import Address
from sortingoffice.mail.headers import Mention
from sortingoffice.mail.message import Field, Message, field
from sortingoffice.mail.unsubscribe import ONE_CLICK

MAX_PEOPLE = 50  # addresses kept in To and Cc; the rest leave the field and are counted
MAX_ANSWERED = 50  # addresses to which a client could answer besides; each costs a reverse alias

# A mail client answers to these, so each address in them becomes its reverse alias.
_ANSWERED = (
    "From",
    "Reply-To",
    "Sender",
    "Disposition-Notification-To",
    "Return-Receipt-To",
    "Mail-Followup-To",
    "Mail-Reply-To",
    "X-Confirm-Reading-To",
)
_LISTED = ("To", "Cc")
_MAILTO_FIELDS = ("List-Post", "List-Unsubscribe", "List-Subscribe", "List-Help", "List-Owner")  # RFC 2369
_ID_FIELDS = ("In-Reply-To", "References")
_LED = re.compile(
    rb"(?im)^(?:"
    + "|".join((*_ANSWERED, *_LISTED, *_MAILTO_FIELDS, "Authentication-Results")).encode("ascii")
    + rb")[ \t]*:"
)
_IN_DISPLAY = re.compile(r"\s*@\s*")
_NO_BRACKETS = str.maketrans("", "", "<>")
_LONGEST_NAME = 100  # characters of a name before the address, which must not be pushed out of sight
_STRIDE = 1 << 20  # octets that are looked through in one go: threads take turns between two
_LEADING_COMMA = re.compile(rb"\A(\s*),\s*")
_AT = "@\uff20\ufe6b"  # and its wide and its small form
_OMITTED = "X-Omitted-Recipients"
_UNSUBSCRIBE, _POST = "List-Unsubscribe", "List-Unsubscribe-Post"


@dataclass(frozen=True, slots=True)
class Person:
    """Someone on the vendor's side whom the message names.

    display  their name as it stands in the message, text, "" if none
    """

    address: Address
    display: str


@dataclass(frozen=True, slots=True)
class InwardFacts:
    """What the rewriting needs.

    reverse     normal address → its reverse alias, for everyone whom `people` gave
    own         as for `people`: these stay as the vendor wrote them
    alias       whom the vendor wrote to; mailbox: whom it stands for, None where there is none. An
                invitation for the one becomes one for the other
    inside      outside id → the person's own id, for the ids of ours among them
    message_id  a mapped Message-ID with brackets where this mailbox has seen the original; "" keeps it
    form        how From names the author
    unsubscribe the link that stands in List-Unsubscribe instead of the vendor's ways; "" keeps them
    """

    reverse: Mapping[str, Address]
    own: frozenset[str]
    alias: Address
    mailbox: Address | None
    inside: Mapping[str, str]
    message_id: str = ""
    unsubscribe: str = ""
    form: FromForm = FromForm.NAME_AND_ADDRESS


def author(message: Message) -> Person | None:
    """The first mailbox of the From field; None where there is none that can be read."""
    return next(_mentioned(message, ("From",)), None)


def people(message: Message, own: frozenset[str]) -> tuple[Person, ...]:
    """Everyone who needs a reverse alias, each once, the author first; as many as `MAX_ANSWERED` and
    `MAX_PEOPLE` say.

    own  normal addresses that are not the vendor's: the alias, the account's other aliases, its mailboxes
    """
    found: dict[str, Person] = {}
    for others, more in ((_answerable(message), MAX_ANSWERED), (_mentioned(message, _LISTED), MAX_PEOPLE)):
        most = len(found) + more
        for person in others:
            if person.address.normal not in own and len(found) < most:
                found.setdefault(person.address.normal, person)
    return tuple(found.values())


def ids(message: Message) -> tuple[str, ...]:
    """The ids that the message refers to, each once."""
    found = dict.fromkeys(
        each for name in _ID_FIELDS for f in message.all(name) for each in headers.message_ids(f.value)
    )
    return tuple(found)


def message_id(message: Message) -> str:
    """The message's own id with brackets, as whoever answers names it; "" if it has none that can be read."""
    value = message.value("Message-ID") or b""
    found = headers.message_ids(value) or headers.message_ids(b"<" + value + b">")
    return found[0] if found else ""


def rewrite(message: Message, facts: InwardFacts) -> Message:
    """The message for the mailbox; `facts.reverse` holds everyone of `people`."""
    omitted = 0

    def change(old: Field) -> Field | None:
        nonlocal omitted
        name = old.name.decode("ascii").lower()
        counted = _COUNTED.get(name)
        if counted is not None:
            new, out = counted(old, facts)
            omitted += out
            return new
        rule = _CHANGES.get(name)
        return old if rule is None else rule(old, facts)

    changed = _parted(_invited(message, facts)).edit(change)
    if facts.unsubscribe and message.first(_UNSUBSCRIBE) is not None:
        changed = _one_way_out(changed, facts.unsubscribe)
    if omitted:
        changed = changed.appended(field(_OMITTED, str(omitted)))
    return changed


def _parted(message: Message) -> Message:
    """Where a line that is no field ends the header block, and what a kinder reader would answer to, or take
    for our word, stands below it: the empty line that shows where the body begins (as Postfix does)."""
    if message.separator or not message.body:
        return message
    below = message.body[:_STRIDE].partition(b"\r\n\r\n")[0]
    return replace(message, separator=b"\r\n") if len(below) == _STRIDE or _LED.search(below) else message


def _invited(message: Message, facts: InwardFacts) -> Message:
    """ORGANIZER becomes its reverse alias, the alias's ATTENDEE the mailbox."""
    invited = naming.canonical(str(facts.alias))
    turned = {each.normal for each in facts.reverse.values()}

    def swap(name: str, address: Address) -> Address | None:
        if name == "ATTENDEE":
            return facts.mailbox if naming.canonical(str(address)) == invited else None
        return None if address.normal in turned else _reverse(address, facts)

    return invitation.rewritten(message, swap, next(iter(facts.reverse.values()), facts.alias))


def written_as(display: str, address: Address, form: FromForm = FromForm.NAME_AND_ADDRESS) -> str:
    """The display name of a reverse alias: who it is, without an address: that trips spam filters, and a
    careless client takes it for the address itself.  Nobody is left without a name."""
    plain = f"{address.local} at {address.domain}"
    name = _IN_DISPLAY.sub(" at ", display.translate(_NO_BRACKETS)).strip()[:_LONGEST_NAME]
    if form is FromForm.ADDRESS or not name or name == plain:
        return plain
    return name if form is FromForm.NAME else f"{name} - {plain}"


# ---- one function per row of the table ---------------------------------------------------------------


def _mentioned(message: Message, names: tuple[str, ...]) -> Iterator[Person]:
    for name in names:
        for each in message.all(name):
            for mention in headers.addresses(each.value):
                if mention.address is not None:
                    yield Person(mention.address, mention.display)


def _answerable(message: Message) -> Iterator[Person]:
    """Those to whom a client could answer, but for To and Cc; the author first."""
    yield from _mentioned(message, _ANSWERED)
    for name in _MAILTO_FIELDS:
        for each in message.all(name):
            for address in mailto.addresses(each.value):
                yield Person(address, "")
    for organizer in invitation.organizers(message):
        yield Person(organizer, "")


def _reverse(address: Address | None, facts: InwardFacts) -> Address | None:
    """The reverse alias for an address of a link or an invitation, which can't be left out: the author's
    where it was one too many, or can't be read.  None for what is the account's own."""
    if address is not None and address.normal in facts.own:
        return None
    known = None if address is None else facts.reverse.get(address.normal)
    return known or next(iter(facts.reverse.values()), facts.alias)


def _as_reverse(mention: Mention, facts: InwardFacts) -> bytes | None:
    """The mention with its reverse alias; None where it stays as it stands."""
    if mention.address is None:
        return None
    reverse = facts.reverse.get(mention.address.normal)
    if reverse is None:
        return None
    return headers.mailbox(written_as(mention.display, mention.address, facts.form), reverse)


def _answered(old: Field, facts: InwardFacts) -> tuple[Field | None, int]:
    """Each address becomes its reverse alias, and how many were too many and left the field; what can't be
    read as an address is taken out, since a client might read it more kindly than we do."""
    kept = []
    omitted = 0
    for mention in headers.addresses(old.value):
        new = _as_reverse(mention, facts)
        if new is not None:
            kept.append(new)
        elif mention.address is not None and mention.address.normal in facts.own:
            kept.append(headers.mailbox(mention.display, mention.address))
        elif mention.address is not None:
            omitted += 1
    return (_rebuilt(old, b",\r\n ".join(kept)) if kept else None), omitted


def _listed(old: Field, facts: InwardFacts) -> tuple[Field, int]:
    """To and Cc in place, and how many left the field: those over the limit, and what a client might
    read as an address where we can't."""
    value = old.value
    changes: list[tuple[int, int, bytes]] = []
    omitted = 0
    mentions = headers.addresses(value)
    for mention in mentions:
        new = _as_reverse(mention, facts)
        if new is not None:
            changes.append((mention.start, mention.end, new))
        elif (
            _hints(value[mention.start : mention.end])
            if mention.address is None
            else mention.address.normal not in facts.own
        ):
            omitted += 1
            changes.append(_taken_out(value, mention))
    if len(mentions) == headers.MAX_MENTIONS:  # nobody read who follows
        start, end = mentions[-1].end, len(value.rstrip(b" \t\r\n"))
        if start < end:
            omitted += value.count(b"@", start, end)
            changes.append((start, end, b""))
    hidden = _hidden(value, mentions, changes)
    if hidden:
        omitted += len(hidden)
        changes = sorted((*changes, *hidden))
    if not changes:
        return old, 0
    edited = _LEADING_COMMA.sub(rb"\1", headers.edited(value, changes))
    if not edited.strip(b" \t\r\n,"):
        edited = b" undisclosed-recipients:;\r\n"
    return Field(old.name, old.raw[: -len(value)] + edited), omitted


def _hints(octets: bytes) -> bool:
    """Whether some program would read an address there: encoded words, or letters as people type them."""
    text = headers.decode(octets)
    return any(sign in text for sign in _AT)


def _hidden(
    value: bytes, mentions: tuple[Mention, ...], changes: list[tuple[int, int, bytes]]
) -> list[tuple[int, int, bytes]]:
    """What stands between the mentions (comments, the names of groups) and is an address to some program."""
    spans = sorted((*((each.start, each.end) for each in mentions), *(each[:2] for each in changes)))
    found: list[tuple[int, int, bytes]] = []
    at = 0
    last = len(value.rstrip(b" \t\r\n"))
    for start, end in (*spans, (last, last)):
        if start > at and _hints(value[at:start]):
            found.append((at, start, b"" if start == last else b",\r\n " if at else b" "))
        at = max(at, end)
    return found


def _taken_out(value: bytes, mention: Mention) -> tuple[int, int, bytes]:
    """The mention with the comma before it."""
    before = value[: mention.start].rstrip(b" \t\r\n")
    start = len(before) - 1 if before.endswith(b",") else mention.start
    return (start, mention.end, b"")


def _mailto(old: Field, facts: InwardFacts) -> Field:
    """mailto: leads to the reverse alias; https and one-click stay (RFC 8058)."""

    new = mailto.turned(old.value, lambda address: _reverse(address, facts))
    return old if new == old.value else Field(old.name, old.raw[: -len(old.value)] + new)


def _one_way_out(message: Message, link: str) -> Message:
    """Our link in the place of the first List-Unsubscribe; a POST to it is enough (RFC 8058)."""
    done = False

    def change(old: Field) -> Field | None:
        nonlocal done
        name = old.name.decode("ascii").lower()
        if name == _UNSUBSCRIBE.lower() and not done:
            done = True
            return _rebuilt(old, f"<{link}>".encode("ascii"))
        return None if name in (_UNSUBSCRIBE.lower(), _POST.lower()) else old

    return message.edit(change).appended(field(_POST, ONE_CLICK))


def _references(old: Field, facts: InwardFacts) -> Field:
    """Ids of ours are mapped back to the person's own; all others stay."""
    value = old.value
    for outside, inside in facts.inside.items():
        value = value.replace(outside.encode(), inside.encode())
    return old if value == old.value else Field(old.name, old.raw[: -len(old.value)] + value)


def _identified(old: Field, facts: InwardFacts) -> Field:
    return _rebuilt(old, facts.message_id.encode()) if facts.message_id else old


def _rebuilt(old: Field, value: bytes) -> Field:
    """The field with a new value, under the name as it was spelled."""
    return field(old.name.decode("ascii"), value)


_COUNTED: dict[str, Callable[[Field, InwardFacts], tuple[Field | None, int]]] = {
    **{name.lower(): _answered for name in _ANSWERED},
    **{name.lower(): _listed for name in _LISTED},
}
_CHANGES: dict[str, Callable[[Field, InwardFacts], Field]] = {
    **{name.lower(): _mailto for name in _MAILTO_FIELDS},
    **{name.lower(): _references for name in _ID_FIELDS},
    "message-id": _identified,
}
