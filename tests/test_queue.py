"""`sortingoffice queue`, as a person and as a script use it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.cli import queue as commands
from sortingoffice.cli.main import main
from sortingoffice.core.model import Attempt, DeliveryState
from sortingoffice.flows import queue as queues
from sortingoffice.store import events, leases, spool
from sortingoffice.store.database import Database
from tests import screen, spooled
from tests.person import Person
from tests.spooled import NOW, Spooled


@pytest.fixture
def made(sqlite_db: Database, tmp_path: Path) -> Spooled:
    assert sqlite_db.path is not None
    (tmp_path / "sortingoffice.toml").write_text(
        f'hostname = "mx.sort.example"\ndatabase = "sqlite:///{sqlite_db.path}"\n'
    )
    return spooled.make(sqlite_db, tmp_path)


@pytest.fixture
def run(made: Spooled, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def go(*arguments: str, status: int = 0) -> Any:
        with pytest.raises(SystemExit) as end:
            main(["--config", str(tmp_path / "sortingoffice.toml"), "queue", *arguments])
        said = capsys.readouterr()
        assert end.value.code == status, said.err
        if status:
            return said.err
        return json.loads(said.out) if "--json" in arguments else said.out + said.err

    return go


def tried(made: Spooled, state: DeliveryState = DeliveryState.QUEUED) -> int:
    """A delivery that was tried once."""
    delivery = made.put(recipient="bob@slow.example")
    every = made.db.call(leases.claim, NOW, "n", 10)
    claimed = next(each for each in every if each.delivery.id == delivery.id)
    attempt = Attempt(0, delivery.id, NOW, "mx.slow.example [192.0.2.1]:25", "", "451 4.7.1 later", 12)
    made.db.call(
        spool.settle, claimed.delivery, attempt, state, "", claimed.delivery.expires, "451 4.7.1 later", NOW
    )
    made.db.call(leases.give_back, "n")
    return delivery.id


def test_an_empty_queue_is_an_empty_list(run: Any) -> None:
    assert run("list", "--json") == []
    assert "Nothing waits" in run("list")


def test_rows_have_the_promised_keys(made: Spooled, run: Any) -> None:
    number = tried(made)
    (row,) = run("list", "--json")
    assert {"id", "from", "to", "state", "attempts", "next_attempt", "last_reply"} <= row.keys()
    assert (row["id"], row["to"], row["state"], row["attempts"]) == (number, "bob@slow.example", "queued", 1)
    assert row["last_reply"] == "451 4.7.1 later"
    assert row["next_attempt"].startswith("2026-03-06")


def test_filters_choose(made: Spooled, run: Any) -> None:
    tried(made)
    other = made.put()
    ended = tried(made, DeliveryState.RETURNED)
    assert len(run("list", "--json")) == 2
    assert [row["id"] for row in run("list", "--to", "HOME.example", "--json")] == [other.id]
    assert [row["id"] for row in run("list", "--state", "returned", "--json")] == [ended]
    assert len(run("list", "--address", "support@shop.example", "--json")) == 2
    assert len(run("list", "--most", "1", "--json")) == 1


def test_a_long_list_comes_a_page_at_a_time_and_is_whole(
    made: Spooled, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "_PAGE", 2)
    numbers = [made.put().id for _ in range(5)][::-1]
    pages = list(queues.pages(made.office))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [row["id"] for page in pages for row in page] == numbers
    assert [row["id"] for row in run("list", "--json")] == numbers
    for most in (0, 1, 2, 3, 4, 9):
        got = [row["id"] for page in queues.pages(made.office, most=most) for row in page]
        assert got == numbers[:most]


def test_a_terminal_shows_the_latest_and_says_that_there_is_more(
    made: Spooled, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_AT_A_TERMINAL", 2)
    for _ in range(3):
        made.put()
    drawn = screen.drawn(Person(tmp_path), "queue", "list", width=120)
    assert "There is more: these are the latest 2." in drawn.text
    assert drawn.text.count(" queued ") == 2
    assert (
        "There is more" not in screen.drawn(Person(tmp_path), "queue", "list", "--most", "3", width=120).text
    )
    assert run("list").count(" queued ") == 3, "a pipe gets all"


def test_show_tells_each_attempt(made: Spooled, run: Any) -> None:
    number = tried(made)
    shown = run("show", str(number), "--json")
    assert shown["tries"][0]["reply"] == "451 4.7.1 later"
    assert shown["subject"] == "Your lamp"
    assert "mx.slow.example" in run("show", str(number))


def test_retry_makes_it_due_now_and_is_written_down(made: Spooled, run: Any) -> None:
    number = tried(made)
    run("retry", str(number))
    found = made.db.view(spool.delivery_by_id, number)
    assert found is not None
    assert abs(found.due - datetime.now(UTC)) < timedelta(minutes=1)
    last = made.db.view(events.every)[-1]
    assert (last.actor, last.what) == ("cli", "retried")


def test_retry_takes_a_domain_or_all(made: Spooled, run: Any) -> None:
    tried(made)
    tried(made)
    made.put()
    assert len(run("retry", "--to", "slow.example", "--json")) == 2
    assert len(run("retry", "--all", "--json")) == 3
    run("retry", status=2)
    assert "nothing waits for" in run("retry", "--to", "nowhere.example", status=1)


def test_retry_of_all_lets_others_write_and_passes_over_what_they_have_taken(made: Spooled) -> None:
    first, *_ = [made.put() for _ in range(3)]

    def taken(done: int, of: int) -> None:
        if done == 1:  # between two of its transactions the office goes on
            made.db.call(leases.claim, datetime.now(UTC), "n", 100)

    again = queues.retry_all(made.office, actor="cli", together=1, watcher=taken)
    assert [row["id"] for row in again] == [first.id], "the oldest first"
    assert [event.what for event in made.db.view(events.every)].count("retried") == 1


def test_drop_ends_it_and_tells_nobody(made: Spooled, run: Any) -> None:
    number = tried(made)
    assert run("drop", str(number), "--json")[0]["state"] == "dropped"
    assert run("list", "--json") == []
    assert "already" in run("drop", str(number), status=1)


def test_what_is_not_there_or_under_way_is_said(made: Spooled, run: Any) -> None:
    assert "nothing in the queue has the number 99" in run("show", "99", status=1)
    assert "99" in run("drop", "99", status=1)
    delivery = made.put()
    made.db.call(leases.claim, NOW, "n", 1)
    assert "just being tried" in run("retry", str(delivery.id), status=1)
    held = made.put(state=DeliveryState.HELD)
    assert "held release" in run("retry", str(held.id), status=1)
