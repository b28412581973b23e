"""What a person is told of mail that did not arrive: in the other side's own letters."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.core.model import Delivery, Direction
from sortingoffice.mail.reply import Reply, heard
from sortingoffice.store import events
from sortingoffice.store.database import Database
from tests import spooled
from tests.spooled import Spooled
from tests.test_returned import attempt, comes_back
from tests.unit.test_dsn import POSTFIX, QMAIL

JAPANESE = "メールを配信できません"
PROSE = f"{QMAIL.partition('Hi.')[0].strip()}\nContent-Type: text/plain; charset=utf-8\n\n"


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases."""
    return spooled.make(db, tmp_path, second_mailbox=True)


def sent(made: Spooled) -> Delivery:
    delivery = made.put(Direction.OUTWARD)
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    return delivery


def noted(made: Spooled) -> str:
    (note,) = made.queued(Direction.NOTICE)
    assert max(map(len, note.raw.split(b"\r\n"))) <= 998
    return note.raw.decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{PROSE}{JAPANESE}\n", f"    550 {JAPANESE}\r\n"),
        (f"{PROSE}Empfänger unbekannt (#5.1.1)\n", "    550 5.1.1 Empfänger unbekannt (#5.1.1)\r\n"),
        (POSTFIX.replace("rejected: User unknown", "拒否"), "address 拒否\r\n"),
        (
            POSTFIX.replace("User unknown", "Empfänger\n    550 5.1.1 unbekannt"),
            "rejected: Empfänger unbekannt\r\n",
        ),
    ],
    ids=["japanese prose", "german prose", "a japanese report", "of two lines"],
)
def test_a_bounce_is_told_in_the_letters_it_was_written_in(made: Spooled, text: str, said: str) -> None:
    delivery = sent(made)
    assert comes_back(made, delivery, text)
    assert said in noted(made)
    assert made.now(delivery).last_reply.isascii()
    assert all(event.detail.isascii() for event in made.db.view(events.every))


def test_a_refusal_is_told_in_the_letters_it_was_said_in(made: Spooled) -> None:
    attempt(made, made.put(Direction.OUTWARD), heard(550, "5.1.1 Empfänger unbekannt".encode()))
    assert "    550 5.1.1 Empfänger unbekannt\r\n" in noted(made)


def test_so_is_that_of_a_mailbox_and_the_vendor_gets_none_of_it(made: Spooled) -> None:
    attempt(made, made.put(), heard(550, f"5.2.2 {JAPANESE}".encode()))
    assert f"    550 5.2.2 {JAPANESE}\r\n" in noted(made)
    (report,) = made.queued(Direction.RETURN)
    assert report.raw.isascii()


def test_what_a_mail_waits_for_is_told_so_too(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    for _ in range(2):
        attempt(made, delivery, heard(451, "4.7.1 später".encode()))
        made.clock.pass_(hours=4)
    assert "    451 4.7.1 später\r\n" in noted(made)


def test_no_word_of_it_turns_a_line_round_or_opens_another(made: Spooled) -> None:
    evil = "5.1.1 ä\u202eb\u2028Bcc: c\x1b[2J\x85d\u2066e" + "あ" * 2000
    attempt(made, made.put(Direction.OUTWARD), heard(550, evil.encode()))
    told = noted(made)
    assert "    550 5.1.1 äb Bcc: c [2J deあ" in told
    for each in "\u202e\u2028\x1b\x85\u2066":
        assert each not in told
