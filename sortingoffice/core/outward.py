"""The person's message as the vendor gets it: an allow-list, at the top and inside every part.

    only what is named here leaves the header; From is the alias; To and Cc are contacts

The MIME tree, encodings and attachments stay octet for octet, but for addresses turned round
(`core.turned`) in the text parts that the person's mail client wrote, and what tells of the machine in
fields and boundaries (`core.telltale`).  What is signed or encrypted is
not touched at all.  What may still be in there, the leak guard finds (`core.guard`).

Sources: RFC 5322 §3.6; RFC 2156 (Importance); RFC 3834 §5 (Auto-Submitted); RFC 2045 §4, §9; RFC 1847;
RFC 3464, RFC 8098 (reports).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from email.utils import format_datetime

from sortingoffice.core import identifiers, naming, reports, telltale, turned
from sortingoffice.core.identifiers import Ids
from sortingoffice.core.turned import Correspondent, Turn
from sortingoffice.frozen import dataclass
from sortingoffice.mail import classify, headers, mime, parameters
from sortingoffice.mail.address import Address
from sortingoffice.mail.headers import Mention
from sortingoffice.mail.message import Field, Message
from sortingoffice.mail.message import field as new_field
from sortingoffice.mail.mime import Entity

MAX_REFERENCES = 50
_SEALED = frozenset({"multipart/signed", "multipart/encrypted"})
_IMPORTANCE = re.compile(rb"(?i)high|normal|low")
_AUTO_SUBMITTED = re.compile(r"no|auto-generated|auto-replied|auto-notified")


@dataclass(frozen=True, slots=True)
class OutwardFacts:
    """What the rewriting needs.

    alias         the relationship's address, as it is shown
    display_name  what stands beside it; "" (unless the person set one) for nothing
    contacts      canonical reverse alias (`naming.canonical`) → whom it stands for
    mailboxes     normal forms of every address of the account
    message_id    our new one, with brackets
    references    inside → outside ids that this relationship has carried; "" for what must not leave
    now           for a message without a date that can be read
    aliases       canonical forms of the relationship's other aliases
    """

    alias: Address
    display_name: str
    contacts: Mapping[str, Correspondent]
    mailboxes: frozenset[str]
    message_id: str
    references: Mapping[str, str]
    now: datetime
    aliases: frozenset[str] = field(default=frozenset())

    @property
    def turn(self) -> Turn:
        return Turn(self.alias, self.mailboxes, self.contacts)

    def own(self, address: Address) -> bool:
        """Whether it is the person's: an alias of the relationship, or a mailbox."""
        if address.normal in self.mailboxes:
            return True
        canonical = naming.canonical(str(address))
        return canonical == naming.canonical(str(self.alias)) or canonical in self.aliases


def rewrite(
    message: Message, facts: OutwardFacts, max_depth: int = mime.MAX_DEPTH, max_parts: int = mime.MAX_PARTS
) -> Message:
    """The message that leaves.

    Raises mime.TooComplex beyond the caps: what can't be read can't be sent.
    """
    root = _unnamed(mime.parse(message, max_depth, max_parts), message, facts)
    turn = replace(facts.turn, ids=_content_ids(root, facts), automatic=_automatic(root))
    changed = {}
    for entity in _open(root):
        new = _part(entity, facts, turn)
        if new is not entity:
            changed[entity.path] = new
    tree = mime.replaced(root, changed)
    fields = tuple(_top(message, facts))
    content = tuple(
        _with_line_end(telltale.without_parameters(_identified(f, turn)))
        for f in tree.message.fields
        if _describes(f)
    )
    separator = message.separator or b"\r\n"
    head = Message((*fields, *content), separator, b"")
    return Message.parse(bytes(replace(tree, message=replace(head, body=tree.message.body))))


def _unnamed(root: Entity, message: Message, facts: OutwardFacts) -> Entity:
    """Without boundaries that are made of the message's own id or of a mailbox's domain."""
    ids = headers.message_ids(message.value("Message-ID") or b"")
    domains = {mailbox.rpartition("@")[2] for mailbox in facts.mailboxes}
    return telltale.renamed(root, ids, domains, facts.message_id)


