"""The day's digest, near misses and the chain of evidence, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.flows import strangers
from sortingoffice.store import writers
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk


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
