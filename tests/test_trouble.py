"""When what the office stands on gives way: 451, nothing lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import os
import smtplib
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sortingoffice.cli.stage import HOME, MAILBOX, ORDERS, PATIENCE, VENDOR, Stage, opened, until
from sortingoffice.net.zone import SERVFAIL
from sortingoffice.store import domains
from sortingoffice.store.database import Database, Unavailable
from tests.chaos.run import small_temporary_disk
from tests.database import Cluster, skip_or_fail
from tests.office import written

_CLOCK = """
import os
from datetime import timedelta
from pathlib import Path
import sortingoffice.flows.office as office
_now = office.now
def now():
    return _now() + timedelta(seconds=float(Path(os.environ["OFFICE_CLOCK"]).read_text() or 0))
office.now = now
"""


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Set up, not started."""
    with opened() as made:
        made.init()
        yield made


def _letter(alias: str, subject: str) -> bytes:
    return written(f"From: {ORDERS}", f"To: {alias}", f"Message-ID: <{subject}@{VENDOR}>", subject=subject)


def _code(stage: Stage, alias: str, subject: str) -> int:
    """What a letter is answered in the end, at RCPT or after the dot."""
    try:
        stage.send(VENDOR, ORDERS, alias, _letter(alias, subject))
    except smtplib.SMTPRecipientsRefused as refused:
        return refused.recipients[alias][0]
    except smtplib.SMTPResponseException as refused:
        return refused.smtp_code
    return 250


