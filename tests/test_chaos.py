"""A short chaos: `make chaos` is the long one."""

from __future__ import annotations

import pytest

from sortingoffice import failpoint
from tests.chaos.__main__ import lines
from tests.chaos.run import Plan, run
from tests.database import programs, skip_or_fail


@pytest.mark.timeout(400)
def test_killed_at_its_failpoints_the_office_loses_nothing_and_names_every_second_copy() -> None:
    report = run(Plan(24, 100, 50, 6, "sqlite", seed=1, at_random=0.1))
    assert report.result.wrong == [], "\n".join(lines(report))
    assert len(set(report.kills.where) & set(failpoint.POINTS)) >= 15
    assert report.result.promised >= 100


@pytest.mark.timeout(400)
def test_the_same_on_postgresql_which_is_restarted_meanwhile() -> None:
    if programs() is None:
        skip_or_fail("PostgreSQL")
    report = run(Plan(12, 100, 50, 6, "postgresql", seed=5))
    assert report.result.wrong == [], "\n".join(lines(report))
    assert report.result.promised >= 100
