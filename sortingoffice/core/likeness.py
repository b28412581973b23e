"""The likeness of a sealed value: enough to know it again where it is typed, not enough to read it.

    a window of a text is found where its skeleton (`mail.folding`) has the length and the check of a spelling

The office can't open a sealed value, so the leak guard has nothing to look for.  What is kept is, of each
spelling that the guard would look for, the length of its skeleton and 32 bits under a key of the account's:
8 of its first six letters, by which most windows are passed over at once, and 24 of a MAC.  So few on
purpose: whoever has that key and tries every passport number that there is ends with thousands that fit;
for the guard one false hold in millions of windows is few enough.

Promise: every window that begins and ends where words do is looked at, whatever signs stand within it.
Work is linear in the text.

Sources: RFC 2104 (HMAC); RFC 1952 §8 (CRC-32).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field

from sortingoffice.frozen import dataclass
from sortingoffice.mail import cipher, folding
from sortingoffice.mail.folding import Folding

_HEAD = 6  # letters: the guard looks for nothing shorter
_HEAD_BITS = 8
_MOST = 256  # letters that the MAC is made of: a long value costs no more than a line
_ROW = 8  # octets of a spelling: its length, its check
_NO_CASE = 0x530  # letters from here on are of scripts that write without blanks: each may begin a word


@dataclass(frozen=True, slots=True)
class Likeness:
    """spellings: (length of the skeleton, check) of each; none where the value is too short to look for."""

    key: bytes = field(repr=False)
    spellings: frozenset[tuple[int, int]]

    @property
    def octets(self) -> bytes:
        """For keeping; `read` is the way back."""
        return b"".join(
            length.to_bytes(4, "big") + check.to_bytes(4, "big") for length, check in sorted(self.spellings)
        )

    def resembles(self, other: Likeness) -> bool:
        return not self.spellings.isdisjoint(other.spellings)


def of(key: bytes, spelled: Iterable[str], table: Folding | None = None) -> Likeness:
    """Of a value in each way that people write it."""
    letters = {folding.skeleton(each, table).lstrip("+") for each in spelled}
    seed = zlib.crc32(key)
    return Likeness(
        key,
        frozenset(
            (len(each), _head(seed, _wide(each[:_HEAD])) << 24 | _mac(key, each))
            for each in letters
            if len(each) >= _HEAD
        ),
    )


def read(key: bytes, octets: bytes) -> Likeness:
    """Raises ValueError."""
    if len(octets) % _ROW:
        raise ValueError("not a likeness")
    rows = [octets[at : at + _ROW] for at in range(0, len(octets), _ROW)]
    return Likeness(
        key, frozenset((int.from_bytes(row[:4], "big"), int.from_bytes(row[4:], "big")) for row in rows)
    )


def _head(seed: int, octets: bytes | memoryview) -> int:
    return zlib.crc32(octets, seed) >> (32 - _HEAD_BITS)


def _mac(key: bytes, letters: str) -> int:
    return int.from_bytes(cipher.mac(key, letters[:_MOST])[:3], "big")


def _wide(letters: str) -> bytes:
    return letters.encode("utf-32-le", "surrogatepass")


# ---- looked for ----------------------------------------------------------------------------------


class _Parted(Folding):
    """Likewise, with a blank where a character falls out."""

    def __missing__(self, code: int) -> str:
        folded = super().__missing__(code) or " "
        parted = folded if code < _NO_CASE else f" {folded} "
        self[code] = parted
        return parted


class Gallery:
    """All likenesses that are looked for, made ready once per message; all under one key."""

    def __init__(self, every: Sequence[Likeness]) -> None:
        self._key = every[0].key if every else b""
        self._table = _Parted()
        # By the first letters, then by length: the MACs, and whose they are.
        self._by_head: dict[int, dict[int, dict[int, list[int]]]] = {}
        for number, each in enumerate(every):
            for length, check in each.spellings:
                by_length = self._by_head.setdefault(check >> 24, {})
                by_length.setdefault(length, {}).setdefault(check & 0xFFFFFF, []).append(number)

    def windows(self, text: str, *, exact: bool) -> Iterator[tuple[int, int, int]]:
        """Whose likeness (its place in what was given), and where it stands in the text's skeleton.

        exact  False: a word may also begin one character later, for in binary data that is its length
        """
        words = text.translate(self._table).replace("@", " @ ").replace("+", " + ").split()
        skeleton = "".join(words)
        starts = [0]
        for word in words:
            starts.append(starts[-1] + len(word))
        ends = frozenset(starts)
        if not exact:
            starts = sorted({*starts, *(each + 1 for each in starts)})
        octets = memoryview(_wide(skeleton))
        seed, by_head = zlib.crc32(self._key), self._by_head
        for start in starts:
            by_length = by_head.get(_head(seed, octets[4 * start : 4 * (start + _HEAD)]))
            if by_length is None:
                continue
            for length, macs in by_length.items():
                if start + length in ends:
                    mac = _mac(self._key, skeleton[start : start + length])
                    for number in macs.get(mac, ()):
                        yield number, start, start + length
