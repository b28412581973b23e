"""How long a database has been silent for a process that asks it all the time.

Who could not renew a lease for as long as leases last is not dead: nobody could.  So after a silence that may
have outlasted leases, a process lets the others renew theirs before it takes over what seems to be left.

Promise: `long` holds from the moment at which the silence has lasted `most`, however it ends, until `over`.

No I/O and no clock: `now` is any monotonic count of seconds.
"""

from __future__ import annotations


class Silence:
    """most  seconds of silence that are no matter"""

    def __init__(self, most: float, now: float) -> None:
        self._most = most
        self._answered: float | None = now  # None: nobody knows
        self.broken = True  # whether the last question was answered

    def refused(self) -> None:
        """A question was not."""
        self.broken = False

    def unknown(self) -> None:
        """It was silent before we came."""
        self._answered, self.broken = None, False

    def answered(self, asked: float, now: float) -> None:
        """What was asked then is answered now: where that took long, that was silence, too."""
        if now - asked >= self._most:
            self.broken = False
        elif not self.long(now):
            self.over(now)

    def over(self, now: float) -> None:
        """What it meant is seen to."""
        self._answered, self.broken = now, True

    def long(self, now: float) -> bool:
        return not self.broken and (self._answered is None or now - self._answered >= self._most)
