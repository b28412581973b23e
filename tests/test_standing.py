"""The r-button ⊂⊃: who of the two is in a relationship, out of its state and what came."""

from __future__ import annotations

import pytest

from sortingoffice.core.model import RelationshipState
from sortingoffice.flows import standing
from sortingoffice.flows.standing import Standing
from sortingoffice.store.traffic import Counts

SILENT, WROTE, KNOCKS = Counts(), Counts(inward=3, outward=1), Counts(inward=3, refused=2)
S = RelationshipState


@pytest.mark.parametrize(
    ("state", "counts", "shown"),
    [
        (S.ACTIVE, WROTE, Standing.BOTH),
        (S.ACTIVE, SILENT, Standing.MINE),
        (S.ACTIVE, Counts(outward=2), Standing.MINE),
        (S.UNBOUND, SILENT, Standing.MINE),
        (S.MUTED, WROTE, Standing.THEIRS),
        (S.MUTED, SILENT, Standing.BROKEN),
        (S.CLOSING, WROTE, Standing.THEIRS),
        (S.CLOSING, SILENT, Standing.BROKEN),
        (S.REVOKED, KNOCKS, Standing.THEIRS),
        (S.REVOKED, WROTE, Standing.BROKEN),
        (S.EXPIRED, KNOCKS, Standing.THEIRS),
        (S.EXPIRED, SILENT, Standing.BROKEN),
    ],
)
def test_the_button_says_who_is_in_it(state: RelationshipState, counts: Counts, shown: Standing) -> None:
    assert standing.of(state, counts) is shown


def test_every_state_has_an_answer() -> None:
    assert {standing.of(state, counts) for state in S for counts in (SILENT, WROTE, KNOCKS)} == set(Standing)
