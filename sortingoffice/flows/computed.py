"""What is worked out from a message alone, kept out of the transaction that wants it.

A transaction holds the writer: whoever comes next waits for it.  So what takes long is asked for with
`computed(fn, *facts)`.  For a small message the answer is worked out there and then.  For a large one the
transaction ends with `Elsewhere`, nothing of it is stored, the answer is worked out in a thread, and the
transaction is run again, whole: it looks at every fact anew, and finds the answer only where it was made
from the very facts that it sees now.  So nothing is ever stored for facts that have changed meanwhile.

`fn` is pure: the same facts, the same answer, or the same exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from sortingoffice.frozen import dataclass

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 96 << 10  # octets of a message; what is worked out from fewer takes some milliseconds at most
SEARCHED = 8 << 10  # the same for what searches the text again and again, in whatever it may be wrapped
VERY_LARGE = 1 << 20  # from here on one search holds the interpreter so long that others notice

Run = Callable[..., Any]  # run(fn, *facts) == fn(*facts)


def here(fn: Callable[..., Any], *facts: Any) -> Any:
    return fn(*facts)


class Elsewhere(Exception):
    """The transaction wants an answer that it may not wait for; `work` finds it, in any thread.

    apart  whether it is better given a process of its own, by `work(run)`
    """

    def __init__(self, work: Callable[[Run], object], *, apart: bool) -> None:
        super().__init__("to be worked out outside of the transaction")
        self._work = work
        self.apart = apart

    def work(self, run: Run = here) -> None:
        self._work(run)


@dataclass(frozen=True, slots=True)
class _Answer:
    fn: Callable[..., Any]
    facts: tuple[Any, ...]
    value: Any
    error: Exception | None

    def is_for(self, fn: Callable[..., Any], facts: tuple[Any, ...]) -> bool:
        return self.fn is fn and self.facts == facts


class Computed:
    """The answers about one message.  One transaction or one thread at a time."""

    def __init__(self, *, size: int = 0) -> None:
        """size  octets of the message; of a large one nothing new is worked out where `Elsewhere` can send
        it to a thread"""
        self._size = size
        self._answers: list[_Answer] = []

    def __call__(self, fn: Callable[P, T], *facts: P.args, **none: P.kwargs) -> T:
        """fn(*facts).  Raises `Elsewhere`, or what `fn` raises."""
        return self._answered(fn, facts, LARGE, apart=False)

    def apart(self, fn: Callable[P, T], *facts: P.args, **none: P.kwargs) -> T:
        """The same for a module's function that searches the text again and again."""
        return self._answered(fn, facts, SEARCHED, apart=self._size > VERY_LARGE)

    def _answered(self, fn: Callable[..., T], facts: tuple[Any, ...], most: int, *, apart: bool) -> T:
        found = self._found(fn, facts)
        if found is None and self._size > most:
            raise Elsewhere(lambda run: self._work(fn, facts, run), apart=apart)
        found = found or self._work(fn, facts)
        if found.error is not None:
            raise found.error
        value: T = found.value
        return value

    def beforehand(self, fn: Callable[P, object], *facts: P.args, **none: P.kwargs) -> None:
        """Work out what a transaction will ask for."""
        self._work(fn, facts)

    def once(self, draw: Callable[..., T], *facts: Any, of: tuple[Any, ...]) -> T:
        """draw(*facts), drawn at random or read from the database: the first answer for `of` holds, so that
        a transaction that is run again sees the same facts."""
        found = self._found(draw, of)
        if found is None:
            found = _Answer(draw, of, draw(*facts), None)
            self._answers.append(found)
        value: T = found.value
        return value

    def _found(self, fn: Callable[..., Any], facts: tuple[Any, ...]) -> _Answer | None:
        return next((each for each in self._answers if each.is_for(fn, facts)), None)

    def _work(self, fn: Callable[..., Any], facts: tuple[Any, ...], run: Run = here) -> _Answer:
        try:
            answer = _Answer(fn, facts, run(fn, *facts), None)
        except Exception as error:
            answer = _Answer(fn, facts, None, error)
        self._answers.append(answer)
        return answer
