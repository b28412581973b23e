"""The person's word on a held message, as they write it in a plain reply.

Promise: only a line that is nothing but a known word counts, and it is the first that the person
wrote themselves; "yes, but without the phone" is no yes.

Sources: the cards document of the design, "Held, and errors".
"""

from __future__ import annotations

import re
from enum import StrEnum

from sortingoffice.core import body, directive
from sortingoffice.mail import quoting
from sortingoffice.mail.mime import Entity


class Word(StrEnum):
    YES = "yes"
    ALWAYS = "yes always"
    NO = "no"


_YES = frozenset(
    "yes|y|ok|okay|ja|oui|si|sí|sim|jo|yes please|ja bitte|yes, please|ja, bitte|oui merci".split("|")
)
_ALWAYS = frozenset(
    "yes always|yes, always|ja immer|ja, immer|oui toujours|sí siempre|si siempre|always".split("|")
)
_NO = frozenset("no|n|nein|non|nope|no thanks|no, thanks|nein danke|nein, danke".split("|"))
_MOST = 40  # characters of a line that can be a word
_AROUND = " .!¡*_-–—\"'“”„‘’«»"  # signs that change nothing; a question mark does
_ARMOR = re.compile(rf"{quoting.CLEARSIGNED}|Hash: [\w, -]{{1,80}}")


def said(root: Entity) -> Word | None:
    """The word in a reply; None where there is none that is clear."""
    line = first_line(root)
    return None if line is None else _word(line)


def first_line(root: Entity) -> str | None:
    """The first line of the person's own; None where the reply is empty, or only quotes."""
    lines = (line.strip() for line in body.prose(root))
    return next((line for line in lines if line and not _ARMOR.fullmatch(line)), None)


def _word(line: str) -> Word | None:
    if len(line) > _MOST:
        return None
    folded = directive.fold(line).strip(_AROUND)
    for word, known in ((Word.ALWAYS, _ALWAYS), (Word.YES, _YES), (Word.NO, _NO)):
        if folded in known:
            return word
    return None
