"""Text without its disguises: what is left when spelling, spacing and look-alikes are taken off.

    skeleton("Ａnna . P@HOME.example") == skeleton("аnna.p@home​.example") == "annap@homeexample"

Letters and digits, "@" and "+" stay; case, accents, width, blanks, dots, dashes, zero-width and
control characters go; Cyrillic and Greek letters that look Latin become Latin, digits of any script 0–9.

Promise: `mapped` leads each character of the skeleton back to the character it came from.

Sources: Unicode Standard Annex 15 (NFKD); Unicode Technical Standard 39 (confusables), the letters that
an address can be written in.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from itertools import accumulate, compress, count

_PIECE = 256  # characters that are folded in one go
KEPT = frozenset("@+")
# Look-alikes after NFKD and casefolding, one letter each.
_LOOK_ALIKES = {
    **dict(zip("аьсԁеɡһіјкӏмոорԛгѕтυνԝхуᴢʐвпн", "abcdeghijklmnopqrstuvwxyzzbnh", strict=True)),
    **dict(zip("αβεηικνορτυχγωϲϳ", "abenikvoptuxywcj", strict=True)),
    **dict(zip("ɑʙᴄᴅᴇꜰɢʜɪıᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏłøđħŧɩսօքցհզ", "abcdefghiijklmnoprstuvwylodhtiuofghq", strict=True)),
}


for _first in (0x1F130, 0x1F150, 0x1F170, 0x1F1E6):  # letters in squares and circles, flags' letters
    _LOOK_ALIKES |= {chr(_first + _each): chr(97 + _each) for _each in range(26)}
_LOOK_ALIKES |= {
    chr(0xE0000 + _each): chr(_each).lower() for _each in b"@0123456789abcdefghijklmnopqrstuvwxyz"
}
_LOOK_ALIKES |= dict(zip("⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵", "abcdefghijklmnopqrstuvwxyz", strict=True))
_LOOK_ALIKES |= dict(zip("ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃ", "abcdeghijklmprstvwz", strict=True))  # Cherokee
_LOOK_ALIKES |= dict(zip("ꓮꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ", "abcdefghijklmnoprstuvwxyz", strict=True))  # Lisu
_LOOK_ALIKES |= dict(zip("ᴀⲁⲃⲥⲉⲏⲓⲕⲙⲛⲟⲣⲧⲩⲭⲍ", "aabcehikmnoptyxz", strict=True))  # a small capital; Coptic
_LOOK_ALIKES["\u212e"] = "e"
_LOOK_ALIKES |= dict.fromkeys("ʃꞁן", "l") | dict.fromkeys("ᴉᵎ", "i")  # as they look from the other side
# Letters to Unicode, nothing to a reader.
_UNSEEN = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0")


class Folding(dict[int, str | None]):
    """A table for str.translate that fills itself; one per scan.

    None takes a character out; an empty string would cost str.translate its fast path.
    """

    def __missing__(self, code: int) -> str | None:
        folded = "".join(
            _letter(each)
            for each in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
            if (each.isalnum() and each not in _UNSEEN) or each in KEPT or each in _LOOK_ALIKES
        )
        self[code] = folded or None
        return folded or None


def _letter(character: str) -> str:
    """What it looks like, or counts as: ٣ is 3."""
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    return _LOOK_ALIKES.get(character, character)


_STAYS = bytes(code < 128 and Folding()[code] is not None for code in range(256))  # ASCII, one for one


def skeleton(text: str, table: Folding | None = None) -> str:
    return "".join(_folded(text, Folding() if table is None else table))


def _folded(text: str, table: Folding) -> list[str]:
    """The skeleton of each piece: one that is ASCII alone costs str.translate a fraction of the others."""
    return [text[at : at + _PIECE].translate(table) for at in range(0, len(text), _PIECE)]


class Origins:
    """For each character of a skeleton the index in the text; found out for a piece when it is asked for."""

    def __init__(self, text: str, table: Folding, pieces: list[str]) -> None:
        self._text, self._table = text, table
        self._ends = list(accumulate(map(len, pieces)))
        self._known: dict[int, list[int]] = {}

    def __getitem__(self, at: int) -> int:
        piece = bisect_right(self._ends, at)
        if piece not in self._known:
            self._known[piece] = self._of_piece(piece * _PIECE)
        return self._known[piece][at - (self._ends[piece - 1] if piece else 0)]

    def _of_piece(self, first: int) -> list[int]:
        piece = self._text[first : first + _PIECE]
        if piece.isascii():
            return list(compress(count(first), piece.encode().translate(_STAYS)))
        letters = map(self._table.__getitem__, map(ord, piece))
        # Some letters become several.
        return [index for index, each in enumerate(letters, first) if each for _ in each]


def mapped(text: str, table: Folding) -> tuple[str, Origins]:
    """The skeleton, and for each of its characters the index in the text."""
    pieces = _folded(text, table)
    return "".join(pieces), Origins(text, table, pieces)
