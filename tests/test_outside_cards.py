"""What scripts from outside found: cards asked for in parts that can't be read."""

from __future__ import annotations

import pytest

from sortingoffice.flows.disclose import Resolved
from tests.desk import Desk, refusal


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
