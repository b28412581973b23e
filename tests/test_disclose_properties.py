"""The properties of the cards document, over random cards, grants, histories, texts and HTML."""

from __future__ import annotations

import html as stdlib_html
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sortingoffice.core.addressing import Problem
from sortingoffice.core.model import DeliveryState, GrantMode, Sensitivity
from sortingoffice.flows.disclose import Resolved
from sortingoffice.mail import mime
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk

CARDS = ("home", "shipping", "health")
KEYS = ("name", "street", "city")


def value(card: str, key: str, version: int = 1) -> str:
    """Distinct for each field and version, and not in any text that the tests write by hand."""
    return f"Wert-{card}-{key}-{version}"


@dataclass(frozen=True)
class Permit:
    """One `grant`."""

    card: str
    keys: tuple[str, ...]
    mode: GrantMode
    uses: int | None


def permits_of(card: str, keys: tuple[str, ...]) -> st.SearchStrategy[Permit]:
    chosen = st.sets(st.sampled_from(keys), max_size=2).map(lambda some: tuple(sorted(some)))
    return st.builds(
        Permit, st.just(card), chosen, st.sampled_from(GrantMode), st.sampled_from([None, None, 1])
    )


permits = st.one_of(
    st.sampled_from(CARDS).map(lambda card: Permit(card, (), GrantMode.AUTO, None)),
    st.sampled_from(CARDS).map(lambda card: Permit(card, (), GrantMode.AUTO, None)),
    st.sampled_from(CARDS).flatmap(lambda card: permits_of(card, KEYS)),
    permits_of("both", ("city", "name")),
)
names = st.sampled_from([*CARDS, "both", "shiping", "HOME", "ho\u200bme", "nothing"])
tails = st.sampled_from(
    ["", " name", " city name", " except city", " except name city street", " zip", " as text", " as x", "."]
)
directives = st.one_of(
    st.builds("#card {}{}".format, names, tails),
    st.builds("#{}{}".format, names, tails),
    st.builds("＃Card\u00a0{}{}".format, names, tails),
    st.builds("so {{{{{}.{}}}}} it is".format, names, st.sampled_from([*KEYS, "zip"])),
)
prose = st.sampled_from(
    ["Hello,", "", "see #hashtag", "# heading", "> quoted", "On 1.1.2026 12:00 x@y wrote:", "-- "]
)
lines = st.one_of(prose, prose, directives, st.builds("> {}".format, directives))
messy = st.lists(lines, max_size=5)
good = st.one_of(
    st.builds(
        "#card {}{}".format,
        st.sampled_from([*CARDS, "both"]),
        st.sampled_from(["", "", " name", " except city"]),
    ),
    st.builds("#{}".format, st.sampled_from(CARDS)),
    st.builds("so {{{{{}.{}}}}} it is".format, st.sampled_from(CARDS), st.sampled_from(KEYS)),
)
clean = st.lists(good, min_size=1, max_size=2, unique=True).map(lambda asks: ["Hello,", *asks, "Bye"])
texts = st.one_of(clean, clean, messy)
acts = st.one_of(
    st.tuples(st.just("receive"), texts),
    st.tuples(st.just("send"), texts, st.sampled_from([DeliveryState.DELIVERED, DeliveryState.RETURNED])),
    st.tuples(st.just("change"), st.sampled_from(CARDS), st.sampled_from(KEYS)),
)


def as_mail(written: list[str], layout: str) -> str:
    if layout == "text":
        return "\n".join(written) + "\n"
    rows = "".join(
        f"<blockquote>{stdlib_html.escape(line[2:])}</blockquote>"
        if line.startswith("> ")
        else f"<div>{stdlib_html.escape(line[:3])}<b>{stdlib_html.escape(line[3:])}</b></div>"
        for line in written
    )
    if layout == "html":
        return f"Content-Type: text/html; charset=utf-8\n\n{rows}\n"
    plain = "\n".join(written)
    return (
        "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n--b\n"
        f"Content-Type: text/plain; charset=utf-8\n\n{plain}\n--b\n"
        f"Content-Type: text/html; charset=utf-8\n\n{rows}\n--b--\n"
    )


class Oracle:
    """What the vendor may have, worked out the slow and plain way."""

    def __init__(self, permitted: list[Permit], sensitive: frozenset[str]) -> None:
        self.permits = permitted
        self.spent = [0] * len(permitted)
        self.sensitive = sensitive
        self.held: set[str] = set()
        self.current = {(card, key): value(card, key) for card in CARDS for key in KEYS}

    def allowed(self, card: str, key: str) -> bool:
        covering = [
            (number, permit)
            for number, permit in enumerate(self.permits)
            if (permit.card == card or (permit.card == "both" and (card, key) in BOTH))
            and (not permit.keys or key in permit.keys)
        ]
        if any(permit.mode is GrantMode.NEVER for _, permit in covering) or card in self.sensitive:
            return False
        if self.current[card, key] in self.held:
            return True
        return any(
            permit.mode is GrantMode.AUTO and (permit.uses is None or self.spent[number] < permit.uses)
            for number, permit in covering
        )


