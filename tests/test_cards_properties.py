"""The properties of the cards document at the gate itself, over random lives of a person and a vendor.

Each mail of the person's ends as exactly one of: a whole message, a question, a refusal with their words.
What left is in the ledger value by value, and stood under a grant, was held already, was typed by hand where
that is enough, or had the person's yes.
"""

from __future__ import annotations

import html as stdlib_html
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sortingoffice.core.model import (
    DeliveryState,
    Direction,
    GrantMode,
    RelationshipState,
    Sensitivity,
    SpooledMessage,
    Via,
)
from sortingoffice.errors import OfficeError
from sortingoffice.flows import consent, sealed
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.sealed import Seal
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from sortingoffice.store import cards as rows
from sortingoffice.store import ledger, schema, spool
from sortingoffice.store.database import Database
from tests.desk import Desk, assigned, open_desk

CARDS = ("home", "health", "secret")  # normal, sensitive, sealed
KEYS = ("name", "street", "born")
VIEWS = {"some": ("home.name", "home.born:year"), "adult": ("health.born:over-18",)}
BORN = {"home": "1984-02-29", "health": "2008-03-04"}
_VALUE = re.compile(r"Wert-[a-z]+-[a-z]+-\d+", re.IGNORECASE)

names = st.sampled_from([*CARDS, "home", "home", *VIEWS, "hom", "nothing"])
asks = st.one_of(
    st.builds(
        "#card {}{}".format, names, st.sampled_from(["", "", " name", " street name", " except born", " zip"])
    ),
    st.builds("#card {}".format, st.sampled_from(["home name", "home", "some", "adult"])),
    st.builds("so {{{{{}.{}}}}} it is".format, st.sampled_from(["home", "some"]), st.sampled_from(KEYS)),
    st.builds("> #card {}".format, names),
)
bodies = st.lists(st.one_of(asks, st.sampled_from(["Hello,", "see #hashtag", "-- "])), max_size=3)
layouts = st.sampled_from(["text", "html", "both", "both, different"])
acts = st.one_of(
    st.tuples(st.just("post"), bodies, layouts),
    st.tuples(st.just("post"), bodies, layouts),
    st.tuples(st.just("post"), asks.map(lambda each: [each]), layouts),
    st.tuples(st.just("answer"), st.sampled_from(["yes", "yes", "no", "yes always", "perhaps"])),
    st.tuples(st.just("type"), st.sampled_from([*CARDS, "secret"]), layouts),
    st.tuples(
        st.just("grant"),
        st.sampled_from(["home", "home", "health", *VIEWS]),
        st.sampled_from([(), ("name",), ("born",)]),
        st.sampled_from([GrantMode.AUTO, GrantMode.AUTO, GrantMode.ASK, GrantMode.NEVER]),
        st.sampled_from([None, 1]),
    ),
    st.tuples(st.just("ungrant"), st.sampled_from(["home", "some"])),
    st.tuples(st.just("change"), st.sampled_from(["home", "health"]), st.sampled_from(["name", "street"])),
    st.tuples(st.just("vendor"), bodies, layouts),
    st.tuples(st.just("deliver"), st.sampled_from([DeliveryState.DELIVERED, DeliveryState.RETURNED])),
    st.tuples(st.just("state"), st.sampled_from([RelationshipState.ACTIVE, RelationshipState.MUTED])),
    st.tuples(st.just("later"), st.sampled_from([-1, 1, 80])),
)  # fmt: skip


def as_mail(lines: list[str], layout: str) -> str:
    plain = "\n".join(lines)
    if layout == "text":
        return plain + "\n"
    shown = lines[:-1] if layout == "both, different" else lines
    rows_of = "".join(f"<div>{stdlib_html.escape(line)}</div>" for line in shown)
    if layout == "html":
        return f"Content-Type: text/html; charset=utf-8\n\n{rows_of}\n"
    return (
        "Content-Type: multipart/alternative; boundary=b\n\n--b\n"
        f"Content-Type: text/plain; charset=utf-8\n\n{plain}\n--b\n"
        f"Content-Type: text/html; charset=utf-8\n\n{rows_of}\n--b--\n"
    )


