"""SMTP replies: what we say to a peer, and what a peer said to us.

A `Reply` is a value.  It is built where the decision is made and rendered
where the socket is, so a policy can be tested without a server.

Sources: RFC 5321 §4.2 (reply codes), RFC 3463 and RFC 5248 (enhanced codes).
"""

from __future__ import annotations

import re

from sortingoffice.frozen import dataclass

_STATUS = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})")
_LEADING_STATUS = re.compile(r"^([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
# Of a text in any script: what breaks a line or can't be encoded, and what hides or turns round what stands
# beside it (UAX 9; ZWJ and ZWNJ are letters' company in some scripts).
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_HIDING = re.compile(
    "[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffc\ufffe\uffff"
    "\U000e0000-\U000e0fff]+"
)
_MOST_SPOKEN = 900  # octets: with what stands before it, one line of a message (RFC 5322 §2.1.1)


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply.

    code    three digits, 200–599: the grammar ends at 559, but many say 571, and the first digit counts
    status  enhanced code such as "5.1.1"; its class must equal code's class; "" where
            none applies (greetings, 3xx)
    text    printable ASCII without line breaks; never contains secrets, rule
            internals or another person's address: strangers read it
    spoken  what a peer said in other letters than ASCII's, on one line, where it did; for the eyes of the
            person alone (`shown`), never on a wire

    Raises ValueError when the parts contradict each other.
    """

    code: int
    status: str
    text: str
    spoken: str = ""

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"no SMTP reply code: {self.code}")
        if self.status:
            match = _STATUS.fullmatch(self.status)
            if match is None or int(match[1]) != self.code // 100:
                raise ValueError(f"enhanced code {self.status!r} contradicts {self.code}")
        if _UNPRINTABLE.search(self.text):
            raise ValueError("a reply's text is printable ASCII on one line")
        if self.spoken and (_BREAKING.search(self.spoken) or _HIDING.search(self.spoken)):
            raise ValueError("what a peer said is on one line, and nothing in it hides")

    @property
    def accepted(self) -> bool:
        return self.code < 400

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    @property
    def shown(self) -> str:
        """The reply for a person to read: in the letters that it was said in."""
        return " ".join(part for part in (str(self.code), self.status, self.spoken or self.text) if part)

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.status, self.text) if part)

    def __bytes__(self) -> bytes:
        """The reply as one line on the wire, with CR LF."""
        return str(self).encode("ascii") + b"\r\n"


def heard(code: int, text: str | bytes) -> Reply:
    """What a peer said, made safe to keep: any code, any octets, several lines.

    Out-of-range codes and contradicting enhanced codes are the peer's mistake and
    become 4xx respectively lose their status: never an exception.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")  # RFC 6531 §3.7.4.2
    if not 200 <= code <= 599:
        return _heard(451, "4.5.0", f"peer answered {code} {text}")
    lines = text.splitlines() or [""]
    match = _LEADING_STATUS.match(lines[0])
    status = match[1] if match and int(match[1][0]) == code // 100 else ""
    bare = [_LEADING_STATUS.sub("", line) if status else line for line in lines]
    return _heard(code, status, " ".join(bare))


def _heard(code: int, status: str, text: str) -> Reply:
    plain = _UNPRINTABLE.sub(" ", text)[:500].strip()
    return Reply(code, status, plain, "" if text.isascii() else _spoken(text))


def _spoken(text: str) -> str:
    """Cut after whole letters."""
    line = " ".join(_HIDING.sub("", _BREAKING.sub(" ", text[:_MOST_SPOKEN])).split())
    return line.encode()[:_MOST_SPOKEN].decode("utf-8", "ignore")
