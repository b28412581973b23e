"""What goes over the wire: one message for one recipient, in memory or in a file.

Promise: `Filed` keeps a large message out of memory, however long a peer takes for it.  Its file has no name
and is gone with the last that holds it; several may send from it at once.

Source: RFC 5321 §2.3.8 (line ends), §4.5.2 (transparency).
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

from sortingoffice.frozen import dataclass

PIECE = 64 * 1024  # octets that are sent at a time
_BARE = re.compile(rb"\r\n|\r|\n")


class Filed:
    """Octets in a file, in CR LF lines; like bytes, as far as a parcel needs it.

    Raises OSError where the disk is full, and later where it fails.  Making one blocks.
    """

    __slots__ = ("__weakref__", "_ascii", "_file", "_size", "head_is_ascii")

    def __init__(self, octets: bytes, folder: Path | None) -> None:
        octets = clean(octets)
        self._size = len(octets)
        self._ascii = octets.isascii()
        self.head_is_ascii = _head_is_ascii(octets)
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed when nobody holds it
        weakref.finalize(self, file.close)
        self._file = file.fileno()
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def __len__(self) -> int:
        return self._size

    def isascii(self) -> bool:
        return self._ascii

    async def piece(self, start: int) -> bytes:
        """Up to PIECE octets.  In a thread: what waited for long must come from the disk again."""
        return await asyncio.get_running_loop().run_in_executor(None, self._read, start)

    def _read(self, start: int) -> bytes:
        found = os.pread(self._file, PIECE, start)
        if len(found) != min(PIECE, self._size - start):
            raise OSError("a file of ours has lost its end")
        return found


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message for one recipient.

    sender     reverse-path, "" for null
    recipient  forward-path
    octets     the message, in CR LF lines
    utf8       it was accepted with SMTPUTF8
    seven      makes the message anew in seven bits, for a next hop without 8BITMIME; None: can't be
    ours       whether it still is, asked when the next hop wants to have it: another may bring it meanwhile
    """

    sender: str
    recipient: str
    octets: bytes | Filed
    utf8: bool = False
    seven: Callable[[], Awaitable[bytes | Filed]] | None = None
    ours: Callable[[], bool] = lambda: True

    @property
    def needs_utf8(self) -> bool:
        """Whether the next hop must know SMTPUTF8: declared and really used (RFC 6531 §3.6)."""
        if not (self.sender.isascii() and self.recipient.isascii()):
            return True
        if not self.utf8:
            return False
        octets = self.octets
        return not (octets.head_is_ascii if isinstance(octets, Filed) else _head_is_ascii(octets))


def clean(octets: bytes) -> bytes:
    """CR LF lines only, and a line end at the end; the same octets where that holds already."""
    pairs = octets.count(b"\r\n")
    if octets.count(b"\n") != pairs or octets.count(b"\r") != pairs:
        octets = _BARE.sub(b"\r\n", octets)
    return octets if not octets or octets.endswith(b"\r\n") else octets + b"\r\n"


def stuffed(piece: bytes, *, fresh: bool) -> bytes:
    """RFC 5321 §4.5.2.  `fresh`: it begins a line."""
    doubled = piece.replace(b"\n.", b"\n..")
    return b"." + doubled if fresh and piece.startswith(b".") else doubled


def _head_is_ascii(octets: bytes) -> bool:
    end = octets.find(b"\r\n\r\n")
    return octets[: end if end >= 0 else None].isascii()
