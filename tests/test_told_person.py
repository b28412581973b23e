"""What a person is told of mail that did not arrive: in the other side's own letters."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.core.model import Delivery, DeliveryState, Direction
from sortingoffice.core.notice import Notice
from sortingoffice.core.returned import delay_note
from sortingoffice.flows import notices
from sortingoffice.mail.reply import Reply, heard
from sortingoffice.store import events, spool
from sortingoffice.store.database import Database
from tests import spooled
from tests.spooled import OUTWARD, Spooled
from tests.test_returned import attempt, comes_back
from tests.test_store_spool import message
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


# ---- what became of it ----------------------------------------------------------------------------------

WRONG = b"The address may be wrong or closed"


@pytest.mark.parametrize(
    ("status", "wrong"),
    [("5.1.1", True), ("5.1.10", True), ("5.1.3", True), ("5.1.7", False), ("5.1.8", False)],
)
def test_what_is_said_of_the_senders_address_is_not_told_of_the_recipients(
    made: Spooled, status: str, wrong: bool
) -> None:
    attempt(made, made.put(Direction.OUTWARD), heard(550, f"{status} rejected"))
    (note,) = made.queued(Direction.NOTICE)
    assert (WRONG in note.raw) is wrong
    assert (b"the address that yours came from" in note.raw) is not wrong


def test_a_bounce_in_html_without_a_code_is_told_in_its_words(made: Spooled) -> None:
    delivery = sent(made)
    text = "From: postmaster@shop.example\nSubject: Undeliverable: My lamp\nContent-Type: text/html\n\n"
    assert comes_back(made, delivery, f"{text}<html><p>support <b>wasn't</b> found.</p></html>\n")
    assert "    550 support wasn't found.\r\n" in noted(made)


def test_a_failure_in_prose_is_told_though_the_bounce_quotes_a_number(made: Spooled) -> None:
    text = "From: Postmaster@shop.example\nSubject: Nichtzustellung\n\nIhre Nachricht\n\n  Betreff: {}\n\n"
    for subject in ("Order of 450 lamps", "250 lamps please"):
        delivery = made.put(Direction.OUTWARD, subject=subject)
        attempt(made, delivery, Reply(250, "2.0.0", "taken"))
        assert comes_back(made, delivery, f"{text.format(subject)}wurde nicht zugestellt.\n")
        assert made.now(delivery).reason == "bounced"
    assert len(made.queued(Direction.NOTICE)) == 2


@pytest.mark.parametrize("direction", [Direction.INWARD, Direction.OUTWARD])
def test_a_warning_tells_nobody_that_what_is_on_its_way_has_failed(
    made: Spooled, direction: Direction
) -> None:
    delivery = made.put(direction, subject="Order 500 lamps")
    attempt(made, delivery, Reply(250, "2.0.0", "taken"))
    text = "From: Mailer-Daemon@home.example\nSubject: Warning: message 1r6abc-0001Ab-2C delayed 24 hours\n"
    assert comes_back(made, delivery, f"{text}\nThe subject of the message is: Order 500 lamps\n")
    assert made.now(delivery).state is DeliveryState.DELIVERED
    assert made.queued(Direction.RETURN) == made.queued(Direction.NOTICE) == []


@pytest.mark.parametrize(
    ("hours", "left"), [(0, "an hour"), (1, "an hour"), (2, "2 hours"), (116, "116 hours")]
)
def test_a_delay_note_says_how_long_it_may_take(hours: int, left: str) -> None:
    said = delay_note(
        message(), to="orders@lampshop.example", reply=Reply(451, "4.7.1", "later"), hours=hours
    )
    assert f"If it has not arrived in {left}, you are told." in " ".join(said.lines)


# ---- where ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", [True, False], ids=["a failure", "a delay"])
def test_the_mailbox_that_wrote_is_the_one_that_is_told(made: Spooled, over: bool) -> None:
    other = "anna@other.example"
    delivery = made.put(Direction.OUTWARD, sender=other)
    made.clock.pass_(hours=4)
    attempt(made, delivery, Reply(550, "5.1.1", "unknown") if over else Reply(451, "4.7.1", "later"))
    (note,) = made.queued(Direction.NOTICE)
    (told,) = made.db.view(spool.deliveries, note.id)
    assert told.recipient == other


# ---- a note that is refused -----------------------------------------------------------------------------


def test_a_note_that_is_refused_with_the_mail_in_it_is_sent_without_that(made: Spooled) -> None:
    attempt(made, made.put(Direction.OUTWARD), Reply(550, "5.7.1", "no such attachments here"))
    (note,) = made.queued(Direction.NOTICE)
    (first,) = made.db.view(spool.deliveries, note.id)
    attempt(made, first, Reply(552, "5.7.0", "blocked for its content"))
    (alone,) = made.queued(Direction.NOTICE)
    assert b"550 5.7.1 no such attachments here" in alone.raw
    assert b"552 5.7.0 blocked for its content" in alone.raw
    assert b"Where is it?" not in alone.raw
    assert alone.subject == note.subject
    (second,) = made.db.view(spool.deliveries, alone.id)
    assert second.recipient == first.recipient
    attempt(made, second, Reply(552, "5.7.0", "blocked for its content"))
    assert made.queued(Direction.NOTICE) == [], "once"


@pytest.mark.parametrize(
    ("code", "status", "again"),
    [
        (554, "", True),
        (554, "5.0.0", True),
        (550, "5.6.0", True),
        (552, "5.2.3", True),
        (552, "", False),
        (550, "5.1.1", False),
        (552, "5.2.2", False),
    ],
)
def test_only_what_speaks_of_the_content_makes_a_note_be_sent_again_without_its_mail(
    made: Spooled, code: int, status: str, again: bool
) -> None:
    attempt(made, made.put(Direction.OUTWARD), Reply(550, "5.7.1", "no"))
    (note,) = made.queued(Direction.NOTICE)
    (first,) = made.db.view(spool.deliveries, note.id)
    attempt(made, first, Reply(code, status, "refused"))
    assert len(made.queued(Direction.NOTICE)) == again


def test_so_is_one_whose_mail_is_deeper_than_is_looked_through(made: Spooled) -> None:
    deep = b"Content-Type: message/rfc822\r\n\r\n" * 60 + OUTWARD
    said = Notice("Not sent", ("Nothing went out.",), deep)
    note = made.db.call(
        notices.send, made.office, said, account_id=made.account.id, rule="too_complex", now=made.clock.now
    )
    assert note is not None
    (first,) = made.db.view(spool.deliveries, note.id)
    attempt(made, first, Reply(552, "5.3.4", "too large"))
    assert "Nothing went out." in noted(made)
