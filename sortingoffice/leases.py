"""By which name a process holds leases on what it delivers.

    host:data_dir:n    n is the first that no living process of this host and data_dir has

Promise: no two living processes have one name, and whoever comes after one that died has the dead one's,
as long as there are as many processes as before.  The system gives a dead process's lock back at once.

Sources: flock(2).
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
from pathlib import Path

from sortingoffice.errors import OfficeError
from sortingoffice.frozen import dataclass


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
    host = socket.gethostname()
    folder = data_dir / "leases"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for number in itertools.count():
            lock = os.open(folder / f"{host}-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            return Name(f"{host}:{data_dir}:{number}", lock)
    except OSError as error:
        raise OfficeError(
            f"{folder} can't be written ({error.strerror}): let the office's account own data_dir"
        ) from None
    raise AssertionError("numbers do not end")
