"""What the sessions of one process share: the limits, the hooks, the certificate, who is inside.

Sources: RFC 5321 §4.5.3.2 (time-outs), §7.8 (resistance to attacks).
"""

from __future__ import annotations

import fcntl
import ssl
from asyncio import Future, Semaphore, get_running_loop
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sortingoffice import processors
from sortingoffice.config import Limits
from sortingoffice.core.limits import network
from sortingoffice.edge.gate import Gate
from sortingoffice.edge.hooks import Hooks
from sortingoffice.edge.peer import here
from sortingoffice.values import Network

if TYPE_CHECKING:
    from sortingoffice.edge.session import Session

# Octets of large messages that are in memory, and in a hook, at once: rewriting copies each a few
# times, and 200 senders of 25 MB shall not fill the machine.  The others wait for their 250.
ROOM = 26 * 2**20
# Passwords that are checked at once: each takes a thread, and 19 MB.
LOGINS = 4
# A session this old may be shown the door when the house is full and it is the slowest one.
OLD_SECONDS = 5.0


class Room:
    """A budget of octets, handed out in the order of asking.

    turn  a file by whose lock the processes of an office take turns at what needs most of a budget: each
          has its part of the whole, and the largest messages would need more together
    """

    def __init__(self, octets: int = ROOM, turn: Path | None = None) -> None:
        self._all = self._free = octets
        self._turn = turn
        self._queue: deque[tuple[int, Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, octets: int) -> AsyncIterator[None]:
        octets = min(octets, self._all)
        if self._queue or octets > self._free:
            turn: Future[None] = get_running_loop().create_future()
            self._queue.append((octets, turn))
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._give_back(octets)
                raise
        else:
            self._free -= octets
        try:
            if self._turn is None or 2 * octets <= self._all:
                yield
            else:
                with self._turn.open("ab") as file:  # closing it lets go of the lock
                    await get_running_loop().run_in_executor(None, fcntl.flock, file, fcntl.LOCK_EX)
                    yield
        finally:
            self._give_back(octets)

    def _give_back(self, octets: int) -> None:
        self._free += octets
        while self._queue:
            wanted, turn = self._queue[0]
            if turn.cancelled():
                self._queue.popleft()
            elif wanted <= self._free:
                self._queue.popleft()
                self._free -= wanted
                turn.set_result(None)
            else:
                return


@dataclass(eq=False, slots=True)
class Door:
    """One process's way in.

    most         octets of one message
    context      the certificate; None: no STARTTLS.  Swapped as a whole at a reload
    folder       where the content of a large message waits, as an unnamed file
    login_delay  seconds before a failed login is answered, times the failures of its session
    logins       how many passwords are checked at once
    threads      write and read the files of large messages
    """

    hostname: str
    limits: Limits
    most: int
    hooks: Hooks
    gate: Gate
    context: ssl.SSLContext | None = None
    proxies: tuple[Network, ...] = ()
    xclients: tuple[Network, ...] = ()
    folder: Path | None = None
    login_delay: float = 1.0
    closing: bool = False
    sessions: set[Session] = field(default_factory=set)
    room: Room = field(default_factory=Room)
    logins: Semaphore = field(default_factory=lambda: Semaphore(LOGINS))
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(2, "content", processors.anywhere)
    )

    def enter(self, ip: str, now: float) -> str:
        """The rule that keeps this peer out; "": it may come in, and is counted.

        When the house is full, the slowest old session makes room.
        """
        if self.hasty(ip, now):
            return "peer_connections_per_minute"
        if self.gate.full and not self.gate.crowded(ip):
            old = [s for s in self.sessions if s.evictable and now - s.started > OLD_SECONDS]
            if old:
                min(old, key=lambda s: s.reader.arrived / (now - s.started)).evict()
        if self.gate.enter(ip):
            return ""
        return "connections_per_peer" if self.gate.crowded(ip) else "connections"

    def hasty(self, ip: str, now: float) -> bool:
        """Whether its network has come too often in this minute, this time included."""
        most = self.limits.peer_connections_per_minute
        if not most or here(ip):
            return False
        self.gate.peers.arrivals.add(network(ip), 1, now)
        return self.gate.peers.arrivals.of_peer(network(ip), now) > most

    def sated(self, ip: str, now: float, more: int = 0) -> bool:
        """Whether its network has sent as many octets as it may in this hour.  more  announced by SIZE"""
        most = self.limits.peer_bytes_per_hour
        return bool(most) and not here(ip) and self.gate.peers.octets.of_peer(network(ip), now) + more > most

    def received(self, ip: str, octets: int, now: float) -> None:
        """So much content came from it, whatever became of it."""
        if self.limits.peer_bytes_per_hour and not here(ip):
            self.gate.peers.octets.add(network(ip), octets, now)
