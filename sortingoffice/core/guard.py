"""The leak guard: reads the finished message as anybody could, and looks for what must not leave.

    guarded(message, facts) == (the message with what could safely be rewritten, what is left)

Every field, part, attached message, archive and encoding within an encoding is read
(`mail.readings`) and searched (`core.secrets`).  Where the person's mail client put an address, it
becomes the alias, in place and in the same encoding; in the person's own new prose, in attachments and in
what is signed nothing is touched: that is found, and told.

Promise: it never fails open (what can't be read within the budget is a finding), and it never mangles.

Sources: the design, "The leak guard"; RFC 1847 (what a signature covers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from sortingoffice.core import cleansed, outward, secrets, turned
from sortingoffice.core.checked import UNREAD, Checked, Found
from sortingoffice.core.outward import OutwardFacts
from sortingoffice.core.secrets import Secrets
from sortingoffice.frozen import dataclass
from sortingoffice.mail import charset, headers, html, inside, mime, parameters, quoting, readings
from sortingoffice.mail.layers import TOGETHER
from sortingoffice.mail.message import Field, Message
from sortingoffice.mail.mime import Entity
from sortingoffice.mail.quoting import Kind
from sortingoffice.mail.readings import Budget, Reading

_BUDGET = 1 << 26  # characters read in one message, above what it takes to read it a few times
_TIMES = 12
_NAME = 12  # octets; longer names of fields are looked at
_HIDES = re.compile(r"display\s*:|hidden|font-size\s*:\s*0|visibility\s*:|opacity\s*:", re.IGNORECASE)
_SEALED = frozenset({"multipart/signed", "multipart/encrypted"})


@dataclass(frozen=True, slots=True)
class _Place:
    """One thing that is read as a whole.

    exact      as in `Reading`
    encodings  whether encodings within it are undone, too
    shut       what can't be looked into there, for the person
    finer      the same in smaller places, looked at only where something was found: they tell where
    """

    where: str
    text: str
    safe: bool
    path: mime.Path
    exact: bool = True
    encodings: bool = True
    shut: str = ""
    finer: Callable[[], Iterator[_Place]] | None = None


def checked(message: Message, facts: OutwardFacts, others: tuple[secrets.Secret, ...] = ()) -> Checked:
    """What the person wrote, as it may go into the spool.

    Raises mime.TooComplex.
    """
    new, found = guarded(message, facts, others)
    return Checked(bytes(new), found)


def leaving(message: Message, facts: OutwardFacts, others: tuple[secrets.Secret, ...]) -> Checked:
    """The person's message, rewritten for the vendor, as it may go into the spool.

    Raises mime.TooComplex.
    """
    return checked(outward.rewrite(message, facts), facts, others)


def as_written(
    message: Message, sought: tuple[secrets.Secret, ...], *, own: Message | None = None
) -> Checked:
    """What the office itself wrote: nothing is rewritten.

    own  the message without what its reader wrote and gets back as it was: to find something there would
         tell the reader that a guess was right.  None: all of it is the office's

    Raises mime.TooComplex.
    """
    return Checked(bytes(message), scan(message if own is None else own, Secrets(sought)))


def guarded(
    message: Message, facts: OutwardFacts, others: tuple[secrets.Secret, ...] = ()
) -> tuple[Message, tuple[Found, ...]]:
    """The message with safe places rewritten, and what must be told to the person.

    others  private names, and card values that must not leave (beside the account's mailboxes)

    Raises mime.TooComplex.
    """
    sought = Secrets((*secrets.addresses(facts.mailboxes), *others))
    found = scan(message, sought)
    if not any(each.safe for each in found):
        return message, found
    new = cleansed.cleansed(message, sought, facts.alias)
    return new, tuple(replace(each, safe=False) for each in scan(new, sought))


def scan(message: Message, sought: Secrets) -> tuple[Found, ...]:
    """Everything that is found, each place and secret once.

    Raises mime.TooComplex.
    """
    root = mime.parse(message)
    budget = Budget(_BUDGET + _TIMES * len(message.body))
    found: dict[tuple[object, ...], Found] = {}
    for place in _places(root, budget):
        for each in _within(place, sought, budget):
            once = (each.path, each.where.partition(" (")[0].partition(", its ")[0], each.what)
            if each.safe or once not in found:
                found[once] = each
    if budget.spent:
        found[()] = Found("the message", UNREAD, safe=False)
    return tuple(found.values())


def _within(place: _Place, sought: Secrets, budget: Budget) -> list[Found]:
    """What one place holds; said of its smaller places where they show the same."""
    coarse = list(_search(place, sought, budget))
    if not coarse or place.finer is None:
        return coarse
    fine = [each for smaller in place.finer() for each in _search(smaller, sought, budget)]
    told = {each.what for each in fine}
    return [*fine, *(each for each in coarse if each.what not in told)]


def _search(place: _Place, sought: Secrets, budget: Budget) -> Iterator[Found]:
    if place.shut:
        yield Found(place.where, place.shut, False, place.path)
    seen: set[str] = set()
    whole = (Reading(place.text),)
    for reading in readings.of_text(place.text, budget) if place.encodings else whole:
        if reading.shut:
            yield Found(place.where, reading.shut, False, place.path)
        if reading.text in seen:
            continue
        if len(seen) < 100:
            seen.add(reading.text)
        where = f"{place.where} ({reading.how})" if reading.how else place.where
        told: set[tuple[secrets.Secret, bool]] = set()
        for hit in sought.hits(reading.text, exact=place.exact and reading.exact):
            safe = place.safe and not reading.how and hit.end > 0 and hit.secret.kind is secrets.Kind.ADDRESS
            if (hit.secret, safe) not in told:
                told.add((hit.secret, safe))
                around = hit.around or secrets.around(reading.text, hit.start, hit.end)
                yield Found(where, hit.secret.label, safe, place.path, around, hit.secret)


# ---- places --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """An entity as the walk comes to it.

    sealed  whether a signature or encryption covers it
    around  in which attached message it is, for the person: " of the attached message"
    where   what it is called
    octets  a leaf's content, decoded once
    text    of what is a text; None for what isn't, and where no charset of ours reads it
    """

    entity: Entity
    sealed: bool
    around: str
    where: str
    octets: bytes
    text: str | None
    budget: Budget


def _places(root: Entity, budget: Budget) -> Iterator[_Place]:
    for entity, sealed, around in _walk(root, sealed=False, around=""):
        where = _called(entity) + around
        octets = b"" if entity.children else entity.octets()
        seen = _Seen(entity, sealed, around, where, octets, _text(entity), budget)
        for rule in PLACES:
            yield from rule.places(seen)


def _walk(entity: Entity, *, sealed: bool, around: str) -> Iterator[tuple[Entity, bool, str]]:
    """Each entity; whether a signature or encryption covers it; in which attached message it is."""
    yield entity, sealed, around
    inner = sealed or entity.content_type in _SEALED
    if entity.children and not entity.content_type.startswith("multipart/"):
        around = f" of the attached message{f' {entity.filename}' if entity.filename else ''}"
    for child in entity.children:
        yield from _walk(child, sealed=inner, around=around)


def _fields(seen: _Seen) -> Iterator[_Place]:
    path = seen.entity.path
    for each in seen.entity.message.fields:
        name = each.name.decode("latin-1")
        where = f"the field {name}{seen.around}" if path else f"the {name}"
        for text in _field_texts(each):
            yield _Place(where, text, safe=not seen.sealed, path=path, exact=not _is_id(each))


def _field_names(seen: _Seen) -> Iterator[_Place]:
    for each in seen.entity.message.fields:
        if len(each.name) > _NAME:
            name = each.name.decode("latin-1")
            yield _Place(f"the name of a field{seen.around}", name, False, seen.entity.path, exact=False)


def _is_id(field: Field) -> bool:
    """An id's left side is anything, so letters before an address don't make it another one."""
    return field.name.lower() in (b"content-id", b"message-id", b"content-location")


def _field_texts(field: Field) -> Iterator[str]:
    """As it stands, as it is shown, and with its parameters put together."""
    raw = charset.decode(headers.unfold(field.value), "")
    yield raw
    if "=?" in raw:
        yield headers.decode(field.value)
    if b";" in field.value:
        for parameter in parameters.parse(field.value).parameters:
            yield parameter.value
            if "=?" in parameter.value:
                yield headers.decode(parameter.value.encode("utf-8", "replace"))


def _between(seen: _Seen) -> Iterator[_Place]:
    for octets in seen.entity.between if seen.entity.children else ():
        yield _Place(f"between the parts{seen.around}", octets.decode("latin-1"), False, seen.entity.path)


def _unreadable(seen: _Seen) -> Iterator[_Place]:
    shut = "" if seen.entity.children else _shut(seen.entity, seen.octets)
    if shut:
        yield _Place(seen.where, "", safe=False, path=seen.entity.path, shut=shut)


def _not_decoded(seen: _Seen) -> Iterator[_Place]:
    """What a decoder passes over stands there all the same."""
    leaf = seen.entity
    if not leaf.children and leaf.encoding in (
        "base64",
        "quoted-printable",
        "x-uuencode",
        "uuencode",
        "x-uue",
    ):
        raw = leaf.message.body.decode("latin-1")
        yield _Place(f"{seen.where} (not decoded)", raw, safe=False, path=leaf.path, encodings=False)


def _octets(seen: _Seen) -> Iterator[_Place]:
    leaf = seen.entity
    if leaf.children or (seen.text is not None and _plain(leaf.charset, seen.octets)):
        return
    for reading in readings.of_octets(seen.octets, seen.budget):
        yield _Place(
            f"{seen.where} ({reading.how})" if reading.how else seen.where,
            reading.text,
            safe=False,
            path=leaf.path,
            exact=reading.exact,
            encodings=False,
            shut=reading.shut,
        )


def _html(seen: _Seen) -> Iterator[_Place]:
    leaf = seen.entity
    text = seen.text
    if text is None or leaf.content_type != "text/html":
        return
    where, path = seen.where, leaf.path
    finer = None
    if not html.too_long(text):
        finer = partial(_markup, text, where, path, safe=not seen.sealed and not _attached(leaf))
    yield _Place(where, html.without_tags(text, TOGETHER), safe=False, path=path, finer=finer)
    yield _Place(f"{where}, its tags", html.only_tags(text), safe=False, path=path, finer=finer)
    yield _Place(f"{where}, its source", text, False, path, encodings=False, finer=finer)


def _html_as_shown(seen: _Seen) -> Iterator[_Place]:
    """Without what is hidden: letters between others."""
    leaf = seen.entity
    text = seen.text if leaf.content_type == "text/html" else None
    if text is not None and _HIDES.search(text) and not html.too_long(text):
        shown = "\n".join(line.text for line in html.visual_lines(text) if not line.hidden)
        yield _Place(f"{seen.where}, as it is shown", shown, safe=False, path=leaf.path)


def _texts(seen: _Seen) -> Iterator[_Place]:
    leaf = seen.entity
    text = seen.text
    if text is None or leaf.content_type == "text/html":
        return
    if leaf.content_type == "text/plain" and not seen.sealed and not _attached(leaf):
        finer = partial(_plain_text, text, seen.where, leaf.path)
        yield _Place(seen.where, text, safe=False, path=leaf.path, finer=finer)
    else:
        machine = leaf.content_type in turned.FORMS or leaf.content_type in cleansed.REPORTS
        yield _Place(seen.where, text, safe=machine and not seen.sealed, path=leaf.path)


def _text(leaf: Entity) -> str | None:
    textual = leaf.content_type.startswith(("text/", "message/")) or leaf.content_type in turned.FORMS
    return leaf.text() if textual and not leaf.children else None


def _attached(leaf: Entity) -> bool:
    return leaf.disposition == "attachment" or bool(leaf.filename)


def _shut(leaf: Entity, content: bytes) -> str:
    """What can't be read, by what the part says of itself."""
    if leaf.content_type.startswith("text/") and leaf.charset and not charset.known(leaf.charset):
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            return "text in a charset that can't be read"
    if leaf.filename.lower().endswith((".gpg", ".pgp")) and not content.startswith(b"-----BEGIN PGP"):
        return inside.ENCRYPTED
    return ""


def _plain(label: str, content: bytes) -> bool:
    """Whether the octets read as the text does: then reading them once is enough."""
    return charset.codec(label) in ("", "utf_8", "ascii", "latin_1", "cp1252") and b"\0" not in content


def _called(leaf: Entity) -> str:
    if leaf.filename or leaf.disposition == "attachment":
        return f'the attachment "{leaf.filename}"' if leaf.filename else "an attachment"
    return {
        "text/plain": "the text",
        "text/html": "the HTML text",
        "text/calendar": "the invitation",
        "application/pgp-signature": "the PGP signature",
        "application/pgp-keys": "the PGP key",
        "application/pkcs7-signature": "the S/MIME signature",
        "application/x-pkcs7-signature": "the S/MIME signature",
        "application/ms-tnef": "the winmail.dat",
    }.get(leaf.content_type, f"a part of type {leaf.content_type}")


_STRETCHES: Mapping[Kind, str] = {
    Kind.PROSE: "",
    Kind.ATTRIBUTION: ", the line above the quoted text",
    Kind.QUOTE: ", quoted",
    Kind.SIGNATURE: ", the signature",
    Kind.FORWARD: ", the forwarded header",
    Kind.SIGNED: ", which is signed",
}


def _plain_text(text: str, where: str, path: mime.Path) -> Iterator[_Place]:
    for each in quoting.of_text(text):
        stretch = text[each.start : each.end]
        safe = each.kind not in quoting.UNTOUCHED
        yield _Place(where + _STRETCHES[each.kind], stretch, safe, path)


def _markup(source: str, where: str, path: mime.Path, *, safe: bool) -> Iterator[_Place]:
    """What is shown, line by line; and what stands in tags, comments and style."""
    lines = html.visual_lines(source)
    for line, kind in zip(lines, quoting.of_html(lines), strict=True):
        yield _Place(where + _STRETCHES[kind], line.text, safe and kind not in quoting.UNTOUCHED, path)
    for token in html.tokens(source):
        octets = source[token.start : token.end]
        if token.kind is html.Kind.COMMENT:
            yield _Place(f"{where}, a comment", octets, safe, path)
        elif token.kind is html.Kind.RAW:
            yield _Place(f"{where}, its {token.name}", octets, safe, path)
        else:
            for each in token.attributes:
                yield _Place(f"{where}, a link or attribute", each.value, safe, path)


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    places: Callable[[_Seen], Iterator[_Place]]


PLACES: tuple[Rule, ...] = (
    Rule("fields", _fields),
    Rule("names of fields", _field_names),
    Rule("between the parts", _between),
    Rule("what can't be read", _unreadable),
    Rule("what a decoder passes over", _not_decoded),
    Rule("octets", _octets),
    Rule("HTML", _html),
    Rule("HTML as it is shown", _html_as_shown),
    Rule("text", _texts),
)
