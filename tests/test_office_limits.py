"""A network's limits, over the wire: whoever is counted is who XCLIENT names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sortingoffice.cli.stage import ORDERS
from tests.office import Office, opened, written

MOST = 3


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with opened() as stage:
        stage.configure(
            smtp='xclient_from = ["127.0.0.1"]',
            limits=f"peer_messages_per_hour = {MOST}\nunknown_recipients = 4",
        )
        stage.init()
        stage.start()
        yield Office(stage)
        assert stage.stop() == 0, stage.log
        assert "Traceback" not in stage.log


def sent(office: Office, ip: str, to: str) -> tuple[int, bytes]:
    """What a message from there is answered."""
    with office.stage.client() as client:
        assert client.docmd("XCLIENT", f"ADDR={ip}")[0] == 220
        client.ehlo()
        client.mail(ORDERS)
        assert client.rcpt(to)[0] == 250
        return client.data(written(f"From: {ORDERS}", f"To: {to}", subject="counted"))


def test_a_network_that_sent_enough_messages_in_an_hour_is_told_to_wait(office: Office) -> None:
    """Refused ones count: these are unsigned, and the vendor's domain asks to reject such."""
    to = office.fresh().alias
    first = [sent(office, f"IPV6:2001:db8::{number}", to)[0] for number in range(1, MOST + 1)]
    assert first == [550] * MOST
    code, text = sent(office, "IPV6:2001:db8::99", to)
    assert (code, text) == (450, b"4.7.0 too many messages from your network, try again later")
    assert sent(office, "192.0.2.9", to)[0] == 550, "another network has its own hour"
    assert "rule=peer_messages_per_hour" in office.stage.log


def test_guesses_over_many_connections_of_one_network_are_one_hunt(office: Office) -> None:
    answers = []
    for number in range(8):
        with office.stage.client() as client:
            client.docmd("XCLIENT", f"ADDR=IPV6:2001:db8:0:7::{number:x}")
            client.ehlo()
            client.mail(ORDERS)
            answers.append(client.rcpt(f"guess{number}.word1234@sort.example"))
    assert [code for code, _ in answers[:5]] == [550] * 5
    assert [code for code, _ in answers[5:]] == [421] * 3
    assert len({text for code, text in answers if code == 421}) == 1


def test_naming_other_recipients_between_guesses_buys_no_room(office: Office) -> None:
    """Another domain's, the postmaster's, and an address that is known: one of them before each guess."""
    known = office.fresh().alias
    others = ("x@nowhere.example", "postmaster@sort.example", known)
    for place, other in enumerate(others):
        answers = []
        for number in range(9):
            with office.stage.client() as client:
                client.docmd("XCLIENT", f"ADDR=198.51.100.{place + 1}")
                client.ehlo()
                client.mail(ORDERS)
                first = client.rcpt(other)[0]
                guess = f"guess{number}.word{place:04}@sort.example"
                answers.append(first if first == 421 else client.rcpt(guess)[0])
        assert answers[:5] == [550] * 5, other
        assert answers[-2:] == [421] * 2, other


def test_mail_that_is_accepted_makes_room_for_slips(office: Office) -> None:
    known = [office.fresh().alias, office.fresh().alias]
    with office.stage.client() as client:
        client.docmd("XCLIENT", "ADDR=198.51.100.77")
        client.ehlo()
        for number in range(MOST):
            mail = written("From: a@quiet.example", f"To: {known[0]}", subject=f"room {number}")
            assert client.sendmail("a@quiet.example", known, mail) == {}
        client.mail(ORDERS)
        assert [client.rcpt(f"slip{number}.word0001@sort.example")[0] for number in range(6)] == [550] * 6
