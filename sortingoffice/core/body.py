"""Where a message asks for cards: its body parts as visual lines, and values written into them.

Candidates stand in text/plain and text/html that a reader shows as the message itself: not in
attachments, not in attached messages.  What is quoted or hidden is seen, and marked so; whether
it may stand there is for `core.cards`.

Promise: `write` changes the octets of the parts that hold an ask or an escape and of no other,
and within them only the lines that do.

Sources: RFC 3676 §4 (format=flowed, soft breaks), RFC 2046 §5.1.4 (alternatives are one body).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple

from sortingoffice.core import calendar, directive, fields, render
from sortingoffice.core.cards import Filled
from sortingoffice.core.directive import Ask, Doubt, Escape, Mark, Vocabulary
from sortingoffice.core.model import Via
from sortingoffice.core.wallet import Sight
from sortingoffice.frozen import dataclass
from sortingoffice.mail import charset, headers, html, mime, quoting
from sortingoffice.mail.message import Message
from sortingoffice.mail.mime import Entity

MAX_MARKS = 500  # of an outward message
SUBJECT = "subject"  # as the kind of a sight
MAX_HASHES = 10_000  # lines of an outward message that are looked at closely

_TOO_MANY = Doubt(
    "too many lines of this message look like asking for cards", "Shorten the quoted text.", "#"
)
_IN_SIGNED = Doubt(
    "this message is signed, and a card put into it would break the signature",
    "Send it again without a signature.",
    "#",
)
_UNREADABLE = Doubt(
    "a part of this message asks for a card in a charset that isn't known here",
    "Send it again as plain text.",
    "#",
)
_ELSEWHERE = Doubt(
    "a part of this message asks for a card and can't be read: it is neither plain text nor HTML",
    "Send it again as plain text.",
    "#",
)
_NO_TEXT = Doubt("this message has no text to put a card into", "Write a line, and send it again.", "")
_WRITTEN = ("text/plain", "text/html")
_OPAQUE = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_SUBJECT = 4000  # characters of a subject that are looked at
_BREAK = re.compile(r"\r\n|[\n\r\u2028\u2029\x85\x0b\x0c]")
_QUOTED = re.compile(r"\s*(?:[>|\u203a\u00bb]\s*)+")
_OTHERS_WORDS = frozenset({quoting.Kind.ATTRIBUTION, quoting.Kind.QUOTE, quoting.Kind.FORWARD})
_PARAGRAPH_ENDS = re.compile(r">|-- (?:[\r\n]|\Z)")  # RFC 3676 §4.3 and 4.5
_MOST_JOINED = 4000  # characters of lines that are read as one

Span = tuple[int, int]


class Line(NamedTuple):
    """One line of a body part, as a reader sees it.

    text    its characters
    start   where it begins in the part's text, for text/plain
    html    the visual line, for text/html
    quoted  in quoted text, or where nobody sees it
    signed  a signature within the text covers it
    """

    text: str
    start: int
    html: html.Line | None
    quoted: bool
    signed: bool

    def source(self, first: int, last: int) -> tuple[Span, ...]:
        """Where text[first:last] stands in the part's source."""
        if self.html is not None:
            return self.html.source(first, last)
        return ((self.start + first, self.start + last),)


@dataclass(frozen=True, slots=True)
class Place:
    """A mark and the source that it covers, in one part."""

    mark: Mark
    part: mime.Path
    kind: str
    quoted: bool
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """All marks of a message.

    kinds   of its body parts
    unread  paths of body parts that no charset of ours reads
    subject what stands in the subject, where no value can be put
    """

    places: tuple[Place, ...]
    kinds: frozenset[str]
    unread: tuple[mime.Path, ...]
    subject: tuple[Doubt, ...] = ()

    @property
    def sights(self) -> tuple[Sight, ...]:
        return tuple(
            Sight(place.mark, place.kind, place.part, place.quoted)
            for place in self.places
            if isinstance(place.mark, Ask | Doubt)
        ) + tuple(Sight(mark, SUBJECT, (), False) for mark in self.subject)


