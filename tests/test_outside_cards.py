"""What scripts from outside found: cards asked for in parts that can't be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.flows.disclose import Resolved
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, refusal


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    return open_desk(sqlite_db, tmp_path)


@pytest.mark.parametrize("asked", ["#card shipping", "Hi\n#shipping city\nAnna", "at {{shipping.city}}"])
def test_an_ask_in_an_unknown_charset_never_reaches_the_vendor_as_it_stands(desk: Desk, asked: str) -> None:
    desk.shipping()
    desk.grant("shipping")
    message = f"Content-Type: text/plain; charset=x-klingon\n\n{asked}\n"
    assert "charset" in refusal(desk.ask(message))


def test_an_unknown_charset_without_an_ask_passes(desk: Desk) -> None:
    desk.shipping()
    message = "Content-Type: text/plain; charset=x-klingon\n\nHi #1 and\n> #card shipping\n"
    outcome = desk.ask(message)
    assert isinstance(outcome, Resolved)
    assert b"Hi #1" in bytes(outcome.message)
