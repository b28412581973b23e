"""A terminal: a command in a pseudo-terminal of its own, with a person who answers its prompts; and, where
only what is drawn counts, a screen in this process, which costs no start of an interpreter."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from sortingoffice.cli import main
from tests.person import Person

INTERRUPT = "\x03"  # Ctrl-C
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Seen:
    """What stood on the screen when the command had ended.

    raw     as it came, with the octets that colour it
    unsaid  answers that nobody asked for
    """

    status: int
    raw: str
    unsaid: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return _ESCAPE.sub("", self.raw)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]


class _Screen(io.StringIO):
    """Where a command draws for a person."""

    def isatty(self) -> bool:
        return True


def drawn(person: Person, *arguments: object, width: int = 80, **environment: str) -> Seen:
    """What a command that asks nothing draws in a window of this width."""
    screen = _Screen()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen), redirect_stderr(screen):
        patch.delenv("NO_COLOR", raising=False)
        for name, value in {"TERM": "xterm", "COLUMNS": str(width), **environment}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main.main(["--config", str(person.config), *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return Seen(ended.value.code, screen.getvalue())


def at_terminal(
    person: Person, *arguments: object, width: int = 80, answers: Sequence[str] = (), **environment: str
) -> Seen:
    """Run a command at a terminal; each prompt (": " or "? " at the end) gets the next answer."""
    code = "from sortingoffice.cli.main import main; main()"
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--config", str(person.config), *map(str, arguments)],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**plain, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environment},
        start_new_session=True,
        preexec_fn=_own_terminal,
    )
    os.close(inner)
    waiting = list(answers)
    said = b""
    unanswered = 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([outer], [], [], 0.05)[0]:
            try:
                more = os.read(outer, 65536)
            except OSError:  # the far side has gone
                break
            if not more:
                break
            said += more
        elif waiting and len(said) > unanswered and said.rstrip(b"\x1b[0m").endswith((b": ", b"? ")):
            unanswered = len(said)
            answer = waiting.pop(0)
            os.write(outer, answer.encode() + (b"" if answer == INTERRUPT else b"\n"))
    os.close(outer)
    status = process.wait(10)
    return Seen(status, said.decode(errors="replace"), tuple(waiting))


def _own_terminal() -> None:
    """Make the pseudo-terminal the one whose Ctrl-C reaches the command, also where a shell's & has the
    tests ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