def read(root: Entity, vocabulary: Vocabulary) -> Reading:
    """Every mark in the message's body parts."""
    places: list[Place] = []
    kinds: set[str] = set()
    unread: list[mime.Path] = []
    for leaf in _shown(root):
        if leaf.content_type in _OPAQUE and _asks(_within(leaf), vocabulary):
            places.append(Place(_IN_SIGNED, leaf.path, "text", False, ()))
        elif _odd(leaf, vocabulary):
            unread.append(leaf.path)
            # A calendar's answer repeats the vendor's words.
            if leaf.content_type != "text/calendar" and _asks(_said(leaf), vocabulary):
                places.append(Place(_ELSEWHERE, leaf.path, "text", False, ()))
    for leaf in parts(root):
        kind = "html" if leaf.content_type == "text/html" else "text"
        text = leaf.text()
        if text is None:
            unread.append(leaf.path)
            if _guessed(leaf, vocabulary):
                places.append(Place(_UNREADABLE, leaf.path, kind, False, ()))
            continue
        if text.strip():
            kinds.add(kind)
        before, signed = len(places), _signed(root, leaf.path)
        for number, line in enumerate(_hinted(lines(leaf, text))):
            if number >= MAX_HASHES or len(places) >= MAX_MARKS:
                places.append(Place(_TOO_MANY, leaf.path, kind, False, ()))
                break
            for mark in directive.read(line.text, vocabulary):
                spans = line.source(mark.start, mark.end)
                places.append(Place(mark, leaf.path, kind, line.quoted, spans))
                signed = signed or line.signed
        if signed and any(not place.quoted for place in places[before:]):
            places.append(Place(_IN_SIGNED, leaf.path, kind, False, ()))
    return Reading(tuple(places), frozenset(kinds), tuple(unread))


def write(root: Entity, reading: Reading, filled: Mapping[str, Filled]) -> Entity:
    """The message with each ask's place taken by its values; keys of `filled` are lines."""
    changed: dict[mime.Path, Entity] = {}
    for leaf in parts(root):
        edits: list[tuple[Span, str]] = []
        for place in reading.places:
            if place.part != leaf.path or place.quoted or isinstance(place.mark, Doubt):
                continue
            new = ""
            if isinstance(place.mark, Ask):
                values = filled[place.mark.line]
                new = render.markup(values) if place.kind == "html" else render.text(values)
                if place.mark.via is Via.CARD_CONTACT:
                    new = f"<div>{new}</div>" if place.kind == "html" else f"\n{new}\n"
            for index, span in enumerate(place.spans):
                edits.append((span, new if index == 0 else ""))
        if edits:
            text = leaf.text()
            assert text is not None, "only readable parts have places"
            changed[leaf.path] = leaf.with_text(_edited(text, edits))
    return mime.replaced(root, changed) if changed else root


def with_subject(message: Message, reading: Reading, vocabulary: Vocabulary) -> Reading:
    """With what the person asks for in the subject, which is no text part: they are told, and it isn't sent.

    A subject that only has a directive in it, such as "Re: #card shipping", is ordinary.
    """
    marks = directive.read(headers.as_written(message.value("Subject") or b"")[:_SUBJECT], vocabulary)
    hint = "Write it alone on a line of your text, and another subject."
    found = tuple(
        Doubt(f"{fields.shown(mark.line)} stands in the subject, where no card can be put", hint, mark.line)
        for mark in marks
        if isinstance(mark, Ask | Doubt)
    )
    return replace(reading, subject=found)


