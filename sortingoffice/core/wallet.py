"""What the resolution of cards looks at: the person's values, what was asked, what a vendor holds.

Frozen values without rules; `core.cards` judges them, `flows.wallets` gathers them.

Sources: the cards document of the design, "Model".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime

from sortingoffice.core import derive
from sortingoffice.core.directive import Ask, Doubt
from sortingoffice.core.likeness import Likeness
from sortingoffice.core.model import FieldType, Grant, RelationshipState, Sensitivity
from sortingoffice.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """One field of a card as it is now, or what a view derives of one.

    key         its name; `birthday:over-18` for what is derived, with the version that it comes from
    text        the current value; None where it has none, or where only the person can open it
    version_id  None for a value that isn't stored
    mac         of the value; empty where there is none
    own         the relationship's own alias, which stands for an `email` that isn't set: no news to
                this vendor, and never the mailbox
    like        what a sealed value is known by, where it is typed by hand; None of all others, and of one
                that was sealed before there were likenesses
    """

    card: str
    key: str
    type: FieldType
    sensitivity: Sensitivity
    text: str | None
    version_id: int | None = None
    number: int = 0
    mac: bytes = b""
    own: bool = False
    like: Likeness | None = None

    @property
    def named(self) -> str:
        return f"{self.card}.{self.key}"

    @property
    def derivation(self) -> str:
        """ "over-18"; "" for the value itself."""
        return derive.split(self.key)[1]

    @property
    def whole(self) -> str:
        """The field that it is, or comes from, as "card.field"."""
        return f"{self.card}.{derive.split(self.key)[0]}"

    @property
    def words(self) -> tuple[str, ...]:
        """What it may be asked for by, in a directive."""
        return (self.key, self.derivation) if self.derivation else (self.key,)


@dataclass(frozen=True, slots=True)
class Wallet:
    """What the account has.

    cards    name → its fields, in the person's order
    views    name → "card.field" or "card.field:derivation", in the person's order
    email    the relationship's alias as a value of no card; None outside a relationship
    derived  "card.field:derivation" → what it is today
    """

    cards: Mapping[str, tuple[Value, ...]]
    views: Mapping[str, tuple[str, ...]]
    email: Value | None = None
    derived: Mapping[str, Value] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({*self.cards, *self.views}))

    def members(self, name: str) -> tuple[Value, ...]:
        """The fields of a card or a view; a view's member that is gone has no value."""
        if name in self.cards:
            return tuple(self._or_alias(value) for value in self.cards[name])
        return tuple(self.member(named) for named in self.views.get(name, ()))

    def member(self, named: str) -> Value:
        if named in self.derived:
            return self.derived[named]
        card, _, key = named.partition(".")
        for value in self.cards.get(card, ()):
            if value.key == key:
                return self._or_alias(value)
        return self._or_alias(Value(card, key, FieldType.LINE, Sensitivity.NORMAL, None))

    def _or_alias(self, value: Value) -> Value:
        """`card.email` defaults to the relationship's own alias."""
        if value.text is not None or value.key != "email" or self.email is None:
            return value
        return replace(self.email, card=value.card)


def selection(wallet: Wallet, ask: Ask) -> tuple[Value, ...]:
    """The fields asked for: the named ones in the order of the ask, or all, but the excepted."""
    members = wallet.members(ask.name)
    if not ask.fields:
        return _but(members, ask)
    by_key: dict[str, list[Value]] = {}
    for value in members:
        for word in value.words:
            by_key.setdefault(word, []).append(value)
    for key in ask.fields:
        if (derived := wallet.derived.get(f"{ask.name}.{key}")) is not None:
            by_key.setdefault(key, [derived])
    if "email" not in by_key and ask.name in wallet.cards:
        alias = wallet.member(f"{ask.name}.email")
        by_key["email"] = [alias] if alias.own else []
    named = [value for key in dict.fromkeys(ask.fields) for value in by_key.get(key, ())]
    return _but(dict.fromkeys(named), ask)


def _but(values: Iterable[Value], ask: Ask) -> tuple[Value, ...]:
    return tuple(value for value in values if not set(value.words) & set(ask.excepted))


@dataclass(frozen=True, slots=True)
class Held:
    """What a vendor already has: one value of the ledger."""

    card: str
    field: str
    mac: bytes


@dataclass(frozen=True, slots=True)
class Sight:
    """One mark as it stands in one body part.

    kind    "text", "html" or "subject"
    part    the part's path, for saying where
    quoted  in quoted or hidden text
    """

    mark: Ask | Doubt
    kind: str
    part: tuple[int, ...]
    quoted: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the rules look at.

    vendors        names of the relationships that the recipients belong to
    slug           the relationship, as commands call it
    outsiders      recipients that are nobody's contact
    unread         kinds of body parts that could not be read
    planted        lines (normal form) that occurred in the vendor's own mail; "*" for all
    held           what this vendor has
    grants         the relationship's live and past ones; ended ones left out
    tls_verified   whether the route to every recipient is known to be verified TLS
    kinds          of the body parts that there are: "text", "html"
    """

    authenticated: bool
    sights: tuple[Sight, ...]
    unread: tuple[str, ...]
    planted: frozenset[str]
    vendors: tuple[str, ...]
    slug: str
    outsiders: tuple[str, ...]
    state: RelationshipState
    wallet: Wallet
    grants: tuple[Grant, ...]
    held: frozenset[Held]
    tls_verified: bool
    now: datetime
    kinds: frozenset[str] = frozenset({"text"})
    trigger: str = "card"

    @property
    def vendor(self) -> str:
        return self.vendors[0] if self.vendors else "anybody"

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Each set asked for once, in the order of the first part that asks."""
        seen: dict[str, Ask] = {}
        for sight in self.sights:
            if isinstance(sight.mark, Ask) and not sight.quoted:
                seen.setdefault(sight.mark.line, sight.mark)
        return tuple(seen.values())
