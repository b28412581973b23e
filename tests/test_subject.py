"""A card asked for in the subject: told to the person, never sent as it stands, and no trap for an answer."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sortingoffice.flows.disclose import Resolved
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, refusal

_ZERO_WIDTH = base64.b64encode("#ca\u200brd shipping".encode()).decode()


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    desk.grant("shipping")
    return desk


def _mail(subject: str, body: str = "Hello\n") -> str:
    return f"Subject: {subject}\nContent-Type: text/plain; charset=utf-8\n\n{body}"


def _goes(desk: Desk, message: str) -> Resolved:
    outcome = desk.ask(message)
    assert isinstance(outcome, Resolved), outcome
    return outcome


ASKED = {
    "plain": "#card shipping",
    "short": "#shipping",
    "with fields": "  #Card  Shipping city ",
    "folded": "#card\n shipping",
    "encoded word": "=?utf-8?q?=23card_shipping?=",
    "two encoded words": "=?utf-8?q?=23ca?= =?utf-8?q?rd_shipping?=",
    "full width": "=?utf-8?b?" + base64.b64encode("\uff03card shipping".encode()).decode() + "?=",
    "zero width": f"=?utf-8?b?{_ZERO_WIDTH}?=",
    "a near miss": "#card shiping",
    "unreadable": "#card shipping except",
    "inline": "A parcel to {{shipping.city}}",
}


@pytest.mark.parametrize("subject", ASKED.values(), ids=list(ASKED))
def test_a_card_asked_for_in_the_subject_is_told_and_nothing_goes(desk: Desk, subject: str) -> None:
    said = refusal(desk.ask(_mail(subject)))
    assert "stands in the subject, where no card can be put" in said
    assert "Nothing went to Lamp Shop. Write it alone on a line of your text" in said


def test_nor_is_the_text_s_own_card_sent_then(desk: Desk) -> None:
    assert "in the subject" in refusal(desk.ask(_mail("#card shipping", "#card shipping city\n")))


ORDINARY = {
    "a planted one, answered": "Re: #card shipping",
    "forwarded": "Fwd: #card shipping",
    "in a sentence": "I wrote #card shipping and it worked",
    "a hashtag": "#summer",
    "escaped": "##card shipping",
    "other braces": "Dear {{name}}",
    "empty": "",
    "long": "#card " + "shipping " * 3000,
}


@pytest.mark.parametrize("subject", [s for name, s in ORDINARY.items() if name != "long"])
def test_an_ordinary_subject_goes_as_it_stands(desk: Desk, subject: str) -> None:
    sent = _goes(desk, _mail(subject, "#card shipping city\n"))
    assert (sent.message.value("Subject") or b"").decode().strip() == subject
    assert b"City: Berlin" in sent.message.body


def test_a_directive_too_long_to_be_read_is_told_too(desk: Desk) -> None:
    assert "in the subject" in refusal(desk.ask(_mail(ORDINARY["long"])))


@pytest.mark.parametrize(
    "subject", ["#card shipping", "#shipping", f"=?utf-8?b?{_ZERO_WIDTH}?=", "{{shipping.city}}"]
)
def test_the_vendor_s_own_subject_does_not_trap_the_person(desk: Desk, subject: str) -> None:
    desk.receive(_mail(subject, "Please answer this mail.\n"))
    assert _goes(desk, _mail(subject)).filled == ()
    assert _goes(desk, _mail(f"Re: {subject}")).filled == ()


def test_without_any_card_a_trigger_in_the_subject_is_told_as_well(
    sqlite_db: Database, tmp_path: Path
) -> None:
    desk = open_desk(sqlite_db, tmp_path)
    assert "in the subject" in refusal(desk.ask(_mail("#card shipping")))
    assert _goes(desk, _mail("#summer")).filled == ()
