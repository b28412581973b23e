"""HTML as mail carries it: tokens and visual lines, with offsets into the source.

A scanner, not a browser: it builds no tree, runs nothing, and is linear in the length of the source
(the standard library's is quadratic: 58 kB of "<a " takes it 80 s).

Promise: the tokens cover the source without a gap; every character of a visual line knows the
source it came from, so that an edit leaves the rest of the source as it was.

Sources: WHATWG HTML §13.2.5 (tokenization), §13.5 (named characters), §15.3 (what is a block).
"""

from __future__ import annotations

import html as stdlib_html
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import field
from enum import StrEnum

from sortingoffice.frozen import dataclass
from sortingoffice.mail import css

_NAME = re.compile(r"[a-zA-Z][^\s/>]*", re.ASCII)
_ATTRIBUTE = re.compile(
    r"[\s/]*+(?P<name>[^\s/>][^\s/>=]*+)"
    r"(?:\s*+=\s*+(?:\"(?P<double>[^\"]*+)(?:\"|\Z)|'(?P<single>[^']*+)(?:'|\Z)|(?P<bare>[^\s>\"'][^\s>]*+)|))?",
    re.ASCII,
)
_NEXT = re.compile(r"<(?=[a-zA-Z/!?])")
_TAG_END = re.compile(r"[\s/]*+>?", re.ASCII)
_COMMENT_END = re.compile(r"--!?>|\Z")
_RAW_END = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "xmp", "iframe", "noembed", "noframes", "textarea", "title")
}
_CHARACTER = re.compile(
    r"&(?:#(?=[0-9])0*+([0-9]{0,7});?|#[xX](?=[0-9a-fA-F])0*+([0-9a-fA-F]{0,6});?|([A-Za-z][A-Za-z0-9]{1,31});?)"
)
_BEGINS_ONE = r"#[0-9]|#[xX][0-9a-fA-F]|[A-Za-z][A-Za-z0-9]"  # after the "&" of a character reference
_WORD = rf"(?:[^ \t\r\n\f&]++|&(?!{_BEGINS_ONE}))++"
_TEXT_PIECE = re.compile(rf"[ \t\r\n\f]+|&(?={_BEGINS_ONE})|{_WORD}(?: {_WORD})*+")

MAX_TAGS = 200_000

VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_BLOCKS = (
    "address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li listing "
    "main menu nav ol optgroup option p plaintext pre section select summary table tbody td tfoot th thead "
    "tr ul xmp"
)
BLOCKS = frozenset(_BLOCKS.split())
_SELF_CLOSING = frozenset({"li", "td", "th", "tr", "option", "dt", "dd", "p"})
_UNSEEN = frozenset(
    {"head", "title", "script", "style", "template", "datalist", "noframes", "iframe", "noembed"}
)


class Kind(StrEnum):
    TEXT = "text"
    START = "start"
    END = "end"
    COMMENT = "comment"  # also doctype, processing instructions and what browsers take for a comment
    RAW = "raw"  # what stands in script, style, title, textarea …


@dataclass(frozen=True, slots=True)
class Attribute:
    """name lower case; value decoded; start, end: the raw value in the source, without its quotes."""

    name: str
    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of the source; name is a tag's, lower case, for RAW its element's, else ""."""

    kind: Kind
    start: int
    end: int
    name: str = ""
    attributes: tuple[Attribute, ...] = ()

    def get(self, name: str) -> str:
        """An attribute's value, "" if it has none; the first counts."""
        return next((each.value for each in self.attributes if each.name == name), "")

    def has(self, name: str) -> bool:
        return any(each.name == name for each in self.attributes)


def escape(text: str) -> str:
    """For text and for quoted attribute values."""
    return stdlib_html.escape(text, quote=True)


def unescape(text: str) -> str:
    """Character references decoded; the standard library's raises on long numbers."""
    return _CHARACTER.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    if match[1] is not None:
        return stdlib_html.unescape(f"&#{match[1] or 0};")
    if match[2] is not None:
        return stdlib_html.unescape(f"&#x{match[2] or 0};")
    return stdlib_html.unescape(match[0])


