"""What next hops took, written down before the database has it.

Between a next hop's 250 and our commit lie some milliseconds, on a busy machine a hundred.  A process that is
killed in them would bring the message again.  So the fact goes into a file first, by one write(2) without
an fsync: that outlives the process, though not the machine.  Who has the dead one's name next
(`leases`) settles what it finds there, and forgets it.

Promise: what stands here has happened.  A line is whole, as its checksum says, or it isn't there, and it
names message and delivery, so that it is never told of another.  A file that is lost or can't be written
costs a second copy and nothing else: the spool is in the database.

Sources: RFC 1047 (duplicates); write(2).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sortingoffice.core.delivery import Tried
from sortingoffice.frozen import dataclass
from sortingoffice.mail.reply import Reply

_PLACE = 1024  # octets
_PLACES = 512  # more than a process has attempts under way
_TEXT = 300  # octets of the peer's words
_HEAD = struct.Struct(">HI")  # length and checksum of what follows; a length of 0: nothing
_NOTHING = bytes(_PLACE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Brought:
    """One delivery whose message the next hop has.

    token  the message's
    at     when the attempt began
    """

    token: str
    delivery: int
    tried: Tried
    at: datetime


class Taken:
    """The places of one process in its file.

    file  an open one that no other process writes to; it stays the caller's
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._free: list[int] = []
        with suppress(OSError):  # no room: without notes, then
            there = os.fstat(file).st_size
            if there < _PLACE * _PLACES:  # written now, so that a disk which is full later has the room
                os.pwrite(file, bytes(_PLACE * _PLACES - there), there)
            self._free = list(range(_PLACES))

    def note(self, brought: Brought) -> int | None:
        """Where it stands now; None where it could not be written."""
        line = _line(brought)
        if not self._free or len(line) > _PLACE:
            return None
        place = self._free.pop()
        with suppress(OSError):
            os.pwrite(self._file, line, place * _PLACE)
            return place
        self._free.append(place)
        return None

    def forget(self, place: int) -> None:
        """The database has it."""
        with suppress(OSError):
            os.pwrite(self._file, _NOTHING, place * _PLACE)
            self._free.append(place)

    def left(self) -> dict[int, Brought]:
        """What a predecessor noted and didn't forget, by its place; those places are taken."""
        found: dict[int, Brought] = {}
        with suppress(OSError):
            octets = os.pread(self._file, _PLACE * _PLACES, 0)
            for place in range(len(octets) // _PLACE):
                brought = _read(octets[place * _PLACE : (place + 1) * _PLACE])
                if brought is not None:
                    found[place] = brought
        self._free = [place for place in self._free if place not in found]
        return found


def _line(brought: Brought) -> bytes:
    tried = brought.tried
    reply = tried.reply
    words = [reply.code, reply.status, reply.text[:_TEXT], tried.host, tried.tls, tried.milliseconds]
    at = (brought.at - _EPOCH) // timedelta(microseconds=1)
    octets = json.dumps([brought.token, brought.delivery, at, *words]).encode()
    return _HEAD.pack(len(octets), zlib.crc32(octets)) + octets


def _read(place: bytes) -> Brought | None:
    length, checksum = _HEAD.unpack_from(place)
    octets = place[_HEAD.size : _HEAD.size + length]
    if not length or len(octets) != length or zlib.crc32(octets) != checksum:
        return None
    token, delivery, at, code, status, text, host, tls, milliseconds = json.loads(octets)
    tried = Tried(Reply(code, status, text), host, tls, milliseconds=milliseconds)
    return Brought(token, delivery, tried, _EPOCH + timedelta(microseconds=at))
