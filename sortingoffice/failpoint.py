"""Named places where a test makes the office die, fail or stand still.

    SORTINGOFFICE_FAILPOINTS="after-dot=kill@3,before-commit=sleep:0.2,in-put=raise"

    kill          SIGKILL to this process: nothing is flushed, nobody is told
    raise         `Failed`, which nobody expects: our bug, as far as the code around can see
    sleep:SECONDS the thread that comes by stands still, and the loop with it where it is the loop's
    @n            only at the n-th time that this process comes by; without it at every time

Promise: `POINTS` is the whole list, each is at one place of the code; unset, a place costs the call of an
empty function (30 ns) and can do nothing.

The variable is for whoever starts the process.  Nothing that comes over a wire leads here.

Sources: issue 3; the "fail points" of FreeBSD's fail(9).
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sortingoffice.errors import OfficeError

VARIABLE = "SORTINGOFFICE_FAILPOINTS"

# name → what is true when it is passed.  The order is that of a message's way; the last is on none.
POINTS: Mapping[str, str] = {
    "between-rcpts": "a recipient is accepted, and another is asked for",
    "after-354": "DATA is answered, nothing of the message has come",
    "mid-data": "a part of the message has come",
    "content-complete": "the dot has come, nothing is decided",
    "before-accept": "the message is authenticated, its transaction not begun",
    "in-put": "a message and its deliveries are in the open transaction",
    "before-commit": "a group of writes waits for its commit",
    "after-commit": "the group is on disk, and nobody is told yet",
    "before-250": "the message is committed, the peer hasn't heard it",
    "at-claim": "deliveries are leased in the open transaction",
    "claimed": "the leases are on disk, no attempt has begun",
    "handed-over": "new mail is committed with its lease, no attempt has begun",
    "before-parcel": "the next hop is connected, the message neither loaded nor signed",
    "after-envelope": "the next hop has said 354",
    "mid-upload": "a part of the message was sent",
    "after-dot": "everything was sent, the next hop hasn't answered",
    "after-reply": "the next hop has answered, the outcome isn't committed",
    "in-settle": "the outcome is in the open transaction",
    "settled": "the outcome is on disk",
    "in-return": "a DSN is made, not yet in the spool",
    "in-note": "a note to the person is made, not yet in the spool",
    "take-back": "a starting node's own leases are ended in the open transaction",
    "rotation-step": "one step of a rotation of signing keys is done, the next not begun",
}

_STEP = re.compile(r"([a-z0-9-]+)=(kill|raise|sleep:[0-9]+(?:\.[0-9]+)?)(?:@([1-9][0-9]*))?")


class Failed(Exception):
    """What `raise` raises."""


@dataclass(slots=True)
class _Trap:
    """What one place does, and how often it was passed."""

    act: Callable[[], None]
    only: int | None
    passed: int = 0

    def spring(self) -> None:
        self.passed += 1
        if self.only is None or self.passed == self.only:
            self.act()


def parse(text: str) -> dict[str, _Trap]:
    """The traps of a setting; raises OfficeError for a name or an action that there isn't."""
    traps: dict[str, _Trap] = {}
    for step in filter(None, (part.strip() for part in text.split(","))):
        found = _STEP.fullmatch(step)
        if found is None:
            raise OfficeError(
                f"{VARIABLE} has {step!r}: write name=kill, name=raise or name=sleep:1, with @n"
            )
        name, action, only = found.groups()
        if name not in POINTS:
            raise OfficeError(f"{VARIABLE} names {name!r}: there are {', '.join(POINTS)}")
        traps[name] = _Trap(_action(name, action), int(only) if only else None)
    return traps


def _action(name: str, action: str) -> Callable[[], None]:
    def fail() -> None:
        raise Failed(f"failpoint {name}")

    if action == "kill":
        return lambda: os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        return fail
    seconds = float(action.removeprefix("sleep:"))
    return lambda: time.sleep(seconds)


def armed(traps: Mapping[str, _Trap]) -> Callable[[str], None]:
    def come_by(name: str) -> None:
        trap = traps.get(name)
        if trap is not None:
            trap.spring()

    return come_by


def _nothing(name: str) -> None:
    """What `at` is in service."""


# Read once, before anything runs, so that in service there is nothing to look at.
_SETTING = os.environ.get(VARIABLE, "")
at: Callable[[str], None] = armed(parse(_SETTING)) if _SETTING else _nothing
