"""Addresses turned round: what the vendor sees in the place of what the person sees.

    reverse alias   → the contact's real address       everywhere
    own mailbox     → the alias                        where the person's mail client put it

In place, in text, HTML, calendars and vCards.  An address in the person's own new prose is not
touched: that is for the leak guard to report.

Promise: only the addresses change, and a text without any is returned as it is; linear time.

Sources: the design, "Outward"; RFC 6068 (mailto), RFC 3986 §2.1 (%40), RFC 5545 §3.8.4, RFC 6350 §6.4.2.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import field

import idna

from sortingoffice.core import calendar, inward, naming
from sortingoffice.frozen import dataclass
from sortingoffice.mail import html, quoting
from sortingoffice.mail.address import Address
from sortingoffice.mail.quoting import Kind

_MOST_LOCAL = 80  # characters before the "@" that are looked at
_MOST_BEFORE = 300
_NEVER = re.compile(r"(?!)")
_VCARD_EMAIL = re.compile(
    r"(?im)^(?:[\w-]+\.)?(?:EMAIL|IMPP|X-[\w-]*EMAIL)[;:][^\r\n]*(?:\r?\n[ \t][^\r\n]*)*"
)
_PERSON = re.compile(r"(?im)^(?:ORGANIZER|ATTENDEE)[;:][^\r\n]*(?:\r?\n[ \t][^\r\n]*)*")
_FOLD = re.compile(r"\r?\n[ \t]")
_CALENDARS = frozenset({"text/calendar", "application/ics"})
_CARDS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
FORMS = _CALENDARS | _CARDS  # what programs write and read, attached or not


@dataclass(frozen=True, slots=True)
class Correspondent:
    """A contact as the vendor's side knows it.

    written  the address as it was last written
    name     display name as last seen, "" if none
    shown    how our inward mail showed the contact to the person, "" for the usual form: it leaves
             quoted text again
    """

    written: Address
    name: str = ""
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """text[start:end] becomes `new`; `own` where a mailbox's address stands there."""

    start: int
    end: int
    new: str
    own: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """Who is who.

    alias      what stands for every address of `mailboxes`
    mailboxes  normal forms
    contacts   canonical reverse alias → whom it stands for
    ids        Content-IDs without brackets that become others
    automatic  a program wrote the text (a report, an answer to an invitation): it is nobody's prose
    """

    alias: Address
    mailboxes: frozenset[str]
    contacts: Mapping[str, Correspondent]
    ids: Mapping[str, str] = field(default_factory=dict)
    automatic: bool = False
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        domains = {address.rpartition("@")[2] for address in (*self.mailboxes, *self.contacts)}
        object.__setattr__(self, "_pattern", _at_domains(domains - {""}))

    def address(self, address: Address) -> Address | None:
        """What an address becomes; None where it stays."""
        if address.normal in self.mailboxes:
            return self.alias
        found = self.contacts.get(naming.canonical(str(address)))
        return found.written if found is not None else None

    def at_home(self, identifier: str, *, below: bool = False) -> bool:
        """Whether a Message-ID or Content-ID was made under a mailbox's own domain.

        below  or by a host of that domain
        """
        domain = identifier.strip("<>").rpartition("@")[2].lower()
        homes = {mailbox.rpartition("@")[2] for mailbox in self.mailboxes}
        return domain in homes or (below and any(domain.endswith(f".{home}") for home in homes))

    def name(self, address: Address) -> str:
        """The contact's own display name for a reverse alias, "" where there is none."""
        found = self.contacts.get(naming.canonical(str(address)))
        return found.name if found is not None else ""

    def changes(self, text: str) -> Iterator[Change]:
        """Every known address in a text, in order."""
        end = 0
        for match in self._pattern.finditer(text):
            for change in self._changes(text, match, end):
                yield change
                end = change.end

    def may_stand_in(self, text: str) -> bool:
        """Whether there is an "@" with a domain of ours: a quick look."""
        return self._pattern.search(text) is not None

    def text(self, text: str) -> str:
        """The text with every known address turned."""
        return applied(text, self.changes(text))

    def _changes(self, text: str, match: re.Match[str], least: int) -> Iterator[Change]:
        """The address whose "@" this is, after the display name that we gave it, if it is a known one."""
        at = match.start()
        before = text[max(least, at - _MOST_LOCAL) : at]
        domain = _ascii(match["domain"])
        for mailbox in self.mailboxes:
            local, _, its = mailbox.rpartition("@")
            if (
                its == domain
                and before[-len(local) :].casefold() == local
                and not _longer(before, len(local))
            ):
                yield Change(at - len(local), match.end(), self._written(self.alias, match), own=True)
                return
        run = _run(before)
        found = self.contacts.get(naming.canonical(f"{run}@{domain}")) if run else None
        if found is None:
            return
        start = at - len(run)
        shown = _shown_before(text, max(least, start - _MOST_BEFORE), start, found)
        if shown is not None:
            yield Change(*shown, found.name or str(found.written), own=False)
        yield Change(start, match.end(), self._written(found.written, match), own=False)

    def _written(self, address: Address, match: re.Match[str]) -> str:
        """In the spelling of the place: with %40 where the "@" was written so."""
        at = match["at"]
        return str(address) if at == "@" else str(address).replace("@", at)


def applied(text: str, changes: Iterator[Change] | list[Change]) -> str:
    parts: list[str] = []
    at = 0
    for change in changes:
        parts += (text[at : change.start], change.new)
        at = change.end
    parts.append(text[at:])
    return "".join(parts)


# ---- the forms of text that a message holds ------------------------------------------------------


