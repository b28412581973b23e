"""Every way in which octets can be read: encodings within encodings, archives, metadata.

A reader of mail undoes these without being asked, or with one click; so does the leak guard.
`mail.layers`, `mail.embedded` and `mail.inside` hold the rules, by name; nothing here decides anything.

Promise: of_octets and of_text never fail, and what they give stays within the budget; where the budget
ends before the octets do, `Budget.spent` says so, and what can't be looked into is a reading that says so.

Sources: RFC 2045 §6; PDF 32000-1 §7.3.4; the Unicode Standard §23.8 (byte order mark).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from sortingoffice.frozen import dataclass
from sortingoffice.mail import charset, embedded, inside, layers, pages
from sortingoffice.mail.layers import TOGETHER

MAX_LAYERS = 6
_DEEP = "archives or encodings within each other, deeper than is looked into"
# In base64: an archive, or nothing else but base64.
_MORE = re.compile(
    r"(?<![A-Za-z0-9+/])(?:UEsDB|H4sI|eJ[w-z]|eN[o-r]|eAE|eF4|Qlpo)[A-Za-z0-9+/]{12}|\A[A-Za-z0-9+/\s]{24,}+={0,2}\s*\Z"
)
_PASSES = 4
_MAX_ARCHIVES = 500
_TAG = re.compile(r"<[^<>]*+>")
_RTF_WORD = re.compile(r"\\[a-zA-Z]{1,32}-?\d{0,10} ?|[{}]|\\\n|\r?\n")
_PDF_GAP = re.compile(r"\)\s*+-?[\d.]*+\s*+\(")
_ARCHIVES = tuple(
    bytes.fromhex(head)
    for head in "504b0304 1f8b08 7801 785e 789c 78da 425a68 fd377a 377abc 526172 28b52f".split()
)
_SHOWN = re.compile(rb"[\])>]\s{0,4}TJ\s")  # PDF 32000-1 §9.4.3: text in an array
_WINDOW, _OVERLAP = 1 << 19, 1 << 8
_STRING = re.compile(rb"(?:[\x20-\x7e\t\r\n]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}){5,}+")
_TEXTUAL = bytes(set(range(0x20, 0x7F)) | {9, 10, 12, 13, 27} | set(range(0x80, 0x100)))
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(slots=True)
class Budget:
    """Characters that may still be read in one message."""

    left: int
    spent: bool = False

    def take(self, size: int) -> bool:
        if size > self.left:
            self.spent = True
            return False
        self.left -= size
        return True


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a place.

    how    "" as it stands, else a phrase: "in base64", "percent-encoded"
    exact  whether characters stand as a reader sees them, so that the letter before an address means
           that it is another one; in binary data it may be a length
    shut   what can't be looked into there, for the person; "" where everything can
    """

    text: str
    how: str = ""
    exact: bool = True
    shut: str = ""


def of_text(text: str, budget: Budget, layer: int = 0) -> Iterator[Reading]:
    """The text and all that is encoded in it."""
    if not budget.take(len(text)):
        return
    yield Reading(text)
    if inside.ARMOR in text:
        yield Reading("", shut=inside.ENCRYPTED)
    undone = [
        (each, new) for each in layers.LAYERS if each.trigger(text) and (new := each.undo(text)) != text
    ]
    for each, new in undone:
        if budget.take(len(new)):
            yield Reading(new, each.how)
    last = text
    for new in _peeled(text, [new for _, new in undone]):
        if budget.take(len(new)):
            yield Reading(new, "encoded twice")
            last = new
    peeled = last if last != text or not undone else undone[0][1]
    if peeled != text and layers.TAGS.trigger(peeled) and budget.take(len(peeled)):  # HTML in a file
        yield Reading(layers.TAGS.undo(peeled), "encoded, and between tags")
    if layer >= MAX_LAYERS and _MORE.search(text):
        yield Reading("", shut=_DEEP)
    if layer < MAX_LAYERS:
        yield from _embedded(text, budget, layer)
        if undone:
            yield from _embedded(peeled, budget, layer)


