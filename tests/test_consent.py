"""Held for the person's word: asked in full, heard once, and nothing half sent whatever changes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import GrantMode, RelationshipState, Sensitivity
from sortingoffice.flows import consent
from sortingoffice.mail.message import Message
from sortingoffice.store import schema, spool
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, text, waits


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(db, tmp_path)
    desk.shipping()
    return desk


@pytest.fixture
def lite(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    return desk


ASK = "Hello\n\n#card shipping name city\n\nAnna\n"


def asked(desk: Desk) -> str:
    """Hold a message; the body of the question."""
    waits(desk.send(ASK))
    return desk.notices()[-1].raw.decode()


def test_the_question_shows_every_value_and_what_each_answer_does(desk: Desk) -> None:
    desk.grant("shipping", fields=("city",))
    desk.send("#card shipping city\n")
    body = asked(desk)
    assert "From: Sorting Office <yes." in body
    assert "Subject: Not sent: card shipping is not granted to Lamp Shop (yes or no?)" in body
    rows = [" ".join(line.split()) for line in body.splitlines()]
    assert "shipping: Name Anna Example new to Lamp Shop" in rows
    assert "shipping: City Berlin they have it" in rows
    assert "Not included: shipping.street, shipping.postcode, shipping.country." in rows
    assert any(row.startswith("The way to lamp-shop.example") for row in rows)
    assert "it is dropped on 2026-03-04 at 12:00 UTC" in body
    assert "#card shipping name city" in body, "the person's own mail is attached"


def test_yes_sends_it_whole_and_writes_it_down(desk: Desk) -> None:
    asked(desk)
    desk.later(hours=1)
    desk.answer("Yes\n\nOn Sunday the office wrote:\n> no\n")
    assert desk.states() == ["queued"]
    rows = desk.disclosures()
    assert [(r["field"], r["version"], r["state"], r["contact"]) for r in rows] == [
        ("name", 1, "queued", "clerk@lamp-shop.example"),
        ("city", 1, "queued", "clerk@lamp-shop.example"),
    ]
    assert rows[0]["at"] == desk.now[0]


def test_no_drops_it_and_gives_the_words_back(desk: Desk) -> None:
    asked(desk)
    desk.answer("no")
    assert desk.states() == ["dropped"]
    assert desk.disclosures() == []
    told = desk.notices()[-1].raw
    assert b"Not sent: you dropped your message to Lamp Shop" in told
    assert b"Anna\r\n" in told


def test_yes_always_also_grants_exactly_these_fields(desk: Desk) -> None:
    asked(desk)
    desk.answer("yes always\n")
    assert desk.states() == ["queued"]
    desk.set("shipping.city=Hamburg", "shipping.street=Elbe 1")
    desk.later(minutes=1)
    assert text(desk.ask("#card shipping city\n")) == "City: Hamburg\n"
    assert "is not granted" in waits(desk.ask("#card shipping street\n"))


def test_a_yes_alone_grants_nothing_for_later(lite: Desk) -> None:
    asked(lite)
    lite.answer("ok")
    lite.later(minutes=1)
    lite.set("shipping.city=Hamburg")
    assert "is not granted" in waits(lite.ask("#card shipping city\n"))


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "YES!",
        " Ja.\n",
        "ok",
        "oui",
        "Sí",
        "si",
        "> quoted first\nyes\n",
        "Content-Type: text/html\n\n<p>Yes</p>",
    ],
)
def test_a_yes_is_understood_as_people_write_it(lite: Desk, word: str) -> None:
    asked(lite)
    lite.answer(word)
    assert lite.states() == ["queued"]


@pytest.mark.parametrize(
    "word",
    [
        "yes, but without the name",
        "maybe",
        "yes no",
        "why?",
        "sure thing, send it all",
        "y" * 10_000,
    ],
)
def test_what_is_no_clear_word_leaves_it_waiting_and_is_said(lite: Desk, word: str) -> None:
    asked(lite)
    lite.answer(word)
    assert lite.states() == ["held"]
    assert b"Not understood" in lite.notices()[-1].raw
    lite.answer("yes", lite.notices()[0])
    assert lite.states() == ["queued"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n> yes\n",
        "Auto-Submitted: auto-replied\nSubject: x\n\nyes\n".replace("Auto", "From: a@b.example\nAuto", 1),
        "From: a@b.example\nPrecedence: auto_reply\nSubject: x\n\nyes\n",
        "From: a@b.example\nX-Autoreply: yes\nSubject: x\n\nyes\n",
        "Content-Type: text/plain; charset=no-such\n\nyes",
    ],
)
def test_empty_quoted_and_automatic_answers_are_ignored(lite: Desk, text: str) -> None:
    asked(lite)
    before = len(lite.notices())
    lite.answer(text)
    assert lite.states() == ["held"]
    assert len(lite.notices()) == before


def test_an_answer_with_a_null_sender_is_ignored(lite: Desk) -> None:
    asked(lite)
    lite.answer("yes", sender=None)
    assert lite.states() == ["held"]


def test_a_word_counts_once(desk: Desk) -> None:
    asked(desk)
    question = desk.notices()[0]
    desk.answer("no", question)
    desk.answer("yes", question)
    assert desk.states() == ["dropped"]
    assert desk.disclosures() == []


def test_silence_drops_it_after_three_days_and_says_so(desk: Desk) -> None:
    asked(desk)
    question = desk.notices()[0]
    desk.later(hours=71)
    assert desk.db.call(consent.expire, desk.office, desk.now[0]) == 0
    desk.later(hours=2)
    desk.answer("yes", question)
    assert desk.states() == ["held"], "an expired token"
    assert desk.db.call(consent.expire, desk.office, desk.now[0]) == 1
    assert desk.states() == ["dropped"]
    assert b"Not sent: no answer about your message to Lamp Shop" in desk.notices()[-1].raw
    assert desk.db.call(consent.expire, desk.office, desk.now[0]) == 0


def change_value(desk: Desk) -> None:
    desk.later(minutes=1)
    desk.set("shipping.city=Hamburg")


def seal_away(desk: Desk) -> None:
    from sortingoffice.flows import cards

    desk.db.call(cards.remove, desk.office, desk.account, "shipping", actor="test")


def revoke(desk: Desk) -> None:
    change = schema.relationship.update().values(state=RelationshipState.MUTED)
    desk.db.call(lambda tx: tx.execute(change))


def deny(desk: Desk) -> None:
    desk.grant("shipping", mode=GrantMode.NEVER, fields=("city",))


def make_sensitive(desk: Desk) -> None:
    desk.set("shipping.more=x", sensitivity=Sensitivity.SENSITIVE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_value, "shipping.city was changed while the message waited"),
        (seal_away, "was changed while the message waited"),
        (revoke, "Lamp Shop is muted"),
        (deny, "shipping.city is never given to Lamp Shop"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_changed_meanwhile_stops_it_and_is_said(desk: Desk, change: object, said: str) -> None:
    asked(desk)
    question = desk.notices()[0]
    assert callable(change)
    change(desk)
    desk.answer("yes", question)
    assert desk.states() == ["dropped"]
    assert desk.disclosures() == []
    assert said.encode() in desk.notices()[-1].raw


def test_a_grant_that_has_expired_meanwhile_stops_it(lite: Desk) -> None:
    lite.grant("shipping", mode=GrantMode.ASK, until=lite.now[0].replace(hour=13))
    assert "you want to be asked before card shipping goes to Lamp Shop" in waits(lite.send(ASK))
    question = lite.notices()[0]
    lite.later(hours=2)
    lite.answer("yes", question)
    assert lite.states() == ["dropped"]
    assert b"expired on 2026-03-01" in lite.notices()[-1].raw


def test_an_ask_grant_counts_its_use_when_the_message_goes(lite: Desk) -> None:
    lite.grant("shipping", mode=GrantMode.ASK, uses=1)
    lite.send(ASK)
    lite.answer("no")
    lite.send(ASK)
    lite.answer("yes", lite.notices()[-1])
    assert lite.states() == ["dropped", "queued"]
    assert "used up" in str(lite.ask("#card shipping street\n"))


def test_a_sensitive_value_waits_unless_the_way_is_known_to_be_encrypted(lite: Desk) -> None:
    lite.set("bank.iban=DE89370400440532013000", sensitivity=Sensitivity.SENSITIVE)
    lite.grant("bank")
    assert "is not known to be encrypted" in waits(lite.send("#card bank\n"))
    assert b"DE89370400440532013000" in lite.notices()[-1].raw
    lite.answer("yes")
    assert lite.states() == ["queued"]
    assert [row["field"] for row in lite.disclosures()] == ["iban"]


def test_a_delivery_dropped_meanwhile_stays_dropped(lite: Desk) -> None:
    asked(lite)
    question = lite.notices()[0]
    first = sa.select(schema.delivery.c.id).where(schema.delivery.c.state == "held")
    number = lite.db.view(lambda tx: tx.execute(first).scalar_one())
    lite.db.call(spool.drop, number, "revoked", lite.now[0])
    lite.answer("yes", question)
    assert lite.states() == ["dropped"]
    assert lite.disclosures() == []


def test_the_token_is_stored_as_its_hash_only(sqlite_db: Database, tmp_path: Path) -> None:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    waits(desk.send(ASK))
    sender = Message.parse(desk.notices()[-1].raw).value("From") or b""
    token = sender.split(b"yes.", 1)[1].split(b"@", 1)[0]
    assert len(token) == 26
    desk.db.call(lambda tx: tx.execute(schema.message.update().values(raw=b"")))
    stored = desk.db.view(lambda tx: tx.execute(sa.select(schema.confirmation)).one())
    assert token not in repr(stored).encode()
    found = desk.db.view(consent.find, f"YES.{token.decode().upper()}")
    assert found is not None
    assert desk.db.view(consent.find, "yes." + "a" * 26) is None
