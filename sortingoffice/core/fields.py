"""One datum of a card: what may be stored, in which form, and when two are the same.

Promise: what `normalise` returns can stand in a header, a table, a labelled line or a
vCard without breaking it: no control character, no bidi override, no line break (but in
`text`), and bounded.  normalise(t, normalise(t, x)) == normalise(t, x).

Sources: E.164 (phonenumbers), ISO 13616 and ISO 7064 mod 97-10 (stdnum), ISO 8601, ISO 3166-1
(pycountry), Unicode Standard Annex 9 (bidi controls), RFC 3986 (URL).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

import phonenumbers
import pycountry
from stdnum import iban

from sortingoffice.core import derive
from sortingoffice.core.model import FieldType
from sortingoffice.errors import OfficeError
from sortingoffice.mail import address

MAX_NAME = 64  # characters of a card's, view's or field's name
MAX_LINE = 1000  # characters of a value on one line
MAX_TEXT = 10_000  # characters of a `text` value

KINDS = ("name", "contact", "postal", "payment", "membership", "preference", "wish", "record", "free")
FORMS = ("text", "vcard", "vcard4", "jscontact")

# What the directive's own grammar uses can't be a name.
_GRAMMAR_WORDS = frozenset({"except", "as"})
_NAME = re.compile(r"[^\W_][\w-]*")
_BREAKS = frozenset("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BLANKS = re.compile(r"[^\S\n]+")

_TYPE_OF_KEY = {
    "phone": FieldType.PHONE,
    "mobile": FieldType.PHONE,
    "tel": FieldType.PHONE,
    "telephone": FieldType.PHONE,
    "fax": FieldType.PHONE,
    "email": FieldType.EMAIL,
    "mail": FieldType.EMAIL,
    "birthday": FieldType.DATE,
    "birthdate": FieldType.DATE,
    "born": FieldType.DATE,
    "date": FieldType.DATE,
    "country": FieldType.COUNTRY,
    "nationality": FieldType.COUNTRY,
    "iban": FieldType.IBAN,
    "url": FieldType.URL,
    "website": FieldType.URL,
}

_LABELS = {
    "iban": "IBAN",
    "bic": "BIC",
    "url": "URL",
    "email": "Email",
    "postcode": "Postcode",
    "zip": "ZIP",
    "vat": "VAT",
    "id": "ID",
    "po-box": "PO box",
}

_KIND_OF_CARD = {
    "name": "name",
    "phone": "contact",
    "contact": "contact",
    "email": "contact",
    "home": "postal",
    "shipping": "postal",
    "billing": "postal",
    "address": "postal",
    "work": "postal",
    "bank": "payment",
    "payment": "payment",
    "iban": "payment",
    "wishes": "wish",
    "wish": "wish",
}

_TRANSACTIONAL = frozenset({"iban", "bic", "vat", "order", "customer-number", "customer", "member", "number"})


def name(text: str, what: str = "card") -> str:
    """A card's, view's or field's name in the form in which names are compared.

    Raises OfficeError.
    """
    folded = unicodedata.normalize("NFKC", text).strip().casefold()
    folded = unicodedata.normalize("NFKC", folded)
    if not folded:
        raise OfficeError(f"a {what}'s name can't be empty")
    if len(folded) > MAX_NAME:
        raise OfficeError(f"a {what}'s name has at most {MAX_NAME} characters, this one has {len(folded)}")
    if not _NAME.fullmatch(folded):
        raise OfficeError(
            f"{shown(text)} can't name a {what}: use letters, digits, - and _ (first a letter or digit)"
        )
    if folded in _GRAMMAR_WORDS:
        raise OfficeError(f'"{folded}" can\'t name a {what}: it has a meaning in "#card … {folded} …"')
    return folded


def type_of(key: str) -> FieldType:
    """The type that a field's name suggests; `line` where it suggests none."""
    return _TYPE_OF_KEY.get(key, FieldType.LINE)


