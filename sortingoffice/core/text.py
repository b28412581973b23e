"""What a person typed, as one line that nothing later has to mistrust.

Promise: what `one_line` returns holds no line break, control character or bidi override, so it
can break no header, log line, table or terminal.

Sources: Unicode Standard Annex 9 §2 (bidi controls); RFC 5322 §2.2.
"""

from __future__ import annotations

import unicodedata

from sortingoffice.errors import OfficeError

# Categories of what alone draws nothing, and the letters and symbols that are blank by themselves.
_UNSEEN = frozenset({"Cf", "Mn", "Zs"})
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(text: str, what: str, *, most: int = 200) -> str:
    """The text in NFC with single spaces, "" where nothing of it can be seen; `OfficeError` where it can't
    be shown as it is.

    what  how the error names it: "the name", "the note"
    most  characters
    """
    if any(c in _BIDI or unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for c in text):
        raise OfficeError(f"{what} holds a control character: type it anew, without line breaks")
    line = " ".join(unicodedata.normalize("NFC", text).split())
    if len(line) > most:
        raise OfficeError(f"{what} has {len(line)} characters: {most} are the most")
    return line if any(c not in _BLANK and unicodedata.category(c) not in _UNSEEN for c in line) else ""


def quoted(text: str) -> str:
    """A person's words inside one of our sentences: in quotes, on one line, no longer than a line."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
