"""What a vendor's message says, for remembering: a reply that repeats a directive of theirs asks for nothing.

Promise: nothing that a browser could show, or a client could put into a reply, is left out: hidden text,
attributes, comments for Outlook, attachments, attached messages and the fields that a reply repeats.

Sources: HTML (WHATWG) §13.2.5 (which text is raw).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sortingoffice.core import directive
from sortingoffice.core.directive import EVERYTHING, Vocabulary
from sortingoffice.mail import headers, html, mime
from sortingoffice.mail.message import Message
from sortingoffice.mail.mime import Entity

MAX_MARKUP = 1 << 20  # characters of HTML in a vendor's mail that are read for what it says: a second
MAX_REMEMBERED = 3000  # lines of one inbound message; beyond, everything is taken as planted

_SHOWN_ATTRIBUTES = frozenset({"alt", "title", "aria-label", "value", "placeholder", "label"})
_RAW_TEXT = re.compile(r"<(?:textarea|xmp|plaintext|listing)", re.IGNORECASE)
_SHOWN_VALUE = re.compile(r"\b(?:alt|title|aria-label|value|placeholder|label)[\s/]*=", re.IGNORECASE)
_STYLE = re.compile(r"<style(?:\s[^<>]*)?>[^<]*</style\s*>", re.IGNORECASE)
_TAG = re.compile(r"<[A-Za-z/!?][^<>]*>")
_NAMED_BY_OTHERS = ("Subject", "From", "Sender", "Reply-To", "To", "Cc", "Organization", "Date")


def heard(message: Message, root: Entity) -> tuple[str, ...]:
    """Every text of a vendor's message that could hold a directive.

    All text leaves count, attachments, attached messages and hidden text included, and the fields
    that a reply repeats.

    Raises mime.TooComplex.
    """
    return tuple(text for text in _heard(message, root) if directive.hinted(text))


def said(texts: tuple[str, ...], vocabulary: Vocabulary) -> frozenset[str]:
    """Every directive that could be cut out of these, in normal form; too many: `EVERYTHING`."""
    found: set[str] = set()
    for text in texts:
        for line in directive.said(text, vocabulary):
            found.add(line)
            if line == EVERYTHING or len(found) > MAX_REMEMBERED:
                return frozenset({EVERYTHING})
    return frozenset(found)


def _heard(message: Message, root: Entity) -> Iterator[str]:
    for name in _NAMED_BY_OTHERS:
        for field in message.all(name):
            yield headers.as_written(field.value)
    for leaf in root.leaves():
        yield leaf.filename
        if leaf.content_type.startswith("text/"):
            text = leaf.text()
            text = leaf.octets().decode("latin-1") if text is None else text
            yield _all_text(text) if leaf.content_type == "text/html" else text


def _may_show(source: str) -> bool:
    """Whether a browser could show a sign of ours at all: a quick no for most newsletters.

    What is taken away here is markup to every browser; where that isn't sure, the answer is yes.
    """
    if not directive.hinted(html.unescape(source)):
        return False
    if _RAW_TEXT.search(source):
        return True
    if any(directive.hinted(_bare(each)) for each in _conditional(source)):
        return True
    for tag in _TAG.finditer(source):
        if ("#" in tag[0] or "&" in tag[0] or directive.hinted(tag[0])) and _SHOWN_VALUE.search(tag[0]):
            return True
    return directive.hinted(_bare(source))


def _bare(source: str) -> str:
    return html.unescape(_TAG.sub("", _STYLE.sub("", source)))


def _conditional(source: str) -> Iterator[str]:
    """What stands in comments for Outlook, which shows it, and quotes it as text."""
    at = 0
    while (at := source.find("<!--[", at)) >= 0:
        end = source.find("-->", at + 5)
        end = len(source) if end < 0 else end
        yield source[at + 4 : end].partition(">")[2]
        at = end


def _all_text(source: str) -> str:
    """Everything that a browser, or a client that writes a reply, could show: hidden text included."""
    if len(source) <= 8 * MAX_MARKUP and not _may_show(source):
        return ""
    if len(source) > MAX_MARKUP:
        raise mime.TooComplex("more markup than is read for directives")
    pieces: list[str] = []
    for token in html.tokens(source):
        if token.kind is html.Kind.TEXT or token.name in ("textarea", "xmp", "title"):
            pieces.append(html.unescape(source[token.start : token.end]))
        if token.name in html.BLOCKS:
            pieces.append("\n")
        pieces += [f"\n{each.value}\n" for each in token.attributes if each.name in _SHOWN_ATTRIBUTES]
    pieces += [f"\n{html.unescape(html.without_tags(each))}\n" for each in _conditional(source)]
    return "".join(pieces)
