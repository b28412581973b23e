"""How else an address is written: where it doesn't stand as such, and a reader has it all the same.

Each way is a rule with a name; those that need all the address's words run only where they are.

Promise: linear in the text for each address.

Sources: VERP and SRS as mailing lists and forwarders write them; RFC 5321 §4.1.2 (what an address is).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from sortingoffice.core import exchanged
from sortingoffice.core.needle import Hit, Needle, around, begins, letter, standing
from sortingoffice.frozen import dataclass
from sortingoffice.mail import folding
from sortingoffice.mail.folding import Folding

# How people write "@" and "." for readers; signs around them fall out of the skeleton.
_ALONE, _END = r"(?<![^\W_])", r"(?![^\W_])"


def _words(alternatives: str) -> str:
    """A pattern of whole words in any case.  Each way through it begins with a letter as it is: `re` skips
    all others, five times as fast as it tries them."""
    rests: dict[str, list[str]] = {}
    for each in alternatives.split("|"):
        for first in sorted({each[0], each[0].upper()}):
            rests.setdefault(first, []).append(each[1:])
    return "|".join(rf"{first}(?<![^\W_](?s:.))(?i:{'|'.join(of)}){_END}" for first, of in rests.items())


_AT = re.compile(
    _words(
        "at[ -]?sign|at[ -]?symbol|at|ät|ätt|et|arroba|arrova|klammeraffe|affenschwanz|chiocciola|arobase|"
        "arobas|chez|apenstaartje|snabel-?a|krøllalfa|kukac|zavináč|małpa|malpa|собака|собачка|сабака|эт|равлик|"
        "кльомба|мајмун|мајмунче|miukumauku|παπάκι|kringelen|arond|coadă de maimuță|manki|afna|eta|hjá|"
        "kuyruklu a|a bildua|ĉe|a còng|ag|שטרודל|آت|ات|أت|ऐट|एट|แอท|แอ็ด|圈a|在|あっと|アット|앳|에트"
    )
    + "".join(rf"|{each}\s?[aäAÄ]\s?[\])}}>]" for each in (r"\[", r"\(", r"\{", "<"))
    + "|\u24d0|\u249c|\U0001f170|アットマーク|小老鼠|艾特|골뱅이"
)
_DOT = re.compile(
    _words(
        "dot|period|full[ -]stop|punkt|point|punto|ponto|punt|puntu|punct|точка|крапка|кропка|тачка|дот|"
        "kropka|nokta|tečka|točka|bodka|pont|piste|prik|punktum|punktur|punkto|punkts|taškas|pika|titik|chấm|ponc|"
        "τελεία|tačka|נקודה|نقطة|نقطه|دوت|डॉट|จุด|どっと|닷|點"
    )
    + "|ドット|点|점"
)
# Whatever the language, nobody writes the words of an address with asides between them all.
_ASIDES = re.compile(r"[\[({<]\s?[^\s\[\](){}<>@]{1,16}(?:\s[^\s\[\](){}<>@]{1,16})?\s?[\])}>]")
_DECOY = re.compile(
    r"[._-]?(?:no[._-]?spam|anti[._-]?spam|spam[._-]?free|(?:remove|delete)[._-]?(?:this|me|spam)?)[._-]?",
    re.IGNORECASE,
)
_DECOYS = ("spam", "remove", "delete")  # one of them is in the skeleton of each
_CAPITALS = re.compile(
    "|".join(
        rf"{word[0]}(?<=[a-z0-9]{word[0]})(?:{word[1:].upper()}(?=[a-z0-9])|{word[1:]}(?=[A-Z0-9]))"
        for word in ("At", "Dot")
    )
)
_BETWEEN = re.compile(r"[^\w\s@]{1,3}|_")  # what stands for "@" in return paths and links
_TURNED = re.compile(r"[=!]|/[@~]|\\{1,2}")
_USERINFO = re.compile(r"//([^\s/:@]{1,128}):[^\s/@]{0,128}@([^\s/:?#]{3,255})")
_UNITS = re.compile(
    r",\s?(?:(?:ou|cn|o)\s?=[^,=\n]{0,64},\s?){0,8}(dc\s?=\s?[\w-]{1,63}(?:,\s?dc\s?=\s?[\w-]{1,63}){0,8})",
    re.IGNORECASE,
)
_UNIT = re.compile(r"dc\s?=\s?([\w-]+)", re.IGNORECASE)
_OVER = re.compile(exchanged.OVER_SIGNS)
_DIGIT = re.compile(r"[0-9]")
# "anna at gmail": of these domains nobody says the end.
PROVIDERS = frozenset(
    "gmail googlemail outlook hotmail live msn yahoo ymail icloud proton protonmail gmx aol posteo fastmail "
    "yandex zoho tutanota hey orange freenet wanadoo libero laposte seznam".split()
)
_HOST = re.compile(r"[\w.\u3002\uff0e\u00ad\u200b-]+")


def otherwise(needle: Needle, text: str, skeleton: str, *, exact: bool) -> Iterator[Hit]:
    """Where the address doesn't stand as such, and a reader has it all the same."""
    there = needle.spoken_in(skeleton.replace("+", ""))
    for way in WAYS:
        if there or not way.letters:
            yield from way.find(needle, text, skeleton, exact)


def _backwards(needle: Needle, text: str, skeleton: str, _exact: bool) -> Iterator[Hit]:
    if needle.backwards in skeleton:
        skeleton, positions = folding.mapped(text, Folding())
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
        spoken = _CAPITALS.sub(lambda match: "@" if match[0].upper() == "AT" else ".", text)
        yield from _shown(needle, _DOT.sub(".", _AT.sub("@", spoken)), exact=True)