def plain(text: str, turn: Turn) -> str:
    """Plain text: mailboxes only outside the person's own new prose, nothing within what is signed there."""
    changes = list(turn.changes(text))
    signed = quoting.CLEARSIGNED in text
    if (changes and signed) or (not turn.automatic and any(change.own for change in changes)):
        stretches = quoting.of_text(text)
        starts = [stretch.start for stretch in stretches]
        kinds = [stretches[bisect_right(starts, change.start) - 1].kind for change in changes]
        changes = [c for c, kind in zip(changes, kinds, strict=True) if _may_change(c, kind, turn)]
    return applied(text, changes)


def _may_change(change: Change, kind: Kind, turn: Turn) -> bool:
    if kind is Kind.SIGNED:
        return False
    return turn.automatic or not change.own or kind is not Kind.PROSE


def markup(source: str, turn: Turn) -> str:
    """HTML: attributes everywhere, text as in `plain`; the source between them stays as it was."""
    if html.too_long(source):  # the leak guard tells, where there is something to tell
        return source
    if (
        not turn.ids
        and not turn.may_stand_in(html.unescape(source))
        and not turn.may_stand_in(html.without_tags(source))
    ):
        return source
    changes = [*_in_attributes(source, turn)]
    lines = html.visual_lines(source)
    kinds: list[Kind] | None = None
    signed = any(quoting.CLEARSIGNED in line.text for line in lines)
    for number, line in enumerate(lines):
        for change in turn.changes(line.text):
            if signed or (change.own and not turn.automatic):
                kinds = kinds or quoting.of_html(lines)
                if not _may_change(change, kinds[number], turn):
                    continue
            changes += in_source(line, change)
    return applied(source, sorted(changes, key=lambda change: change.start)) if changes else source


def _in_attributes(source: str, turn: Turn) -> Iterator[Change]:
    for token in html.tokens(source):
        if token.kind is not html.Kind.START:
            continue
        for each in token.attributes:
            if each.value[:4].lower() == "cid:" and each.value[4:] in turn.ids:
                yield Change(each.start, each.end, f"cid:{html.escape(turn.ids[each.value[4:]])}", own=False)
                continue
            new = turn.text(each.value)
            if new != each.value:
                raw = source[each.start : each.end]
                written = turn.text(raw) if html.unescape(raw) == raw else html.escape(new)
                yield Change(each.start, each.end, written, own=False)


def in_source(line: html.Line, change: Change) -> Iterator[Change]:
    """A change of a visual line's text as changes of the source.

    The first stretch of the source takes the new address, further ones (split by tags) are emptied."""
    new = html.escape(change.new)
    for start, end in line.source(change.start, change.end):
        yield Change(start, end, new, change.own)
        new = ""


def invitation(text: str, turn: Turn) -> str:
    """A calendar: ORGANIZER and ATTENDEE, and their names where they are addresses."""
    rewritten = calendar.rewrite(text, lambda _, address: turn.address(address))
    return _PERSON.sub(lambda match: turn.text(match[0]), rewritten)


def business_card(text: str, turn: Turn) -> str:
    """A vCard: its EMAIL lines, folded ones unfolded where they change (RFC 6350 §3.2)."""

    def line(match: re.Match[str]) -> str:
        flat = _FOLD.sub("", match[0])
        new = turn.text(flat)
        return match[0] if new == flat else new

    return _VCARD_EMAIL.sub(line, text)


def by_type(content_type: str, text: str, turn: Turn) -> str:
    """A text part, by what it is."""
    if content_type == "text/html":
        return markup(text, turn)
    if content_type in _CALENDARS:
        return invitation(text, turn)
    if content_type in _CARDS:
        return business_card(text, turn)
    return plain(text, turn)


# ---- around the "@" ------------------------------------------------------------------------------


def _at_domains(domains: set[str]) -> re.Pattern[str]:
    if not domains:
        return _NEVER
    spellings = sorted({spelling for domain in domains for spelling in (domain, _unicode(domain))})
    either = "|".join(re.escape(each) for each in spellings)
    return re.compile(rf"(?P<at>@|%40)(?P<domain>{either})(?![\w-]|\.\w)", re.IGNORECASE)


def _unicode(domain: str) -> str:
    try:
        return idna.decode(domain)
    except (idna.IDNAError, UnicodeError):
        return domain


def _ascii(domain: str) -> str:
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return domain.lower()


def _longer(before: str, local: int) -> bool:
    """Whether the local part goes on to the left: then it is another address."""
    if len(before) == local:
        return False
    last = before[-local - 1]
    if last.isalnum() or last in "_+-.":
        # The two digits of %3C or %20 before an address in a URL are no part of it.
        return re.search(r"%[0-9A-Fa-f]{2}\Z", before[:-local]) is None
    return False


def _run(before: str) -> str:
    """The letters, digits, dots and dashes that stand right before the "@"."""
    at = len(before)
    while at and (before[at - 1].isalnum() or before[at - 1] in "._-"):
        at -= 1
    if at and before[at - 1] == "%" and re.match(r"[0-9A-Fa-f]{2}", before[at:]):
        at += 2
    return before[at:]


def _shown_before(text: str, least: int, start: int, found: Correspondent) -> tuple[int, int] | None:
    """Where our own display form stands right before the address at `start`."""
    words = (found.shown or inward.written_as(found.name, found.written)).split()
    spaced = r"\s+".join(re.escape(word) for word in words)
    match = re.search(rf"({spaced})[\"']?\s*[<(\[]?\s*(?:mailto:)?\Z", text[least:start])
    return None if match is None else (least + match.start(1), least + match.end(1))
