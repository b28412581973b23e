"""A data directory, or a database file, that is moved away or replaced while the office runs."""

from __future__ import annotations

import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sortingoffice.cli.stage import MAILBOX, ORDERS, VENDOR, Stage, opened, until
from sortingoffice.core.model import Domain
from sortingoffice.store import domains
from sortingoffice.store.database import Database, OutOfReach, Unavailable
from tests.office import written
from tests.spooled import NOW


def _code(stage: Stage, alias: str, subject: str) -> int:
    letter = written(f"From: {ORDERS}", f"To: {alias}", f"Message-ID: <{subject}@{VENDOR}>", subject=subject)
    try:
        stage.send(VENDOR, ORDERS, alias, letter)
    except smtplib.SMTPRecipientsRefused as refused:
        return refused.recipients[alias][0]
    except smtplib.SMTPResponseException as refused:
        return refused.smtp_code
    return 250


@pytest.fixture
def stage() -> Iterator[Stage]:
    with opened() as made:
        made.init()
        yield made


@pytest.mark.parametrize("processes", [1, 2])
def test_no_mail_is_taken_into_a_folder_that_was_moved_away_and_it_goes_on_when_that_is_back(
    stage: Stage, processes: int
) -> None:
    stage.processes = processes
    stage.configure()
    alias = stage.command("new", "Shop")
    stage.start()
    assert _code(stage, alias, "before") == 250
    here, aside = stage.folder / "office", stage.folder / "aside"
    here.rename(aside)
    assert {_code(stage, alias, f"away-{n}") for n in range(6)} == {451}
    aside.rename(here)
    until(lambda: _code(stage, alias, "after") == 250, "mail to be taken")
    until(lambda: sum(MAILBOX in each.recipients for each in tuple(stage.home.received)) == 2, "both")
    assert stage.daemon is not None
    assert stage.daemon.poll() is None
    assert "Traceback" not in stage.log


async def _known(database: Database) -> tuple[set[str], set[str], set[str]]:
    """The domains that are there, in each way of reading."""
    found = (
        await database.glance(domains.every),
        await database.read(domains.every),
        await database.write(domains.every),
    )
    by_glance, by_read, by_write = ({each.name for each in every} for every in found)
    return by_glance, by_read, by_write


async def test_a_database_in_another_s_place_is_the_one_that_is_used_from_then_on(
    sqlite_db: Database, tmp_path: Path
) -> None:
    place = sqlite_db.path
    assert place is not None
    other = Database(f"sqlite:///{tmp_path / 'other'}")
    other.upgrade()
    other.call(domains.add, Domain(0, "restored.example", NOW))
    other.close()
    assert await _known(sqlite_db) == (set(), set(), set())
    for log in place.parent.glob(f"{place.name}-*"):
        log.rename(tmp_path / f"old{log.name}")
    (tmp_path / "other").replace(place)
    assert await _known(sqlite_db) == ({"restored.example"},) * 3


async def test_no_database_is_made_where_one_was_taken_away(sqlite_db: Database, tmp_path: Path) -> None:
    place = sqlite_db.path
    assert place is not None
    assert await _known(sqlite_db) == (set(), set(), set())
    aside = tmp_path / "aside"
    aside.mkdir()
    for each in place.parent.glob(f"{place.name}*"):
        shutil.move(each, aside / each.name)
    with pytest.raises(Unavailable):
        await sqlite_db.glance(domains.every)
    with pytest.raises(Unavailable):
        await sqlite_db.read(domains.every)
    with pytest.raises(Unavailable):
        await sqlite_db.write(domains.every)
    with pytest.raises(OutOfReach):
        sqlite_db.call(domains.every)
    assert not place.exists()
    assert not await sqlite_db.takes_writes()
    for each in aside.iterdir():
        shutil.move(each, place.parent / each.name)
    assert await _known(sqlite_db) == (set(), set(), set())
    assert await sqlite_db.takes_writes()
