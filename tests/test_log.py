"""Log lines: one event, one line, whatever a stranger put into it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice import log
from sortingoffice.core.model import Domain
from sortingoffice.store import domains
from sortingoffice.store.database import Database, Transaction


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    logger = logging.getLogger("sortingoffice")
    before = (logger.handlers[:], logger.level, logger.propagate)
    mail = logging.getLogger("mail.log").level
    yield
    logger.handlers[:], logger.level, logger.propagate = before
    logging.getLogger("mail.log").setLevel(mail)


@given(st.dictionaries(st.sampled_from("abc"), st.text(), max_size=3))
def test_whatever_the_values_hold_it_is_one_printable_line(fields: dict[str, object]) -> None:
    line = log.line("event", fields)
    assert len(line.splitlines()) == 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in line)
    line.encode()


def test_values_are_quoted_where_they_must_be() -> None:
    fields: dict[str, object] = {"a": "plain", "b": "two words", "c": 'x"y=\\', "d": "\x1b[2J\r\n", "e": None}
    assert log.line("done", fields) == (
        'done a=plain b="two words" c="x\\"y=\\\\" d="\\u001b[2J\\u000d\\u000a" e=""'
    )


def test_a_long_value_is_cut() -> None:
    assert len(log.escape("x" * 100_000)) < 600


def test_debug_is_off_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    log.start()
    log.debug("sees", address="anna@home.example")
    log.event("seen", rule="welcome")
    told = capsys.readouterr().err
    assert "anna" not in told
    assert told.endswith(" seen rule=welcome\n")
    log.start(debug=True)
    log.debug("sees", address="anna@home.example")
    assert "anna@home.example" in capsys.readouterr().err


def test_the_journal_adds_the_time_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    log.start()
    log.event("seen")
    assert capsys.readouterr().err == "seen\n"


def test_a_bug_is_one_line_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    log.start()
    try:
        raise ValueError("line one\nline two")
    except ValueError as error:
        log.bug("accept-failed", error, message="abc")
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "accept-failed message=abc" in told
    assert "ValueError: line one" in told
    assert "test_log.py" in told


def test_a_databases_error_is_told_without_the_values_that_it_was_about(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice(tx: Transaction) -> None:
        for _ in range(2):
            domains.add(tx, Domain(0, "anna.example", datetime(2026, 3, 1, tzinfo=UTC)))

    log.start()
    with pytest.raises(Exception, match=r"(?i)unique constraint") as raised:
        db.call(twice)
    log.bug("accept-failed", raised.value, message="abc")
    raw = getattr(raised.value, "orig", None)
    assert raw is not None
    log.bug("accept-failed", raw)
    told = capsys.readouterr().err
    assert told.count("IntegrityError (") == 1
    assert told.lower().count("unique constraint") == 2
    assert "anna" not in told
    assert "INSERT" not in told
    assert told.count("\n") == 2


def test_aiosmtpds_logger_which_names_addresses_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    log.start()
    logging.getLogger("mail.log").error("RCPT TO:<anna@home.example>")
    assert capsys.readouterr().err == ""