def _asked(stage: Stage, path: str) -> int:
    """The status of a page."""
    endpoint = stage.log.split("listening for http on ")[1].split()[0]
    try:
        with urllib.request.urlopen(f"http://{endpoint}/{path}", timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def _subjects(stage: Stage) -> list[str]:
    raws = [each.octets for each in tuple(stage.home.received) if each.recipients == (MAILBOX,)]
    return [raw.split(b"Subject: ", 1)[1].split(b"\r\n", 1)[0].decode() for raw in raws]


def _goes_on(stage: Stage, alias: str, subject: str) -> None:
    """The same process takes and delivers this letter, once."""
    assert stage.daemon is not None
    until(lambda: _code(stage, alias, subject) == 250, f"{subject!r} to be taken")
    until(lambda: subject in _subjects(stage), f"{subject!r} at {HOME}")
    assert stage.daemon.poll() is None
    assert _subjects(stage).count(subject) == 1


def test_a_full_disk_is_a_451_and_recovers_by_itself() -> None:
    with small_temporary_disk() as mounted:
        if not mounted:
            skip_or_fail("a file system to fill up (mount, as root)")
        with opened() as stage:
            stage.init()
            alias = stage.command("new", "Shop")
            stage.start()
            _goes_on(stage, alias, "before")
            ballast = stage.folder / "ballast"
            for size in (1 << 20, 512):
                with suppress(OSError), ballast.open("ab", buffering=0) as file:
                    while file.write(bytes(size)):
                        pass
            assert os.statvfs(stage.folder).f_bavail == 0
            codes = {_code(stage, alias, f"full {n}") for n in range(20)}
            assert codes <= {250, 451, 452}  # what still fits into the log's pages is taken
            assert codes & {451, 452}
            ballast.unlink()
            for n in range(20):
                _goes_on(stage, alias, f"full {n}")
            assert "Traceback" not in stage.log


def test_a_locked_database_is_a_451_and_what_waits_is_taken_when_it_is_free(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.start()
    [path] = (stage.folder / "office").glob("*.db")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert _code(stage, alias, "locked") == 451
        assert stage.rcpt(alias)[0] == 250  # reading goes on
        other.execute("ROLLBACK")
    _goes_on(stage, alias, "locked")


def test_an_office_whose_writes_are_refused_is_not_ready_until_one_succeeds(stage: Stage) -> None:
    stage.config.write_text(stage.config.read_text().replace('listen = ""', 'listen = "127.0.0.1:0"'))
    alias = stage.command("new", "Shop")
    stage.start()
    assert _asked(stage, "readyz") == 200
    [path] = (stage.folder / "office").glob("*.db")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert _code(stage, alias, "locked") == 451
        for _ in range(2):
            began = time.monotonic()
            assert _asked(stage, "readyz") == 503
            assert time.monotonic() - began < 3  # not as long as the write waits that is tried
        assert _asked(stage, "healthz") == 200
        other.execute("ROLLBACK")
    until(lambda: _asked(stage, "readyz") == 200, "the office to be ready")


async def test_who_never_writes_finds_out_by_itself_that_writing_is_possible_again(
    sqlite_db: Database,
) -> None:
    assert sqlite_db.path is not None
    assert await sqlite_db.takes_writes()
    with closing(sqlite3.connect(sqlite_db.path, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await sqlite_db.write(domains.retire_key, 0, datetime(2026, 3, 1, tzinfo=UTC))
        assert not await sqlite_db.takes_writes(0.1)
        other.execute("ROLLBACK")
    async with asyncio.timeout(20):
        while not await sqlite_db.takes_writes():
            pass


def test_a_database_that_is_gone_is_a_451_and_is_found_again_without_a_restart(
    postgresql: Cluster,
) -> None:
    with opened() as stage:
        stage.configure(top=f'database = "{postgresql.url(postgresql.new())}"')
        stage.config.write_text(stage.config.read_text().replace('listen = ""', 'listen = "127.0.0.1:0"'))
        stage.init()
        alias = stage.command("new", "Shop")
        stage.start()
        assert _asked(stage, "readyz") == 200
        stage.home.answers["RCPT"] = ["451 4.2.0 later"]
        assert _code(stage, alias, "waiting") == 250
        postgresql.stop()
        try:
            assert _code(stage, alias, "gone") == 451
            assert _asked(stage, "readyz") == 503
            assert _asked(stage, "healthz") == 200  # it lives: a restart would mend nothing
        finally:
            postgresql.start()
        _goes_on(stage, alias, "gone")
        assert _asked(stage, "readyz") == 200
        until(lambda: "waiting" in _subjects(stage), "what was promised before")
        assert _subjects(stage).count("waiting") == 1


def test_an_office_starts_while_the_database_is_locked(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    [path] = (stage.folder / "office").glob("*.db")
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        stage.start()
        other.execute("ROLLBACK")
    finally:
        other.close()
    _goes_on(stage, alias, "after")


def test_while_dns_is_down_mail_is_deferred_and_what_was_promised_waits(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.start()
    kept = dict(stage.zone.records)
    stage.home.answers["RCPT"] = "451 4.2.0 later"
    assert _code(stage, alias, "waiting") == 250
    for key in kept:
        stage.zone.records[key] = SERVFAIL
    assert _code(stage, alias, "dark") == 451
    until(lambda: "looked up" in stage.json("queue", "list")[0]["last_reply"], "an attempt without DNS")
    assert stage.json("queue", "list")[0]["state"] == "queued"
    stage.home.answers.clear()
    stage.zone.records.update(kept)
    _goes_on(stage, alias, "dark")
    until(lambda: "waiting" in _subjects(stage), "what was promised before")


def test_a_clock_that_jumps_ahead_loses_nothing_and_sends_nothing_twice(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = stage.command("new", "Shop")
    clock = tmp_path / "clock"
    clock.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(_CLOCK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    monkeypatch.setenv("OFFICE_CLOCK", str(clock))
    stage.start()
    _goes_on(stage, alias, "before")
    stage.home.answers["RCPT"] = ["451 4.2.0 later"]
    assert _code(stage, alias, "waiting") == 250
    until(lambda: not stage.home.answers["RCPT"], "the first attempt")
    clock.write_text(str(3 * 3600))
    for n in range(3):
        _goes_on(stage, alias, f"after {n}")
    until(lambda: "waiting" in _subjects(stage), "what was waiting when the clock jumped")
    time.sleep(1.5)  # a lease that seems to have run out would bring a second copy
    assert len(_subjects(stage)) == len(set(_subjects(stage))) == 5
