"""What is looked for in a text, and where it stands there.

    a needle's letters are a skeleton (`mail.folding`); a hit leads back to the text

Promise: a longer address that merely ends in the same letters, or goes on with them, is no hit.

Sources: the design, "The leak guard".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from enum import StrEnum

from sortingoffice.core import days
from sortingoffice.core.likeness import Likeness
from sortingoffice.frozen import dataclass
from sortingoffice.mail import toplevel
from sortingoffice.mail.folding import Origins

_MOST_HITS = 1000
_AROUND = 40  # characters that are shown on both sides of a finding
_MOST_SHOWN = 120  # characters of a finding that are shown
_BLANKS = re.compile(r"\s+")
_NEAR = 400  # letters and digits on both sides of an address's rarest word, in which the others stand
_HUMP = 4  # letters of a word that stands before a name without a blank; fewer belong to the name
_CLOCK = re.compile(r"T\d\d:?\d\d")  # ISO 8601: the time follows the day
_SIGNS = frozenset("._-")
_LETTERS = 0x530  # letters below are Latin, Greek or Cyrillic: above, scripts write without blanks


class Kind(StrEnum):
    ADDRESS = "address"
    NAME = "name"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Secret:
    """One thing that must not leave.

    text   as the person wrote it; "" of a sealed value
    label  what it is called in a mail to the person: "your address anna@home.example", "card.iban"
    forms  other spellings of the same: a phone number without its country, a date the other way round
    like   what a sealed value is known by; None of all others
    day    where it is one: people write it in many ways (`core.days`)
    """

    kind: Kind
    text: str
    label: str
    forms: tuple[str, ...] = ()
    like: Likeness | None = None
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A secret in text[start:end]; both are 0 where it has no one place there.

    around  as `around` gives it, where start and end don't say it
    """

    secret: Secret
    start: int
    end: int
    around: str = ""


@dataclass(frozen=True, slots=True)
class Needle:
    """How one secret is looked for in a skeleton."""

    secret: Secret
    first: str  # a literal that is there wherever it is
    least: bool  # long enough to be looked for within other letters of binary data
    pattern: re.Pattern[str] | None = None  # None: the literal is all
    backwards: str = ""
    labels: tuple[str, ...] = ()  # the words of an address
    domains: tuple[str, ...] = ()  # of an address, in every form
    digests: tuple[str, ...] = ()  # of an address: MD5, SHA-1, SHA-256
    provider: tuple[str, ...] = ()  # of an address: how people call the provider whose it is
    day: date | None = None  # found only with something between its numbers

    def spans(self, skeleton: str) -> Iterator[tuple[int, int]]:
        if self.pattern is not None:
            yield from (match.span() for match in self.pattern.finditer(skeleton))
            return
        at = -1
        while (at := skeleton.find(self.first, at + 1)) >= 0:
            yield at, at + len(self.first)

    def spoken_in(self, skeleton: str) -> bool:
        """Whether the letters are there that "anna at home dot example" needs: a quick look."""
        return next(self.near(skeleton), None) is not None

    def near(self, skeleton: str) -> Iterator[tuple[int, int]]:
        """Where all words of the address stand near each other, in any order."""
        counts = {label: skeleton.count(label) for label in self.labels}
        if not counts or not all(counts.values()):
            return
        rarest = min(counts, key=lambda label: counts[label])
        at = -1
        while (at := skeleton.find(rarest, at + 1)) >= 0:
            first, last = max(0, at - _NEAR), at + _NEAR
            if all(skeleton.find(label, first, last) >= 0 for label in self.labels):
                yield first, last

    def stands_in(self, skeleton: str) -> bool:
        if self.first not in skeleton:
            return False
        return self.pattern is None or self.pattern.search(skeleton) is not None


