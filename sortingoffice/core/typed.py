"""Card values that a person types by hand: what leaves so is written down, or must not leave.

Open and normal values leave and are recorded, otherwise `who-has` would lie; sensitive ones that
no grant covers and denied ones are for the leak guard to find.

Promise: a value that the vendor holds already, or that the message gives on request, is neither.

Sources: the cards document of the design, "Model"; mail.md, "The leak guard".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date

import phonenumbers

from sortingoffice.core import cards, fields
from sortingoffice.core.model import FieldType, GrantMode, Sensitivity
from sortingoffice.core.secrets import Kind, Secret, Secrets
from sortingoffice.core.wallet import Facts, Value


def withheld(facts: Facts, given: frozenset[str]) -> tuple[Secret, ...]:
    """What must not stand in this message.

    given  values that it gives on request
    """
    found: dict[str, Secret] = {}
    free = {value.text for value in _values(facts) if value.sensitivity is not Sensitivity.SENSITIVE}
    for value in _values(facts):
        if value.text is None or value.text in given:
            continue
        forbidden = cards.denied(facts, value) is not None
        if not forbidden and (
            value.sensitivity is not Sensitivity.SENSITIVE
            or value.text in free
            or cards.holds(facts.held, value)
            or _granted(facts, value)
        ):
            continue
        found.setdefault(value.text, _secret(value))
    return tuple(found.values())


def by_hand(facts: Facts, prose: Callable[[], Iterable[str]], given: frozenset[str]) -> tuple[Value, ...]:
    """The values that the person's own words give, and the vendor doesn't hold; each once.

    prose  the lines that the person wrote; asked for only where there is something to look for
    """
    sought: dict[str, Value] = {}
    for value in _values(facts):
        news = value.text is not None and value.text not in given and not cards.holds(facts.held, value)
        leaves = value.sensitivity is not Sensitivity.SENSITIVE or _granted(facts, value)
        if news and leaves and value.text is not None and cards.denied(facts, value) is None:
            sought.setdefault(value.text, value)
    if not sought:
        return ()
    secrets = {_secret(value): value for value in sought.values()}
    hits = Secrets(tuple(secrets)).hits("\n".join(prose()))
    seen = {hit.secret for hit in hits}
    return tuple(value for secret, value in secrets.items() if secret in seen)


def _values(facts: Facts) -> list[Value]:
    """What is long and rare enough to be recognised wherever it stands."""
    return [
        value
        for members in facts.wallet.cards.values()
        for value in members
        if value.text is not None and not value.own and fields.telling(value.type, value.text)
    ]


def _granted(facts: Facts, value: Value) -> bool:
    grant = cards.allowing(facts, value)
    return grant is not None and grant.mode is GrantMode.AUTO


def _secret(value: Value) -> Secret:
    assert value.text is not None, "asked for values only"
    return Secret(Kind.VALUE, value.text, f"your {value.named}", _forms(value.type, value.text))


def _forms(type: FieldType, text: str) -> tuple[str, ...]:
    """Other ways in which people write the same."""
    if type is FieldType.PHONE:
        number = phonenumbers.parse(text, None)
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        return (national, f"00{text[1:]}")
    if type is FieldType.DATE:
        day = date.fromisoformat(text)
        return tuple(day.strftime(form) for form in ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"))
    return ()