def with_contacts(root: Entity, reading: Reading, names: tuple[str, ...]) -> Reading:
    """With the asks of card contacts, which stand below what the person wrote and above what they quote."""
    if not names:
        return reading
    found: dict[str, tuple[Entity, str]] = {}
    for leaf in parts(root):
        text = leaf.text()
        kind = "html" if leaf.content_type == "text/html" else "text"
        if text is not None and (kind in reading.kinds or not reading.kinds):
            found.setdefault(kind, (leaf, text))
    places = list(reading.places)
    for name in names:
        ask = Ask(name, (), (), "text", Via.CARD_CONTACT, f"{name} in Cc")
        if not found:
            places.append(Place(_NO_TEXT, (), "text", False, ()))
        for kind, (leaf, text) in found.items():
            at = _below_prose(leaf, text)
            mark = _IN_SIGNED if _signed(root, leaf.path) else ask
            places.append(Place(mark, leaf.path, kind, False, ((at, at),)))
    return replace(reading, places=tuple(places), kinds=reading.kinds or frozenset(found))


def _below_prose(leaf: Entity, text: str) -> int:
    """The offset below the first stretch of the person's own words."""
    if leaf.content_type == "text/html":
        seen = html.visual_lines(text)
        end = -1
        for line, kind in zip(seen, quoting.of_html(seen), strict=True):
            own = kind is quoting.Kind.PROSE and not line.quoted and not line.hidden
            if own:
                end = line.end
            elif end >= 0:
                break
        return end if end >= 0 else seen[0].start if seen else len(text)
    for stretch in quoting.of_text(text):
        if stretch.kind is quoting.Kind.PROSE and text[stretch.start : stretch.end].strip():
            return stretch.start + len(text[stretch.start : stretch.end].rstrip()) + _line_end(text, stretch)
    return 0


def _line_end(text: str, stretch: quoting.Stretch) -> int:
    """What of the line end after a stretch's last word belongs above what is put in."""
    rest = text[stretch.start + len(text[stretch.start : stretch.end].rstrip()) : stretch.end]
    match = _BREAK.search(rest)
    return match.end() if match else 0


def without_escapes(reading: Reading) -> Reading:
    """The same without `##…` lines: left as they are, they can be told from what should have gone."""
    return replace(reading, places=tuple(p for p in reading.places if not isinstance(p.mark, Escape)))


def _hinted(every: Iterator[Line]) -> Iterator[Line]:
    return (line for line in every if directive.hinted(line.text))


def _odd(leaf: Entity, vocabulary: Vocabulary) -> bool:
    """A text that some readers are shown instead of ours, and that we don't write: AMP, enriched …"""
    if not leaf.content_type.startswith("text/") or leaf.content_type in _WRITTEN:
        return False
    if leaf.disposition == "attachment" or leaf.filename:
        return False
    text = leaf.text()
    if leaf.content_type == "text/calendar" and text is not None:
        return _asks(_said(leaf), vocabulary)
    return text is None or directive.hinted(text)


def _said(leaf: Entity) -> Iterator[str]:
    """The lines of a text that we don't write."""
    text = charset.decode(leaf.octets(), "") if (known := leaf.text()) is None else known
    if leaf.content_type == "text/calendar":
        return calendar.said(text)
    return (line.text for line in _every_line(leaf, text) if not line.quoted)


def _within(leaf: Entity) -> Iterator[str]:
    """The lines of the mail inside an S/MIME message that is signed, and not encrypted (RFC 8551 §3.5.2)."""
    octets = leaf.octets()
    at = octets.lower().find(b"content-type:")
    return prose(mime.parse(Message.parse(octets[at:]))) if at >= 0 else iter(())


def _asks(said: Iterator[str], vocabulary: Vocabulary) -> bool:
    return any(
        directive.read(each, vocabulary) for each in islice(filter(directive.hinted, said), MAX_HASHES)
    )


def _guessed(leaf: Entity, vocabulary: Vocabulary) -> bool:
    """Whether a part in an unknown charset asks for a card, read as its reader will: as ASCII and more."""
    text = charset.decode(leaf.octets(), "")
    return _asks((line.text for line in lines(leaf, text) if not line.quoted), vocabulary)


def _signed(root: Entity, path: mime.Path) -> bool:
    return any(e.content_type == "multipart/signed" and e.path == path[: len(e.path)] for e in root.walk())


