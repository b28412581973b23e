"""A card, asked for field by field at a terminal: a person's first five minutes.

Promise: what is wrong is said at once and asked again, so that nothing typed is lost; sensitive values
are not echoed; nothing is stored before the last answer, so Ctrl-C leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from sortingoffice.cli.table import printable
from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.core import fields
from sortingoffice.core.model import FieldType, Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows import cards, sealed
from sortingoffice.flows.cards import Assignment
from sortingoffice.flows.sealed import Seal
from sortingoffice.frozen import dataclass

# The cards that most people want first, and what each usually holds.
USUAL = ("name", "contact", "shipping", "phone")
_SUGGESTED = {
    "name": ("full",),
    "phone": ("mobile",),
    "contact": ("phone", "email"),
    "postal": ("name", "street", "postcode", "city", "country", "phone"),
    "payment": ("holder", "iban", "bic"),
}
_HIDDEN = (Sensitivity.SENSITIVE, Sensitivity.SEALED)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answers:
    """seal  the person's passphrase, where the card is a sealed one"""

    chosen: list[Assignment]
    sensitivity: Sensitivity | None
    seal: Seal | None


def ask(terminal: Terminal, sensitivity: Sensitivity | None, kind: FieldType | None) -> Answers:
    """kind  the type that was given for all fields; None: their names suggest it"""
    office, account = terminal.office, terminal.account
    there = {row["card"]: row for row in office.db.view(cards.listing, account, office.clock())}
    wanting = [name for name in USUAL if name not in there]
    say(f"A card is a set of details that you give by its name. Most people want {', '.join(USUAL)}.")
    name = _again("Card", lambda text: _name(text, there, account.trigger), next(iter(wanting), ""))
    level = _level(name, there.get(name), sensitivity)
    seal = passphrase(terminal) if level is Sensitivity.SEALED else None
    now = {}
    if name in there:
        now = {row["field"]: row for row in office.db.view(sealed.show, office, account, name, seal)}
    say("An empty answer leaves a field as it is; Ctrl-C leaves everything as it was.")
    hidden = level in _HIDDEN
    chosen: dict[str, str] = {}
    suggested = _SUGGESTED.get(name) or _SUGGESTED.get(fields.kind_of(name), ())
    for key in dict.fromkeys((*suggested, *now)):
        _field(chosen, key, now.get(key), kind, hidden=hidden)
    while key := _again("Another field (empty: done)", _key, ""):
        _field(chosen, key, now.get(key), kind, hidden=hidden)
    assignments = [Assignment(name, key, value) for key, value in chosen.items()]
    return Answers(assignments, sensitivity if level is None else level, seal)


def farewell(terminal: Terminal, answers: Answers) -> None:
    """What the card is for, once it is stored."""
    card, account = answers.chosen[0].card, terminal.account
    say(f"In a mail to a vendor's address of yours, #{account.trigger} {card} alone on a line puts it in.")
    office = terminal.office
    there = [row["card"] for row in office.db.view(cards.listing, account, office.clock())]
    if more := [name for name in USUAL if name not in there]:
        say(f"Run it again for another card, such as {', '.join(more)}.")


def passphrase(terminal: Terminal) -> Seal:
    """The person's, tried at once; the first time it is asked for twice."""
    office, account = terminal.office, terminal.account
    first = office.db.view(sealed.any_version, account) is None
    if first:
        say("Nobody can open a sealed card without this passphrase, and nobody can give it back to you.")

    def tried(text: str) -> Seal:
        seal = Seal(text)
        office.db.view(sealed.check, office, account, seal)
        return seal

    seal = _again("Passphrase", tried, None, hide_input=True, confirmation_prompt=first)
    if number := sealed.recognised(office, account, seal):
        say(f"Your mail is held from now on where it shows one of {number} values that were sealed earlier.")
    return seal


def _again(question: str, read: Callable[[str], _T], default: str | None, **options: Any) -> _T:
    """Ask until the answer can be read."""
    while True:
        answer = click.prompt(question, default=default, show_default=bool(default), err=True, **options)
        try:
            return read(str(answer))
        except OfficeError as error:
            say(f"{error}.")


def _name(text: str, there: dict[str, dict[str, Any]], trigger: str) -> str:
    name = fields.name(text)
    if name == trigger:
        raise OfficeError(f'"{name}" is the word that asks for a card: choose another name')
    if there.get(name, {}).get("kind") == "view":
        raise OfficeError(f"{name} is a view: choose another name, or a card")
    return name


def _level(name: str, there: dict[str, Any] | None, given: Sensitivity | None) -> Sensitivity | None:
    """How sensitive the card is or will be; None: as usual."""
    if there is not None:
        is_now = Sensitivity(there["sensitivity"])
        return Sensitivity.SEALED if is_now is Sensitivity.SEALED else given or is_now
    if given is not None or fields.kind_of(name) != "payment":
        return given
    choice = click.Choice([str(each) for each in Sensitivity])
    asked = "Who may get it (open, normal: after your yes; sensitive: whom you permit; sealed: nobody)"
    return Sensitivity(
        click.prompt(asked, type=choice, default=str(Sensitivity.SENSITIVE), show_choices=False, err=True)
    )


def _key(text: str) -> str:
    return fields.name(text, "field") if text.strip() else ""


def _field(
    chosen: dict[str, str], key: str, now: dict[str, Any] | None, kind: FieldType | None, *, hidden: bool
) -> None:
    """One value; it is chosen where it is another than the one there is."""
    type = kind or (FieldType(now["type"]) if now is not None else fields.type_of(key))
    old = str(now["value"]) if now is not None and now["value"] is not None else ""

    def read(text: str) -> str:
        value = text.strip()
        try:
            return fields.normalise(type, value) if value else ""
        except OfficeError:
            if hidden:  # its sentence may say the value
                raise OfficeError(f"that can't be kept as a value of type {type}: type it again") from None
            raise

    question = fields.label(key)
    if hidden:
        question += " (unchanged; not shown)" if old else " (not shown)"
    elif old:
        question += f" [{printable(old)}]"
    value = _again(question, read, "", hide_input=hidden)
    chosen.pop(key, None)
    if value and value != old:
        chosen[key] = value
