"""Card values that a person types by hand: what leaves so is written down, or must not leave.

Open and normal values leave and are recorded, otherwise `who-has` would lie; sensitive ones that
no grant covers, denied and sealed ones are for the leak guard to find.

Promise: a value that the vendor holds already, or that the message gives on request, is neither.

Sources: the cards document of the design, "Model"; mail.md, "The leak guard".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortingoffice.core import cards, likeness, secrets
from sortingoffice.core.model import FieldType, GrantMode, Sensitivity
from sortingoffice.core.secrets import Secret, Secrets
from sortingoffice.core.wallet import Facts, Value
from sortingoffice.mail import folding
from sortingoffice.mail.folding import Folding

# What people write in ways that differ in more than blanks and signs.
_MANY_FORMS = frozenset({FieldType.PHONE, FieldType.DATE})


def withheld(facts: Facts, given: frozenset[str]) -> tuple[Secret, ...]:
    """What must not stand in this message.

    given  values that it gives on request
    """
    table = Folding()
    found: dict[str, Secret] = {}
    free = {value.text for value in _values(facts) if value.sensitivity is not Sensitivity.SENSITIVE}
    public = [text for text in (*free, *given) if text]
    for value in _values(facts):
        if value.text is None or value.text in given:
            continue
        forbidden = cards.denied(facts, value) is not None
        if not forbidden and (
            value.sensitivity is not Sensitivity.SENSITIVE
            or value.text in free
            or cards.holds(facts.held, value)
            or (facts.tls_verified and _granted(facts, value))
        ):
            continue
        if (secret := secrets.card_value(value, table)) is not None:
            found.setdefault(value.text, secret)
    return (*found.values(), *_sealed(facts, public, table))


def _sealed(facts: Facts, public: Iterable[str], table: Folding) -> Iterator[Secret]:
    """The values that only the person can open, but for those that are the same as a public one."""
    values = [
        (value, value.like)
        for members in facts.wallet.cards.values()
        for value in members
        if value.like is not None and not cards.holds(facts.held, value)
    ]
    if not values:
        return
    told = likeness.of(values[0][1].key, public, table)
    for value, like in values:
        secret = secrets.card_value(value, table)
        if secret is not None and not like.resembles(told):
            yield secret


def by_hand(facts: Facts, prose: Iterable[str], given: frozenset[str]) -> tuple[Value, ...]:
    """The values that the person's own words give, and the vendor doesn't hold; each once.

    prose  the lines that the person wrote
    """
    table = Folding()
    text = "\n".join(prose)
    skeleton = folding.skeleton(text, table)
    sought: dict[str, tuple[Secret, Value]] = {}
    for value in _values(facts):
        news = value.text is not None and value.text not in given and not cards.holds(facts.held, value)
        leaves = value.sensitivity is not Sensitivity.SENSITIVE or _granted(facts, value)
        if not news or not leaves or value.text is None or value.text in sought:
            continue
        letters = folding.skeleton(value.text, table)
        if value.type not in _MANY_FORMS and letters not in skeleton:
            continue
        secret = secrets.card_value(value, table)
        if secret is not None and cards.denied(facts, value) is None:
            sought[value.text] = (secret, value)
    if not sought:
        return ()
    hits = Secrets(tuple(secret for secret, _ in sought.values())).hits(text)
    seen = {hit.secret for hit in hits}
    return tuple(value for secret, value in sought.values() if secret in seen)


def held_by(facts: Facts) -> frozenset[str]:
    """What the vendor has already."""
    return frozenset(v.text for v in _values(facts) if v.text and cards.holds(facts.held, v))


def _values(facts: Facts) -> list[Value]:
    """Every value that is there; whether it can be recognised is for `secrets.card_value`."""
    return [
        value
        for members in facts.wallet.cards.values()
        for value in members
        if value.text is not None and not value.own
    ]


def _granted(facts: Facts, value: Value) -> bool:
    grant = cards.allowing(facts, value)
    return grant is not None and grant.mode is GrantMode.AUTO
