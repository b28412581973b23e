"""Signatures that have carried a message: what is written down, for how long, and what it stops."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice.core import proof
from sortingoffice.core.model import Account, AccountState
from sortingoffice.core.proof import Used
from sortingoffice.flows import housekeeping
from sortingoffice.flows.office import now
from sortingoffice.store import accounts, proofs
from sortingoffice.store.database import Database
from tests.person import Person
from tests.test_housekeeping import later

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("stamp", "date", "made"),
    [
        (None, None, None),
        (None, NOW, NOW),
        (0, NOW, datetime(1970, 1, 1, tzinfo=UTC)),
        (10**12 - 1, NOW, datetime(9999, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_signature_is_dated_by_its_stamp_then_by_the_date_it_covers(
    stamp: int | None, date: datetime | None, made: datetime | None
) -> None:
    assert proof.made(stamp, date) == made


@pytest.mark.parametrize("days", [-400, -1, 0, 6, 7, 8, 400])
def test_a_signature_is_remembered_for_as_long_as_it_would_count(days: int) -> None:
    made = NOW - days * DAY
    until = proof.until(made, NOW)
    assert until is not None
    assert proof.stale(made, until + DAY)
    assert until >= NOW


def test_a_signature_without_a_time_is_remembered_for_ever() -> None:
    assert not proof.stale(None, NOW)
    assert proof.until(None, NOW) is None
    assert proof.until(datetime(9999, 1, 1, tzinfo=UTC), NOW) is None, "or from a time that never comes"


def test_the_same_signature_for_another_recipient_is_another_proof() -> None:
    assert proof.digest(b"s", "a@x") == proof.digest(b"s", "a@x")
    assert len({proof.digest(b"s", "a@x"), proof.digest(b"s", "b@x"), proof.digest(b"sa", "@x")}) == 3


def test_what_was_used_is_known_to_its_own_account_until_it_is_pruned(db: Database) -> None:
    anna = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, False, None, "card", NOW))
    ben = db.call(accounts.add, Account(0, "ben", AccountState.ACTIVE, False, None, "card", NOW))
    assert db.call(proofs.add, Used(0, anna.id, b"one", NOW))
    assert db.call(proofs.add, Used(0, anna.id, b"two", None))
    assert not db.call(proofs.add, Used(0, anna.id, b"one", NOW + DAY)), "twice is once"
    assert db.view(proofs.known, anna.id, [b"one", b"two", b"three"]) == {b"one", b"two"}
    assert db.view(proofs.known, ben.id, [b"one"]) == frozenset()
    assert db.view(proofs.known, anna.id, []) == frozenset()
    assert db.call(proofs.prune, NOW, 10) == 0
    assert db.call(proofs.prune, NOW + DAY, 10) == 1
    assert db.view(proofs.known, anna.id, [b"one", b"two"]) == {b"two"}


def test_housekeeping_forgets_what_proves_nothing_any_more(person: Person) -> None:
    with person.office() as office:
        office.db.call(proofs.add, Used(0, 1, b"one", now() + 7 * DAY))
        assert asyncio.run(housekeeping.prune_proofs(later(office, days=6))) == 0
        assert asyncio.run(housekeeping.prune_proofs(later(office, days=8))) == 1
