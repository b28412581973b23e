"""An address whose letters were exchanged for others, one for one: what it looks like then.

    rotations("anna@homeexample")[0] == "boob@ipnffybnqmf"

Promise: each spelling is a literal to look for, and what is read keeps its length.

Sources: Unicode, "Phonetic Extensions" and "IPA Extensions" (turned letters).
"""

from __future__ import annotations

from functools import lru_cache
from string import ascii_lowercase as _ABC

from sortingoffice.mail import folding

# What a letter looks like when the page lies upside down.
_OVER = dict(zip(_ABC, "ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹsʇnʌʍxʎz", strict=True))
OVER_SIGNS = "[ɐɔǝɟɥɾʞɯɹʇʌʍʎ]"  # those that nobody writes otherwise
_DIGITS = dict(zip("034579$", "oeastgs", strict=True))  # and the letters they stand for
ONE = ("l", "i")  # what "1" stands for


@lru_cache(maxsize=256)
def rotations(letters: str) -> tuple[str, ...]:
    """A skeleton by each other place of the alphabet (ROT13 and its kin), and by the alphabet backwards."""
    orders = [*(_ABC[by:] + _ABC[:by] for by in range(1, 26)), _ABC[::-1]]
    return tuple(letters.translate(str.maketrans(_ABC, order)) for order in orders)


@lru_cache(maxsize=256)
def upside_down(letters: str) -> tuple[str, str]:
    """A skeleton as it is read over its head, and with its letters turned where they stand."""
    turned = "".join(folding.skeleton(_OVER.get(each, each)) for each in letters)
    return turned[::-1], turned


def letters(text: str, one: str) -> str:
    """Its digits read as letters, "1" as this one: a pass for each costs a tenth of str.translate."""
    for digit, letter in _DIGITS.items():
        text = text.replace(digit, letter)
    return text.replace("1", one)
