"""What the delivering loop asks of the database in one transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sortingoffice import failpoint
from sortingoffice.flows import putoff
from sortingoffice.flows.putoff import Sweeps, Swept
from sortingoffice.store import clock, domains, leases
from sortingoffice.store.database import Transaction
from sortingoffice.store.spool import Claimed


def claim(
    tx: Transaction,
    now: datetime,
    node: str,
    n: int,
    *,
    each: int,
    sweeps: Sweeps | None,
    passed: Collection[str] = (),
) -> tuple[tuple[Claimed, ...], frozenset[str], Swept]:
    """What is due, which domains are ours at this moment, and what was put off before."""
    leases.lapse(tx, now)
    swept = putoff.sweep(tx, now, sweeps)
    claimed = leases.claim(tx, now, node, n, each=each, passed=passed)
    if claimed:
        failpoint.at("at-claim")
    ours = (domain.name for domain in domains.every(tx)) if claimed else ()
    return claimed, frozenset(ours), swept


def renew(tx: Transaction, held: Collection[int], node: str, until: datetime) -> tuple[tuple[int, ...], bool]:
    """What is still ours, and whether others hold something."""
    return leases.renew(tx, held, node, until), clock.others_hold(tx, node)