def kind_of(card: str) -> str:
    return _KIND_OF_CARD.get(card, "free")


def category_of(key: str) -> str:
    return "transactional" if key in _TRANSACTIONAL else "identity"


def key(text: str) -> str:
    """A field's name, or what is derived of it (`birthday:over-18`), as names are compared.

    Raises OfficeError.
    """
    base, mark, word = text.partition(derive.MARK)
    if not mark:
        return name(base, "field")
    word = unicodedata.normalize("NFKC", word).strip().casefold()
    if not derive.known(word):
        raise OfficeError(f"{shown(word)} derives nothing: there are {', '.join(derive.WORDS)}")
    return name(base, "field") + derive.MARK + word


def label(key: str) -> str:
    """What a vendor reads beside the value."""
    base, word = derive.split(key)
    if word in ("town", "country", "initials") or word.startswith("over-"):
        key = word
    elif word:
        return f"{label(base)} ({word.replace('-', ' ')})"
    if key in _LABELS:
        return _LABELS[key]
    words = key.replace("-", " ").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def normalise(type: FieldType, text: str) -> str:
    """The value as it is stored and as a vendor gets it.

    Raises OfficeError with what is wrong and what would be right.
    """
    longest = MAX_TEXT if type is FieldType.TEXT else MAX_LINE
    if len(text) > longest:
        raise OfficeError(
            f"a value of type {type} has at most {longest} characters, this one has {len(text)}"
        )
    text = unicodedata.normalize("NFC", text).strip()
    if not text:
        raise OfficeError('a value can\'t be empty; to take a field away, use "card remove CARD.FIELD"')
    if type is FieldType.TEXT:
        text = text.replace("\r\n", "\n")
    for character in text:
        if complaint := _complaint(character, type):
            raise OfficeError(f"the value contains {complaint} (U+{ord(character):04X}): leave it out")
    if type is not FieldType.TEXT:
        text = _BLANKS.sub(" ", text)
    result = _BY_TYPE[type](text)
    if len(result) > longest:
        raise OfficeError(f"a value of type {type} has at most {longest} characters")
    return result


def comparable(type: FieldType, key: str, value: str) -> str:
    """Equal where a reader would say that two values of fields of this name are the same.

    The field's name is part of it: that somebody holds `member=yes` must not mean that they
    hold `pregnant=yes`.
    """
    folded = unicodedata.normalize("NFKC", value).casefold()
    if type in (FieldType.LINE, FieldType.TEXT):
        folded = " ".join(folded.split())
    return f"{key}\0{folded}"


def telling(type: FieldType, value: str) -> bool:
    """Whether the value is long and rare enough to be recognised wherever it stands."""
    if type in (FieldType.COUNTRY, FieldType.BOOL):
        return False
    folded = unicodedata.normalize("NFKC", value)
    return sum(character.isalnum() for character in folded) >= 6


def near(word: str, known: tuple[str, ...]) -> str | None:
    """The known name that `word` is a slip of the finger away from, None if none is.

    One edit for short names, two from six characters on; a swap of neighbours counts as one.
    """
    best: tuple[int, str] | None = None
    for candidate in known:
        allowed = (
            2 if min(len(word), len(candidate)) >= 6 else 1 if min(len(word), len(candidate)) >= 3 else 0
        )
        if abs(len(word) - len(candidate)) > allowed:
            continue
        distance = _edits(word, candidate)
        if 0 < distance <= allowed and (best is None or (distance, candidate) < best):
            best = (distance, candidate)
    return best[1] if best else None


def shown(text: str) -> str:
    """A person's text inside one of our sentences: on one line, short, in quotes."""
    clean = "".join("�" if unicodedata.category(c)[0] == "C" else c for c in text[:200])
    clean = " ".join(clean.split())
    return f'"{clean[:40]}…"' if len(clean) > 40 else f'"{clean}"'


