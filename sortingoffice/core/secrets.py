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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

import idna
import phonenumbers

from sortingoffice.core.model import FieldType
from sortingoffice.core.names import Mark, PrivateName
from sortingoffice.core.wallet import Value
from sortingoffice.mail import folding, toplevel
from sortingoffice.mail.folding import Folding

LEAST = 6  # skeleton characters of a card value, below which a word would be found everywhere
_LEAST_NAME = 4
_LEAST_IDEOGRAPHS = 2
_IDEOGRAPHS = "\u2e80"  # from here on two characters are a whole name
_NAME = re.compile(r"[^\W_]+")
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
_LEAST_LOCAL = 3  # shorter local parts are looked for in binary data only as whole words
_LEAST_WITHIN = 10  # shorter names and values are looked for there only as whole words, too
_MOST_HITS = 1000
_AROUND = 40  # characters that are shown on both sides of a finding
_MOST_SHOWN = 120  # characters of a finding that are shown
_BLANKS = re.compile(r"\s+")
_ONE = ("gmail.com googlemail.com", "icloud.com me.com mac.com", "proton.me protonmail.com pm.me")
_SAME_DOMAINS = {each: tuple(group.split()) for group in _ONE for each in group.split()}
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
_MONTHS = tuple(
    tuple(names.split())
    for names in (
        "January Jan Januar janvier enero gennaio",
        "February Feb Februar février febrero febbraio",
        "March Mar März mars marzo",
        "April Apr avril abril aprile",
        "May Mai mayo maggio",
        "June Jun Juni juin junio giugno",
        "July Jul Juli juillet julio luglio",
        "August Aug août agosto",
        "September Sep Sept septembre septiembre settembre",
        "October Oct Oktober Okt octobre octubre ottobre",
        "November Nov novembre noviembre",
        "December Dec Dezember Dez décembre diciembre dicembre",
    )
)
WINDOW = 1 << 19  # characters that are searched at once
_OVERLAP = 1 << 12  # more than an address takes, spaced out and in markup
_LETTERS = 0x530  # letters below are Latin, Greek or Cyrillic: above, scripts write without blanks


class Kind(StrEnum):
    ADDRESS = "address"
    NAME = "name"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Secret:
    """One thing that must not leave.

    text   as the person wrote it
    label  what it is called in a mail to the person: "your address anna@home.example", "card.iban"
    forms  other spellings of the same: a phone number without its country, a date the other way round
    """

    kind: Kind
    text: str
    label: str
    forms: tuple[str, ...] = ()


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
class _Needle:
    """How one secret is looked for in a skeleton."""

    secret: Secret
    first: str  # a literal that is there wherever it is
    least: bool  # long enough to be looked for within other letters of binary data
    pattern: re.Pattern[str] | None = None  # None: the literal is all
    backwards: str = ""
    labels: tuple[str, ...] = ()  # the words of an address
    domains: tuple[str, ...] = ()  # of an address, in every form

    def spans(self, skeleton: str) -> Iterator[tuple[int, int]]:
        if self.pattern is not None:
            yield from (match.span() for match in self.pattern.finditer(skeleton))
            return
        at = -1
        while (at := skeleton.find(self.first, at + 1)) >= 0:
            yield at, at + len(self.first)

    def spoken_in(self, skeleton: str) -> bool:
        """Whether the letters are there that "anna at home dot example" needs: a quick look."""
        return all(label in skeleton for label in self.labels)

    def stands_in(self, skeleton: str) -> bool:
        if self.first not in skeleton:
            return False
        return self.pattern is None or self.pattern.search(skeleton) is not None


