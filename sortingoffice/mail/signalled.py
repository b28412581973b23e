"""Letters as they are signalled: by Morse's dots and dashes, and by the words of the radio alphabet.

Each gives the runs that it finds as octets, like the rules of `mail.embedded`.

Promise: nothing here fails, and both are linear in the text.

Sources: ITU-R M.1677-1 (Morse); ICAO Annex 10, volume II, §5.2.1.3 (the spelling alphabet).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- "
    "-.-- --.. ----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .--.-. .-.-.- -....- ..--.- .-.-."
)
_MORSE = dict(zip(_SIGNS.split(), "abcdefghijklmnopqrstuvwxyz0123456789@.-_+", strict=True))
_PLAIN = str.maketrans("·•−–—_", "..----")
_SIGNALS = re.compile(r"(?:[.\-·•−–—_]{1,7}[ \t/|,]{1,8}){5,}[.\-·•−–—_]{1,7}")
_BOTH = tuple(each for dot in ".·•" for dash in "-−–—_" for each in (dot + dash, dash + dot))
_SIGNAL = re.compile(r"[.\-]+")

_SAID = (
    "alfa/alpha bravo charlie delta echo foxtrot golf hotel india juliett/juliet kilo lima mike november "
    "oscar papa quebec romeo sierra tango uniform victor whiskey/whisky xray/x-ray yankee zulu "
    "at dot/point/period dash/hyphen underscore zero one two three four five six seven eight nine"
)
_WORDS = {
    each: letter
    for words, letter in zip(_SAID.split(), "abcdefghijklmnopqrstuvwxyz@.-_0123456789", strict=True)
    for each in words.split("/")
}
_VOWELS = tuple(word for word, letter in _WORDS.items() if letter in "aeiou")  # one of them is in any address
_LONGEST_FIRST = "|".join(sorted(_WORDS, key=len, reverse=True))
_WORD = re.compile(_LONGEST_FIRST)
_SPELLED = re.compile(rf"\b(?:(?:{_LONGEST_FIRST})\b[\s,.;:/\-]{{0,4}}){{6,}}")


def morse(text: str) -> Iterator[list[bytes]]:
    found: list[bytes] = []
    if not any(each in text for each in _BOTH):
        return
    for match in _SIGNALS.finditer(text):
        signals = _SIGNAL.findall(match[0].translate(_PLAIN))
        found.append("".join(_MORSE.get(each, " ") for each in signals).encode())
    yield found


def radio(text: str) -> Iterator[list[bytes]]:
    lower = text.lower()
    if not any(each in lower for each in _VOWELS):
        return
    yield [
        "".join(_WORDS[word] for word in _WORD.findall(match[0])).encode()
        for match in _SPELLED.finditer(lower)
    ]
