"""The day's digest, near misses and the chain of evidence, on both databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.core.model import Account, AccountState
from sortingoffice.core.rejects import Reject
from sortingoffice.flows import strangers
from sortingoffice.store import accounts, rejects, relationships, writers
from sortingoffice.store.database import Database
from tests.desk import START, Desk, open_desk


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    return open_desk(db, tmp_path)


def wrote(
    desk: Desk, identity: str, standing: str = "authenticated stranger", *, pending: bool = False
) -> None:
    now = desk.office.clock()
    desk.db.call(
        writers.note,
        desk.shop.id,
        standing,
        identity,
        now=now,
        token="t1",
        pending=pending,
        pending_first=True,
    )


def digests(desk: Desk) -> list[str]:
    desk.db.call(strangers.digests, desk.office)
    return [each.raw.decode() for each in desk.notices() if each.rule == "digest"]


def test_the_person_is_told_of_all_strangers_in_one_mail(desk: Desk) -> None:
    assert digests(desk) == [], "nobody wrote"
    wrote(desk, "one.example")
    wrote(desk, "two.example")
    wrote(desk, "mailer.example", "its processor")
    (mail,) = digests(desk)
    assert "Subject: 2 strangers wrote to your addresses" in mail
    for line in (
        "allow lamp-shop one.example",
        "refuse lamp-shop two.example",
        "allow lamp-shop mailer.example",
    ):
        assert line in mail


def test_the_person_is_told_at_most_once_a_day_and_nobody_is_forgotten(desk: Desk) -> None:
    wrote(desk, "one.example")
    assert len(digests(desk)) == 1
    wrote(desk, "two.example")
    wrote(desk, "one.example")
    assert len(digests(desk)) == 1, "it was today"
    desk.later(hours=25)
    _, second = digests(desk)
    assert "two.example" in second
    assert "one.example" not in second, "that one was told of, and its further mail is counted only"
    desk.later(days=3)
    assert len(digests(desk)) == 2, "nothing new"


def test_held_mail_of_a_known_stranger_is_told_of_again_the_next_day(desk: Desk) -> None:
    wrote(desk, "one.example")
    digests(desk)
    wrote(desk, "one.example", pending=True)
    desk.later(hours=25)
    assert "one.example" in digests(desk)[1]


def slipped(desk: Desk, address: str) -> None:
    """Somebody wrote to an address one slip away from the shop's."""
    (alias,) = desk.db.view(relationships.aliases, desk.shop.id)
    now = desk.office.clock()
    desk.db.call(
        rejects.add,
        Reject(0, address, address.replace(".", ""), alias.id, "192.0.2.9", 1, now, now, None, True),
    )


def test_mail_one_slip_away_is_told_of_though_no_stranger_wrote_and_once_a_day_too(desk: Desk) -> None:
    slipped(desk, "lamp.shop123@sort.example")
    (mail,) = digests(desk)
    assert "rejects accept lamp.shop123@sort.example" in mail
    slipped(desk, "lamp.shop12345@sort.example")
    wrote(desk, "one.example")
    assert len(digests(desk)) == 1, "it was today"
    desk.later(hours=25)
    _, second = digests(desk)
    assert "lamp.shop12345@sort.example" in second
    assert "one.example" in second
    desk.later(days=3)
    assert len(digests(desk)) == 2, "nothing new"


def test_who_was_told_today_keeps_nobody_else_waiting(desk: Desk) -> None:
    wrote(desk, "one.example")
    assert desk.db.call(strangers.digests, desk.office, 1) == 1
    wrote(desk, "two.example")
    ben = desk.db.call(accounts.add, Account(0, "ben", AccountState.ACTIVE, False, None, "card", START))
    other = replace(desk, account=ben).relate("Bens Shop")
    desk.db.call(
        writers.note, other.id, "authenticated stranger", "one.example",
        now=desk.office.clock(), token="t2", pending=False, pending_first=True,
    )  # fmt: skip
    assert desk.db.call(strangers.digests, desk.office, 1) == 1
