"""`queue retry` and `queue drop` of many: some in a transaction, chosen as `queue list` chooses, and what
can't be is named and passed over.  On both databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sortingoffice.cli.stage import Said, until
from sortingoffice.core.model import DeliveryState, Direction
from sortingoffice.flows import queue as queues
from sortingoffice.store import events, leases, queued, spool
from sortingoffice.store.database import Database, Transaction
from tests import screen, spooled
from tests.person import Person, said_outside
from tests.spooled import ALIAS, MAILBOX, NOW, REVERSE, VENDOR, Spooled

QUEUED, HELD, DROPPED = DeliveryState.QUEUED, DeliveryState.HELD, DeliveryState.DROPPED


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    url = db._engines.writer.url.render_as_string(hide_password=False)
    written = url.replace("+psycopg", "").replace("+pysqlite", "")
    (tmp_path / "sortingoffice.toml").write_text(f'hostname = "mx.sort.example"\ndatabase = "{written}"\n')
    return spooled.make(db, tmp_path)


@pytest.fixture
def operator(made: Spooled, tmp_path: Path) -> Person:
    return Person(tmp_path)


def many(made: Spooled, number: int, **changes: Any) -> list[int]:
    """So many that wait, put there at once."""

    def put(tx: Transaction) -> list[int]:
        letters = [made.letter(**changes) for _ in range(number)]
        stored = [spool.put(tx, message, (delivery,)).id for message, delivery in letters]
        return [spool.deliveries(tx, each)[0].id for each in stored]

    return made.db.call(put)


def states(made: Spooled, numbers: list[int]) -> list[DeliveryState]:
    found = {each.delivery.id: each.delivery.state for each in made.db.view(spool.numbered, numbers)}
    return [found[number] for number in numbers]


def said(made: Spooled, what: str) -> int:
    return [event.what for event in made.db.view(events.every, most=100_000)].count(what)


# ---- of some at a time ---------------------------------------------------------------------------


@pytest.mark.parametrize("word", [queues.retry, queues.drop])
def test_numbers_are_done_some_at_a_time_and_others_write_between(made: Spooled, word: Any) -> None:
    numbers = many(made, 450)
    seen: list[tuple[int, int]] = []

    def others(done: int, of: int) -> None:
        seen.append((done, of))
        made.put(recipient="x@other.example")  # no transaction of ours is in its way

    rows = word(made.office, numbers, actor="cli", watcher=others)
    assert seen == [(200, 450), (400, 450), (450, 450)]
    assert [row["id"] for row in rows] == numbers
    assert all(row["done"] for row in rows)
    assert said(made, "retried" if word is queues.retry else "dropped") == 450


def test_large_mail_is_dropped_fewer_at_a_time(made: Spooled) -> None:
    numbers = many(made, 6, size=15 << 20)
    commits: list[object] = []
    sa.event.listen(made.db._engines.writer, "commit", commits.append)
    queues.drop(made.office, numbers, actor="cli")
    assert len(commits) == 3
    assert states(made, numbers) == [DROPPED] * 6


def test_a_drop_that_is_stopped_has_dropped_what_it_came_to(made: Spooled) -> None:
    numbers = many(made, 6)

    def stop(done: int, _of: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queues.drop(made.office, numbers, actor="cli", together=2, watcher=stop)
    assert states(made, numbers) == [DROPPED] * 4 + [QUEUED] * 2
    assert said(made, "dropped") == 4


def test_a_drop_that_is_killed_has_dropped_whole_transactions_and_the_rest_waits(
    made: Spooled, operator: Person
) -> None:
    numbers = many(made, 3000)
    words = ("--config", str(operator.config), "queue", "drop", "--all", "--yes")
    process = subprocess.Popen([sys.executable, "-m", "sortingoffice", *words])
    try:
        until(lambda: len(made.db.view(queued.waiting)) < 3000, "the first are dropped")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    left = made.db.view(queued.waiting)
    assert 0 < len(left) < 3000
    assert len(left) % 200 == 0
    assert list(left) == numbers[-len(left) :], "the oldest first"
    assert said(made, "dropped") == 3000 - len(left)


@contextmanager
def at_its_row(made: Spooled, number: int) -> Iterator[threading.Event]:
    """Another transaction is at this delivery, until the event is set."""
    there, done = threading.Event(), threading.Event()

    def stay(tx: Transaction) -> None:
        spool.retry(tx, number, NOW)
        there.set()
        done.wait(20)

    thread = threading.Thread(target=made.db.call, args=(stay,))
    thread.start()
    try:
        assert there.wait(20)
        yield done
    finally:
        done.set()
        thread.join()


def test_a_transaction_of_many_waits_for_nobody_s_row(postgresql_db: Database, tmp_path: Path) -> None:
    made = spooled.make(postgresql_db, tmp_path)
    numbers = many(made, 4)
    with at_its_row(made, numbers[1]):
        ended = made.db.call(spool.drop_all, numbers, "x", NOW)
        assert ended == {numbers[0], *numbers[2:]}


def test_what_somebody_was_at_is_dropped_when_they_are_done(postgresql_db: Database, tmp_path: Path) -> None:
    made = spooled.make(postgresql_db, tmp_path)
    numbers = many(made, 4)
    rows: list[dict[str, Any]] = []
    drop = threading.Thread(target=lambda: rows.extend(queues.drop(made.office, numbers, actor="cli")))
    with at_its_row(made, numbers[1]):
        drop.start()
        until(lambda: states(made, numbers).count(DROPPED) == 3, "the others are dropped meanwhile")
        assert drop.is_alive()
    drop.join()
    assert [row["done"] for row in rows] == [True] * 4


# ---- what can't be -------------------------------------------------------------------------------


def test_a_number_that_can_t_be_dropped_is_named_and_the_others_are_dropped(
    made: Spooled, operator: Person
) -> None:
    first, ended, held, last = [
        *many(made, 2),
        made.put(state=HELD).id,
        made.put().id,
    ]
    operator.out("queue", "drop", ended)
    answer = operator.says("queue", "drop", first, ended, 999, held, last, first)
    assert answer.status == 1
    assert answer.out == ""
    assert answer.err == (
        f"3 deliveries dropped.  Passed over {ended}: it is dropped already; "
        "999: nothing in the queue has this number.\n"
    )
    assert states(made, [first, held, last]) == [DROPPED] * 3


def test_a_number_that_can_t_be_retried_is_named_and_the_others_are_due(
    made: Spooled, operator: Person
) -> None:
    (tried,) = many(made, 1)
    made.db.call(leases.claim, NOW, "n", 1)
    held, last = made.put(state=HELD).id, made.put().id
    answer = operator.says("queue", "retry", tried, held, last)
    assert answer.status == 1
    assert answer.err == (
        f"1 delivery due now.  Passed over {tried}: it is just being tried; {held}: it is held "
        "(`sortingoffice held release` lets it go).\n"
    )
    assert said(made, "retried") == 1


def test_what_is_just_being_tried_is_dropped(made: Spooled, operator: Person) -> None:
    tried, other = many(made, 2)
    made.db.call(leases.claim, NOW, "n", 1)
    operator.out("queue", "drop", tried, other)
    assert states(made, [tried, other]) == [DROPPED] * 2
    again = many(made, 1)
    made.db.call(leases.claim, NOW, "n", 1)
    operator.out("queue", "drop", "--all", "--yes")
    assert states(made, again) == [DROPPED]


def test_json_tells_what_became_of_each(made: Spooled, operator: Person) -> None:
    first, ended = many(made, 2)
    operator.out("queue", "drop", ended)
    answer = operator.says("queue", "drop", first, ended, 999, "--json")
    assert answer.status == 1
    rows = json.loads(answer.out)
    assert [(row["id"], row["state"], row["done"], row["why"]) for row in rows] == [
        (first, "dropped", True, ""),
        (ended, "dropped", False, "it is dropped already"),
        (999, None, False, "nothing in the queue has this number"),
    ]
    assert rows[0].keys() == rows[1].keys() == rows[2].keys()
    assert operator.json("queue", "list", "--state", "dropped")[0].keys() < rows[2].keys()


def test_the_only_number_that_is_named_is_an_error_as_ever(made: Spooled, operator: Person) -> None:
    (number,) = many(made, 1)
    operator.out("queue", "drop", number)
    for word, what in (("drop", "dropped"), ("retry", "tried again")):
        sentence = operator.refused("queue", word, number, "--json")
        assert sentence == f"{number} can't be {what}: it is dropped already"
    assert operator.refused("queue", "drop", 999, 999).startswith("nothing in the queue has the number 999;")


def test_one_sentence_names_not_thousands(made: Spooled, operator: Person) -> None:
    answer = operator.says("queue", "drop", *range(1000, 1100))
    assert answer.status == 1
    assert "1019 and 80 more (--json names all): nothing" in answer.err


def test_what_ends_between_two_transactions_is_passed_over(made: Spooled) -> None:
    numbers = many(made, 4)

    def ended(done: int, _of: int) -> None:
        if done == 2:
            made.db.call(spool.drop, numbers[3], "revoked", NOW)

    rows = queues.drop(made.office, numbers, actor="cli", together=2, watcher=ended)
    assert [row["done"] for row in rows] == [True, True, True, False]
    rows = queues.drop_all(made.office, dict.fromkeys(numbers, QUEUED), actor="cli")
    assert rows == [], "what was only described needs no word"


def test_what_was_held_when_it_was_chosen_and_is_let_go_since_is_not_dropped(made: Spooled) -> None:
    held, released = made.put(state=HELD).id, made.put(state=HELD).id
    chosen = queues.waiting(made.office, HELD)
    made.db.call(spool.release, released, NOW)
    assert [row["id"] for row in queues.drop_all(made.office, chosen, actor="cli")] == [held]
    assert states(made, [held, released]) == [DROPPED, QUEUED]


# ---- choosing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [("--to", "HOME.example."), ("--address", "Anna@home.EXAMPLE"), ("--all",)],
    ids=" ".join,
)
def test_drop_takes_what_list_shows(made: Spooled, operator: Person, words: tuple[str, ...]) -> None:
    inward = [*many(made, 2), made.put(state=HELD).id]
    other = made.put(Direction.OUTWARD, sender="bert@else.example", recipient="x@slow.example").id
    listed = [row["id"] for row in operator.json("queue", "list", *(words if words != ("--all",) else ()))]
    expected = [*inward, other] if words == ("--all",) else inward
    assert sorted(listed) == sorted(expected)
    dropped = operator.json("queue", "drop", *words, "--yes")
    assert [row["id"] for row in dropped] == expected, "the oldest first"
    assert made.db.view(queued.waiting).keys() == {*inward, other} - {*expected}


def test_drop_takes_one_state_of_what_it_chooses(made: Spooled, operator: Person) -> None:
    queued_, held = many(made, 1)[0], made.put(state=HELD).id
    assert [row["id"] for row in operator.json("queue", "drop", "--all", "--state", "held", "--yes")] == [
        held
    ]
    assert states(made, [queued_]) == [QUEUED]
    assert operator.says("queue", "drop", queued_, "--state", "held").status == 2


def test_what_is_only_described_is_not_dropped_unasked(made: Spooled, operator: Person) -> None:
    number = many(made, 1)[0]
    made.put(state=HELD)
    answer = said_outside("--config", operator.config, "queue", "drop", "--all")
    assert answer == Said(
        1,
        "",
        "2 deliveries, 1 of them held for the person's word, would be dropped, which can't be undone: "
        "add --yes to do it\n",
    )
    seen = screen.at_terminal(operator, "queue", "drop", "--to", "home.example", answers=["n"])
    assert "Drop 2 deliveries, 1 of them held for the person's word?" in seen.text
    assert seen.status == 130
    assert states(made, [number]) == [QUEUED]
    seen = screen.at_terminal(operator, "queue", "drop", "--all", answers=["y"])
    assert (seen.status, seen.unsaid) == (0, ()), seen
    assert states(made, [number]) == [DROPPED]


def test_numbers_are_dropped_unasked_and_nothing_is_an_empty_list(made: Spooled, operator: Person) -> None:
    assert operator.json("queue", "drop", "--all") == []
    operator.out("queue", "drop", *many(made, 2))
    assert operator.json("queue", "drop", "--all") == []


@pytest.mark.parametrize("word", ["retry", "drop"])
def test_what_is_chosen_is_said_in_one_way(made: Spooled, operator: Person, word: str) -> None:
    number = many(made, 1)[0]
    wrong: list[tuple[object, ...]] = [(), (number, "--all"), (number, "--to", "a.example")]
    for words in (*wrong, ("--all", "--address", MAILBOX)):
        assert operator.says("queue", word, *words).status == 2, words
    for empty in (("--to", ""), ("--address", " "), ("--to", "", "--address", MAILBOX)):
        assert "it is empty" in operator.says("queue", word, *empty).err, empty
    sentence = operator.refused("queue", word, "--to", "nowhere.example", "--address", MAILBOX)
    assert sentence.startswith(f"nothing waits for nowhere.example and from or to {MAILBOX};")
    assert states(made, [number]) == [QUEUED]


def test_retry_takes_an_address_and_a_domain_as_people_write_it(made: Spooled, operator: Person) -> None:
    inward = many(made, 2)
    made.put(Direction.OUTWARD, sender="bert@else.example", recipient="x@slow.example")
    both = ("--to", "home.example", "--address", VENDOR)
    for words in (("--to", "Home.Example."), ("--address", MAILBOX), both):
        assert [row["id"] for row in operator.json("queue", "retry", *words)] == inward, words


def strange(made: Spooled, **changes: Any) -> int:
    """Mail of no relationship that there is now."""
    message, delivery = made.letter(relationship_id=None)
    delivery = replace(delivery, relationship_id=None, contact_id=None, **changes)
    stored = made.db.call(spool.put, message, (delivery,))
    return made.db.view(spool.deliveries, stored.id)[0].id


def listed(operator: Person, address: str) -> set[int]:
    return {row["id"] for row in operator.json("queue", "list", "--address", address)}


def test_an_alias_finds_the_mail_of_its_relationship(made: Spooled, operator: Person) -> None:
    inward = made.put(accepted_for="Lunar.Otter4821@sort.example").id
    older = made.put().id  # whose address was not written down
    outward = made.put(Direction.OUTWARD).id
    strange(made, recipient="b@else.example")
    gone = strange(made, accepted_for="Gone@sort.example")
    for spelling in (ALIAS, "LUNAR-OTTER4821@Sort.Example."):
        assert listed(operator, spelling) == {inward, older, outward}, spelling
    assert listed(operator, "gone@sort.example") == {gone}


def test_a_reverse_alias_finds_the_mail_of_its_contact(made: Spooled, operator: Person) -> None:
    contact = made.put().id
    strange(made)
    assert listed(operator, REVERSE) == {contact}


def test_a_recipient_is_found_however_it_was_written(made: Spooled, operator: Person) -> None:
    number = made.put(Direction.OUTWARD, recipient="Support.Team@shop.example").id
    assert listed(operator, "support.team@SHOP.example") == {number}
    assert {row["id"] for row in operator.json("queue", "list", "--to", "SHOP.example.")} == {number}
