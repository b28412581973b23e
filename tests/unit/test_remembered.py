"""What is remembered: by every process, in bounded memory, the recent rather than the old."""

from __future__ import annotations

import os

from sortingoffice.core.remembered import Remembered


def test_what_was_put_is_there_until_it_is_forgotten() -> None:
    remembered = Remembered()
    assert remembered.get("a") is None
    remembered.put("a", 3, 100.5)
    remembered.put(("a", "b"), 1, 7.0)
    assert remembered.get("a") == (3, 100.5)
    assert remembered.get(("a", "b")) == (1, 7.0)
    remembered.put("a", 4, 101.0)
    assert remembered.get("a") == (4, 101.0)
    remembered.forget("a")
    assert remembered.get("a") is None
    assert remembered.get(("a", "b")) == (1, 7.0)


def test_a_flood_displaces_the_old_and_not_the_recent() -> None:
    remembered = Remembered()
    remembered.put("old", 1, 1.0)
    for number in range(200_000):
        remembered.put(number, 1, 10.0 + number / 1000)
    assert remembered.get("old") is None
    assert sum(remembered.get(number) is not None for number in range(199_000, 200_000)) == 1000


def test_what_one_process_remembers_its_sibling_knows() -> None:
    remembered = Remembered()
    child = os.fork()
    if child == 0:
        remembered.put("a", 2, 5.0)
        os._exit(0)
    os.waitpid(child, 0)
    assert remembered.get("a") == (2, 5.0)