@dataclass(frozen=True, slots=True)
class Secrets:
    """All secrets of an account, made ready once per message."""

    every: tuple[Secret, ...]
    _addresses: tuple[_Needle, ...] = field(init=False, repr=False, compare=False)
    _words: tuple[_Needle, ...] = field(init=False, repr=False, compare=False)
    _table: Folding = field(init=False, repr=False, compare=False)
    _digests: Mapping[str, Secret] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = Folding()
        addresses: list[_Needle] = []
        words: list[_Needle] = []
        for secret in self.every:
            if secret.kind is Kind.ADDRESS:
                addresses.append(_address(secret, table))
            else:
                words += _spellings(secret, table)
        object.__setattr__(self, "_addresses", tuple(addresses))
        object.__setattr__(self, "_words", tuple(words))
        object.__setattr__(self, "_table", table)
        digests = {each: secret for secret in self.every for each in _digests(secret)}
        object.__setattr__(self, "_digests", digests)

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
        skeleton = text.translate(self._table)
        found: list[Hit] = []
        positions: list[int] | None = None
        for needle in (*self._addresses, *self._words):
            if not needle.stands_in(skeleton):
                continue
            if positions is None:
                skeleton, positions = folding.mapped(text, self._table)
            found += _in(text, skeleton, positions, needle, exact=exact)
        without = skeleton.replace("+", "") if "+" in skeleton else skeleton
        for needle in self._addresses:
            if needle.backwards in skeleton:
                found.append(Hit(needle.secret, 0, 0, _turned(needle, text, self._table)))
            elif needle.spoken_in(without):
                found += _otherwise(needle, text, skeleton, exact=exact)
        lower = text.lower() if self._digests else ""
        found += [
            Hit(secret, 0, 0, f"[[{digest}]]") for digest, secret in self._digests.items() if digest in lower
        ]
        return found


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
    if value.text is None or value.own or value.type in (FieldType.COUNTRY, FieldType.BOOL):
        return None
    if len(folding.skeleton(value.text, table)) < LEAST:
        return None
    return Secret(Kind.VALUE, value.text, value.named, _other_forms(value.type, value.text))


def _other_forms(kind: FieldType, text: str) -> tuple[str, ...]:
    """How people write the same: a phone number at home and from abroad, a date the other ways round."""
    if kind is FieldType.PHONE:
        try:
            number = phonenumbers.parse(text)
        except phonenumbers.NumberParseException:
            return ()
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        code, rest = number.country_code, phonenumbers.national_significant_number(number)
        return (national, f"00{code}{rest}", f"{code}0{rest}")
    if kind is FieldType.DATE:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return ()
        return (f"{day:%d.%m.%Y}", f"{day:%m/%d/%Y}", *(f"{word} {day.year}" for word in _days(day)))
    return ()


def _days(day: date) -> Iterator[str]:
    for name in _MONTHS[day.month - 1]:
        yield f"{day.day} {name}"
        yield f"{name} {day.day}"


# ---- needles -------------------------------------------------------------------------------------


def _address(secret: Secret, table: Folding) -> _Needle:
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
    pattern = re.compile(rf"{re.escape(letters)}(?:\+[^@]{{0,64}})?@(?:{either})")
    backwards = folding.skeleton(secret.text, table)[::-1]
    labels = tuple(folding.skeleton(label, table) for label in re.split(r"[^\w]|_", f"{base}@{domain}"))
    least = len(letters) >= _LEAST_LOCAL
    return _Needle(secret, letters, least, pattern, backwards, labels, tuple(folded))


def _digests(secret: Secret) -> Iterator[str]:
    """Pictures of a person are asked for by them (gravatar.com), and so are persons in mailing tools."""
    if secret.kind is Kind.ADDRESS:
        octets = secret.text.lower().encode()
        for name in ("md5", "sha1", "sha256"):
            yield hashlib.new(name, octets, usedforsecurity=False).hexdigest()


def _spellings(secret: Secret, table: Folding) -> Iterator[_Needle]:
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
            yield _Needle(secret, letters, len(letters) >= _LEAST_WITHIN and not letters.isdigit())


