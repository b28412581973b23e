"""What must not leave: the account's mailboxes, private names, card values; and how each is recognised.

    a secret is found in any spelling that folds to the same skeleton (`mail.folding`)

Promise: an address is found with its case, dots, plus tags, blanks, look-alikes and invisible characters
changed, spelled out ("anna at home dot example") or backwards; a longer address that merely ends in the
same letters is not.  Work is linear in the text for each secret.

Sources: the design, "The leak guard"; RFC 5233 (plus tags); RFC 5890 (both forms of a domain);
E.164 (phone numbers), ISO 8601.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from datetime import date

import idna
import phonenumbers

from sortingoffice.core import days
from sortingoffice.core.likeness import Gallery
from sortingoffice.core.model import FieldType
from sortingoffice.core.names import Mark, PrivateName
from sortingoffice.core.needle import Hit as Hit
from sortingoffice.core.needle import Kind as Kind
from sortingoffice.core.needle import Needle, standing, stands_alone
from sortingoffice.core.needle import Secret as Secret
from sortingoffice.core.needle import around as around
from sortingoffice.core.wallet import Value
from sortingoffice.core.ways import PROVIDERS, otherwise
from sortingoffice.frozen import dataclass
from sortingoffice.mail import folding
from sortingoffice.mail.folding import Folding

LEAST = 6  # skeleton characters of a card value, below which a word would be found everywhere
_LEAST_NAME = 4
_LEAST_IDEOGRAPHS = 2
_IDEOGRAPHS = "\u2e80"  # from here on two characters are a whole name
_NAME = re.compile(r"[^\W_]+")
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
_LEAST_LOCAL = 3  # shorter local parts are looked for in binary data only as whole words
_LEAST_WITHIN = 10  # shorter names and values are looked for there only as whole words, too
_ONE = ("gmail.com googlemail.com", "icloud.com me.com mac.com", "proton.me protonmail.com pm.me")
_SAME_DOMAINS = {each: tuple(group.split()) for group in _ONE for each in group.split()}
WINDOW = 1 << 19  # characters that are searched at once
_FOUND = "\n…\n"  # stands where an address was found, while others are looked for
_OVERLAP = 1 << 12  # more than an address takes, spaced out and in markup


@dataclass(frozen=True, slots=True)
class Secrets:
    """All secrets of an account, made ready once per message."""

    every: tuple[Secret, ...]
    _addresses: tuple[Needle, ...] = field(init=False, repr=False, compare=False)
    _words: tuple[Needle, ...] = field(init=False, repr=False, compare=False)
    _sealed: tuple[Secret, ...] = field(init=False, repr=False, compare=False)
    _gallery: Gallery = field(init=False, repr=False, compare=False)
    _table: Folding = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = Folding()
        addresses: list[Needle] = []
        words: list[Needle] = []
        for secret in self.every:
            if secret.kind is Kind.ADDRESS:
                addresses.append(_address(secret, table))
            elif secret.like is None:
                words += _spellings(secret, table)
        sealed = [(secret, secret.like) for secret in self.every if secret.like is not None]
        object.__setattr__(self, "_addresses", tuple(addresses))
        object.__setattr__(self, "_words", tuple(words))
        object.__setattr__(self, "_sealed", tuple(secret for secret, _ in sealed))
        object.__setattr__(self, "_gallery", Gallery([like for _, like in sealed]))
        object.__setattr__(self, "_table", table)

    def hits(self, text: str, *, exact: bool = True) -> tuple[Hit, ...]:
        """Every secret in a text, in the order of the secrets.

        exact  whether the letters around count (`mail.readings.Reading`)
        """
        if len(text) <= WINDOW:
            return tuple(self._hits(text, exact=exact))
        # One call over megabytes would hold up every other session of the process.
        found: dict[Hit, None] = {}
        for first in range(0, len(text), WINDOW):
            window = text[max(0, first - _OVERLAP) : first + WINDOW]
            offset = max(0, first - _OVERLAP)
            for hit in self._hits(window, exact=exact):
                if not hit.around:
                    hit = replace(hit, start=hit.start + offset, end=hit.end + offset)
                found[hit] = None
        return tuple(found)

    def _hits(self, text: str, *, exact: bool) -> list[Hit]:
        skeleton, positions = folding.mapped(text, self._table)
        found: list[Hit] = []
        for needle in (*self._addresses, *self._words):
            if needle.stands_in(skeleton):
                found += standing(text, skeleton, positions, needle, exact=exact)
        for number, first, last in self._gallery.windows(text, exact=exact) if self._sealed else ():
            start, end = positions[first], positions[last - 1] + 1
            if not exact or stands_alone(text, start, end):
                found.append(Hit(self._sealed[number], start, end))
        for needle in self._addresses:
            rest = _without(text, [hit for hit in found if hit.secret is needle.secret])
            letters = skeleton if rest is text else folding.skeleton(rest, self._table)
            found += otherwise(needle, rest, letters, exact=exact)
        return found


def _without(text: str, hits: Sequence[Hit]) -> str:
    """The text but for what was found in it, which needs no second search; itself without hits."""
    if not hits:
        return text
    pieces: list[str] = []
    at = 0
    for hit in sorted(hits, key=lambda hit: hit.start):
        pieces += text[at : hit.start], _FOUND
        at = max(at, hit.end)
    return "".join((*pieces, text[at:]))


def addresses(mailboxes: Iterable[str]) -> tuple[Secret, ...]:
    """The account's mailboxes as secrets."""
    return tuple(Secret(Kind.ADDRESS, each, f"your address {each}") for each in sorted(mailboxes))


