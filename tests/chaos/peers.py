"""The next hops: mail servers with bad manners, who remember only what they took and when."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass, field

from sortingoffice.net.sink import DROP, Answer, Late, Received, Sink

_ID = re.compile(rb"(?im)^message-id:\s*(<[^>]*>)")
_HEAD = 4096

# domain → how often it answers so: at RCPT, and after the dot
MANNERS: dict[str, tuple[tuple[float, str, Answer], ...]] = {
    "home.example": (),
    "refusing.example": (
        (0.05, "RCPT", "550 5.7.1 not from you"),
        (0.25, ".", "554 5.7.1 not this"),
    ),
    "greylisting.example": ((0.5, "RCPT", "451 4.7.1 come again"), (0.2, ".", "451 4.3.0 come again")),
    "hanging.example": ((0.3, ".", Late(2.0, "250 2.0.0 taken")), (0.05, "CONNECT", Late(3.0, DROP))),
    "lying.example": (
        (0.1, ".", DROP),  # took it, and doesn't say so
        (0.05, ".", "HTTP/1.1 200 OK"),
        (0.05, ".", "354 go on"),
        (0.05, "DATA", "250 2.0.0 taken already"),
        (0.05, "RCPT", DROP),
        (0.03, "EHLO", "554 5.0.0 go away"),
        (0.05, "MAIL", "421 4.3.2 busy"),
    ),
}


class _Forgotten(list[str]):
    """A list of what nobody will read."""

    def append(self, line: str) -> None:
        return


@dataclass
class Taken:
    """What all peers took: by envelope sender (a return path) or, of null senders, by Message-ID."""

    by_path: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    by_id: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    number: int = 0


class Peer(Sink):
    """One mail server of that name; from `honest` on it takes everything."""

    def __init__(self, name: str, taken: Taken, seed: int) -> None:
        super().__init__(hostname=f"mx.{name}")
        self.commands = _Forgotten()
        self._manners = MANNERS.get(name, ())
        self._taken = taken
        self._random = random.Random(seed)
        self.honest = False

    def answer(self, *keys: str) -> Answer | None:
        if self.honest:
            return None
        for share, key, said in self._manners:
            if key in keys and self._random.random() < share:
                return said
        return None

    def take(self, message: Received) -> None:
        self._taken.number += 1
        if message.sender:
            self._taken.by_path[message.sender].append(message.at)
            return
        found = _ID.search(message.octets[:_HEAD])
        self._taken.by_id[found[1].decode() if found else ""].append(message.at)
