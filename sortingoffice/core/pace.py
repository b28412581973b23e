"""Who may be tried now: so many attempts at once to one destination, and a pause where none gets through.

A destination begins with a few attempts, gets one more with each success, up to the bound, and falls
back to one probe at a time when it is out of reach, with growing pauses.  What waits meanwhile costs
neither a connection nor an attempt, and nobody else's mail waits for it: whoever keeps the lineup takes it
out (`take_out`) and leaves a few to probe with.

Promise: never more than `bound` of one destination and `most` in all are under way; a destination
that is in reach is never made to wait for one that isn't (but for `most`).

No I/O and no clock: `now` is any monotonic count of seconds.

Sources: RFC 5321 §4.5.4.1 (a host that was down is not tried again for each message); Postfix's queue
manager, SCHEDULER_README, for start, growth and probes.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")

FIRST = 3  # attempts at once to a destination that nothing is known of
SHORTEST_PAUSE = 1.0  # seconds
LONGEST_PAUSE = 60.0
_REMEMBERED = 10_000  # destinations


@dataclass(slots=True)
class _Lane(Generic[T]):
    """One destination.

    limit  attempts at once, as things stand
    pause  after the last failure to reach it; 0 where it was in reach
    opens  not before this time
    """

    limit: int
    waiting: deque[T] = field(default_factory=deque)
    busy: int = 0
    pause: float = 0.0
    opens: float = 0.0


class Lineup(Generic[T]):
    """What was claimed, by destination."""

    def __init__(self, bound: int, most: int) -> None:
        self._bound = bound
        self._most = most
        self._lanes: dict[str, _Lane[T]] = {}
        # Whoever something waits for is in one of two: in the order in which they are served, or aside until
        # its pause is over, so that thousands that are out of reach cost nothing at each arrival.
        self._with_waiting: dict[str, _Lane[T]] = {}
        self._paused: dict[str, _Lane[T]] = {}
        self._opening: list[tuple[float, str]] = []  # a heap of those, and of some that are no longer there
        self._parked = 0
        self.busy = 0

    def change(self, bound: int, most: int) -> None:
        """Other bounds from now on; and every pause is over, for who changes them may mend the way, too: one
        may begin beside those that are under way as before."""
        self._bound, self._most = bound, most
        for destination, lane in self._lanes.items():
            lane.limit, lane.opens = min(max(lane.limit, lane.busy + 1), bound), 0.0
            self._serve(destination)

    def add(self, destination: str, item: T) -> None:
        lane = self._lanes.get(destination)
        if lane is None:
            self._forget()
            lane = self._lanes[destination] = _Lane(min(FIRST, self._bound))
        lane.waiting.append(item)
        self._parked += lane.pause > 0.0
        if destination not in self._paused:
            self._with_waiting.setdefault(destination, lane)

    def _serve(self, destination: str) -> None:
        """When its pause has changed."""
        lane = self._paused.pop(destination, None)
        if lane is not None:
            self._with_waiting[destination] = lane

    def _next_opens(self) -> float | None:
        """When the first that is aside is to be served."""
        while self._opening:
            opens, destination = self._opening[0]
            lane = self._paused.get(destination)
            if lane is not None and lane.opens == opens:
                return opens
            heapq.heappop(self._opening)
        return None

    def _look_at_pauses(self, now: float) -> None:
        while (opens := self._next_opens()) is not None and opens <= now:
            self._serve(heapq.heappop(self._opening)[1])
        for destination, lane in tuple(self._with_waiting.items()):
            if lane.opens > now:
                self._paused[destination] = self._with_waiting.pop(destination)
                heapq.heappush(self._opening, (lane.opens, destination))

    def ready(self, now: float) -> list[tuple[str, T]]:
        """What may begin now; it counts as under way from here on.  One of each destination in turn."""
        begun: list[tuple[str, T]] = []
        self._look_at_pauses(now)
        turn = list(self._with_waiting.items())
        while turn and self.busy < self._most:
            again: list[tuple[str, _Lane[T]]] = []
            for destination, lane in turn:
                if self.busy >= self._most:
                    break
                if not lane.waiting or lane.busy >= lane.limit:
                    continue
                begun.append((destination, lane.waiting.popleft()))
                self._parked -= lane.pause > 0.0
                lane.busy += 1
                self.busy += 1
                again.append((destination, lane))
            turn = again
        for destination, _ in begun:  # the next turn begins with who had none
            served = self._with_waiting.pop(destination, None)
            if served is not None and served.waiting:
                self._with_waiting[destination] = served
        return begun

    def ended(self, destination: str, *, reached: bool | None, now: float) -> None:
        """An attempt is over.

        reached  a host of the destination talked to us, whatever it said; None: nobody knows, and all stays
        """
        lane = self._lanes[destination]
        lane.busy -= 1
        self.busy -= 1
        if reached is None:
            return
        self._serve(destination)
        self._parked -= len(lane.waiting) if lane.pause > 0.0 else 0
        if reached:
            lane.limit, lane.pause, lane.opens = min(lane.limit + 1, self._bound), 0.0, 0.0
        elif lane.opens <= now:  # several that failed together are one failure
            lane.limit = 1
            lane.pause = min(max(2 * lane.pause, SHORTEST_PAUSE), LONGEST_PAUSE)
            lane.opens = now + lane.pause
        self._parked += len(lane.waiting) if lane.pause > 0.0 else 0

    def reopen(self, destination: str) -> None:
        """Who is out of reach is probed now."""
        lane = self._lanes.get(destination)
        if lane is not None:
            lane.opens = 0.0
            self._serve(destination)

    def opens_in(self, now: float) -> float | None:
        """Seconds until a destination that something waits for ends its pause; None where none does."""
        pauses = [lane.opens for lane in self._with_waiting.values() if lane.opens > now]
        first = self._next_opens()
        if first is not None and first > now:
            pauses.append(first)
        return min(pauses) - now if pauses else None

    def waiting(self) -> Iterator[T]:
        """What was added and didn't begin."""
        lanes = chain(self._with_waiting.values(), self._paused.values())
        return (item for lane in lanes for item in lane.waiting)

    def room(self) -> int:
        """How many more could be under way, beside what waits and may begin."""
        beginning = (
            min(len(lane.waiting), max(0, lane.limit - lane.busy))
            for lane in self._with_waiting.values()
            if lane.pause == 0.0
        )
        return max(0, self._most - self.busy - sum(beginning))

    def held(self, destination: str) -> int:
        """How many of it wait or are under way."""
        lane = self._lanes.get(destination)
        return 0 if lane is None else lane.busy + len(lane.waiting)

    def open(self, destination: str) -> bool:
        """Whether what is added now won't wait for long: in reach, and no crowd before it.

        May be asked from another thread.
        """
        lane = self._lanes.get(destination)
        return lane is None or (lane.pause == 0.0 and len(lane.waiting) < self._bound)

    def pause(self, destination: str) -> float:
        """Seconds that a destination out of reach is left alone after each probe; 0 where it is in reach."""
        lane = self._lanes.get(destination)
        return 0.0 if lane is None else lane.pause

    def shut(self, destination: str, now: float) -> bool:
        """Whether its pause still lasts."""
        lane = self._lanes.get(destination)
        return lane is not None and lane.opens > now

    def take_out(self, destination: str) -> list[T]:
        """All that waits there, in its order."""
        self._serve(destination)
        lane = self._with_waiting.pop(destination, None)
        if lane is None:
            return []
        taken, lane.waiting = list(lane.waiting), deque()
        self._parked -= len(taken) if lane.pause > 0.0 else 0
        return taken

    def parked(self) -> int:
        """How many wait at destinations out of reach."""
        return self._parked

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out what waits and is no longer wanted."""
        gone: list[T] = []
        for lanes in (self._with_waiting, self._paused):
            for destination, lane in list(lanes.items()):
                before = len(gone)
                gone += [item for item in lane.waiting if unwanted(item)]
                lane.waiting = deque(item for item in lane.waiting if not unwanted(item))
                self._parked -= len(gone) - before if lane.pause > 0.0 else 0
                if not lane.waiting:
                    del lanes[destination]
        return gone

    def _forget(self) -> None:
        """Keep the memory of destinations bounded: idle ones go, the oldest first."""
        if len(self._lanes) < _REMEMBERED:
            return
        idle = [name for name, lane in self._lanes.items() if not lane.busy and not lane.waiting]
        for name in idle[: _REMEMBERED // 10]:
            del self._lanes[name]
