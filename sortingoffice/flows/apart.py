"""A process beside this one, for the reading of a very large message: it would hold the interpreter.

    Apart()(fn, *facts) == fn(*facts), or its exception

CPython lets nobody else go on while one search runs over megabytes, in whichever thread.  The process is
started when it is first wanted, works on one thing at a time, and ends when it has had nothing to do for a
while, or when we do: it reads the end of its pipe.  It is given a pure function of ours by its name, and
what that works on; it opens no file, no socket and no database.

Promise: nothing is lost by its end.  One that is gone is started anew, once; then the caller sees `Ended`.

Sources: pickle (out of and into our own process only), pipe(7).
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, ParamSpec, TypeVar

from sortingoffice import processors

P = ParamSpec("P")
T = TypeVar("T")

IDLE = 60.0  # seconds
_NICE = 5  # small messages come first
_PATIENCE = 10.0  # seconds for it to end by itself


class Ended(Exception):
    """The process ended before it answered, twice."""


class Apart:
    """One thing at a time; whoever comes meanwhile waits.  idle: seconds until an idle process ends."""

    def __init__(self, idle: float = IDLE) -> None:
        self._idle = idle
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._timer: threading.Timer | None = None

    def __call__(self, fn: Callable[P, T], *facts: P.args, **none: P.kwargs) -> T:
        """fn(*facts), a module's function.  Raises what it raises, or `Ended`."""
        with self._turn:
            for _ in range(2):
                try:
                    done, answer = self._asked(fn, facts)
                except (OSError, EOFError, pickle.UnpicklingError):
                    self._close()
                    continue
                self._rest()
                if not done:
                    raise answer
                value: T = answer
                return value
        raise Ended(f"{fn.__name__}: the process for large messages ended")

    def _asked(self, fn: Callable[..., Any], facts: tuple[Any, ...]) -> tuple[bool, Any]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump((fn, facts), process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
        done, answer = pickle.load(process.stdout)  # noqa: S301 - our own process wrote it
        return bool(done), answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._close()
        self._process = subprocess.Popen(
            (sys.executable, "-m", __name__), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        processors.anywhere(self._process.pid)
        self._end = weakref.finalize(self, _ended, self._process)
        return self._process

    def _rest(self) -> None:
        """From now on it may be idle for so long."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._idle, _rested, (weakref.ref(self),))
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """End the process, if there is one, and wait until it has ended."""
        with self._turn:
            self._close()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._end is not None:
            self._end()
        self._process = self._end = self._timer = None


def _rested(apart: weakref.ref[Apart]) -> None:
    if (found := apart()) is not None:
        found.close()


def _ended(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what it hasn't read is of no use to anybody
            if pipe is not None:
                pipe.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ---- the other side --------------------------------------------------------------------------------


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until nothing more is asked."""
    while True:
        try:
            fn, facts = pickle.load(asked)  # noqa: S301 - whoever started us wrote it
        except EOFError:
            return
        answer: tuple[bool, Any]
        try:
            answer = (True, fn(*facts))
        except Exception as error:
            answer = (False, error)
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()
        del fn, facts, answer
        gc.collect()


def main() -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # whoever started us decides when we end
        signal.signal(each, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray word would be taken for an answer
    with suppress(OSError):
        os.nice(_NICE)
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)
    os._exit(0)


if __name__ == "__main__":
    main()
