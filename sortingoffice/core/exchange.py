"""Cards in the formats of others: vCard 3.0 and 4.0, JSContact 2.0; and vCards as cards.

Promise: every value goes into what is written, as it is in the ledger; what has no place of its own
stands in a note, under its label.  No identifier is shared between relationships.

Sources: RFC 2426 §3, RFC 6350 §6 (properties), RFC 9553 and RFC 9982 (JSContact), RFC 9555 (conversion).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from sortingoffice.core import fields, render
from sortingoffice.core.model import FieldType
from sortingoffice.core.wallet import Value
from sortingoffice.frozen import dataclass
from sortingoffice.mail import vcard
from sortingoffice.mail.vcard import Property

CONTENT_TYPE = {
    "vcard": "text/vcard; charset=utf-8",
    "vcard4": "text/vcard; charset=utf-8; version=4.0",
    "jscontact": "application/jscontact+json",
}

_FULL = frozenset({"name", "full", "full-name", "fn"})
_GIVEN = frozenset({"given", "first", "given-name", "first-name", "firstname"})
_FAMILY = frozenset({"family", "last", "family-name", "last-name", "lastname", "surname"})
_ORG = frozenset({"org", "organisation", "organization", "company"})
_TITLE = frozenset({"title", "job", "role"})
_NAMES = (("full", _FULL), ("given", _GIVEN), ("family", _FAMILY), ("org", _ORG), ("title", _TITLE))
# ADR's components in their order (RFC 6350 §6.3.1), and the names that people give them.
_ADDRESS = (
    ("po-box", frozenset({"po-box", "pobox"})),
    ("extended", frozenset({"extended", "apartment", "street2", "line2", "c-o", "co"})),
    ("street", frozenset({"street", "address", "street-address", "line1"})),
    ("city", frozenset({"city", "town", "locality"})),
    ("region", frozenset({"region", "state", "province", "canton"})),
    ("postcode", frozenset({"postcode", "zip", "postal-code", "plz"})),
    ("country", frozenset({"country"})),
)
ADDRESS = frozenset(place for place, _ in _ADDRESS)
_JS_KIND = {
    "po-box": "postOfficeBox",
    "extended": "apartment",
    "street": "name",
    "city": "locality",
    "region": "region",
    "postcode": "postcode",
    "country": "country",
}
_TAKEN = {"N": 2, "ORG": 1, "ADR": len(_ADDRESS)}  # components that have a field
_NO_YEAR = "1604"  # as Apple's address book writes a birthday without its year
_PHONE_TYPES = {"mobile": "cell", "fax": "fax", "work-phone": "work", "home-phone": "home"}


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Values by what they are; the lists keep the person's order."""

    full: str
    given: str
    family: str
    org: str
    title: str
    address: dict[str, str]
    phones: list[Value]
    emails: list[Value]
    urls: list[Value]
    born: str
    notes: list[tuple[str, str]]

    def name(self, otherwise: str) -> str:
        """FN is never empty (RFC 6350 §6.2.1)."""
        joined = f"{self.given} {self.family}".strip()
        return self.full or joined or self.org or otherwise


def write(form: str, values: Sequence[Value], *, uid: str, otherwise: str) -> bytes:
    """The values as a file.

    form       "vcard", "vcard4" or "jscontact"
    uid        "" for none; never one that another relationship gets
    otherwise  what stands for a name where no value is one
    """
    found = _sorted(values)
    if form == "jscontact":
        return _jscontact(found, uid, otherwise)
    properties = _properties(found, uid, otherwise, version4=form == "vcard4")
    return vcard.serialize(properties, "4.0" if form == "vcard4" else "3.0")


def _sorted(values: Sequence[Value]) -> _Sorted:
    one = dict.fromkeys(("full", "given", "family", "org", "title", "born"), "")
    address: dict[str, str] = {}
    phones: list[Value] = []
    emails: list[Value] = []
    urls: list[Value] = []
    notes: list[tuple[str, str]] = []
    for value, label in zip(values, render.labels(tuple(values)), strict=True):
        text = value.text or ""
        place = _place(value)
        if value.type is FieldType.PHONE:
            phones.append(value)
        elif value.type is FieldType.EMAIL:
            emails.append(value)
        elif value.type is FieldType.URL:
            urls.append(value)
        elif place in one and not one[place]:
            one[place] = text
        elif place and place not in one and place not in address:
            address[place] = text
        else:
            notes.append((label, text))
    return _Sorted(address=address, phones=phones, emails=emails, urls=urls, notes=notes, **one)


def _place(value: Value) -> str:
    """What a field is by its name: an element of the name or the address, or ""."""
    key = value.derivation if value.derivation in ("town", "country") else value.key
    if value.type is FieldType.DATE:
        return "born" if key in ("birthday", "birthdate", "born", "bday") else ""
    for place, keys in (
        ("full", _FULL),
        ("given", _GIVEN),
        ("family", _FAMILY),
        ("org", _ORG),
        ("title", _TITLE),
    ):
        if key in keys:
            return place
    return next((place for place, keys in _ADDRESS if key in keys), "")


