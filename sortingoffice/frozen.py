"""Dataclasses whose frozen ones cost no more than the others.

    from sortingoffice.frozen import dataclass

The type checker reads this as the standard library's, and refuses every assignment to a frozen one.  While
the office runs there is no second guard: it sets each field by a call, so a row of twenty fields took nine
times as long to make (docs/performance.md), and a message's way makes some hundred values.

Sources: dataclasses, "Frozen instances".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    import dataclasses

    def dataclass(cls: Any = None, /, *, frozen: bool = False, **options: Any) -> Any:
        """The standard library's; a frozen class has its equality and hash, and no guard."""
        return dataclasses.dataclass(cls, unsafe_hash=frozen, **options)