class Life:
    """A person, a vendor, and what has become of each mail."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.versions = 1
        self.posts = 0
        self.names = {card: f"Wert-{card}-name-1" for card in CARDS}
        self.whole: dict[int, str] = {}  # message → its text when it was spooled
        self.said_yes: set[int] = set()
        for card, level in (("home", None), ("health", Sensitivity.SENSITIVE)):
            desk.set(*(f"{card}.{key}=Wert-{card}-{key}-1" for key in KEYS[:2]), sensitivity=level)
            desk.set(f"{card}.born={BORN[card]}")
        values = assigned(["secret.name=Wert-secret-name-1"])
        desk.db.call(sealed.set_fields, desk.office, desk.account, values, SEAL, actor="test")
        for name, members in VIEWS.items():
            desk.view(name, *members)

    # ---- what can be seen

    def to_vendor(self) -> dict[int, tuple[SpooledMessage, DeliveryState]]:
        found = sa.select(schema.message).where(schema.message.c.direction == Direction.OUTWARD)

        def read(tx: sa.Connection) -> dict[int, tuple[SpooledMessage, DeliveryState]]:
            every = schema.every(SpooledMessage, tx.execute(found))
            return {each.id: (each, spool.deliveries(tx, each.id)[0].state) for each in every}

        return self.desk.db.view(read)

    def given(self, message_id: int) -> list[str]:
        """The ledger's values of a message."""
        keys = vaults.open_for(self.desk.office, self.desk.account)
        lines = self.desk.db.view(ledger.lines, self.desk.account.id, self.desk.now[0])
        return [
            keys.open(keys.item(line.disclosure_id, line.card, line.field), line.sealed)
            or self.names[line.card]  # a sealed value is told by its version
            for line in lines
            if line.message_id == message_id
        ]

    def held_values(self) -> set[tuple[str, bytes]]:
        found = self.desk.db.view(ledger.held, self.desk.shop.id)
        return {(f"{each.card}.{each.field}", each.mac) for each in found}

    def grants(self) -> list[Any]:
        return list(self.desk.db.view(rows.every_grant, self.desk.shop.id))

    # ---- what happens

    def act(self, act: tuple[Any, ...]) -> None:
        match act:
            case ("post", lines, layout):
                self.post(lines, layout)
            case ("type", card, layout):
                self.post([f"it is {self.names[card].upper()}."], layout)
            case ("answer", word):
                self.answer(word)
            case ("grant", card, keys, mode, uses):
                keys = tuple(key for key in keys if card in ("home", "health"))
                try:
                    self.desk.grant(card, fields=keys, mode=mode, uses=uses)
                except OfficeError:
                    return  # a denial stands in the way
            case ("ungrant", card):
                try:
                    self.desk.ungrant(card)
                except OfficeError:
                    return
            case ("change", card, key):
                self.versions += 1
                self.desk.later(minutes=1)
                self.desk.set(f"{card}.{key}=Wert-{card}-{key}-{self.versions}")
                if key == "name":
                    self.names[card] = f"Wert-{card}-{key}-{self.versions}"
            case ("vendor", lines, layout):
                before = self.grants()
                self.desk.receive(as_mail(["Dear customer", *lines], layout))
                assert self.grants() == before, "inbound mail changed a grant"
            case ("deliver", state):
                table = schema.delivery
                queued = table.update().where(table.c.state == "queued", table.c.contact_id.is_not(None))
                self.desk.db.call(lambda tx: tx.execute(queued.values(state=state, ended=self.desk.now[0])))
            case ("state", state):
                change = schema.relationship.update().values(state=state)
                self.desk.db.call(lambda tx: tx.execute(change))
            case ("later", hours):
                self.desk.later(hours=hours)
                self.desk.db.call(consent.expire, self.desk.office, self.desk.now[0])
            case _:
                raise AssertionError(act)

    def post(self, lines: list[str], layout: str) -> None:
        self.posts += 1
        mark = f"Anfang{self.posts}x"
        before, notices, had = self.to_vendor(), len(self.desk.notices()), self.held_values()
        granted = self.grants()
        self.desk.post(as_mail([mark, *lines, f"Ende{self.posts}x"], layout))
        fresh = {number: row for number, row in self.to_vendor().items() if number not in before}
        told = self.desk.notices()[notices:]
        assert len(fresh) <= 1, "two messages of one"
        if not fresh:
            event("refused")
            [note] = told
            assert note.subject.startswith("Not sent: ")
            assert mark.encode() in note.raw, "the person's words are lost"
            return
        [(number, (message, state))] = fresh.items()
        sent = "\n".join(leaf.text() or "" for leaf in mime.parse(Message.parse(message.raw)).leaves())
        self.whole[number] = sent
        assert mark in sent, "half a message"
        assert f"Ende{self.posts}x" in sent or layout == "both, different"
        if state is DeliveryState.HELD:
            event("held")
            assert len(told) == 1, "held, and nobody is asked"
            assert self.given(number) == []
            return
        event("sent")
        assert state is DeliveryState.QUEUED
        assert told == [], "sent, and refused or asked about as well"
        self.check_permitted(number, had, granted)

    def check_permitted(self, number: int, had: set[tuple[str, bytes]], granted: list[Any]) -> None:
        lines = self.desk.db.view(ledger.lines, self.desk.account.id, self.desk.now[0])
        for line in lines:
            if line.message_id != number:
                continue
            named = f"{line.card}.{line.field}"
            assert line.card != "secret", "a sealed value left"
            assert not any(g.mode is GrantMode.NEVER and self.live(g) and covers(g, named) for g in granted)
            allowed = any(g.mode is GrantMode.AUTO and self.live(g) and covers(g, named) for g in granted)
            by_hand = line.via is Via.TYPED and line.card == "home"
            assert (named, line.mac) in had or allowed or by_hand, f"{named} left without a grant"
            assert line.card != "health", "sensitive, and the way isn't known"

    def live(self, grant: Any) -> bool:
        return grant.ended is None and (grant.uses_left is None or grant.uses_left > 0)

    def answer(self, word: str) -> None:
        questions = [each for each in self.desk.notices() if b"yes." in each.raw.partition(b"\r\n\r\n")[0]]
        if not questions:
            return
        before = self.to_vendor()
        self.desk.answer(word, questions[-1])
        for number, (_, state) in self.to_vendor().items():
            if before[number][1] is DeliveryState.HELD and state is DeliveryState.QUEUED:
                assert word.startswith("yes")
                self.said_yes.add(number)
                event("let go")

    def check(self) -> None:
        """After each act: the ledger is what left, and nothing that left still asks."""
        for number, (_, state) in self.to_vendor().items():
            sent, values = self.whole[number], self.given(number)
            if state is DeliveryState.HELD or (
                state is DeliveryState.DROPPED and number not in self.said_yes
            ):
                if state is DeliveryState.HELD:
                    assert values == []
                continue
            told = {each for each in values if _VALUE.fullmatch(each)}
            left = {each.capitalize() for each in _VALUE.findall(sent)}
            assert told <= left, "the ledger says more than left"
            # What is typed once more is no news to the vendor, and no new line.
            assert left - told <= {each for other in self.whole for each in self.given(other)}
            assert all(each.lower() in sent.lower() for each in values), "the ledger says more than left"
            if values:
                asked = re.compile(r"^\s*#card (home|some|adult|health|secret)\b", re.MULTILINE)
                assert not asked.search(re.sub(r"<[^>]*>", "\n", sent)), "a directive is left"


def covers(grant: Any, named: str) -> bool:
    """Worked out the plain way, and not by the code under test."""
    card, _, key = named.partition(".")
    base = key.partition(":")[0]
    members = VIEWS.get(grant.card)
    if members is None:
        if grant.card != card:
            return False
    elif named not in members and f"{card}.{base}" not in members:
        return False
    return not grant.fields or bool({key, base} & set(json.loads(grant.fields)))


SEAL = Seal("correct horse battery")


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(life=st.lists(acts, min_size=2, max_size=9))
def test_each_mail_ends_once_and_the_ledger_is_what_left(
    sqlite_template: Path, life: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "office.sqlite"
        shutil.copy(sqlite_template, path)
        db = Database(f"sqlite:///{path}")
        try:
            lived = Life(open_desk(db, Path(folder)))
            for act in life:
                lived.act(act)
                lived.check()
        finally:
            db.close()