def _peeled(text: str, known: list[str]) -> Iterator[str]:
    """All layers undone one after the other, again and again: what was encoded more than once."""
    for _ in range(_PASSES if known else 0):
        new = text
        for each in layers.LAYERS:
            if not each.alone and each.trigger(new):
                new = each.undo(new)
        if new == text:
            return
        if new not in known:
            yield new
        text = new


def _embedded(text: str, budget: Budget, layer: int) -> Iterator[Reading]:
    """All runs of a kind read as one.

    What stands in what was encoded begins where that begins: read at each alignment there, too, a line of
    zeros would be a hundred times its length.
    """
    for each in embedded.EMBEDDINGS:
        for decoded in islice(each.runs(text), 1 if each.aligned and layer else None):
            yield from _read(decoded, each.how, budget, layer)


def _read(decoded: list[bytes], how: str, budget: Budget, layer: int) -> Iterator[Reading]:
    """Most runs are words, keys and pictures: they are read together; archives each by itself, and not once
    more with the others: what is wrapped in itself would double at each layer."""
    archives = [
        each for each in decoded if len(each) > 20 and (each.startswith(_ARCHIVES) or inside.deflated(each))
    ][:_MAX_ARCHIVES]
    alone = frozenset(archives)
    for octets in (*archives, b"\n".join(each for each in decoded if each not in alone)):
        if octets:
            for each in of_octets(octets, budget, layer + 1):
                if not each.shut or each.shut == _DEEP or octets in alone:
                    yield Reading(each.text, how, each.exact and not each.how, each.shut)


def of_octets(octets: bytes, budget: Budget, layer: int = 0) -> Iterator[Reading]:
    """The octets as text, and what archives and streams in them hold."""
    if not budget.take(len(octets)):
        return
    marked = _MARKS.get(octets[:2])
    if octets.translate(None, _TEXTUAL) == b"":
        yield from of_text(charset.decode(octets, ""), budget, layer)
    else:
        for each in of_text(_strings(octets), budget, layer):
            yield Reading(each.text, each.how, exact=False, shut=each.shut)
        if marked:
            yield from of_text(charset.decode(octets, marked), budget, layer)
    if (shut := inside.shut(octets)) != "":
        yield Reading("", shut=shut)
    if layer >= MAX_LAYERS:
        if octets.startswith(_ARCHIVES):
            yield Reading("", shut=_DEEP)
        return
    for rule in inside.RULES:
        for content in rule.inside(octets, budget):
            for each in of_octets(content, budget, layer + 1):
                yield Reading(each.text, each.how or "compressed", each.exact, each.shut)
    for text in pages.shown(octets, budget):
        if budget.take(len(text)):
            yield Reading(text, "as it is shown")
    yield from _split_up(octets, marked, budget)


def _split_up(octets: bytes, marked: str | None, budget: Budget) -> Iterator[Reading]:
    """RTF, a PDF's text or XML: there a word is cut by what sets it."""
    begin = octets[:200].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if not (begin.startswith((b"{\\rtf", b"%PDF", b"<")) or _SHOWN.search(octets)):
        return
    text = layers.unescape(charset.decode(octets, marked or ("utf-8" if begin[:1] == b"<" else "latin-1")))
    for pattern in (_RTF_WORD, _PDF_GAP, _TAG):
        new = pattern.sub(TOGETHER, text)
        if new != text and budget.take(len(new)):
            yield Reading(new, "split up")


def _strings(octets: bytes) -> str:
    """What is text in binary data, in ASCII, UTF-8 or UTF-16; a run a line."""
    plain = octets.replace(b"\0", b"")
    found: list[bytes] = []
    for at in range(0, len(plain), _WINDOW):  # one call over megabytes would hold up every other session
        found += _STRING.findall(plain, max(0, at - _OVERLAP), at + _WINDOW)
    return b"\n".join(found).decode("utf-8", "replace")
