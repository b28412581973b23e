"""Afterwards: every promise against the spool, and the spool against what arrived."""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sortingoffice.flows import history
from sortingoffice.mail import token
from sortingoffice.store import leases
from sortingoffice.store.database import Database, Transaction
from tests.chaos.peers import Taken
from tests.chaos.senders import Promises
from tests.chaos.trouble import Kills

_UNKNOWN = "after the message was sent"  # net.conversation's words
_NEAR = 10.0  # seconds between what arrived and the kill before its commit
_SAMPLE = 25  # duplicates that are looked up in `trace`
# A line that a kill tore has another behind it, and no such beginning.
_TAKEN = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) attempt .*\bdelivery=(\d+) .*\boutcome=taken\b")

_Promise = tuple[str, int, bool]
_Copy = tuple[int, float | None, float, str]  # delivery, its arrival before the kill, the kill, its kind
_ROWS = sa.text(
    "SELECT m.subject, m.relationship_id, m.direction, m.token, d.id, d.state, d.return_domain, d.ended"
    " FROM message m JOIN delivery d ON d.message_id = m.id"
)
_REPLIES = sa.text("SELECT delivery_id, reply, at FROM attempt WHERE reply LIKE :cut OR reply LIKE :unknown")


@dataclass
class Result:
    """What the run showed; `wrong` must be empty.

    open  seconds from each arrival to the transaction that settled it: when a kill makes a second copy
    gaps  seconds from the arrival of each second copy's first to the kill
    phases  how far the first of each had come at the kill
    """

    promised: int = 0
    states: Counter[str] = field(default_factory=Counter)
    dsns: int = 0
    notes: int = 0
    duplicates: int = 0
    after_steady: int = 0
    after_random: int = 0
    after_point: int = 0
    unanswered: int = 0
    open: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    phases: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def so_far(
    db: Database, key: bytes, kept: frozenset[_Promise], several: dict[str, list[float]], kills: Kills
) -> Result:
    """While it runs: what was promised is in the spool, once.  The rest can be told when all is at rest.

    several  what came more than once, by its return path
    """
    result = Result(promised=len(kept))
    rows = db.view(lambda tx: [tuple(row) for row in tx.execute(_ROWS)])
    _look_up(result, kept, _by_promise(rows))
    counted = Result()
    arrived = _by_delivery(counted, key, several)
    _duplicates(counted, db, arrived, db.view(_named), {}, kills, None)
    result.duplicates, result.unanswered = counted.duplicates, counted.unanswered
    result.after_steady, result.after_random = counted.after_steady, counted.after_random
    result.after_point, result.gaps = counted.after_point, counted.gaps
    return result


def reckon(db: Database, key: bytes, promises: Promises, taken: Taken, kills: Kills, log: Path) -> Result:
    """When all is at rest.

    log  the office's, which tells when it knew of an end
    """
    result = Result(promised=len(promises.kept))
    rows = db.view(lambda tx: [tuple(row) for row in tx.execute(_ROWS)])
    named = db.view(_named)
    arrived = _by_delivery(result, key, taken.by_path)
    returned: Counter[str] = Counter()
    returns = " ".join(taken.by_id)
    by_token: dict[int, str] = {}
    for _, _, direction, name, number, state, path, ended in rows:
        by_token[number] = name
        if direction in ("inward", "outward"):
            returned[direction] += state == "returned"
            _check_arrival(result, number, state, path, arrived)
            if state == "delivered" and number in arrived:
                result.open.append(ended / 1e6 - max(arrived[number]))
        elif direction == "return":
            result.dsns += 1
            if state == "delivered" and name not in returns:
                result.wrong.append(f"the DSN {name} was delivered and never arrived")
        else:
            result.notes += 1
    _look_up(result, promises.kept, _by_promise(rows))
    if returned["inward"] != result.dsns:
        result.wrong.append(f"{returned['inward']} returned to the vendor, but {result.dsns} DSNs")
    if returned["outward"] > result.notes:
        result.wrong.append(f"{returned['outward']} returned to the person, but {result.notes} notes")
    _duplicates(result, db, arrived, named, by_token, kills, log)
    result.wrong += kills.complaints
    return result


def _by_delivery(result: Result, key: bytes, by_path: Mapping[str, list[float]]) -> dict[int, list[float]]:
    arrived: dict[int, list[float]] = {}
    for path, times in by_path.items():
        number = token.delivery_of(key, path.partition("@")[0])
        if number is None:
            result.wrong.append(f"{path} is no return path of ours")
        else:
            arrived.setdefault(number, []).extend(times)
    return arrived


