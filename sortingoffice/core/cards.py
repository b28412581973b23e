"""May this go to this vendor?  The resolution of asked cards, as an ordered tuple of rules.

Facts in, outcome out: `Granted` with every value that will leave, `Waiting` for the person's
yes, or `Refused` with the words for the person.  Never more than one of them, and never a part.
Reading directives is `core.directive`, writing values into a mail `core.render`, and the rule
that looks at the written mail again is `nothing_remains`.

Promise: each item of a `Granted` is held by the vendor already, or a live grant covers it and
no deny does.  Order of RULES is the policy, top to bottom; `explain` shows a rule's name.

Sources: the cards document of the design, "Resolution".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sortingoffice.core import derive, fields
from sortingoffice.core.directive import Ask, Doubt
from sortingoffice.core.model import Grant, GrantMode, RelationshipState, Sensitivity
from sortingoffice.core.wallet import Facts, Held, Sight, Value, Wallet, selection
from sortingoffice.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """One value that will leave.

    new       the vendor doesn't hold exactly this value yet
    grant_id  the grant it leaves under; None where the vendor holds it, or the person said yes
    """

    value: Value
    new: bool
    grant_id: int | None


@dataclass(frozen=True, slots=True)
class Filled:
    """An ask with the items that take its place, in order."""

    ask: Ask
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    filled: tuple[Filled, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Everything is in order but the person's word: `filled` leaves if they say yes.

    what  why they are asked
    """

    rule: str
    what: str
    filled: tuple[Filled, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """what: the subject after "Not sent: "; hint: what to do."""

    rule: str
    what: str
    hint: str


Outcome = Granted | Waiting | Refused
Verdict = Waiting | Refused | None
Rule = Callable[[Facts], Verdict]
# Told each rule as it has judged, for `explain`; the judgement doesn't depend on it.
Watch = Callable[[str, Verdict], None]


def unwatched(rule: str, verdict: Verdict) -> None:
    """Nobody asks why."""


def asked(facts: Facts) -> bool:
    """Whether the message asks for anything.

    What stands in quoted text only, and is the vendor's own line, is its echo and no question; a
    line in quoted text that no vendor wrote is the person's, misplaced: they want to know.
    """
    if any(not sight.quoted for sight in facts.sights):
        return True
    lines = [sight.mark.line for sight in facts.sights if isinstance(sight.mark, Ask)]
    return "*" not in facts.planted and not facts.planted.issuperset(lines)


def resolve(facts: Facts, *, confirmed: frozenset[Held] = frozenset(), watch: Watch = unwatched) -> Outcome:
    """The whole resolution but for its last step, which needs the rendered mail.

    confirmed  values that the person said yes to, for this one message
    """
    waiting: Waiting | None = None
    for rule in RULES:
        verdict = rule(replace(facts, held=facts.held | confirmed))
        watch(rule.__name__, verdict)
        if isinstance(verdict, Refused):
            return verdict
        waiting = waiting or verdict
    if waiting is not None:
        return replace(waiting, filled=_filled(facts))
    return Granted(_filled(facts))


# ---- the rules, in the order of the design --------------------------------------------------------


def _refused(rule: str, what: str, hint: str) -> Refused:
    return Refused(rule, what, hint)


def sender_is_the_person(facts: Facts) -> Verdict:
    """1. Nobody else's text is even parsed; flows doesn't come here then."""
    if facts.authenticated:
        return None
    return _refused("sender_is_the_person", "the sender isn't proved", f"Nothing went to {facts.vendor}.")


def readable(facts: Facts) -> Verdict:
    """2. Candidates come from every text part, so every text part must be readable, and each line clear."""
    for sight in facts.sights:
        if isinstance(sight.mark, Doubt) and not sight.quoted:
            hint = f"Nothing went to {facts.vendor}. {sight.mark.hint}"
            if "unknown card" in sight.mark.what:
                hint += f"  Your cards: {_listed(facts.wallet.names)}."
            return _refused("readable", sight.mark.what, hint)
    if facts.unread:
        return _refused(
            "readable",
            "a part of this message can't be read",
            f"Nothing went to {facts.vendor}. Send it again as plain text.",
        )
    return None


def exactly_once(facts: Facts) -> Verdict:
    """3. Once per kind of body part, the same set in text and HTML, none in quoted text."""
    for ask in facts.asks:
        same = [s for s in facts.sights if isinstance(s.mark, Ask) and s.mark.line == ask.line]
        if any(sight.quoted for sight in same):
            return _twice(facts, ask, "once in quoted text")
        for kind in ("text", "html"):
            if sum(sight.kind == kind for sight in same) > 1:
                return _twice(facts, ask, "")
        if len({sight.kind for sight in same}) < len(facts.kinds):
            missing = next(iter(facts.kinds - {sight.kind for sight in same}))
            return _refused(
                "exactly_once",
                f'"{ask.line}" is missing in the {_KIND[missing]} version of this message',
                f"Nothing went to {facts.vendor}. Send it again as plain text, or with the line typed anew.",
            )
    for sight in facts.sights:
        if sight.quoted and isinstance(sight.mark, Ask):
            return _refused(
                "exactly_once",
                f'found "{sight.mark.line}" in quoted text',
                f"Nothing went to {facts.vendor}. Take the quoted text away, or write above it.",
            )
    return None


def not_the_vendors_line(facts: Facts) -> Verdict:
    """4. A line that the vendor has sent is the vendor's, wherever it stands: the security boundary."""
    for ask in facts.asks:
        if ask.line in facts.planted or "*" in facts.planted:
            what = f'"{ask.line}" is in mail from {facts.vendor}'
            return _refused(
                "not_the_vendors_line",
                what,
                f"Nothing went to {facts.vendor}. If it was you who typed it, write it another way, "
                f"for example with the fields' names, and without the quoted text.",
            )
    return None


def one_relationship(facts: Facts) -> Verdict:
    """5. All recipients are contacts of exactly one relationship."""
    if len(facts.vendors) + len(facts.outsiders) == 1 and facts.vendors:
        return None
    everybody = [*facts.vendors, *facts.outsiders]
    if not facts.vendors:
        return _refused("one_relationship", "this message goes to nobody you know here", "Nothing went out.")
    return _refused(
        "one_relationship",
        f"this message goes to {_count(len(everybody))} relationships ({', '.join(everybody[:5])})",
        "Nothing went out. Write to each of them in a message of its own.",
    )


def known_card(facts: Facts) -> Verdict:
    """6. The name is exactly one card or view; a near miss gets a suggestion."""
    for ask in facts.asks:
        if ask.name in facts.wallet.names:
            continue
        hint = f"Nothing went to {facts.vendor}. "
        if close := fields.near(ask.name, facts.wallet.names):
            hint += f"Did you mean  #{facts.trigger} {close} ?  "
        names = _listed(facts.wallet.names)
        hint += (
            f"Your cards: {names}." if names else 'You have no cards yet: "sortingoffice card set" makes one.'
        )
        return _refused("known_card", f"unknown card {fields.shown(ask.name)}", hint)
    return None


def every_field_has_a_value(facts: Facts) -> Verdict:
    """7. Missing means refused: never "N/A", never half."""
    for ask in facts.asks:
        keys = tuple(value.words[-1] for value in facts.wallet.members(ask.name))
        known = {word for value in facts.wallet.members(ask.name) for word in value.words}
        # The alias that stands for an address, and what the person's yes was about.
        known |= {v.key for v in selection(facts.wallet, ask) if v.own or v.named in facts.wallet.derived}
        for key in (*ask.fields, *ask.excepted):
            if key in known:
                continue
            hint = f"Nothing went to {facts.vendor}. "
            if close := fields.near(key, keys):
                hint += f'Did you mean "{close}"?  '
            hint += f"It has: {_listed(keys)}." if keys else "It is empty."
            what = f'card {ask.name} has no value for "{key}"'
            return _refused("every_field_has_a_value", what, hint)
        chosen = selection(facts.wallet, ask)
        if not chosen:
            what = f"{fields.shown(ask.line)} leaves no field to send"
            return _refused("every_field_has_a_value", what, f"Nothing went to {facts.vendor}.")
        for value in chosen:
            if value.text is None and value.sensitivity is not Sensitivity.SEALED:
                return _refused(
                    "every_field_has_a_value",
                    f'card {ask.name} has no value for "{value.words[-1]}"',
                    f"Nothing went to {facts.vendor}. Set it: sortingoffice card set {value.whole}=…",
                )
    return None


def permitted(facts: Facts) -> Verdict:
    """8. Denied, sealed, not active, grant expired or used up."""
    if facts.state is not RelationshipState.ACTIVE:
        return _refused(
            "permitted",
            f"{facts.vendor} is {facts.state}",
            f'Nothing went to {facts.vendor}. Make it active first: "sortingoffice resume" or "restore".',
        )
    for ask, value in _asked(facts):
        if denied(facts, value) is not None:
            return _refused(
                "permitted",
                f"{value.named} is never given to {facts.vendor}",
                f"Nothing went to {facts.vendor}. You denied it; ungrant takes the denial away.",
            )
        if value.sensitivity is Sensitivity.SEALED:
            return _refused(
                "permitted",
                f"card {value.card} is sealed",
                f"Nothing went to {facts.vendor}. Only you can open it, at a terminal: "
                f"sortingoffice card show {value.card} --reveal",
            )
        spent = [g for g in covering(facts, value) if not live(g, facts.now)]
        if spent and allowing(facts, value) is None:
            return _refused("permitted", _spent(spent[-1], facts), _again(facts, ask))
    return None


def new_information_needs_a_yes(facts: Facts) -> Verdict:
    """9. Held already, or a covering `auto` grant; else ask, or refuse what is sensitive."""
    waiting: Waiting | None = None
    for ask, value in _asked(facts):
        if holds(facts.held, value):
            continue
        grant = allowing(facts, value)
        if grant is not None and grant.mode is GrantMode.AUTO:
            continue
        if grant is None and value.sensitivity is Sensitivity.SENSITIVE:
            return _refused(
                "new_information_needs_a_yes",
                f"{value.named} is sensitive and not granted to {facts.vendor}",
                _again(facts, ask),
            )
        if waiting is None:
            why = f"card {ask.name} is not granted to {facts.vendor}"
            if grant is not None:
                why = f"you want to be asked before card {ask.name} goes to {facts.vendor}"
            waiting = Waiting("new_information_needs_a_yes", why)
    return waiting


def sensitive_needs_verified_tls(facts: Facts) -> Verdict:
    """10. Sensitive values travel over verified TLS, or the person decides knowingly."""
    if facts.tls_verified:
        return None
    for _, value in _asked(facts):
        if value.sensitivity is Sensitivity.SENSITIVE:
            return Waiting(
                "sensitive_needs_verified_tls",
                f"{value.named} is sensitive, and the way to {facts.vendor} is not known to be encrypted",
            )
    return None


RULES: tuple[Rule, ...] = (
    sender_is_the_person,
    readable,
    exactly_once,
    not_the_vendors_line,
    one_relationship,
    known_card,
    every_field_has_a_value,
    permitted,
    new_information_needs_a_yes,
    sensitive_needs_verified_tls,
)


def nothing_remains(vendor: str, sights: tuple[Sight, ...]) -> Refused | None:
    """11. The written mail is read again; what still asks is our bug or a trick, and nothing leaves."""
    for sight in sights:
        return _refused(
            "nothing_remains",
            f"{fields.shown(sight.mark.line)} would have stayed in the message",
            f"Nothing went to {vendor}. Send it again as plain text.",
        )
    return None


# The eleven steps by name, in their order.
STEPS: tuple[str, ...] = (*(rule.__name__ for rule in RULES), nothing_remains.__name__)


# ---- what the rules ask -----------------------------------------------------------------------------


def holds(held: frozenset[Held], value: Value) -> bool:
    """Whether a vendor with this ledger has exactly this value.

    A short value ("yes", "DE") means what its card means, so there the card counts too; a sealed one's MAC
    is of no other.
    """
    if value.own:
        return True
    if not value.mac or (value.text is None and value.like is None):
        return False
    same = [each for each in held if each.mac == value.mac and each.field == value.key]
    if not same or any(each.card == value.card for each in same):
        return bool(same)
    return value.text is not None and fields.telling(value.type, value.text)


def covers(grant: Grant, value: Value, wallet: Wallet) -> bool:
    """Whether a grant speaks of this field, through a card's name or a view's.

    Whoever may have a date may have its year, and where the date is denied, so is the year.
    """
    if grant.card in wallet.cards:
        if grant.card != value.card:
            return False
    elif not {value.named, value.whole}.intersection(wallet.views.get(grant.card, ())):
        return False
    keys = (value.key, derive.split(value.key)[0])
    return not grant.fields or not set(keys).isdisjoint(json.loads(grant.fields))


def covering(facts: Facts, value: Value) -> tuple[Grant, ...]:
    """Every grant but a deny that speaks of this field, live or not."""
    return tuple(g for g in facts.grants if g.mode is not GrantMode.NEVER and covers(g, value, facts.wallet))


def allowing(facts: Facts, value: Value) -> Grant | None:
    """The live grant under which it leaves: `auto` before `ask`, the older before the newer."""
    found = [grant for grant in covering(facts, value) if live(grant, facts.now)]
    return min(found, key=lambda g: (g.mode is not GrantMode.AUTO, g.id), default=None)


def denied(facts: Facts, value: Value) -> Grant | None:
    for grant in facts.grants:
        if grant.mode is GrantMode.NEVER and live(grant, facts.now) and covers(grant, value, facts.wallet):
            return grant
    return None


def live(grant: Grant, now: datetime) -> bool:
    return (
        grant.ended is None
        and (grant.not_before is None or grant.not_before <= now)
        and (grant.expires is None or now < grant.expires)
        and (grant.uses_left is None or grant.uses_left > 0)
    )


def _asked(facts: Facts) -> list[tuple[Ask, Value]]:
    return [(ask, value) for ask in facts.asks for value in selection(facts.wallet, ask)]


def _filled(facts: Facts) -> tuple[Filled, ...]:
    return tuple(
        Filled(ask, tuple(_leaving(facts, value) for value in selection(facts.wallet, ask)))
        for ask in facts.asks
    )


def _leaving(facts: Facts, value: Value) -> Item:
    new = not holds(facts.held, value)
    grant = allowing(facts, value) if new else None
    return Item(value, new, grant.id if grant is not None else None)


# ---- words ------------------------------------------------------------------------------------------

_KIND = {"text": "plain-text", "html": "HTML"}
_NUMBERS = ("no", "one", "two", "three", "four", "five")


def _twice(facts: Facts, ask: Ask, where: str) -> Refused:
    what = f'found "{ask.line}" twice' + (f" ({where})" if where else "")
    return _refused(
        "exactly_once",
        what,
        f"Nothing went to {facts.vendor}. Take the quoted text away and send it again."
        if where
        else f"Nothing went to {facts.vendor}. Leave it in once and send it again.",
    )


def _again(facts: Facts, ask: Ask) -> str:
    only = f" --fields {','.join(ask.fields)}" if ask.fields else ""
    grant = f"sortingoffice grant {facts.slug} {ask.name}{only}"
    return f"Nothing went to {facts.vendor}. Allow it: {grant}, then send it again."


def _spent(grant: Grant, facts: Facts) -> str:
    if grant.uses_left is not None and grant.uses_left <= 0:
        return f"the grant of {grant.card} to {facts.vendor} is used up"
    if grant.expires is not None and grant.expires <= facts.now:
        return f"the grant of {grant.card} to {facts.vendor} expired on {grant.expires:%Y-%m-%d}"
    return f"the grant of {grant.card} to {facts.vendor} hasn't begun yet"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")


def _count(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)