def around(text: str, start: int, end: int) -> str:
    """The finding in [[ ]] with a little of what stands before and after it, as one printable line."""
    before = _line(text[max(0, start - _AROUND) : start])
    after = _line(text[end : end + _AROUND])
    here = text[start:end]
    if len(here) > _MOST_SHOWN:
        here = f"{here[: _MOST_SHOWN // 2]} … {here[-_MOST_SHOWN // 2 :]}"
    first = "…" if start > _AROUND else ""
    last = "…" if end + _AROUND < len(text) else ""
    return f"{first}{before}[[{_line(here)}]]{after}{last}"


def _line(text: str) -> str:
    return _BLANKS.sub(" ", "".join(c if c.isprintable() else " " if c.isspace() else "·" for c in text))


# ---- what stands around --------------------------------------------------------------------------


def standing(text: str, skeleton: str, positions: Origins, needle: Needle, *, exact: bool) -> Iterator[Hit]:
    whole = exact or not needle.least
    for count, (first, last) in enumerate(needle.spans(skeleton)):
        if count == _MOST_HITS:
            return
        start, end = positions[first], positions[last - 1] + 1
        if needle.secret.kind is Kind.NAME:
            whole_word = _word(text, start, end) or _in_humps(text, start, end)
            if whole_word and not _pieced(text[start:end], needle.secret.text):
                yield Hit(needle.secret, start, end)
            continue
        if needle.day is not None and not days.parted(text[start:end], needle.day):
            continue
        timed = needle.secret.day is not None and _CLOCK.match(text, end) and begins(text, start)
        if timed or not whole or stands_alone(text, start, end):
            yield Hit(needle.secret, start, end)


def _pieced(found: str, name: str) -> bool:
    """Whether it is the end of one word and the beginning of the next: "an na"; not one spaced out."""
    blanks = len(found.split()) - len(name.split())
    return 0 < blanks < len(name) - 1


def _word(text: str, start: int, end: int) -> bool:
    """Whether no letter stands before or after it; a sign does: "CV-Beispiel.pdf"."""
    escaped = text[start - 2 : start - 1] == "\\" and text[start - 1 : start] in "nrtbfv"
    return (start == 0 or escaped or not letter(text[start - 1])) and not letter(text[end : end + 1])


def _in_humps(text: str, start: int, end: int) -> bool:
    """Whether capitals make it a word of its own: "LebenslaufAnnaPrivate.pdf"; not "McDonald"."""
    found = text[start:end]
    before, after = text[max(0, start - _HUMP) : start], text[end : end + 1]
    parted = len(before) == _HUMP and before.isalpha() and before[1:].islower() and before.isascii()
    return (
        found.istitle()
        and (parted or not letter(before[-1:]))
        and (not letter(after) or (after.isupper() and found[-1:].islower()))
    )


def stands_alone(text: str, start: int, end: int) -> bool:
    """Whether nothing around makes it another address, number or word.

    In an address a sign goes on with it ("jo.anna@…", "anna@home.example.com"), elsewhere only between
    digits: "Tel.0170 …" and "C01X00T47-A" hold what they seem to hold, "Lindenallee 5-7" doesn't.
    """
    found = text[start:end]
    if "@" in found or "://" in found:
        return begins(text, start) and _ends(text, end)
    return _word(text, start, end) and not (
        (text[start - 1 : start] in _SIGNS and text[start - 2 : start - 1].isdigit() and found[:1].isdigit())
        or (text[end : end + 1] in _SIGNS and text[end + 1 : end + 2].isdigit() and found[-1:].isdigit())
    )


def begins(text: str, at: int) -> bool:
    """Whether nothing before makes it a longer address or word."""
    if at == 0:
        return True
    last = text[at - 1]
    before = text[at - 2 : at - 1]
    if letter(last):
        return before == "\\" and last in "nrtbfv"  # an escaped line break
    if last in "._-":
        return not letter(before)
    return True


def _ends(text: str, at: int) -> bool:
    last, after = text[at : at + 1], text[at + 1 : at + 2]
    if letter(last):
        return False
    if last == "-":
        return not letter(after)
    return last != "." or not toplevel.prolongs(text, at)


def letter(character: str) -> bool:
    return character.isalnum() and ord(character) < _LETTERS