def _by_promise(rows: list[tuple[Any, ...]]) -> dict[_Promise, list[tuple[int, str]]]:
    found: defaultdict[_Promise, list[tuple[int, str]]] = defaultdict(list)
    for subject, relationship, direction, _, number, state, _, _ in rows:
        if direction in ("inward", "outward"):
            found[subject, relationship, direction == "outward"].append((number, state))
    return found


def _look_up(
    result: Result, kept: Collection[_Promise], of_promise: dict[_Promise, list[tuple[int, str]]]
) -> None:
    for promise in kept:
        if promise not in of_promise:
            result.wrong.append(f"lost: {promise}")
    for promise, found in of_promise.items():
        if len(found) > 1:
            result.wrong.append(f"accepted twice: {promise} as {found}")
        result.states[found[0][1]] += promise in kept


def _check_arrival(
    result: Result, number: int, state: str, path: str, arrived: dict[int, list[float]]
) -> None:
    if state == "delivered" and path and number not in arrived:
        result.wrong.append(f"delivery {number} is delivered and never arrived")
    if state not in ("queued", "held", "delivered", "returned"):
        result.wrong.append(f"delivery {number} is {state}")


@dataclass
class _Named:
    """Attempts of one delivery that may have brought a copy without our knowing.

    unknown  how many the next hop left unanswered
    cut      when those that a kill cut short were written down, in microseconds
    """

    unknown: int = 0
    cut: list[int] = field(default_factory=list)


def _named(tx: Transaction) -> defaultdict[int, _Named]:
    found: defaultdict[int, _Named] = defaultdict(_Named)
    patterns = {"cut": f"{leases.CUT_SHORT}%", "unknown": f"%{_UNKNOWN}%"}
    for row in tx.execute(_REPLIES, patterns):
        if row.reply == leases.CUT_SHORT:
            found[row.delivery_id].cut.append(row.at)
        else:
            found[row.delivery_id].unknown += 1
    return found


def _duplicates(
    result: Result,
    db: Database,
    arrived: dict[int, list[float]],
    named: defaultdict[int, _Named],
    by_token: dict[int, str],
    kills: Kills,
    log: Path | None,
) -> None:
    copies: list[_Copy] = []
    ordered = sorted(kills.at)
    moments = [at for at, _ in ordered]
    looked_up = 0
    for number, times in arrived.items():
        extra = len(times) - 1
        if not extra:
            continue
        result.duplicates += extra
        why = named[number]
        if why.unknown + len(why.cut) < extra:
            result.wrong.append(f"delivery {number} came {len(times)} times, and trace doesn't say why")
        by_peer = min(why.unknown, extra)
        result.unanswered += by_peer
        for cut in why.cut[: extra - by_peer]:
            kill, where = ordered[bisect.bisect_left(moments, cut / 1e6) - 1]
            kind = where if where == "steady" else "random" if where.startswith("random") else "point"
            result.after_steady += kind == "steady"
            result.after_random += kind == "random"
            result.after_point += kind == "point"
            before = [at for at in times if 0 <= kill - at < _NEAR]
            result.gaps += [kill - at for at in before[-1:]]
            copies.append((number, before[-1] if before else None, kill, kind))
        if number in by_token and looked_up < _SAMPLE:
            looked_up += 1
            _traced(result, db, number, by_token[number])
    if log is not None:
        _phases(result, copies, log)


def _phases(result: Result, copies: list[_Copy], log: Path) -> None:
    """The office writes an attempt's line when it knows of its end, and commits it then."""
    knew: defaultdict[int, list[float]] = defaultdict(list)
    numbers = {copy[0] for copy in copies}
    with log.open(errors="replace") as lines:
        for line in lines:
            found = _TAKEN.match(line)
            if found and int(found[2]) in numbers:
                at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f")  # noqa: DTZ007
                knew[int(found[2])].append(at.timestamp())
    for number, arrived, kill, kind in copies:
        phase = "taken, the answer not read"
        if arrived is None:
            phase = "sent, and taken after the kill"
        elif any(arrived - 0.002 <= at <= kill for at in knew[number]):
            phase = "the answer known, and not committed"
        result.phases[f"{kind}: {phase}"] += 1


def _traced(result: Result, db: Database, number: int, name: str) -> None:
    """`trace` of the message names the attempt."""
    [row] = db.view(history.trace, None, name)
    tried: list[dict[str, Any]] = [a for d in row["deliveries"] if d["id"] == number for a in d["attempts"]]
    if not any(_UNKNOWN in a["reply"] or a["reply"] == leases.CUT_SHORT for a in tried):
        result.wrong.append(f"trace of {name} doesn't name its second copy")