def strangers(message: Message, facts: OutwardFacts) -> tuple[Mention, ...]:
    """Those whom To, Cc and Bcc name and who are neither contacts nor the person: `rewrite` drops them."""
    return tuple(
        mention
        for name in ("To", "Cc", "Bcc")
        for each in message.all(name)
        for mention in headers.addresses(each.value)
        if mention.address is None
        or (not facts.own(mention.address) and _contact(mention.address, facts) is None)
    )


def ids(message: Message) -> Ids:
    """The ids that the message names, in attached messages, reports and texts, too: what
    `OutwardFacts.references` is asked for.

    Raises mime.TooComplex.
    """
    return identifiers.of(_open(mime.parse(message)))


# ---- the top ---------------------------------------------------------------------------------------


def _top(message: Message, facts: OutwardFacts) -> Iterator[Field]:
    """The allowed fields in one order, each at most once: what a client's order tells is gone, too."""
    yield new_field("From", headers.mailbox(facts.display_name, facts.alias))
    yield from _recipients(message, facts)
    subject = message.first("Subject")
    if subject is not None:
        words = headers.words_for(subject.value)
        yield _with_line_end(subject) if words is None else new_field("Subject", words)
    yield new_field("Date", format_datetime(_date(message, facts.now)))
    yield new_field("Message-ID", facts.message_id)
    for name in ("In-Reply-To", "References"):
        mapped = _mapped(message, name, facts.references)
        if mapped:
            yield new_field(name, b"\r\n ".join(mapped))
    importance = message.value("Importance")
    if importance is not None and _IMPORTANCE.fullmatch(importance):
        yield new_field("Importance", importance)
    automatic = message.value("Auto-Submitted")
    if automatic is not None:
        # RFC 3834 §5.1: its owner-email parameter names the mailbox.
        word = parameters.parse(automatic).head
        yield new_field("Auto-Submitted", word if _AUTO_SUBMITTED.fullmatch(word) else "auto-generated")
    elif classify.automatic(message):
        # Its older signs stay here, and without any two machines would talk.
        yield new_field("Auto-Submitted", "auto-replied")
    if message.first("MIME-Version") is not None or any(_describes(each) for each in message.fields):
        yield new_field("MIME-Version", "1.0")  # clients write their name in a comment there


def _recipients(message: Message, facts: OutwardFacts) -> Iterator[Field]:
    """To and Cc with their contacts; nobody twice, nobody else."""
    seen: set[str] = set()
    written = False
    for name in ("To", "Cc"):
        mailboxes: list[bytes] = []
        for each in message.all(name):
            for mention in headers.addresses(each.value):
                found = _contact(mention.address, facts) if mention.address is not None else None
                if found is not None and found.written.normal not in seen:
                    seen.add(found.written.normal)
                    mailboxes.append(headers.mailbox(found.name, found.written))
        if mailboxes:
            written = True
            yield new_field(name, b",\r\n ".join(mailboxes))
    if not written:
        yield new_field("To", "undisclosed-recipients:;")


def _contact(address: Address, facts: OutwardFacts) -> Correspondent | None:
    return facts.contacts.get(naming.canonical(str(address)))


def _date(message: Message, now: datetime) -> datetime:
    """In UTC, since the offset tells where the person is; `now` where none can be read."""
    return headers.date(message.value("Date") or b"") or now.astimezone(UTC)


def _mapped(message: Message, name: str, references: Mapping[str, str]) -> list[bytes]:
    """The ids that the relationship has carried, as the vendor knows them."""
    outside = dict.fromkeys(references.get(each, "") for each in identifiers.in_field(message, name))
    outside.pop("", None)
    return [each.encode("utf-8") for each in outside][-MAX_REFERENCES:]


def _with_line_end(old: Field) -> Field:
    """A last field without a line end gets one, since others follow now."""
    return old if old.raw.endswith(b"\n") else Field(old.name, old.raw + b"\r\n")


# ---- the parts -------------------------------------------------------------------------------------


