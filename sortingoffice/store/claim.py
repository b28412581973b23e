"""The claim's one statement.

Fairness: the deliveries that are due longest are looked at first, but only a window of them.  While
all that is due fits into the window, that is everything.  When it does not, somebody's backlog is
in the way, and the index over (destination, due) is walked from one destination to the next, taking the
first few of each: the cost grows with the number of destinations, never with the backlog.

What is picked is looked up by its key: `state || ''` hides the index over what is queued from the planner,
which would read the whole backlog through it.  Only what is queued is leased.

SQLite writes alone.  On PostgreSQL another node may be at the same rows: SKIP LOCKED passes by
what it holds, and the conditions are checked again on what is locked.

Sources: PostgreSQL wiki "Loose indexscan"; sqlite.org/lang_with.html (recursive CTE) and
sqlite.org/partialindex.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

# A claim's most, and half as much again: while a host is dead, each row of it costs every claim 2 µs.
WINDOW = 150

_SQL = """
WITH RECURSIVE
head AS (
    SELECT id, destination, due, message_id FROM delivery
    WHERE state = 'queued' AND due <= :now ORDER BY due LIMIT :window
),
walk (destination) AS (
    SELECT (SELECT destination FROM delivery WHERE state = 'queued' ORDER BY destination LIMIT 1)
    WHERE (SELECT count(*) FROM head) >= :window
    UNION ALL
    SELECT (
        SELECT next.destination FROM delivery AS next
        WHERE next.state = 'queued' AND next.destination > walk.destination
        ORDER BY next.destination LIMIT 1
    ) FROM walk WHERE walk.destination IS NOT NULL
),
waiting AS (
    SELECT id, destination, due, message_id FROM head
    UNION
    {firsts}
),
busy AS (
    SELECT destination, count(*) AS number FROM delivery
    WHERE lease_node <> '' AND lease_node = :node AND lease_until > :now
    GROUP BY destination
),
ranked AS (
    SELECT waiting.id, waiting.due, waiting.message_id, coalesce(busy.number, 0) + row_number() OVER (
        PARTITION BY waiting.destination ORDER BY waiting.due, waiting.id
    ) AS place
    FROM waiting LEFT JOIN busy ON busy.destination = waiting.destination
    WHERE {within}(:passed, ' ' || waiting.destination || ' ') = 0
),
picked AS (
    SELECT ranked.id, ranked.due, ranked.place, coalesce(
        sum((SELECT message.size FROM message WHERE message.id = ranked.message_id)) OVER (
            ORDER BY ranked.place, ranked.due, ranked.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0
    ) AS octets_before
    FROM ranked WHERE ranked.place <= :each
),
chosen AS (
    SELECT still.id FROM picked {still}
    WHERE picked.octets_before < :octets
    ORDER BY picked.place, picked.due, picked.id LIMIT :n
)
UPDATE delivery SET lease_node = :node, lease_until = :until, due = :until
WHERE id {among}
RETURNING {columns}
"""

_FIRSTS = {
    # SQLite knows no LATERAL, but looks up an IN that names the row to its left.
    "sqlite": """
    SELECT d.id, d.destination, d.due, d.message_id FROM walk CROSS JOIN delivery AS d
    WHERE d.id IN (
        SELECT first.id FROM delivery AS first
        WHERE first.state = 'queued' AND first.destination = walk.destination AND first.due <= :now
        ORDER BY first.due LIMIT :each
    )""",
    # Written as rows, so that no other index will do: the one over `due` alone leads through the backlog.
    "postgresql": """
    SELECT f.id, f.destination, f.due, f.message_id FROM walk CROSS JOIN LATERAL (
        SELECT first.id, first.destination, first.due, first.message_id FROM delivery AS first
        WHERE first.state = 'queued'
            AND (first.destination, first.due) >= (walk.destination, 0)
            AND (first.destination, first.due) <= (walk.destination, :now)
        ORDER BY first.destination, first.due LIMIT :each
    ) AS f""",
}
_STILL = {
    "sqlite": """
    JOIN delivery AS still
        ON still.id = picked.id AND still.state || '' = 'queued' AND still.due <= :now""",
    # OFFSET keeps it a look-up for each row.
    "postgresql": """
    CROSS JOIN LATERAL (
        SELECT delivery.id FROM delivery
        WHERE delivery.id = picked.id AND delivery.state || '' = 'queued' AND delivery.due <= :now
        OFFSET 0 FOR UPDATE SKIP LOCKED
    ) AS still""",
}
_WITHIN = {"sqlite": "instr", "postgresql": "strpos"}
_AMONG = {
    "sqlite": "IN (SELECT id FROM chosen)",
    "postgresql": "= ANY (ARRAY(SELECT id FROM chosen))",
}


@contextmanager
def by_index(tx: Transaction) -> Iterator[None]:
    """The statement is written for its indexes; PostgreSQL is to use them whatever it believes of the table.

    After a burst its statistics say for a minute that hardly anything is there, and it would read all of it.
    What is looked up by key is written as a look-up for the same reason: joined, 100,000 that wait cost each
    claim a tenth of a second, instead of a few milliseconds.
    """
    if tx.dialect.name != "postgresql":
        yield
        return
    tx.exec_driver_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    yield  # after a failure the transaction is over, and the setting with it
    tx.exec_driver_sql("SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on")


def _statement(dialect: str) -> sa.TextualSelect:
    columns = ", ".join(f"delivery.{column.name}" for column in schema.delivery.columns)
    sql = _SQL.format(
        firsts=_FIRSTS[dialect],
        still=_STILL[dialect],
        within=_WITHIN[dialect],
        among=_AMONG[dialect],
        columns=columns,
    )
    text = sa.text(sql)
    typed = text.bindparams(
        sa.bindparam("now", type_=schema.Instant), sa.bindparam("until", type_=schema.Instant)
    )
    return typed.columns(*schema.delivery.columns)


# parameters: now, until, node, n, each, octets, window, passed (between blanks); see `leases.claim`
STATEMENTS = {dialect: _statement(dialect) for dialect in _FIRSTS}
