"""Mail as a page shows it: text that does nothing, and the names of what hangs on it.

Promise: nothing of a mail is ever markup on a page; what a reader would not see in a part of HTML is
told apart, since it would leave, too.

Sources: Unicode Standard Annex 9 §2 (turned directions).
"""

from __future__ import annotations

from sortingoffice.frozen import dataclass
from sortingoffice.mail import html, mime
from sortingoffice.mail.message import Message

MOST = 60_000  # characters of one mail on its page
_LARGEST = 1 << 21  # octets; of a larger one only the beginning is shown, as it stands


@dataclass(frozen=True, slots=True)
class Shown:
    """One part.

    text  "" for a file
    file  name, kind and size; "" for what is read
    """

    text: str
    file: str = ""


def plain(text: str) -> str:
    """No control but line breaks and tabs, no turned direction."""
    lines = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in lines)


def parts(raw: bytes) -> tuple[Shown, ...]:
    """What a reader sees of a mail, part by part; nothing where it can't be taken apart."""
    if len(raw) > _LARGEST:
        return ()
    try:
        root = mime.parse(Message.parse(raw))
    except mime.TooComplex:
        return ()
    left, found = MOST, []
    for leaf in root.leaves():
        text = _text(leaf)
        if text is None:
            name = leaf.filename or "a file without a name"
            found.append(Shown("", plain(f"{name} ({leaf.content_type}, {len(leaf.octets()):,} octets)")))
        elif text.strip() and left > 0:
            found.append(Shown(plain(text[:left]).strip("\n")))
            left -= len(text)
    return tuple(found)


def _text(leaf: mime.Entity) -> str | None:
    """None for a file."""
    if leaf.disposition == "attachment" or leaf.filename or not leaf.content_type.startswith("text/"):
        return None
    text = leaf.text()
    if text is None or leaf.content_type != "text/html":
        return text
    seen: list[str] = []
    hidden: list[str] = []
    for line in html.visual_lines(text):
        (hidden if line.hidden else seen).append(("> " if line.quoted else "") + line.text)
    below = ["", "Out of sight in it:", *hidden] if hidden else []
    return "\n".join([*seen, *below])
