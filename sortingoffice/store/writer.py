"""Group commit: all writes that wait share one transaction and one fsync.

Promise: a caller is answered only after the commit that holds its rows returned; a write that
fails takes no other with it; and a commit, once begun, is finished whoever has gone away meanwhile.

A write may run twice (its transaction was rolled back in between), so it has no effect but on `tx`.

Sources: sqlite.org/lang_savepoint.html; sqlite.org/lang_transaction.html §3 (errors that roll the whole
transaction back); PostgreSQL manual 25.1, 13.3.4 (deadlocks).
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from sortingoffice import failpoint, metrics
from sortingoffice.frozen import dataclass
from sortingoffice.store import engine, handover
from sortingoffice.store.handover import Births, Desk
from sortingoffice.store.statement import say

T = TypeVar("T")

MOST = 128  # writes in a group
LONGEST = 0.05  # seconds after which a group takes no more: the first in it has waited that long
URGENT = 0.01  # the same where one in the group is urgent


@dataclass(slots=True)
class _Job:
    run: Callable[[sa.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    urgent: bool = False
    again: bool = False  # it had its second try


@dataclass(frozen=True, slots=True)
class _Answer:
    job: _Job
    value: Any
    error: BaseException | None


class _Broken(Exception):
    """The transaction is gone before its commit was asked for: nothing of the group is stored."""


class Writer:
    """One thread, one connection at a time.  Starts with the first write."""

    def __init__(self, writer: sa.Engine) -> None:
        self._engine = writer
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()  # rings once for each; False: the end
        self._urgent: deque[_Job] = deque()
        self._waiting: deque[_Job] = deque()
        self._retries: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.desk: Desk | None = None  # who delivers in this process
        self.commits = 0
        self.writes = 0
        self.refused = 0  # for the database's state

    async def write(self, run: Callable[[sa.Connection], T], *, urgent: bool = False) -> T:
        """The value of `run`, committed.  Cancelling the waiting task cancels only the waiting.

        urgent  before whatever waits, and its group is committed soon
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._submit(_Job(run, loop, future, urgent))
        return await future

    def close(self) -> None:
        """Finish what waits, then stop."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._bell.put(False)
            thread.join()

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise engine.Unavailable("the database is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="database-writer", daemon=True)
                self._thread.start()
            (self._urgent if job.urgent else self._waiting).append(job)
            self._bell.put(True)

    def _live(self) -> None:
        stopping = False
        while True:
            while self._retries:
                self._group(self._retries.popleft(), 1)  # alone: one that breaks its group breaks it once
            try:
                rung = self._bell.get(block=not stopping)
            except queue.Empty:
                return
            if rung:
                self._group(self._first(), MOST)
            else:
                stopping = True

    def _group(self, first: _Job, most: int) -> None:
        taken = [first]
        try:
            answers = self._transaction(taken, most)
        except Exception as error:
            why = error.__cause__ if isinstance(error, _Broken) and error.__cause__ else error
            if engine.gone(why):
                engine.distrust(self._engine)
            broken = isinstance(error, _Broken) or engine.gone(error)
            if broken and not (engine.silent(why) and first.again):
                answers = [self._failed(job, error) for job in taken]
            else:  # no connection, no lock, no word twice: nobody who waits would fare better
                answers = [_refused(job, error) for job in (*taken, *self._everyone())]
        for job, answer in zip(taken, answers, strict=False):
            if answer is None:
                job.again = True
                self._retries.append(job)
        self._reply([answer for answer in answers if answer is not None])

    def _transaction(self, taken: list[_Job], most: int) -> list[_Answer | None]:
        """Run `taken` and those that come meanwhile; commit; the answers, None for a second try."""
        answers: list[_Answer | None] = []
        kept = 0
        started = time.monotonic()
        longest = LONGEST
        with self._engine.connect() as tx, handover.group(tx, self.desk) as births:
            tx.begin()
            while len(answers) < len(taken):
                answer = self._one(tx, taken[len(answers)], kept, births)
                kept += answer is not None and answer.error is None
                answers.append(answer)
                if taken[len(answers) - 1].urgent:
                    longest = URGENT
                if len(taken) == len(answers) < most and time.monotonic() - started < longest:
                    taken.extend(self._next())
            failpoint.at("before-commit")
            try:
                tx.commit()
            except Exception as error:
                return [answer and _uncommitted(answer, error) for answer in answers]
        failpoint.at("after-commit")
        if births is not None:
            births.committed()
        metrics.committed(len(answers), time.monotonic() - started)
        self.commits += 1
        self.writes += kept
        return answers

    def _one(self, tx: sa.Connection, job: _Job, kept: int, births: Births | None) -> _Answer | None:
        """Run one write so that its failure leaves the `kept` ones before it as they are."""
        born = births.count if births is not None else 0
        if kept:
            say(tx, "SAVEPOINT one")
        try:
            value = job.run(tx)
            if kept:
                say(tx, "RELEASE SAVEPOINT one")
            elif not engine.intact(tx):
                raise RuntimeError("a write failed, and swallowed its error")
        except BaseException as error:
            if engine.read_only(error):
                engine.distrust(self._engine)
            if engine.gone(error) or _ended(tx):
                raise _Broken(engine.reason(error)) from error
            if births is not None:
                births.forget(born)
            if kept:
                say(tx, "ROLLBACK TO SAVEPOINT one")
                say(tx, "RELEASE SAVEPOINT one")
            else:
                tx.rollback()
                tx.begin()
            return self._failed(job, error)
        return _Answer(job, value, None)

    @staticmethod
    def _failed(job: _Job, error: BaseException) -> _Answer | None:
        """A mistake is the caller's; the database's state (a deadlock, a restart) gets one more try: None."""
        passing = isinstance(error, _Broken) or engine.unavailable(error)
        return None if passing and not job.again else _refused(job, error)

    def _next(self) -> list[_Job]:
        try:
            rung = self._bell.get_nowait()
        except queue.Empty:
            return []
        if not rung:
            self._bell.put(False)  # the end waits until the group is committed
            return []
        return [self._first()]

    def _first(self) -> _Job:
        """The next to run, once the bell has rung for it."""
        return (self._urgent or self._waiting).popleft()

    def _everyone(self) -> list[_Job]:
        everyone = list(self._retries)
        self._retries.clear()
        while found := self._next():
            everyone.extend(found)
        return everyone

    def _reply(self, answers: list[_Answer]) -> None:
        """All callers of one loop in one wake-up."""
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Answer]] = defaultdict(list)
        for answer in answers:
            self.refused += isinstance(answer.error, engine.Unavailable)
            by_loop[answer.job.loop].append(answer)
        for loop, its in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, its)
            except RuntimeError:
                continue  # the loop has ended; nobody is left to hear


def _settle(answers: list[_Answer]) -> None:
    for answer in answers:
        future = answer.job.future
        if future.done():  # its task was cancelled; the rows are stored all the same
            continue
        if answer.error is None:
            future.set_result(answer.value)
        elif isinstance(answer.error, StopIteration):  # a future refuses to carry it
            future.set_exception(RuntimeError("a write raised StopIteration"))
        else:
            future.set_exception(answer.error)


def _refused(job: _Job, error: BaseException) -> _Answer:
    if not isinstance(error, _Broken) and not engine.unavailable(error):
        return _Answer(job, None, error)
    refusal = engine.Unavailable(engine.reason(error))
    refusal.__cause__ = error
    return _Answer(job, None, refusal)


def _uncommitted(answer: _Answer, error: Exception) -> _Answer:
    """After a failed COMMIT no answer stands, and none is tried again: it may have been stored."""
    return answer if answer.error is not None else _refused(answer.job, error)


def _ended(tx: sa.Connection) -> bool:
    """Whether the whole transaction is over, so that no savepoint can be gone back to."""
    return tx.closed or tx.invalidated or (tx.dialect.name == "sqlite" and not engine.intact(tx))
