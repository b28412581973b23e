"""Every way in which octets can be read.

Promise: what is wrapped in itself costs no more than its layers.
"""

from __future__ import annotations

import pytest

from sortingoffice.mail import readings


@pytest.mark.parametrize("unit", ["3", "0", "33,", "51 ", "V", "eJ", "H4sI", "=3D"])
def test_what_can_be_unwrapped_again_and_again_is_read_once_at_each_layer(unit: str) -> None:
    """A line of "3" is one of half its length in hexadecimal, and might be deflated, too."""
    text = (unit * 6000)[:6000]
    budget = readings.Budget(10**8)
    found = list(readings.of_text(text, budget))
    assert len(found) < 250
    assert 10**8 - budget.left < 50 * len(text)
    assert not budget.spent