def _describes(field: Field) -> bool:
    """RFC 2045 §9: only fields that begin with "Content-" have a meaning in a part."""
    return field.name.lower().startswith(b"content-")


def _open(entity: Entity) -> Iterator[Entity]:
    """Every entity that is not inside something signed or encrypted: a signature covers part headers, too."""
    yield entity
    if entity.content_type not in _SEALED:
        for child in entity.children:
            yield from _open(child)


def _part(entity: Entity, facts: OutwardFacts, turn: Turn) -> Entity:
    """One entity rewritten; itself where nothing changes."""
    new = entity
    if entity.path:
        fields = _part_fields(entity, facts, turn)
        if fields != entity.message.fields:
            new = entity.with_fields(fields)
    return new if new.children else _leaf(new, facts, turn)


def _part_fields(entity: Entity, facts: OutwardFacts, turn: Turn) -> tuple[Field, ...]:
    fields = entity.message.fields
    if _is_message(entity):
        return reports.nested(fields, turn, facts.references)
    content = tuple(telltale.without_parameters(f) for f in fields if _describes(f))
    if turn.ids:
        content = tuple(_identified(each, turn) for each in content)
    return fields if content == fields else content


def _automatic(root: Entity) -> bool:
    """A report (RFC 6522), or an answer to an invitation (RFC 5546 §3.2.3): calendars write
    "anna@home.example has accepted" into the text."""
    return root.content_type == "multipart/report" or any(
        leaf.content_type == "text/calendar" and leaf.parameters.get("method", "").upper() == "REPLY"
        for leaf in root.leaves()
    )


def _content_ids(root: Entity, facts: OutwardFacts) -> dict[str, str]:
    """Thunderbird and others make Content-IDs under the mailbox's domain, which may be the person's own:
    they get the alias's, in the part and in the HTML that shows it (RFC 2392)."""
    found: dict[str, str] = {}
    turn = facts.turn
    for entity in _open(root):
        value = entity.message.value("Content-ID")
        for each in headers.message_ids(value) if value is not None else ():
            if turn.at_home(each, below=True):
                left = each.strip("<>").rpartition("@")[0]
                found[each.strip("<>")] = f"{left}@{facts.alias.domain}"
    for entity in _open(root):  # RFC 2387 §3.2: a part that is named as the first one stays
        found.pop(entity.parameters.get("start", "").strip("<>"), None)
    return found


def _identified(old: Field, turn: Turn) -> Field:
    if not old.is_named("Content-ID"):
        return old
    new = turn.ids.get(old.unfolded.decode("utf-8", "replace").strip("<>"))
    return old if new is None else new_field("Content-ID", f"<{new}>".encode())


def _is_message(entity: Entity) -> bool:
    """Whether it is an attached message's own header: it says whom it is from, or when."""
    return any(entity.message.first(name) is not None for name in ("From", "Date", "Received", "Subject"))


def _leaf(leaf: Entity, facts: OutwardFacts, turn: Turn) -> Entity:
    """A leaf's text turned round; attachments stay as they are, but for reports and calendars."""
    text = leaf.text() if identifiers.is_read(leaf) else None
    if text is None:
        return leaf
    report = _REPORTS.get(leaf.content_type)
    if report is not None:
        new = report(text, turn, facts.references)
    elif leaf.content_type in turned.FORMS:
        new = turned.by_type(leaf.content_type, text, turn)
    else:
        rename = identifiers.markup if leaf.content_type == "text/html" else identifiers.plain
        new = rename(text, facts.references, automatic=turn.automatic)
        new = turned.by_type(leaf.content_type, new, turn)
    return leaf if new == text else leaf.with_text(new)


_REPORTS: dict[str, Callable[[str, Turn, Mapping[str, str]], str]] = {
    "message/delivery-status": reports.delivery_status,
    "message/global-delivery-status": reports.delivery_status,
    "message/disposition-notification": reports.disposition_notification,
    "message/global-disposition-notification": reports.disposition_notification,
    "text/rfc822-headers": reports.header_text,
    "message/global-headers": reports.header_text,
}
