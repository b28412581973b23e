"""The figures for Prometheus: they count what happened, and say nothing about anybody."""

from __future__ import annotations

import re
import signal
import smtplib
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice import metrics
from sortingoffice.cli.stage import HOME, MAILBOX, OFFICE, ORDERS, PATIENCE, VENDOR, Stage, until
from tests.office import opened, written

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with opened() as made:
        made.config.write_text(made.config.read_text() + '[metrics]\nlisten = "127.0.0.1:0"\n')
        made.init()
        made.start()
        yield made


def _scrape(stage: Stage) -> dict[str, float]:
    endpoint = stage.log.split("listening for metrics on ")[1].split()[0]
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        page = answer.read().decode()
    assert "@" not in page
    for name in (HOME, VENDOR, MAILBOX.partition("@")[0], "127.0.0."):
        assert name not in page
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {re.sub(r"\s", "", name): float(value) for name, _, value in lines}


def test_the_page_counts_what_was_taken_refused_tried_and_what_waits(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.home.answers["RCPT"] = ["451 4.2.0 later"]
    stage.send(VENDOR, ORDERS, alias, written(f"From: {ORDERS}", f"To: {alias}", subject="one"))
    with stage.client() as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail(ORDERS, [f"never.issued4821@{OFFICE}"], b"hello")
    stage.home.wait(1, PATIENCE)
    until(lambda: "sortingoffice_delivered_seconds_count" in _scrape(stage), "the figures")
    until(lambda: _scrape(stage)["sortingoffice_delivered_seconds_count"] == 1, "the delivery")
    empty = 'sortingoffice_queue_deliveries{state="queued"}'
    until(lambda: _scrape(stage)[empty] == 0, "its outcome on disk, a commit later")
    seen = _scrape(stage)
    accepted = {
        name: value for name, value in seen.items() if name.startswith("sortingoffice_accepted_total")
    }
    assert list(accepted.values()) == [1]
    assert (
        sum(v for k, v in seen.items() if k.startswith("sortingoffice_refused_total") and '"rcpt"' in k) == 1
    )
    assert seen['sortingoffice_attempts_total{reply="4xx"}'] == 1
    assert seen['sortingoffice_attempts_total{reply="2xx"}'] == 1
    assert seen["sortingoffice_receive_seconds_count"] == 1
    assert seen["sortingoffice_commit_writes_count"] >= 3


def test_what_is_not_taken_is_counted_wherever_it_is_refused(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    with stage.client() as client:
        client.ehlo()
        client.docmd(f"MAIL FROM:<{ORDERS}> SIZE=99999999999")
        for content in (b"From: a@b.example\n\nhello", b"From: a@b.example\r\n\0\r\n"):
            client.docmd(f"MAIL FROM:<{ORDERS}>")
            client.docmd(f"RCPT TO:<{alias}>")
            client.docmd("DATA")
            client.send(content + b"\r\n.\r\n")
            assert client.getreply()[0] == 554
    [database] = (stage.folder / "office").glob("*.db")
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(smtplib.SMTPDataError):
            stage.send(VENDOR, ORDERS, alias, written(f"From: {ORDERS}", f"To: {alias}", subject="one"))
    stage.config.write_text(
        stage.config.read_text().replace("[limits]", "[limits]\nconnections_per_peer = 1")
    )
    assert stage.daemon is not None
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in stage.log, "the reload")
    with stage.client(), pytest.raises(smtplib.SMTPConnectError):
        stage.client()
    start = "sortingoffice_refused_total"
    assert {name.removeprefix(start): v for name, v in _scrape(stage).items() if name.startswith(start)} == {
        '{rule="max_message_bytes",stage="mail",verdict="refuse"}': 1,
        '{rule="bare_line_end",stage="data",verdict="refuse"}': 1,
        '{rule="nul_octet",stage="data",verdict="refuse"}': 1,
        '{rule="unavailable",stage="data",verdict="defer"}': 1,
        '{rule="connections_per_peer",stage="connect",verdict="defer"}': 1,
    }


def test_the_queue_is_told_by_state_and_age() -> None:
    page = metrics.text({"queued": (3, NOW - timedelta(hours=1))}, NOW).decode()
    assert 'sortingoffice_queue_deliveries{state="queued"} 3.0' in page
    assert 'sortingoffice_queue_oldest_seconds{state="queued"} 3600.0' in page
    assert 'sortingoffice_queue_deliveries{state="held"} 0.0' in page


def test_a_database_that_does_not_answer_leaves_the_queue_out_and_nothing_else() -> None:
    page = metrics.text(None, NOW).decode()
    assert "sortingoffice_queue_deliveries{" not in page
    assert "sortingoffice_attempt_seconds_count" in page