def names(
    marked: Iterable[PrivateName], *, login: str, displayed: str, known: Iterable[str]
) -> tuple[Secret, ...]:
    """The words of the names that the person marked private.

    displayed  what stands beside the mailbox in this message
    known      what this vendor may see: the display name set for it, values that it holds or is given
    """
    stand_for = {Mark.LOGIN: login, Mark.DISPLAY: displayed}
    allowed = {folding.skeleton(word) for text in known for word in (*_NAME.findall(text), text)}
    sought: dict[str, Secret] = {}
    for each in marked:
        for word in name_words(stand_for.get(each.mark, each.name)):
            letters = folding.skeleton(word)
            if letters not in allowed:
                spelled = word.casefold().translate(_SPELLED)
                sought.setdefault(letters, Secret(Kind.NAME, word, f"your name {word}", (spelled,)))
    return tuple(sought.values())


def name_words(name: str) -> tuple[str, ...]:
    """The words of a name that are looked for, each as a whole word; the name as one where all are too
    short, () where that is, too."""
    found = tuple(each for each in dict.fromkeys(_NAME.findall(name)) if _long_enough(each))
    return found or ((name.strip(),) if _long_enough(name) else ())


def _long_enough(name: str) -> bool:
    letters = folding.skeleton(name)
    return len(letters) >= (_LEAST_IDEOGRAPHS if letters[:1] >= _IDEOGRAPHS else _LEAST_NAME)


def card_value(value: Value, table: Folding | None = None) -> Secret | None:
    """A value of a card as a secret; None for what is found in any mail, or can't be opened.

    table  may be shared between calls, which makes many of them quick

    Which values must not leave (sensitive ones, those that a grant denies) the caller knows.
    """
    if value.like is not None:
        return Secret(Kind.VALUE, "", value.named, like=value.like) if value.like.spellings else None
    if value.text is None or value.own:
        return None
    found = spelled(value.type, value.text, table)
    if not found:
        return None
    day = _day(value.text) if value.type is FieldType.DATE else None
    return Secret(Kind.VALUE, value.text, value.named, found[1:], day=day)


def spelled(kind: FieldType, text: str, table: Folding | None = None) -> tuple[str, ...]:
    """A value in each way that is looked for, as it is first; () where it would be found in any mail."""
    if kind in (FieldType.COUNTRY, FieldType.BOOL) or len(folding.skeleton(text, table)) < LEAST:
        return ()
    return (text, *_other_forms(kind, text))


def _other_forms(kind: FieldType, text: str) -> tuple[str, ...]:
    """How people write the same: a phone number at home and from abroad, a date the other ways round …"""
    if kind is FieldType.PHONE:
        try:
            number = phonenumbers.parse(text)
        except phonenumbers.NumberParseException:
            return ()
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        code, rest = number.country_code, phonenumbers.national_significant_number(number)
        return (national, f"00{code}{rest}", f"{code}0{rest}")
    if kind is FieldType.DATE and (day := _day(text)) is not None:
        return (f"{day:%d.%m.%Y}", f"{day:%m/%d/%Y}", *days.spoken(day))
    if kind is FieldType.URL:
        return (text.partition("://")[2],)
    if kind in (FieldType.LINE, FieldType.TEXT) and not text.isascii():
        return (text.casefold().translate(_SPELLED),)
    return ()


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


# ---- needles -------------------------------------------------------------------------------------


def _address(secret: Secret, table: Folding) -> Needle:
    """The local part with any plus tag, and the domain in every form."""
    local, _, domain = secret.text.rpartition("@")
    base = local.partition("+")[0] or local
    domains = {domain, *_SAME_DOMAINS.get(domain, ())}
    for each in tuple(domains):
        try:
            domains.add(idna.decode(each))
        except (idna.IDNAError, UnicodeError):
            continue
    folded = sorted({folding.skeleton(each, table) for each in domains})
    either = "|".join(re.escape(each) for each in folded)
    letters = folding.skeleton(base, table)
    pattern = re.compile(rf"{re.escape(letters)}(?:\+[^@]{{0,64}})?@{{1,3}}(?:{either})")
    backwards = folding.skeleton(secret.text, table)[::-1]
    labels = tuple(folding.skeleton(label, table) for label in re.split(r"[^\w]|_", f"{base}@{domain}"))
    least = len(letters) >= _LEAST_LOCAL
    octets = secret.text.lower().encode()
    digests = tuple(
        hashlib.new(name, octets, usedforsecurity=False).hexdigest() for name in ("md5", "sha1", "sha256")
    )
    called = tuple({each.partition(".")[0] for each in domains} & PROVIDERS)
    return Needle(secret, letters, least, pattern, backwards, labels, tuple(folded), digests, called)


def _spellings(secret: Secret, table: Folding) -> Iterator[Needle]:
    least = LEAST if secret.kind is not Kind.NAME else 1 if _long_enough(secret.text) else _LEAST_NAME
    forms = [secret.text, *secret.forms]
    if secret.kind is Kind.NAME:
        words = secret.text.split()
        forms.append(" ".join([*words[1:], *words[:1]]))
    seen: set[str] = set()
    for form in forms:
        letters = folding.skeleton(form, table).lstrip("+")
        if len(letters) >= least and letters not in seen:
            seen.add(letters)
            # Binary data holds every short word and number somewhere.
            yield Needle(secret, letters, len(letters) >= _LEAST_WITHIN and not letters.isdigit())
    if secret.day is not None:
        for letters in sorted(days.numbers(secret.day) - seen):
            yield Needle(secret, letters, False, day=secret.day)
        yield Needle(secret, f"{secret.day.year:04}", False, days.words(secret.day, table))
