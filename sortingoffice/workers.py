"""Worker processes: born, heard, replaced and ended by one parent, which does nothing else.

    parent   holds the sockets; is who the supervisor knows; hears each worker by a line of its own
    worker   a seat with a number, the same for its successor; says ready, alive, reloaded, failed

Promise: READY when every worker is ready, and alive only while every one is heard.  SIGTERM and SIGHUP
reach all.  A worker that dies or falls silent is replaced, at once where it had lived, else after a pause
that grows to ten seconds.  No worker outlives its parent.

The parent has one thread and no loop, so that it may fork at any time (fork(2), signal-safety(7)), and it
forks when everything is imported and checked: the workers share those pages.

Sources: daemon(7), sd_notify(3), prctl(2) (PR_SET_PDEATHSIG), unix(7) (SOCK_SEQPACKET).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from sortingoffice import log
from sortingoffice.errors import OfficeError
from sortingoffice.net import notify

BEAT = 1.0  # seconds between a worker's signs of life
_STEADY = 10.0  # who lived so long is replaced at once when it dies
_FALLS = 5  # deaths in a row, by signals, of a worker that starts for the first time
_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_END = 9.5  # of the 10 seconds that SIGTERM leaves
_MOST = 65536  # octets of one thing that a worker says
_PDEATHSIG = 1  # prctl(2)
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Seat(Protocol):
    """Whom a process of the office reports to.

    number  0 is the first, which does what is done once; processes  how many there are
    """

    number: int
    processes: int

    def ready(self) -> None: ...
    def reloading(self) -> None: ...
    def reloaded(self) -> None: ...
    def stopping(self) -> None: ...

    def alive(self) -> bool:
        """Tell that we are; whether anybody is there to hear it."""

    def beat(self) -> float:
        """Seconds between two calls of `alive`."""


@dataclass(eq=False, slots=True)
class Alone:
    """The only process: it reports to the service supervisor, if there is one.

    announce  called once, when it is ready
    """

    announce: Callable[[], None]
    number: int = 0
    processes: int = 1

    def ready(self) -> None:
        self.announce()
        notify.ready()

    def reloading(self) -> None:
        notify.reloading()

    def reloaded(self) -> None:
        notify.ready()

    def stopping(self) -> None:
        notify.stopping()

    def alive(self) -> bool:
        if notify.watchdog_seconds() is not None:
            notify.alive()
        return True

    def beat(self) -> float:
        return min(BEAT, (notify.watchdog_seconds() or 2.0) / 2)


@dataclass(eq=False, slots=True)
class _Among:
    """One of several: it reports to the parent."""

    number: int
    processes: int
    line: socket.socket

    def ready(self) -> None:
        self._say("ready")

    def reloading(self) -> None:
        """The parent knows: it sent the signal."""

    def reloaded(self) -> None:
        self._say("reloaded")

    def stopping(self) -> None:
        """The parent knows."""

    def alive(self) -> bool:
        return self._say("alive")

    def beat(self) -> float:
        return BEAT

    def _say(self, what: str) -> bool:
        try:
            self.line.send(what.encode(errors="replace")[:_MOST])
        except BlockingIOError:
            return True  # the parent is slow, and has more to read than this
        except OSError:
            return False
        return True


@dataclass(eq=False, slots=True)
class _Worker:
    """What the parent knows of one.

    heard     when it last said something
    reloaded  False between SIGHUP and its word
    stale     it was born, or began its last reload, before one that it hasn't been told of
    """

    number: int
    pid: int
    line: socket.socket
    born: float
    heard: float
    ready: bool = False
    reloaded: bool = True
    stale: bool = False
    reason: str = ""


@dataclass(eq=False, slots=True)
class Crew:
    """The parent.

    work    what a worker does, in its own process, until it is told to stop
    gone    called with the number of a worker that has died: what it counted must be forgotten
    reload  SIGHUP: whether the workers shall be told; a broken config is refused once, here
    close   SIGTERM: give the sockets up
    silent  seconds without a sign of life, and a worker is ended: it stands still
    """

    count: int
    work: Callable[[Seat], None]
    gone: Callable[[int], None]
    reload: Callable[[], bool]
    close: Callable[[], None]
    silent: float = 20.0
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _due: dict[int, float] = field(default_factory=dict)  # seats that are to be taken again: when
    _falls: dict[int, int] = field(default_factory=dict)  # deaths in a row of those who had not lived
    _reloading: bool = False
    _announced: bool = False
    _ends: float | None = None
    _failure: str = ""
    _looked: float = 0.0

    def run(self, announce: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT; raises `OfficeError` where the office can't start or did not end well.

        announce  called once, when every worker is ready
        """
        gc.collect()
        gc.freeze()  # else the first collection in a worker would copy every page
        self._due = dict.fromkeys(range(self.count), 0.0)
        with _told_of_signals() as ear:
            self._selector.register(ear, selectors.EVENT_READ)
            while self._ends is None or self._workers:
                self._fill_seats()
                for key, _ in self._selector.select(self._patience()):
                    if key.fileobj is ear:
                        self._signalled(ear.recv(_MOST))
                    elif key.data in self._workers.values():  # else it was buried in this very turn
                        self._hear(key.data)
                self._look_after()
                if not self._announced and self._ends is None and self._all_ready():
                    self._announced = True
                    announce()
                    notify.ready()
        self._selector.close()
        if self._failure:
            raise OfficeError(self._failure)

    # ---- seats -------------------------------------------------------------------------------------

    def _fill_seats(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._fork(number)

    def _fork(self, number: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.setblocking(False)
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # a child would answer one in our name
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._be_born(_Among(number, self.count, theirs), parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        now = time.monotonic()
        self._workers[number] = worker = _Worker(number, pid, ours, now, now)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        log.event("worker-started", number=number, pid=pid)

    def _be_born(self, seat: _Among, parent: int) -> NoReturn:
        """The child's whole life."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until its loop can take it; see `stale`
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            _die_with(parent)
            self._selector.close()
            for each in self._workers.values():
                each.line.close()
            for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID"):
                os.environ.pop(name, None)  # the parent's
            self.work(seat)
            status = 0
        except OfficeError as error:
            seat._say(f"failed {error}")
        except BaseException as error:
            log.bug("worker-failed", error)
            seat._say(f"failed {log.told(error)}")
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)  # what called us is the parent's

    # ---- what is heard -----------------------------------------------------------------------------

    def _hear(self, worker: _Worker) -> bool:
        """One thing that it says; whether there may be more."""
        try:
            said = worker.line.recv(_MOST).decode(errors="replace")
        except BlockingIOError:
            return False
        except OSError:
            said = ""
        if not said:  # the end of the line; SIGCHLD says how its life ended
            if worker.line in self._selector.get_map():
                self._selector.unregister(worker.line)
            return False
        worker.heard = time.monotonic()
        if said == "ready":
            worker.ready = True
            _freshen(worker)
        elif said == "reloaded":
            worker.reloaded = True
            _freshen(worker)
        elif said.startswith("failed "):
            worker.reason = said.removeprefix("failed ")
        return True

    def _signalled(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stop()
        elif signal.SIGHUP in numbers:
            self._pass_on()
        if signal.SIGCHLD in numbers:
            self._bury()

    def _pass_on(self) -> None:
        notify.reloading()
        self._reloading = True
        if not self.reload():
            return
        for worker in self._workers.values():
            worker.stale = True
            if worker.ready and worker.reloaded:  # else as soon as it is: one at a time
                _freshen(worker)

    def _bury(self) -> None:
        for worker in tuple(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            while self._hear(worker):  # its last words
                continue
            if worker.line in self._selector.get_map():
                self._selector.unregister(worker.line)
            worker.line.close()
            del self._workers[worker.number]
            self.gone(worker.number)
            self._replace(worker, os.waitstatus_to_exitcode(status))

    def _replace(self, worker: _Worker, status: int) -> None:
        if self._ends is not None:
            if status not in (0, -signal.SIGTERM, -signal.SIGINT):  # those: before its loop could take them
                self._failure = self._failure or f"worker {worker.number} did not end well (status {status})"
            return
        log.event("worker-ended", number=worker.number, pid=worker.pid, status=status, reason=worker.reason)
        now = time.monotonic()
        falls = 0 if now - worker.born > _STEADY else self._falls.get(worker.number, 0) + 1
        self._falls[worker.number] = falls
        if not self._announced and (status >= 0 or falls > _FALLS):  # killed is no reason to give up
            self._failure = worker.reason or f"a worker ended while it started (status {status})"
            self._stop()
            return
        pause = min(_PAUSE * 2 ** (falls - 2), _LONGEST_PAUSE) if falls > 1 else 0.0
        self._due[worker.number] = now + pause

    # ---- the clock ---------------------------------------------------------------------------------

    def _patience(self) -> float:
        now = time.monotonic()
        ends = [BEAT, (notify.watchdog_seconds() or 2.0) / 2]
        ends += [due - now for due in self._due.values()]
        if self._ends is not None:
            ends.append(self._ends - now)
        return max(min(ends), 0.0)

    def _look_after(self) -> None:
        now = time.monotonic()
        if now - self._looked > self.silent / 2:  # it is we who stood still, and heard nobody
            for each in self._workers.values():
                each.heard = now
        self._looked = now
        if self._ends is not None:
            if now >= self._ends:
                _kill("worker-late", self._workers.values())
            return
        silent = [each for each in self._workers.values() if now - each.heard > self.silent]
        _kill("worker-silent", silent)
        if self._reloading and self._all_ready() and all(each.reloaded for each in self._workers.values()):
            self._reloading = False
            notify.ready()
        if self._announced and not silent and notify.watchdog_seconds() is not None:
            notify.alive()

    def _all_ready(self) -> bool:
        return len(self._workers) == self.count and all(each.ready for each in self._workers.values())

    # ---- the end -----------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self._ends is None:
            notify.stopping()
            self._ends = time.monotonic() + _END
            self._due.clear()
            self.close()
        for worker in self._workers.values():
            _signal(worker, signal.SIGTERM)


def _kill(why: str, workers: Iterable[_Worker]) -> None:
    for worker in workers:
        log.event(why, number=worker.number, pid=worker.pid)
        _signal(worker, signal.SIGKILL)


def _signal(worker: _Worker, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has died, and SIGCHLD is on its way
        os.kill(worker.pid, number)


def _freshen(worker: _Worker) -> None:
    """Have it reload, if it knows less than we do; its next word is about this one."""
    if worker.stale:
        worker.stale, worker.reloaded = False, False
        _signal(worker, signal.SIGHUP)


def _die_with(parent: int) -> None:
    """Be killed when the parent is: its crash is ours, and the ports are free for whoever comes next."""
    if sys.platform == "linux":  # elsewhere `Seat.alive` finds out
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextlib.contextmanager
def _told_of_signals() -> Iterator[socket.socket]:
    """A socket on which the numbers of signals arrive, as octets."""
    ear, mouth = socket.socketpair()
    ear.setblocking(False)
    mouth.setblocking(False)
    before = {number: signal.signal(number, _noted) for number in _SIGNALS}
    signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # SIGHUP may have come before
    try:
        yield ear
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        ear.close()
        mouth.close()


def _noted(number: int, frame: object) -> None:
    """The octet on the wakeup socket is all that is wanted."""
