"""Remote content in a vendor's message: images that tell the sender when and where they were looked at.

    without(message, RemoteImages.BLOCK) → the message that loads nothing from elsewhere, and what was found

By a relationship's setting only; without it the body arrives octet for octet.  A reference is
local where it is a `cid:`, a `mid:`, a `data:image/` or a fragment; everything else is remote,
since a <base> makes a remote address of any word.  What a signature of the vendor's covers
(multipart/signed) is counted and left, and so is markup beyond every measure.

Sources: RFC 2557 (cid:), WHATWG HTML §4 (what loads), CSS Values 4 §4.5 (url()).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sortingoffice.core.model import RemoteImages
from sortingoffice.frozen import dataclass
from sortingoffice.mail import css, html, mime
from sortingoffice.mail.html import Kind, Token
from sortingoffice.mail.message import Message

_NOTHING = "data:,"  # an address that loads nothing, valid in every kind of quotes
_HTML = frozenset({"text/html", "text/x-amp-html", "application/xhtml+xml", "image/svg+xml"})
_LOADING = frozenset(
    {
        *("src", "srcset", "imagesrcset", "background", "poster", "lowsrc", "dynsrc", "code", "codebase"),
        *("archive", "classid", "manifest", "srcdoc", "data", "href", "xlink:href"),
    }
)
_LISTS = frozenset({"srcset", "imagesrcset"})
_LEADING = frozenset({"a", "area", "base"})  # whose href leads somewhere, and loads nothing
_ACTIVE = frozenset({"iframe", "frame", "object", "embed", "script", "link", "applet", "html", "amp-iframe"})
_LOCAL = re.compile(r"(?:cid:|mid:|data:(?:image/|,\Z)|#)", re.IGNORECASE)
_LOCAL_ACTIVE = re.compile(r"(?:cid:|mid:|data:,\Z)", re.IGNORECASE)
_SMALL = re.compile(r"\s*0*[012](?:\.\d*)?(?:px)?\s*", re.IGNORECASE)
_CONDITIONAL = re.compile(r"<!--\[if[^\]]*\]>", re.IGNORECASE)  # Outlook reads what stands in these
_CSS_URL = re.compile(r"\burl\(\s*(?P<url>\"[^\"]*+\"?|'[^']*+'?|[^)]*+)\s*(?:\)|\Z)", re.IGNORECASE)
_CSS_STRING = re.compile(
    r"(?P<before>@import\s*+|\b(?:image-set|image|src)\(\s*+|,\s*+)(?P<quote>[\"'])(?P<url>[^\"']*+)(?P=quote)",
    re.IGNORECASE,
)
# How senders of newsletters name the picture that counts.
_COUNTING = re.compile(
    r"(?i)/(?:wf/open|track/open|open(?:\.php|\.aspx|\.gif|\.png)|e/o|o\.gif|pixel|beacon|tracking?pixel|t\.gif"
    r"|mpss/o|e2t/o|email_open|imp(?:ression)?|q/|trk/open|ea/open)"
    r"(?:[/?._=-]|$)"
)


@dataclass(frozen=True, slots=True)
class Found:
    """remote: references to remote content; pixels: those among them that only count who looks;
    left: what could not be taken out, for a signature covers it or the markup is too much."""

    remote: int = 0
    pixels: int = 0
    left: int = 0

    def __bool__(self) -> bool:
        return bool(self.remote or self.left)

    def __str__(self) -> str:
        """As the note field has it: "3 remote, 1 of them a tracking pixel"."""
        text = f"{self.remote} remote, {self.pixels} of them tracking pixels"
        return f"{text}, {self.left} left as signed or too complex" if self.left else text


def without(message: Message, wish: RemoteImages) -> tuple[Message, Found]:
    """The message as wished, and what was found; the very same message where there is nothing to change."""
    if wish is RemoteImages.KEEP:
        return message, Found()
    try:
        root = mime.parse(message)
    except mime.TooComplex:
        return message, Found(left=1)
    changes: dict[mime.Path, mime.Entity] = {}
    remote = pixels = left = 0
    for leaf, signed in _documents(root):
        text = leaf.text()
        if text is None or html.too_long(text):
            left += 1
            continue
        document = _Document(text, wish)
        new = document.rewritten()
        remote, pixels = remote + document.remote, pixels + document.pixels
        if signed:
            left += document.remote
        elif new != text:
            changes[leaf.path] = leaf.with_text(new)
    found = Found(remote, pixels, left)
    return (Message.parse(bytes(mime.replaced(root, changes))) if changes else message), found


def _documents(entity: mime.Entity, signed: bool = False) -> Iterator[tuple[mime.Entity, bool]]:
    """Leaves of markup, each with whether a signature covers it."""
    signed = signed or entity.content_type == "multipart/signed"
    if not entity.children and entity.content_type in _HTML:
        yield entity, signed
    for child in entity.children:
        yield from _documents(child, signed)


class _Document:
    """One walk over a document; `remote` and `pixels` count what it met."""

    def __init__(self, source: str, wish: RemoteImages) -> None:
        self._source = source
        self._all = wish is RemoteImages.BLOCK
        self.remote = 0
        self.pixels = 0

    def rewritten(self) -> str:
        pieces: list[str] = []
        at = 0
        for start, end, new in self._changes(self._source, 0):
            pieces += (self._source[at:start], new)
            at = end
        return "".join([*pieces, self._source[at:]])

    def _changes(self, source: str, offset: int) -> Iterator[tuple[int, int, str]]:
        for token in html.tokens(source):
            changes: Iterator[tuple[int, int, str]] = iter(())
            if token.kind is Kind.START:
                changes = self._tag(token)
            elif token.kind is Kind.RAW and token.name == "style":
                changes = self._sheet(source[token.start : token.end], token.start)
            elif token.kind is Kind.COMMENT and (
                inside := _CONDITIONAL.match(source, token.start, token.end)
            ):
                changes = self._changes(source[inside.end() : token.end], inside.end())
            for start, end, new in changes:
                yield start + offset, end + offset, new

    def _tag(self, token: Token) -> Iterator[tuple[int, int, str]]:
        pixel = _invisible(token)
        for each in token.attributes:
            if each.name == "style":
                new = self._style(each.value)
                if new != each.value:
                    yield each.start, each.end, html.escape(new)
            elif (
                _loads(token, each.name)
                and not _local(token.name, each.name, each.value)
                and self._met(pixel or _COUNTING.search(each.value) is not None)
            ):
                yield each.start, each.end, _NOTHING

    def _sheet(self, sheet: str, start: int) -> Iterator[tuple[int, int, str]]:
        new = self._style(sheet)
        if new != sheet:
            yield start, start + len(sheet), new

    def _style(self, style: str) -> str:
        """CSS with its remote addresses replaced; escapes are read where they hide one."""
        text = css.unescaped(style) if "\\" in style else style
        before = self.remote
        new = _CSS_STRING.sub(self._string, _CSS_URL.sub(self._url, text))
        return new if self.remote > before else style

    def _url(self, match: re.Match[str]) -> str:
        url = match["url"].strip(" \t\r\n\f\"'")
        if not url or _LOCAL.match(url) or not self._met(_COUNTING.search(url) is not None):
            return match[0]
        return f"url({_NOTHING})"

    def _string(self, match: re.Match[str]) -> str:
        url = match["url"].strip()
        listed = match["before"].startswith(",")  # a further image of a set, or a font's name
        if not url or _LOCAL.match(url) or (listed and "//" not in url):
            return match[0]
        if not self._met(_COUNTING.search(url) is not None):
            return match[0]
        return f"{match['before']}{match['quote']}{_NOTHING}{match['quote']}"

    def _met(self, pixel: bool) -> bool:
        """Count one; whether it goes."""
        self.remote += 1
        self.pixels += pixel
        return self._all or pixel


def _loads(token: Token, attribute: str) -> bool:
    if attribute not in _LOADING:
        return False
    if attribute in ("href", "xlink:href"):
        return token.name not in _LEADING
    return attribute != "data" or token.name == "object"


def _local(tag: str, attribute: str, value: str) -> bool:
    """Whether nothing is loaded from elsewhere."""
    if attribute == "srcdoc":
        return value == _NOTHING
    local = _LOCAL_ACTIVE if tag in _ACTIVE else _LOCAL
    if attribute in _LISTS:
        return all(local.match(each) for each in value.split() if "/" in each or ":" in each)
    value = value.strip()
    return not value or local.match(value) is not None


def _invisible(token: Token) -> bool:
    """Whether an image is there to be loaded and not to be seen."""
    style = token.get("style")
    found = css.declarations(style) if style else {}
    sides = [found.get(side) or token.get(side) for side in ("width", "height")]
    small = [_SMALL.fullmatch(side) is not None for side in sides if side]
    return (len(small) == 2 and all(small)) or token.has("hidden") or bool(style and css.hides(style))