def _aside(needle: Needle, text: str, _skeleton: str, exact: bool) -> Iterator[Hit]:
    """ "anna (in any language) home (a dot) example": the first aside in a word is the "@"."""
    if exact and _ASIDES.search(text):
        words = rf"\s*{_ASIDES.pattern}\s*"
        first, *rest = (re.escape(each) for each in needle.labels)
        anywhere = rf"(?:{words}|\s?[.@-]\s?)"
        pattern = re.compile(rf"{_ALONE}{anywhere.join((first, *rest))}{_END}", re.IGNORECASE)
        found = next((each for each in pattern.finditer(text) if _ASIDES.search(each[0])), None)
        if found is not None and begins(text, found.start()):
            yield Hit(needle.secret, 0, 0, around(text, *found.span()))


def _decoyed(needle: Needle, text: str, skeleton: str, exact: bool) -> Iterator[Hit]:
    """ "annaNOSPAM@home.example": what a reader is meant to take away."""
    if exact and any(each in skeleton for each in _DECOYS) and _DECOY.search(text):
        for instead in ("", "."):
            yield from _shown(needle, _DECOY.sub(instead, text), exact=True)


def _at_provider(needle: Needle, text: str, skeleton: str, exact: bool) -> Iterator[Hit]:
    """ "a.private at gmail"."""
    if not exact or needle.first not in skeleton:
        return
    ours = {domain for domain in needle.provider if domain in skeleton}
    if ours and _AT.search(text):
        spoken = _AT.sub("@", text)
        whole, positions = folding.mapped(spoken, Folding())
        for domain in ours:
            at = -1
            while (at := whole.find(f"{needle.first}@{domain}", at + 1)) >= 0:
                start, end = positions[at], positions[at + len(needle.first) + len(domain)] + 1
                if begins(spoken, start) and not letter(spoken[end : end + 1]):
                    yield Hit(needle.secret, 0, 0, around(spoken, start, end))
                    return


def _rotated(needle: Needle, text: str, skeleton: str, _exact: bool) -> Iterator[Hit]:
    """ROT13, as archives of mailing lists write addresses, and the other places of the alphabet."""
    yield from _literal(needle, text, skeleton, exchanged.rotations(needle.backwards[::-1]))


def _upside_down(needle: Needle, text: str, skeleton: str, _exact: bool) -> Iterator[Hit]:
    if not text.isascii() and _OVER.search(text):
        yield from _literal(needle, text, skeleton, exchanged.upside_down(needle.backwards[::-1]))


def _literal(needle: Needle, text: str, skeleton: str, spellings: Iterable[str]) -> Iterator[Hit]:
    """The first of these that stands in the skeleton."""
    for each in spellings:
        if each in skeleton:
            found, positions = folding.mapped(text, Folding())
            at = found.index(each)
            yield Hit(needle.secret, 0, 0, around(text, positions[at], positions[at + len(each) - 1] + 1))
            return


def _in_digits(needle: Needle, text: str, skeleton: str, exact: bool) -> Iterator[Hit]:
    """ "4nn4@h0me.3xample": an address that has digits of its own is looked for as it is."""
    if not exact or _DIGIT.search(needle.backwards) or not _DIGIT.search(skeleton):
        return
    for one in exchanged.ONE:
        # Each sign stands for one: the same places in both.
        found = needle.near(exchanged.letters(skeleton, one))
        if any(_DIGIT.search(skeleton, first, last) for first, last in found):
            plain = exchanged.letters(text, one)
            yield from _shown(needle, plain, exact=True)
            yield from _spoken(needle, plain, "", True)


def _with_password(needle: Needle, text: str, _skeleton: str, exact: bool) -> Iterator[Hit]:
    """ "https://anna:secret@home.example/"."""
    for match in _USERINFO.finditer(text) if exact else ():
        name, host = folding.skeleton(match[1]), folding.skeleton(match[2])
        if name == needle.first and host in needle.domains:
            yield Hit(needle.secret, 0, 0, around(text, *match.span()))
            return


def _in_directory(needle: Needle, text: str, skeleton: str, exact: bool) -> Iterator[Hit]:
    """ "uid=anna,ou=people,dc=home,dc=example" (RFC 2247)."""
    if exact and "dc" in skeleton and _UNITS.search(text):
        whole = _UNITS.sub(lambda match: "@" + ".".join(_UNIT.findall(match[1])), text)
        yield from _shown(needle, whole, exact=True)


def _shown(needle: Needle, text: str, *, exact: bool) -> Iterator[Hit]:
    """The first hit in a text that isn't the one that was given."""
    skeleton, positions = folding.mapped(text, Folding())
    if not needle.stands_in(skeleton):
        return
    hit = next(standing(text, skeleton, positions, needle, exact=exact), None)
    if hit is not None:
        yield Hit(needle.secret, 0, 0, around(text, hit.start, hit.end))


def _joined(needle: Needle, text: str, skeleton: str, _exact: bool) -> Iterator[Hit]:
    """Return paths and links: "anna=home.example", "home.example!anna", "anna.home.example".

    Mailing lists write "list-return-17-anna=home.example": before a "=" a dash begins the address.
    """
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
                    and (begins(text, start) or (between == "=" and text[start - 1] == "-"))
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
    Way("in asides", _aside),
    Way("decoys", _decoyed),
    Way("at a provider", _at_provider, letters=False),
    Way("with a password", _with_password),
    Way("names of a directory", _in_directory),
    Way("digits for letters", _in_digits, letters=False),
    Way("upside down", _upside_down, letters=False),
    Way("ROT13", _rotated, letters=False),
)