def _complaint(character: str, type: FieldType) -> str:
    if character in _OVERRIDES:
        return "a character that turns the reading direction"
    if character in _BREAKS:
        return "" if type is FieldType.TEXT and character == "\n" else "a line break"
    if character == "\t" and type is FieldType.TEXT:
        return ""
    category = unicodedata.category(character)
    if category == "Cc":
        return "a control character"
    if category == "Cs":
        return "half a character"
    if 0xE0000 <= ord(character) <= 0xE007F:
        return "an invisible character"
    return ""


def _phone(text: str) -> str:
    # A national number would be another number abroad; E.164 begins with the country.
    wanted = "write a phone number with its country code, for example +49 30 1234567"
    international = "+" + text[2:] if text.startswith("00") else text
    try:
        number = phonenumbers.parse(international, None)
    except phonenumbers.NumberParseException:
        raise OfficeError(f"{shown(text)} is no phone number: {wanted}") from None
    if number.extension or not phonenumbers.is_possible_number(number):
        raise OfficeError(f"{shown(text)} is no phone number: {wanted}")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _email(text: str) -> str:
    parsed = address.parse(text)
    if parsed is None or "." not in parsed.domain or parsed.domain.startswith("["):
        raise OfficeError(f"{shown(text)} is no email address")
    return str(parsed)


def _date(text: str) -> str:
    for pattern in (r"\d{4}-\d\d-\d\d", r"\d{8}"):
        if re.fullmatch(pattern, text, re.ASCII):
            try:
                return date.fromisoformat(text).isoformat()
            except ValueError:
                break
    raise OfficeError(f"{shown(text)} is no date: write it as YYYY-MM-DD, for example 1984-02-29")


def _country(text: str) -> str:
    try:
        found = pycountry.countries.lookup(text)
    except LookupError:
        raise OfficeError(
            f"{shown(text)} is no country of ISO 3166: write its code or its English name, for example DE"
        ) from None
    return str(found.alpha_2)


def _iban(text: str) -> str:
    compact = re.sub(r"[ .-]", "", text).upper()
    # Structure and mod 97; not the national rules inside, which some banks break.
    if not compact.isascii() or not iban.is_valid(compact, check_country=False):
        raise OfficeError(f"{shown(text)} is no IBAN: its check digits or its length are wrong")
    return compact


def _url(text: str) -> str:
    wanted = "write it whole, for example https://anna.example/wishes"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise OfficeError(f"{shown(text)} is no URL: {wanted}") from None
    if parts.scheme.lower() not in ("http", "https") or not host or " " in text or port == 0:
        raise OfficeError(f"{shown(text)} is no URL: {wanted}")
    if parts.username is not None:
        raise OfficeError("a URL with a user name or password in it would give them away")
    return text


def _number(text: str) -> str:
    if re.fullmatch(r"[+-]?\d{1,100}(\.\d{1,100})?", text, re.ASCII):
        try:
            return format(Decimal(text), "f")
        except InvalidOperation:
            pass
    raise OfficeError(f"{shown(text)} is no number: write digits, with a point for decimals")


def _bool(text: str) -> str:
    folded = text.casefold()
    if folded in ("yes", "true", "1", "ja", "oui", "sí", "si"):
        return "yes"
    if folded in ("no", "false", "0", "nein", "non"):
        return "no"
    raise OfficeError(f"{shown(text)} is neither yes nor no")


def _as_it_is(text: str) -> str:
    return text


_BY_TYPE: dict[FieldType, Callable[[str], str]] = {
    FieldType.LINE: _as_it_is,
    FieldType.TEXT: _as_it_is,
    FieldType.PHONE: _phone,
    FieldType.EMAIL: _email,
    FieldType.DATE: _date,
    FieldType.COUNTRY: _country,
    FieldType.IBAN: _iban,
    FieldType.URL: _url,
    FieldType.NUMBER: _number,
    FieldType.BOOL: _bool,
}


def _edits(one: str, other: str) -> int:
    """Optimal string alignment distance; names are at most MAX_NAME long."""
    before: list[int] = []
    previous = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, previous = previous, row
    return previous[-1]
