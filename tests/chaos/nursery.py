"""Offices on demand: a process that has loaded everything and forks, for a start takes seconds and a
fork milliseconds.  `python -m tests.chaos.nursery CONFIG` reads lines and answers lines:

    start LOG SETTING COUNT   →  born PID
                              →  died PID STATUS   when it has ended, by whatever cause

The child is `sortingoffice serve` in a session of its own, with the failpoints of SETTING ("-" for none)
and COUNT worker processes (1: none, it does everything itself).  Workers whose parent was killed become ours,
so that none of a group is left, not even as a zombie, once all have died.

Sources: prctl(2) (PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import sys
from pathlib import Path

import uvloop  # noqa: F401 - loaded before the fork

import sortingoffice.daemon  # noqa: F401 - the same
from sortingoffice import failpoint
from sortingoffice.cli import main as command

_CHILD_SUBREAPER = 36  # prctl(2)


def _child(config: str, log: str, setting: str, count: str) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if setting != "-":
        failpoint.at = failpoint.armed(failpoint.parse(setting))
    code = 1
    try:
        command.main(["--config", _with_workers(config, count), "serve"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def _with_workers(config: str, count: str) -> str:
    """The config beside it that differs in nothing but the number of processes."""
    path = Path(config)
    other = path.with_name(f"{path.stem}-{count}{path.suffix}")
    text = re.sub(r"(?m)^count = \d+$", f"count = {count}", path.read_text())
    fresh = other.with_suffix(f".{os.getpid()}")
    fresh.write_text(text)
    fresh.rename(other)
    return str(other)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        print(f"died {pid} {os.waitstatus_to_exitcode(status)}", flush=True)


def main(config: str) -> None:
    Path(config).stat()
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1)
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin.fileno(), selectors.EVENT_READ)
    waiting.register(ears, selectors.EVENT_READ)
    asked = b""
    while True:
        for key, _ in waiting.select():
            octets = os.read(key.fd, 65536)
            if key.fd == ears:
                _reap()
                continue
            if not octets:
                return
            asked += octets
            while b"\n" in asked:
                line, _, asked = asked.partition(b"\n")
                _, log, setting, count = line.decode().split(" ", 3)
                pid = os.fork()
                if pid == 0:
                    _child(config, log, setting, count)
                print(f"born {pid}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
