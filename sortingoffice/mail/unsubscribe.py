"""The ways out of a list that a message offers.

Sources: RFC 2369 §3.2 (List-Unsubscribe), RFC 8058 (one click), RFC 6068 (mailto).
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

from sortingoffice.frozen import dataclass
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.message import Message

ONE_CLICK = "List-Unsubscribe=One-Click"
MOST = 2000  # characters of one way; a longer one is not taken
_MOST_WORDS = 200
_WAY = re.compile(rb"<\s*([^<>]{1,8000}?)\s*>")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Ways:
    """one_click: an https address to which a POST ends the subscription; mailto: an address to write to,
    as a URI.  "" where the message has none."""

    one_click: str = ""
    mailto: str = ""

    def __bool__(self) -> bool:
        return bool(self.one_click or self.mailto)


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mailto URI asks for."""

    to: Address
    subject: str
    body: str


def ways(message: Message) -> Ways:
    """The first way of each kind, in the order of the sender's preference."""
    found = [
        _BLANKS.sub("", way.decode("ascii"))
        for each in message.all("List-Unsubscribe")
        for way in _WAY.findall(each.value)
        if way.isascii() and len(way) <= MOST
    ]
    posted = b"".join((message.value("List-Unsubscribe-Post") or b"").split()).lower()
    web = (
        next((each for each in found if _is_https(each)), "") if posted == ONE_CLICK.lower().encode() else ""
    )
    mail = next((each for each in found if letter(each) is not None), "")
    return Ways(web, mail)


def letter(mailto: str) -> Letter | None:
    """None where the URI is no mailto with exactly one address."""
    if not mailto.lower().startswith("mailto:"):
        return None
    path, _, query = mailto[len("mailto:") :].partition("?")
    to = parse(unquote(path))
    if to is None:
        return None
    try:
        asked = {name.lower(): values[0] for name, values in parse_qs(query, max_num_fields=20).items()}
    except ValueError:
        return None
    return Letter(to, _line(asked.get("subject", "")) or "unsubscribe", _line(asked.get("body", "")))


def _line(text: str) -> str:
    """A stranger chose the words: one line, of the length that an unsubscription needs."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:_MOST_WORDS]


def _is_https(way: str) -> bool:
    try:
        parts = urlsplit(way)
        return (
            parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:
        return False