def _otherwise(needle: _Needle, text: str, skeleton: str, *, exact: bool) -> Iterator[Hit]:
    """Where all its letters are there, and the address as such may not be: other signs, or words, for "@"."""
    base, domains = needle.first, needle.domains
    if "+" in skeleton and needle.stands_in(skeleton.replace("+", "")):  # form-encoded blanks
        yield from _shown(needle, text.replace("+", " "), exact=exact)
    if any(base + domain in skeleton or domain + base in skeleton for domain in domains):
        yield from _joined(needle, text)
    if any((own := f"@{base}{domain}") in skeleton for domain in domains):
        # Some providers take anything@anna.home.example for anna.
        at = skeleton.index(own)
        yield Hit(needle.secret, 0, 0, around(skeleton, at, at + len(own)))
    if exact and (_AT.search(text) or _DOT.search(text) or _CAPITALS.search(text)):
        spoken = _CAPITALS.sub(lambda match: "@" if match[0] == "AT" else ".", text)
        yield from _shown(needle, _DOT.sub(".", _AT.sub("@", spoken)), exact=True)


def _shown(needle: _Needle, text: str, *, exact: bool) -> Iterator[Hit]:
    """The first hit in a text that isn't the one that was given."""
    table = Folding()
    if not needle.stands_in(text.translate(table)):
        return
    skeleton, positions = folding.mapped(text, table)
    hit = next(_in(text, skeleton, positions, needle, exact=exact), None)
    if hit is not None:
        yield Hit(needle.secret, 0, 0, around(text, hit.start, hit.end))


def _joined(needle: _Needle, text: str) -> Iterator[Hit]:
    """Return paths and links: "anna=home.example", "home.example!anna", "anna.home.example"."""
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
                    and _begins(text, start)
                    and not _letter(text[end : end + 1])
                ):
                    yield Hit(needle.secret, 0, 0, around(text, start, end))
                    return


def _turned(needle: _Needle, text: str, table: Folding) -> str:
    """What stands around it where it is written backwards."""
    skeleton, positions = folding.mapped(text, table)
    at = skeleton.index(needle.backwards)
    return around(text, positions[at], positions[at + len(needle.backwards) - 1] + 1)


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


def _in(text: str, skeleton: str, positions: list[int], needle: _Needle, *, exact: bool) -> Iterator[Hit]:
    whole = exact or not needle.least
    for count, (first, last) in enumerate(needle.spans(skeleton)):
        if count == _MOST_HITS:
            return
        start, end = positions[first], positions[last - 1] + 1
        if needle.secret.kind is Kind.NAME:
            if not _pieced(text[start:end], needle.secret.text) and _word(text, start, end):
                yield Hit(needle.secret, start, end)
            continue
        if not whole or (_begins(text, start) and _ends(text, end)):
            yield Hit(needle.secret, start, end)


def _pieced(found: str, name: str) -> bool:
    """Whether it is the end of one word and the beginning of the next: "an na"; not one spaced out."""
    blanks = len(found.split()) - len(name.split())
    return 0 < blanks < len(name) - 1


def _word(text: str, start: int, end: int) -> bool:
    """Whether no letter stands before or after it; a sign does: "CV-Beispiel.pdf"."""
    escaped = text[start - 2 : start - 1] == "\\" and text[start - 1 : start] in "nrtbfv"
    return (start == 0 or escaped or not _letter(text[start - 1])) and not _letter(text[end : end + 1])


def _begins(text: str, at: int) -> bool:
    """Whether nothing before makes it a longer address or word."""
    if at == 0:
        return True
    last = text[at - 1]
    before = text[at - 2 : at - 1]
    if _letter(last):
        return before == "\\" and last in "nrtbfv"  # an escaped line break
    if last in "._-":
        return not _letter(before)
    return True


def _ends(text: str, at: int) -> bool:
    last, after = text[at : at + 1], text[at + 1 : at + 2]
    if _letter(last):
        return False
    if last == "-":
        return not _letter(after)
    return last != "." or not toplevel.prolongs(text, at)


def _letter(character: str) -> bool:
    return character.isalnum() and ord(character) < _LETTERS
