"""How else an address is written: where it doesn't stand as such, and a reader has it all the same.

Each way is a rule with a name; those that need all the address's words run only where they are.

Promise: linear in the text for each address.

Sources: VERP and SRS as mailing lists and forwarders write them; RFC 5321 §4.1.2 (what an address is).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sortingoffice.core.needle import Hit, Needle, around, begins, letter, standing
from sortingoffice.mail import folding
from sortingoffice.mail.folding import Folding

# How people write "@" and "." for readers; signs around them fall out of the skeleton.
_ALONE, _END = r"(?<![^\W_])", r"(?![^\W_])"
_AT = re.compile(
    rf"{_ALONE}(?:at|ät|et|arroba|klammeraffe|affenschwanz|chiocciola|arobase|arobas|apenstaartje|snabel-?a|"
    rf"kukac|zavináč|małpa|malpa|собака|miukumauku|παπάκι|kringelen){_END}"
    r"|[\[({<]\s?[aä]\s?[\])}>]|[\u24d0\u249c]|アットマーク|小老鼠|艾特|골뱅이",
    re.IGNORECASE,
)
_DOT = re.compile(
    rf"{_ALONE}(?:dot|punkt|point|punto|ponto|punt|точка|kropka|nokta|tečka|bodka|pont|piste|prik|punktum|"
    rf"τελεία|tačka){_END}|ドット|点|점",
    re.IGNORECASE,
)
_CAPITALS = re.compile(r"(?<=[a-z0-9])(?:AT|DOT)(?=[a-z0-9])")
_BETWEEN = re.compile(r"[^\w\s@]{1,3}|_")  # what stands for "@" in return paths and links
_TURNED = re.compile(r"[=!]")
_HOST = re.compile(r"[\w.\u3002\uff0e\u00ad\u200b-]+")


def otherwise(needle: Needle, text: str, skeleton: str, *, exact: bool) -> Iterator[Hit]:
    """Where the address doesn't stand as such, and a reader has it all the same."""
    there = needle.spoken_in(skeleton.replace("+", ""))
    for way in WAYS:
        if there or not way.letters:
            yield from way.find(needle, text, skeleton, exact)


def _backwards(needle: Needle, text: str, skeleton: str, _exact: bool) -> Iterator[Hit]:
    if needle.backwards in skeleton:
        table = Folding()
        skeleton, positions = folding.mapped(text, table)
        at = skeleton.index(needle.backwards)
        end = positions[at + len(needle.backwards) - 1] + 1
        yield Hit(needle.secret, 0, 0, around(text, positions[at], end))


def _digested(needle: Needle, text: str, _skeleton: str, _exact: bool) -> Iterator[Hit]:
    """Pictures of a person are asked for by it (gravatar.com), and so are persons in mailing tools."""
    lower = text.lower()
    for digest in needle.digests:
        if digest in lower:
            yield Hit(needle.secret, 0, 0, f"[[{digest}]]")


def _plus(needle: Needle, text: str, skeleton: str, exact: bool) -> Iterator[Hit]:
    """Blanks as forms send them."""
    if "+" in skeleton and needle.stands_in(skeleton.replace("+", "")):
        yield from _shown(needle, text.replace("+", " "), exact=exact)


def _spoken(needle: Needle, text: str, _skeleton: str, exact: bool) -> Iterator[Hit]:
    """Written out for readers: "anna [at] home (dot) example"."""
    if exact and (_AT.search(text) or _DOT.search(text) or _CAPITALS.search(text)):
        spoken = _CAPITALS.sub(lambda match: "@" if match[0] == "AT" else ".", text)
        yield from _shown(needle, _DOT.sub(".", _AT.sub("@", spoken)), exact=True)


def _shown(needle: Needle, text: str, *, exact: bool) -> Iterator[Hit]:
    """The first hit in a text that isn't the one that was given."""
    table = Folding()
    if not needle.stands_in(text.translate(table)):
        return
    skeleton, positions = folding.mapped(text, table)
    hit = next(standing(text, skeleton, positions, needle, exact=exact), None)
    if hit is not None:
        yield Hit(needle.secret, 0, 0, around(text, hit.start, hit.end))


def _joined(needle: Needle, text: str, skeleton: str, _exact: bool) -> Iterator[Hit]:
    """Return paths and links: "anna=home.example", "home.example!anna", "anna.home.example"."""
    base = needle.first
    if not any(base + domain in skeleton or domain + base in skeleton for domain in needle.domains):
        return
    skeleton, positions = folding.mapped(text, Folding())
    for domain in needle.domains:
        for first, second, sign in ((needle.first, domain, _BETWEEN), (domain, needle.first, _TURNED)):
            at = -1
            while (at := skeleton.find(first + second, at + 1)) >= 0:
                middle, last = at + len(first), at + len(first) + len(second) - 1
                start, end = positions[at], positions[last] + 1
                between = text[positions[middle - 1] + 1 : positions[middle]]
                host = (
                    text[start : positions[middle - 1] + 1]
                    if first == domain
                    else text[positions[middle] : end]
                )
                if (
                    sign.fullmatch(between)
                    and _HOST.fullmatch(host)
                    and begins(text, start)
                    and not letter(text[end : end + 1])
                ):
                    yield Hit(needle.secret, 0, 0, around(text, start, end))
                    return


@dataclass(frozen=True, slots=True)
class Way:
    """How else an address is written.

    letters  whether all its words must stand there: a quick look
    """

    name: str
    find: Callable[[Needle, str, str, bool], Iterator[Hit]]
    letters: bool = True


WAYS: tuple[Way, ...] = (
    Way("backwards", _backwards, letters=False),
    Way("hash", _digested, letters=False),
    Way("blanks as plus", _plus),
    Way("return paths and links", _joined),
    Way("in words", _spoken),
)
