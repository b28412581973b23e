"""What the clock does: limits that are reached end, and what need not be kept goes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import click
import pytest

from sortingoffice.cli.serve import serve
from sortingoffice.core.model import Attempt, DeliveryState
from sortingoffice.flows import housekeeping
from sortingoffice.flows.office import Office, now
from sortingoffice.store import references, relationships, schema, spool
from sortingoffice.store.database import Database, Transaction, my_turn
from tests.person import Person
from tests.test_store_spool import message, only, raw, to


def later(office: Office, **time: int) -> Office:
    return replace(office, clock=lambda: now() + timedelta(**time))


def test_a_relationship_expires_when_its_time_has_come(person: Person) -> None:
    person.out("new", "Lamp Shop", "--until", "14d")
    with person.office() as office:
        assert asyncio.run(housekeeping.expire(later(office, days=13))) == 0
        assert asyncio.run(housekeeping.expire(later(office, days=15))) == 1
        assert asyncio.run(housekeeping.expire(later(office, days=15))) == 0
        (of,) = office.db.view(relationships.every, 1)
    assert of.state == "expired"
    assert person.events("lamp-shop")[-1] == "expired"


def test_every_task_is_some_roles_and_what_opens_cards_is_done_where_their_key_is() -> None:
    everything = {*housekeeping.EACH_ROUND, *housekeeping.NOW_AND_THEN, *housekeeping.WITH_CARDS}
    [roles] = [each.type for each in serve.params if each.name == "role"]
    assert isinstance(roles, click.Choice)
    of = {role: set(housekeeping.due(role, 0)) for role in roles.choices}
    assert of["all"] == everything
    assert of["queue"] | of["smtp"] == everything
    assert not of["queue"] & of["smtp"]
    assert housekeeping.ask_again in of["smtp"]
    assert of["web"] == set()


def test_a_pause_that_is_over_lets_its_mail_go(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("pause", "lamp-shop", "--until", "14d")
    muted = person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    with person.office() as office:
        assert asyncio.run(housekeeping.keep_time(later(office, days=15))) == 1
    assert person.delivery(muted).state is DeliveryState.QUEUED


def test_what_is_old_is_forgotten_and_what_is_young_is_kept(person: Person) -> None:
    person.out("new", "Lamp Shop")
    at = now()
    with person.office() as office:
        db = office.db
        db.call(spool.put, message(accepted=at, raw=b"left"), (to("a.example", state=DeliveryState.DROPPED),))
        delivery = only(db)

        def fill(tx: Transaction) -> None:
            for day in range(3):
                tried = at + timedelta(days=day)
                schema.insert(tx, Attempt(0, delivery.id, tried, "mx", "", "450 4.2.0 later", 3))
                references.remember(tx, 1, f"<in{day}>", f"<out{day}>", tried)

        db.call(fill)
        tasks = housekeeping.NOW_AND_THEN
        asyncio.run(housekeeping.look_after(later(office, days=90, hours=12), tasks))
        assert len(db.view(spool.attempts, delivery.id)) == 2
        assert raw(db, delivery.message_id) == b""
        asyncio.run(housekeeping.look_after(later(office, days=730, hours=12), tasks))
        assert set(db.view(references.outside_of, 1, ["<in0>", "<in1>", "<in2>"])) == {"<in1>", "<in2>"}


async def test_a_task_that_fails_stops_no_other_and_no_round(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    stop = asyncio.Event()

    async def broken(office: Office) -> int:
        raise KeyError("ours")

    async def fine(office: Office) -> int:
        done.append("fine")
        if len(done) == 3:
            stop.set()
        return 1

    monkeypatch.setattr(housekeeping, "EACH_ROUND", (broken, fine))
    monkeypatch.setattr(housekeeping, "NOW_AND_THEN", ())
    monkeypatch.setattr(housekeeping, "ROUND", timedelta(milliseconds=1))
    with person.office() as office:
        await asyncio.wait_for(housekeeping.run(lambda: office, stop), 10)
    assert len(done) == 3


async def test_it_ends_at_once_when_told_to(person: Person) -> None:
    stop = asyncio.Event()
    with person.office() as office:
        task = asyncio.create_task(housekeeping.run(lambda: office, stop))
        await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait_for(task, 20)


def test_two_nodes_take_turns(postgresql_db: Database) -> None:
    def both(mine: Transaction) -> tuple[bool, bool]:
        return my_turn(mine, 1), postgresql_db.call(my_turn, 1)

    assert postgresql_db.call(both) == (True, False)
    assert postgresql_db.call(my_turn, 1), "a turn ends with its transaction"