def _properties(found: _Sorted, uid: str, otherwise: str, *, version4: bool) -> Iterable[Property]:
    name = found.name(otherwise)
    yield Property("FN", (name,))
    family, given = found.family, found.given
    if not family and not given and found.full:
        given, _, family = name.rpartition(" ")
    yield Property("N", (family, given, "", "", ""))
    if found.org:
        yield Property("ORG", (found.org,))
    if found.title:
        yield Property("TITLE", (found.title,))
    if found.address:
        parts = tuple(found.address.get(place, "") for place, _ in _ADDRESS)
        yield Property("ADR", parts, ("home",))
    for phone in found.phones:
        kind = _PHONE_TYPES.get(phone.key, "voice")
        yield Property("TEL", (phone.text or "",), (kind,))
    for email in found.emails:
        yield Property("EMAIL", (email.text or "",), () if version4 else ("internet",))
    for url in found.urls:
        yield Property("URL", (url.text or "",))
    if found.born:
        yield Property("BDAY", (found.born.replace("-", "") if version4 else found.born,))
    if found.notes:
        yield Property("NOTE", ("\n".join(f"{label}: {text}" for label, text in found.notes),))
    if uid:
        yield Property("UID", (uid,))


def _jscontact(found: _Sorted, uid: str, otherwise: str) -> bytes:
    """RFC 9553 §2, version 2.0 (RFC 9982 §2: the uid is optional)."""
    card: dict[str, Any] = {"@type": "Card", "version": "2.0"}
    if uid:
        card["uid"] = uid
    components = [
        {"kind": kind, "value": text}
        for kind, text in (("given", found.given), ("surname", found.family))
        if text
    ]
    card["name"] = {"full": found.name(otherwise), **({"components": components} if components else {})}
    if found.org:
        card["organizations"] = {"o1": {"name": found.org}}
    if found.title:
        card["titles"] = {"t1": {"name": found.title}}
    if found.address:
        parts = [{"kind": _JS_KIND[place], "value": text} for place, text in found.address.items()]
        address: dict[str, Any] = {"components": parts}
        if len(code := found.address.get("country", "")) == 2:
            address["countryCode"] = code
        card["addresses"] = {"a1": address}
    if found.phones:
        card["phones"] = {f"p{n}": _js_phone(phone) for n, phone in enumerate(found.phones, 1)}
    if found.emails:
        card["emails"] = {f"e{n}": {"address": email.text} for n, email in enumerate(found.emails, 1)}
    if found.urls:
        card["links"] = {f"l{n}": {"uri": url.text} for n, url in enumerate(found.urls, 1)}
    if found.born:
        day = date.fromisoformat(found.born)
        birth = {"@type": "PartialDate", "year": day.year, "month": day.month, "day": day.day}
        card["anniversaries"] = {"b1": {"kind": "birth", "date": birth}}
    if found.notes:
        notes = enumerate(found.notes, 1)
        card["notes"] = {f"n{n}": {"note": f"{label}: {text}"} for n, (label, text) in notes}
    return json.dumps(card, ensure_ascii=False, indent=2).encode() + b"\n"


def _js_phone(phone: Value) -> dict[str, Any]:
    feature = {"mobile": "mobile", "fax": "fax"}.get(phone.key, "voice")
    return {"number": phone.text, "features": {feature: True}}


# ---- in -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """One value of a vCard: the field it belongs to."""

    card: str
    key: str
    value: str


def read(properties: Sequence[Property]) -> tuple[tuple[Found, ...], tuple[str, ...]]:
    """The fields of a vCard, and what of its properties has no place here.

    Of two addresses for one card the first is taken whole: their parts are never mixed.
    """
    found: dict[tuple[str, str], Found] = {}
    left_out: list[str] = []
    addresses: set[str] = set()
    for each in properties:
        taken = [one for one in _fields(each) if one.value.strip()]
        if each.name == "ADR" and taken:
            if taken[0].card in addresses:
                left_out.append(f"another ADR ({taken[0].card})")
                continue
            addresses.add(taken[0].card)
        if not taken and any(part.strip() for part in each.components):
            left_out.append(each.name)
        for one in taken:
            if found.setdefault((one.card, one.key), one).value != one.value:
                left_out.append(f"another {each.name} ({one.card}.{one.key})")
        if any(part.strip() for part in each.components[_TAKEN.get(each.name, len(each.components)) :]):
            left_out.append(f"the rest of {each.name}")
    return tuple(found.values()), tuple(dict.fromkeys(left_out))


def _fields(each: Property) -> list[Found]:
    padded = (*each.components, *[""] * 7)
    match each.name:
        case "FN":
            return [Found("name", "full", each.text)]
        case "N":
            return [Found("name", "family", padded[0]), Found("name", "given", padded[1])]
        case "ORG":
            return [Found("work", "org", padded[0])]
        case "TITLE":
            return [Found("work", "title", each.text)]
        case "BDAY" if each.text.startswith(_NO_YEAR):
            return []
        case "BDAY":
            return [Found("name", "birthday", each.text.partition("T")[0].replace("-", ""))]
        case "ADR":
            card = "work" if "work" in each.types else "home"
            parts = zip(_ADDRESS, padded, strict=False)
            return [Found(card, place, ", ".join(_lines(text))) for (place, _), text in parts]
        case "TEL":
            return [Found("contact", _phone_key(each.types), each.text.removeprefix("tel:"))]
        case "EMAIL":
            return [Found("contact", "email", each.text)]
        case "URL":
            return [Found("contact", "url", each.text)]
        case "NOTE":
            return [Found("contact", "note", each.text)]
        case _:
            return []


def _lines(text: str) -> Iterable[str]:
    """Google and Apple write the lines of a street into its one component."""
    return filter(None, map(str.strip, text.split("\n")))


def _phone_key(types: tuple[str, ...]) -> str:
    if "cell" in types:
        return "mobile"
    return "fax" if "fax" in types else "work-phone" if "work" in types else "phone"


def type_of(key: str) -> FieldType:
    return (
        FieldType.TEXT if key == "note" else FieldType.PHONE if key == "work-phone" else fields.type_of(key)
    )
