"""Less than a value: what can be told of it without telling it.

A view's member `identity.birthday:over-18` gives "yes" where the card holds a date.  The word after
the colon is the derivation; the ledger keeps it with the derived value, and never the value behind it.

    over-N    of a date: whether that many years have passed (29 February: reached on 1 March)
    year      of a date
    town      of an address in one field, where it can be read for certain
    country   of such an address, a phone number or an IBAN
    initials  of a name
    domain    of an email address or a URL
    last-4    of an IBAN

Promise: what is returned holds nothing of the value but what its word says; where that isn't certain
there is no value, and nothing leaves.

Sources: the cards document of the design, "Model"; ISO 3166-1; ISO 13616; E.164.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit

import phonenumbers
import pycountry

from sortingoffice.core.model import FieldType

MARK = ":"  # between a field's name and the derivation; no field's name can hold it

_OVER = re.compile(r"over-([1-9]\d?|1[0-4]\d|150)")
_TEXTS = (FieldType.LINE, FieldType.TEXT)
_SUITS = {
    "year": (FieldType.DATE,),
    "town": _TEXTS,
    "country": (*_TEXTS, FieldType.PHONE, FieldType.IBAN),
    "initials": (FieldType.LINE,),
    "domain": (FieldType.EMAIL, FieldType.URL),
    "last-4": (FieldType.IBAN,),
}
_TYPES = {"year": FieldType.NUMBER, "country": FieldType.COUNTRY}
WORDS = ("over-N", *_SUITS)


def split(key: str) -> tuple[str, str]:
    """A field's name, and the derivation; "" where the value itself is meant."""
    base, _, word = key.partition(MARK)
    return base, word


def known(word: str) -> bool:
    return word in _SUITS or _OVER.fullmatch(word) is not None


def suits(word: str, type: FieldType) -> bool:
    """Whether a field of this type has such a derivation."""
    return type in _SUITS.get(word, ()) or (type is FieldType.DATE and _OVER.fullmatch(word) is not None)


def type_of(word: str) -> FieldType:
    """The type of what is derived."""
    return FieldType.BOOL if _OVER.fullmatch(word) else _TYPES.get(word, FieldType.LINE)


def value(word: str, type: FieldType, text: str, today: date) -> str | None:
    """What the word says of a normalised value; None where it says nothing for certain."""
    if not suits(word, type):
        return None
    if (over := _OVER.fullmatch(word)) is not None:
        return "yes" if _years(date.fromisoformat(text), today) >= int(over[1]) else "no"
    return _BY_WORD[word](type, text)


def _years(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _year(_: FieldType, text: str) -> str:
    return text[:4]


def _initials(_: FieldType, text: str) -> str | None:
    letters = [word[0].upper() for word in text.split() if word[0].isalpha()]
    return " ".join(f"{letter}." for letter in letters) or None


def _domain(type: FieldType, text: str) -> str | None:
    if type is FieldType.EMAIL:
        return text.rpartition("@")[2]
    return urlsplit(text).hostname


def _last_four(_: FieldType, text: str) -> str:
    return text[-4:]


def _country(type: FieldType, text: str) -> str | None:
    if type is FieldType.IBAN:
        return _country_named(text[:2])
    if type is FieldType.PHONE:
        try:
            found = phonenumbers.region_code_for_number(phonenumbers.parse(text, None))
        except phonenumbers.NumberParseException:
            return None
        return _country_named(found) if found else None
    parts = _parts(text)
    return _country_named(parts[-1]) if len(parts) > 1 else None


def _country_named(text: str) -> str | None:
    try:
        return str(pycountry.countries.lookup(text).alpha_2)
    except LookupError:
        return None


# ---- the town in an address ------------------------------------------------------------------------

# "10115 Berlin", "D-10115 Berlin", "1012 AB Amsterdam", "111 22 Stockholm"
_CODE_FIRST = re.compile(r"(?:[A-Z]{1,3}-)?(?:\d{4,6}(?: [A-Z]{2})?|\d{3} \d{2}) (?P<town>[^\d,]+)")
# "London SW1A 1AA", "Springfield IL 62704", and the codes alone
_CODE_LAST = re.compile(
    r"(?:(?P<town>[^\d,]+?) )?(?:[A-Z]{2} \d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2})"
)
_WAYS = frozenset(
    "street st road rd avenue ave lane ln drive dr way court ct boulevard blvd square place terrace crescent "
    "close highway strasse straße weg allee platz gasse rue via calle".split()
)


def _town(_: FieldType, text: str) -> str | None:
    """The part beside the postcode; in no address of one part only, where it might be a street."""
    parts = _parts(text)
    if len(parts) > 2 and _country_named(parts[-1]) is not None:
        parts.pop()
    if len(parts) < 2:
        return None
    if (found := _CODE_FIRST.fullmatch(parts[-1])) is not None:
        # A house number is no postcode: "1600 Pennsylvania Avenue" follows no street.
        return _no_way(found["town"]) if any(map(_numbered, parts[:-1])) else None
    if (found := _CODE_LAST.fullmatch(parts[-1])) is not None:
        if found["town"]:
            return _no_way(found["town"])
        return _no_way(parts[-2]) if len(parts) > 2 else None
    return None


def _parts(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"[\n,]", text) if part.strip()]


def _numbered(part: str) -> bool:
    return any(character.isdigit() for character in part)


def _no_way(town: str) -> str | None:
    words = {word.strip(".").casefold() for word in town.split()}
    return None if words & _WAYS or _numbered(town) else town.strip()


_BY_WORD: dict[str, Callable[[FieldType, str], str | None]] = {
    "year": _year,
    "town": _town,
    "country": _country,
    "initials": _initials,
    "domain": _domain,
    "last-4": _last_four,
}