BOTH = (("home", "name"), ("shipping", "city"))


def written_out(outcome: Resolved) -> str:
    return "\n".join(leaf.text() or "" for leaf in mime.parse(outcome.message).leaves())


def check(desk: Desk, oracle: Oracle, mail: str, outcome: Resolved | Problem, before: int) -> None:
    rows = desk.disclosures()[before:]
    if isinstance(outcome, Problem):
        assert outcome.subject.startswith("Not sent: ")
        assert rows == [], "refused, and yet in the ledger"
        return
    if outcome.waiting is not None:
        assert rows == [], "held, and yet in the ledger"
        return
    sent = written_out(outcome)
    leaving = {(c, k) for (c, k), text in oracle.current.items() if text in sent and text not in mail}
    for card, key in leaving:
        assert oracle.allowed(card, key), f"{card}.{key} left without a grant"
    assert {(row["card"], row["field"]) for row in rows} == leaving, "the ledger differs from the message"
    assert not re.search(r"Wert-\w+-\w+-(?!\d)", sent)
    if leaving:  # whatever asked is gone, quoted or not: rule 3 lets no other one stand beside it
        bare = re.sub(
            r"<[^>]*>", "\n" if "<div>" in sent else "", sent.replace("<b>", "").replace("</b>", "")
        )
        for line in bare.splitlines():
            folded = line.replace("\u200b", "").replace("\u00a0", " ").casefold().strip()
            assert not re.match(r"[#＃](card )?(home|shipping|health|both)( |$)", folded), line


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    permitted=st.lists(permits, min_size=1, max_size=4, unique_by=lambda p: (p.card, p.keys)),
    sensitive=st.sets(st.sampled_from(CARDS), max_size=1).map(frozenset),
    history=st.lists(acts, max_size=4),
    text=texts,
    layout=st.sampled_from(["text", "html", "both"]),
)
def test_nothing_leaves_without_permission_and_the_ledger_equals_what_left(
    sqlite_template: Path,
    permitted: list[Permit],
    sensitive: frozenset[str],
    history: list[tuple[object, ...]],
    text: list[str],
    layout: str,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "office.sqlite"
        shutil.copy(sqlite_template, path)
        db = Database(f"sqlite:///{path}")
        try:
            _run(open_desk(db, Path(folder)), permitted, sensitive, history, text, layout)
        finally:
            db.close()


def _run(
    desk: Desk,
    permitted: list[Permit],
    sensitive: frozenset[str],
    history: list[tuple[object, ...]],
    text: list[str],
    layout: str,
) -> None:
    for card in CARDS:
        level = Sensitivity.SENSITIVE if card in sensitive else None
        desk.set(*(f"{card}.{key}={value(card, key)}" for key in KEYS), sensitivity=level)
    desk.view("both", *(f"{card}.{key}" for card, key in BOTH))
    for permit in permitted:
        desk.grant(permit.card, fields=permit.keys, mode=permit.mode, uses=permit.uses)
    oracle = Oracle(permitted, sensitive)
    grants_before = _grants(desk)
    for act in history:
        match act:
            case ("receive", list(written)):
                desk.receive(as_mail([*written], layout))
                assert _grants(desk) == grants_before or any(u.uses for u in permitted), (
                    "inbound mail changed a grant"
                )
            case ("send", list(written), DeliveryState() as state):
                _send(desk, oracle, as_mail([*written], layout), state)
            case ("change", str(card), str(key)):
                oracle.current[card, key] = value(card, key, 2)
                desk.later(minutes=1)
                desk.set(f"{card}.{key}={value(card, key, 2)}")
            case _:
                raise AssertionError(act)
    _send(desk, oracle, as_mail(text, layout), DeliveryState.DELIVERED)


def _send(desk: Desk, oracle: Oracle, mail: str, state: DeliveryState) -> None:
    before = len(desk.disclosures())
    outcome = desk.send(mail, state)
    check(desk, oracle, mail, outcome, before)
    if isinstance(outcome, Resolved):
        if outcome.waiting is not None:
            return
        used = {item.grant_id for each in outcome.filled for item in each.items if item.grant_id}
        for number in range(len(oracle.permits)):
            oracle.spent[number] += number + 1 in used  # the grants' ids, in a fresh database
        if state is DeliveryState.DELIVERED:
            for each in outcome.filled:
                oracle.held |= {item.value.text or "" for item in each.items}


def _grants(desk: Desk) -> list[tuple[object, ...]]:
    from sortingoffice.store import cards

    return [(g.id, g.mode, g.uses_left, g.ended) for g in desk.db.view(cards.grants, desk.shop.id)]