# ---- tokens --------------------------------------------------------------------------------------


def tokens(source: str) -> Iterator[Token]:
    at = 0
    length = len(source)
    while at < length:
        token = _markup(source, at) if source[at] == "<" else None
        if token is None:
            following = _NEXT.search(source, at + 1)
            token = Token(Kind.TEXT, at, following.start() if following else length)
        yield token
        at = token.end
        if token.kind is Kind.START and token.name in _RAW_END and at < length:
            close = _RAW_END[token.name].search(source, at)
            end = close.start() if close else length
            if end > at:
                yield Token(Kind.RAW, at, end, token.name)
            at = end
        elif token.kind is Kind.START and token.name == "plaintext" and at < length:
            yield Token(Kind.TEXT, at, length)
            return


def _markup(source: str, at: int) -> Token | None:
    """The markup that begins with this "<"; None where it is a character of text."""
    following = source[at + 1 : at + 2]
    if following.isascii() and following.isalpha():
        return _tag(source, at, at + 1, Kind.START)
    if following == "/":
        third = source[at + 2 : at + 3]
        if third.isascii() and third.isalpha():
            return _tag(source, at, at + 2, Kind.END)
        return _to_bracket(source, at) if third else None
    if source.startswith("<!--", at):
        for short in ("<!-->", "<!--->"):
            if source.startswith(short, at):
                return Token(Kind.COMMENT, at, at + len(short))
        end = _COMMENT_END.search(source, at + 4)
        return Token(Kind.COMMENT, at, end.end() if end else len(source))
    return _to_bracket(source, at) if following in ("!", "?") and following else None


def _to_bracket(source: str, at: int) -> Token:
    end = source.find(">", at)
    return Token(Kind.COMMENT, at, len(source) if end < 0 else end + 1)


def _tag(source: str, start: int, at: int, kind: Kind) -> Token:
    name = _NAME.match(source, at)
    assert name is not None  # the caller saw a letter
    at = name.end()
    attributes: list[Attribute] = []
    while match := _ATTRIBUTE.match(source, at):
        at = match.end()
        group = next((g for g in ("double", "single", "bare") if match[g] is not None), None)
        first, last = match.span(group) if group else (at, at)
        attributes.append(Attribute(match["name"].lower(), unescape(source[first:last]), first, last))
    end = _TAG_END.match(source, at)
    assert end is not None  # the pattern matches the empty string
    return Token(kind, start, max(end.end(), at), name[0].lower(), tuple(attributes))


_COMMENT = re.compile(r"<!--.*?(?:--!?>|\Z)", re.DOTALL)
_INSIDE_TAG = r"(?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*+>"
_BLOCK_TAG = re.compile(
    rf"</?(?:{'|'.join(sorted(BLOCKS, key=len, reverse=True))})\b{_INSIDE_TAG}", re.IGNORECASE
)
_ANY_TAG = re.compile(rf"<[a-zA-Z/!?]{_INSIDE_TAG}")


def without_tags(source: str, joint: str = "") -> str:
    """The text between the tags, blocks on lines of their own: quick, for a search; hidden text, too.

    joint  what stands where a tag stood within a line
    """
    return unescape(_ANY_TAG.sub(joint, _BLOCK_TAG.sub("\n", _COMMENT.sub(joint, source))))


def only_tags(source: str) -> str:
    """What `without_tags` leaves out, each on a line of its own and opened: a comment for Outlook, a
    `srcdoc` or a data: URI holds tags itself."""
    comments = [each[4:].removesuffix("-->") for each in _COMMENT.findall(source)]
    return "\n".join([*comments, *(each[1:-1] for each in _ANY_TAG.findall(source))])