def parts(root: Entity) -> Iterator[Entity]:
    """The leaves that a reader shows as the message itself."""
    yield from (
        leaf
        for leaf in _shown(root)
        if leaf.content_type in _WRITTEN and leaf.disposition != "attachment" and not leaf.filename
    )


def written(root: Entity) -> Iterator[str]:
    """The subject, but for an answer's, which is the other one's; and the prose."""
    message = root.message
    if message.value("In-Reply-To") is None and (subject := message.value("Subject")) is not None:
        yield headers.decode(subject)
    yield from prose(root)


def prose(root: Entity) -> Iterator[str]:
    """The visual lines that the person wrote, part by part: nothing quoted, nothing hidden."""
    for leaf in parts(root):
        text = leaf.text()
        if text is not None:
            yield from (line.text for line in _every_line(leaf, text) if not line.quoted)


def lines(leaf: Entity, text: str) -> Iterator[Line]:
    """A part's visual lines, if anything in it could be a mark; else none, for speed."""
    if not directive.hinted(html.unescape(text)):
        return iter(())
    return _every_line(leaf, text)


def _every_line(leaf: Entity, text: str) -> Iterator[Line]:
    if leaf.content_type == "text/html":
        return _visual(text)
    return _plain(text, flowed=leaf.parameters.get("format", "").lower() == "flowed")


def _plain(text: str, *, flowed: bool) -> Iterator[Line]:
    """Lines of text/plain; soft-broken ones (RFC 3676 §4.2) and a directive cut to a width are joined."""
    stretches = _Stretches(quoting.of_text(text))
    at, start = 0, -1
    for match in chain(_BREAK.finditer(text), (None,)):
        end, following = match.span() if match else (len(text), len(text))
        begin = at if start < 0 else start
        if (
            match
            and end - begin < _MOST_JOINED
            and _goes_on(text, begin, (at, end), following, flowed=flowed)
        ):
            start = begin
        else:
            marks = _QUOTED.match(text, begin, end)
            of = stretches.at(begin)
            yield Line(
                text[marks.end() if marks else begin : end],
                begin,
                None,
                marks is not None or of in _OTHERS_WORDS,
                of is quoting.Kind.SIGNED,
            )
            start = -1
        at = following


def _goes_on(text: str, begin: int, line: Span, following: int, *, flowed: bool) -> bool:
    """Whether a line goes on in the following one.  begin  of the first of those that are one line so far"""
    at, end = line
    if flowed and text.endswith(" ", at, end) and text[at:end] != "-- ":
        quoted = begin == at and _QUOTED.match(text, at, end)
        return not quoted and not _PARAGRAPH_ENDS.match(text, following)
    if end - at < directive.CUT:
        return False
    return directive.wrapped(text[begin:end], text[at:end], text[following : following + 200])


def _visual(source: str) -> Iterator[Line]:
    seen = html.visual_lines(source)
    for line, kind in zip(seen, quoting.of_html(seen), strict=True):
        marks = _QUOTED.match(line.text)
        quoted = marks is not None or line.quoted or line.hidden or kind in _OTHERS_WORDS
        words = line.text[marks.end() :] if marks else line.text
        yield Line(words, 0, line, quoted, kind is quoting.Kind.SIGNED)


class _Stretches:
    """Of which kind the words at an offset are; asked in ascending order."""

    def __init__(self, stretches: tuple[quoting.Stretch, ...]) -> None:
        self._all = stretches
        self._next = 0

    def at(self, offset: int) -> quoting.Kind:
        while self._next < len(self._all) and self._all[self._next].end <= offset:
            self._next += 1
        return self._all[self._next].kind if self._next < len(self._all) else quoting.Kind.PROSE


def _shown(entity: Entity) -> Iterator[Entity]:
    if not entity.children:
        yield entity
    elif entity.content_type.startswith("multipart/"):
        for child in entity.children:
            yield from _shown(child)


def _edited(text: str, edits: list[tuple[Span, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for (start, end), new in sorted(edits):
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])
