"""By which name a process holds leases on what it delivers.

    volume:n    volume  an id that was drawn once for this data_dir, and stays with it
                n       the first that no living process at this data_dir has

Promise: no two living processes have one name, and whoever comes after one that died has the dead one's,
as long as there are as many processes as before, whatever the host is called by then (a container that is
made anew has another name).  The system gives a dead process's lock back at once.

A data_dir that is copied to another host takes the id along: see docs/reliability.md.

Sources: flock(2).
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from sortingoffice.alone import alone
from sortingoffice.errors import OfficeError
from sortingoffice.frozen import dataclass

_VOLUME = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Name:
    """The name, and the open file whose lock makes it ours: kept until the process ends, and ours to write
    to (`store.taken`)."""

    text: str
    lock: int

    def __str__(self) -> str:
        return self.text


def take(data_dir: Path) -> Name:
    """The first free name; raises `OfficeError` where no lock can be had."""
    folder = data_dir / "leases"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        volume = _volume(folder / "volume")
        for number in itertools.count():
            lock = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            return Name(f"{volume}:{number}", lock)
    except OSError as error:
        raise OfficeError(
            f"{folder} can't be written ({error.strerror}): let the office's account own data_dir"
        ) from None
    raise AssertionError("numbers do not end")


def _volume(file: Path) -> str:
    """The id; drawn where there is none, or half of one."""
    with alone(file.parent):
        with suppress(FileNotFoundError, UnicodeDecodeError):
            drawn = file.read_text("ascii")
            if _VOLUME.fullmatch(drawn):
                return drawn
        drawn = secrets.token_hex(8)
        fresh = file.with_name(file.name + ".new")
        with fresh.open("w", encoding="ascii") as made:
            made.write(drawn)
            made.flush()
            os.fsync(made.fileno())
        fresh.replace(file)
        return drawn