# ---- visual lines --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a line's text and the stretch of the source it came from.

    They are equal, character for character, where they are equally long; else the piece stands for
    the whole of its source: a character reference, a run of blanks.
    """

    text: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Line:
    """What a reader sees as one line, or what stands hidden beside it.

    text    character references decoded, blanks collapsed as a browser does
    pieces  in the order of the text
    quoted  inside a <blockquote>
    hidden  out of a reader's sight
    marks   classes and ids of the elements around it that mail clients give to quotes and signatures
    """

    text: str
    pieces: tuple[Piece, ...]
    quoted: bool
    hidden: bool
    marks: frozenset[str] = frozenset()

    @property
    def start(self) -> int:
        return self.pieces[0].start

    @property
    def end(self) -> int:
        return self.pieces[-1].end

    def source(self, first: int, last: int) -> tuple[tuple[int, int], ...]:
        """Where text[first:last] stands in the source: spans without the tags between them."""
        spans: list[tuple[int, int]] = []
        index = max(0, bisect_right(self.pieces, first, key=lambda piece: piece.text) - 1)
        for number in range(index, len(self.pieces)):
            piece = self.pieces[number]
            if piece.text >= last:
                break
            following = self.pieces[number + 1].text if number + 1 < len(self.pieces) else len(self.text)
            start, end = piece.start, piece.end
            if following - piece.text == end - start:  # character for character
                start, end = start + max(0, first - piece.text), end - max(0, following - last)
            if spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], end)
            elif start < end:
                spans.append((start, end))
        return tuple(spans)


_MARKS = (
    "gmail_quote gmail_quote_container gmail_attr gmail_extra gmail_signature gmail_signature_prefix "
    "yahoo_quoted protonmail_quote protonmail_signature_block moz-cite-prefix moz-signature k9mail "
    "moz-forward-container moz-email-headers-table divrplyfwdmsg appendonsend mailquote "
    "outlookmessageheader signature ms-outlook-mobile-signature applemailsignature apple-mail-signature "
    "zmail_extra mail-editor-reference-message-container"
)
MARKS = frozenset(_MARKS.split())
_NAMED = frozenset({"id", "name", "data-marker"})  # attributes that hold one label
# What Outlook, Roundcube, Airmail, Zimbra, Zoho and Fastmail call a signature.
_SIGNATURE = re.compile(r"signature|_mailautosig|\A(?:_rc_sig|bloop_sign|__sig_p|zm-_id_-sgn|sig\d)")


@dataclass(slots=True)
class _Element:
    name: str
    hidden: bool
    quoted: bool
    preformatted: bool
    marks: frozenset[str]


@dataclass(slots=True)
class _Gathered:
    """A line in the making."""

    text: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    length: int = 0
    blank: bool = True  # the last character is a blank, or there is none yet
    quoted: bool = False
    marks: frozenset[str] = frozenset()

    def add(self, text: str, start: int, end: int) -> None:
        self.pieces.append(Piece(self.length, start, end))
        self.text.append(text)
        self.length += len(text)
        self.blank = text.endswith(" ")


def too_long(source: str) -> bool:
    """Whether there is more markup than any mail client writes: millions of tags cost minutes."""
    return source.count("<") > MAX_TAGS


def visual_lines(source: str) -> tuple[Line, ...]:
    """The lines a reader sees, in order; empty ones left out.

    Of a source that is `too_long` they all count as quoted and hidden, and none knows its place.
    """
    if too_long(source):
        everything = (Piece(0, 0, len(source)),)
        texts = without_tags(source).split("\n")
        return tuple(Line(text, everything, True, True) for text in texts if text.strip())
    return tuple(_Lines(source).all())


class _Lines:
    """One walk over the tokens, with the open elements on a stack."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.stack = [_Element("", False, False, False, frozenset())]
        self.open: dict[str, int] = {}
        self.seen = _Gathered()
        self.unseen = _Gathered()
        self.style = css.hidden_by(_sheets(source)) if "<style" in source.lower() else css.Hidden()

    def all(self) -> Iterator[Line]:
        for token in tokens(self.source):
            match token.kind:
                case Kind.TEXT:
                    if self.stack[-1].preformatted:
                        yield from self._preformatted(token)
                    else:
                        self._text(token.start, token.end)
                case Kind.RAW if token.name in ("textarea", "xmp"):
                    self._text(token.start, token.end)
                case Kind.START | Kind.END:
                    if token.name in BLOCKS:
                        yield from self._broken()
                    if token.kind is Kind.START:
                        self._opened(token)
                    else:
                        self._closed(token.name)
                case _:
                    pass
        yield from self._broken()

    def _broken(self) -> Iterator[Line]:
        for gathered, hidden in ((self.seen, False), (self.unseen, True)):
            text = "".join(gathered.text)
            if text.strip(" "):
                yield Line(text, tuple(gathered.pieces), gathered.quoted, hidden, gathered.marks)
        if self.seen.pieces:
            self.seen = _Gathered()
        if self.unseen.pieces:
            self.unseen = _Gathered()

    def _text(self, start: int, end: int) -> None:
        element = self.stack[-1]
        line = self.unseen if element.hidden else self.seen
        if not line.pieces:
            line.quoted, line.marks = element.quoted, element.marks
        at = start
        while at < end:
            match = _TEXT_PIECE.match(self.source, at, end)
            assert match is not None  # the pattern matches any character
            text, first, at = match[0], at, match.end()
            if text == "&" and (reference := _CHARACTER.match(self.source, first, end)) is not None:
                text, at = _character(reference), reference.end()
            elif text[0] in " \t\r\n\f":
                if element.preformatted:
                    text = text.expandtabs(1)
                elif line.blank:
                    continue
                else:
                    text = " "
            line.add(text, first, at)

    def _preformatted(self, token: Token) -> Iterator[Line]:
        at = token.start
        while (feed := self.source.find("\n", at, token.end)) >= 0:
            self._text(at, feed)
            yield from self._broken()
            at = feed + 1
        self._text(at, token.end)

    def _opened(self, token: Token) -> None:
        name = token.name
        if name in VOID:
            return
        if name in BLOCKS and self.open.get("p"):
            self._closed("p")  # WHATWG §13.2.6.4.7: a block ends an open paragraph
        if name in _SELF_CLOSING and self.stack[-1].name == name:
            self._closed(name)
        above = self.stack[-1]
        style, label, number = token.get("style"), token.get("class").lower().split(), token.get("id").lower()
        labels = [each.value.lower() for each in token.attributes if each.name in _NAMED]
        if "_MailAutoSig" in style:
            labels.append("_mailautosig")
        hidden = (
            above.hidden
            or name in _UNSEEN
            or token.has("hidden")
            or bool(style and css.hides(style))
            or (bool(self.style.classes) and not self.style.classes.isdisjoint(label))
            or number in self.style.ids
        )
        marks = above.marks
        given = frozenset(filter(None, map(_mark, (name, *label[:20], *labels))))
        if not given <= marks:
            marks = marks | given
        pre = (
            above.preformatted
            or name in ("pre", "listing", "xmp")
            or ("pre" in style and _keeps_lines(style))
        )
        element = _Element(name, hidden, above.quoted or name == "blockquote", pre, marks)
        self.stack.append(element)
        self.open[name] = self.open.get(name, 0) + 1

    def _closed(self, name: str) -> None:
        if not self.open.get(name):
            return
        while True:
            element = self.stack.pop()
            self.open[element.name] -= 1
            if element.name == name:
                return


def _mark(label: str) -> str:
    """The mark that a class or id is, "" if none; Outlook and Yahoo put letters before those they find."""
    while label.startswith("x_"):
        label = label[2:]
    if label in MARKS:
        return label
    if _SIGNATURE.search(label):
        return "signature"
    return next((end for end in ("yahoo_quoted", "gmail_quote") if label.endswith(end)), "")


def _keeps_lines(style: str) -> bool:
    return css.declarations(style).get("white-space", "") in ("pre", "pre-wrap", "pre-line", "break-spaces")


def _sheets(source: str) -> str:
    return "".join(
        source[t.start : t.end] for t in tokens(source) if t.kind is Kind.RAW and t.name == "style"
    )
