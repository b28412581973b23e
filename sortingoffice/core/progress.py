"""How far long work has come: told as it goes to whoever watches, which nobody has to.

Promise: the work is the same whether it is watched or not.
"""

from __future__ import annotations

from collections.abc import Callable

# What is done, of how many, in the work's own unit.
Watcher = Callable[[int, int], None]


def unwatched(done: int, of: int) -> None:
    """Nobody watches."""
