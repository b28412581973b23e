"""The leak battery's disguises: each writes an address so that a reader still gets it.

A reader is a person, or a program with a decoder.  `tests.leaks` has the places.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from urllib.parse import quote

Disguise = Callable[[str], str]


def _split(address: str, by: str) -> str:
    return by.join(address)


def _spoken(address: str, at: str, dot: str) -> str:
    return address.replace(".", dot).replace("@", at)


def uuencoded(address: str) -> str:
    return f"begin 644 note\n{binascii.b2a_uu(address.encode()).decode()}`\nend\n"


# Those that leave characters which any charset and any place can carry.
DISGUISES: dict[str, Disguise] = {
    "as it is": lambda a: a,
    "upper case": str.upper,
    "title case": str.title,
    "in brackets": lambda a: f"<{a}>",
    "mailto": lambda a: f"mailto:{a}",
    "blanks around the at": lambda a: a.replace("@", " @ "),
    "blanks around the dots": lambda a: a.replace(".", " . "),
    "spaced out": lambda a: _split(a, " "),
    "dashed out": lambda a: _split(a, "-"),
    "backwards": lambda a: a[::-1],
    "plus tag": lambda a: a.replace("@", "+shop@"),
    "in words": lambda a: _spoken(a, " at ", " dot "),
    "in bracketed words": lambda a: _spoken(a, " [at] ", " [dot] "),
    "in round words": lambda a: _spoken(a, "(at)", "(dot)"),
    "in German words": lambda a: _spoken(a, " (ät) ", " (Punkt) "),
    "percent at": lambda a: a.replace("@", "%40"),
    "percent all": lambda a: "".join(f"%{ord(c):02x}" for c in a),
    "percent twice": lambda a: quote(quote(a, safe=""), safe=""),
    "quoted-printable": lambda a: "".join(f"={ord(c):02X}" for c in a),
    "decimal references": lambda a: "".join(f"&#{ord(c)};" for c in a),
    "hexadecimal references": lambda a: "".join(f"&#x{ord(c):x};" for c in a),
    "padded references": lambda a: "".join(f"&#000{ord(c)};" for c in a),
    "named references": lambda a: a.replace("@", "&commat;").replace(".", "&period;"),
    "references twice": lambda a: a.replace("@", "&amp;#64;"),
    "JSON escapes": lambda a: "".join(f"\\u{ord(c):04x}" for c in a),
    "C escapes": lambda a: "".join(f"\\x{ord(c):02x}" for c in a),
    "octal escapes": lambda a: "".join(f"\\{ord(c):03o}" for c in a),
    "CSS escapes": lambda a: "".join(f"\\{ord(c):06x}" for c in a),
    "base64": lambda a: base64.b64encode(a.encode()).decode(),
    "base64 in a sentence": lambda a: base64.b64encode(f"this is {a}, really".encode()).decode(),
    "base64 without padding": lambda a: base64.b64encode(f"{a} x".encode()).decode().rstrip("="),
    "base64 for URLs": lambda a: (
        "https://x.example/u/" + base64.urlsafe_b64encode(f"?>{a}?>".encode()).decode()
    ),
    "base64 twice": lambda a: base64.b64encode(base64.b64encode(a.encode())).decode(),
    "data URI": lambda a: "data:text/plain;base64," + base64.b64encode(a.encode()).decode(),
    "hexadecimal": lambda a: a.encode().hex(),
    "UTF-7": lambda a: "+" + base64.b64encode(a.encode("utf-16-be")).decode().rstrip("=") + "-",
    "UTF-7 at": lambda a: a.replace("@", "+AEA-"),
    "encoded word": lambda a: "=?utf-8?b?" + base64.b64encode(a.encode()).decode() + "?=",
    "encoded word q": lambda a: "=?utf-8?q?" + a.replace("@", "=40") + "?=",
    "encoded words in pieces": lambda a: " ".join(f"=?utf-8?q?{piece}?=" for piece in (a[:2], a[2:])),
    "in a URL": lambda a: f"https://x.example/?a=1&email={quote(a)}&b=2",
    "in JSON": lambda a: '{"email":"' + a + '"}',
    "after an escaped line break": lambda a: f"hello\\n{a}",
    "as a sentence ends": lambda a: f"({a}.)",
    "in asterisks": lambda a: f"*{a}*",
    "in underscores": lambda a: f"_{a}_",
}
# Those that need Unicode.
UNICODE: dict[str, Disguise] = {
    "zero width": lambda a: _split(a, "\u200b"),
    "zero width joiner": lambda a: a.replace("@", "\u200d@\u2060"),
    "soft hyphens": lambda a: _split(a, "\u00ad"),
    "no-break blanks": lambda a: a.replace("@", "\u00a0@\u00a0"),
    "byte order marks": lambda a: a.replace("n", "n\ufeff"),
    "full width": lambda a: "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in a),
    "full-width at": lambda a: a.replace("@", "\uff20"),
    "small at": lambda a: a.replace("@", "\ufe6b"),
    "Cyrillic": lambda a: a.replace("a", "\u0430").replace("e", "\u0435").replace("o", "\u043e"),
    "Greek": lambda a: a.replace("a", "\u03b1").replace("o", "\u03bf"),
    "mathematical": lambda a: "".join(chr(0x1D41A + ord(c) - 97) if c.islower() else c for c in a),
    "circled": lambda a: "".join(chr(0x24D0 + ord(c) - 97) if c.islower() else c for c in a),
    "accents": lambda a: a.replace("n", "n\u0303").replace("o", "o\u0301"),
    "ideographic dots": lambda a: a.replace(".", "\u3002"),
    "right to left": lambda a: f"\u202e{a[::-1]}\u202c",
    "after Chinese": lambda a: f"\u8bf7\u53d1\u5230{a}\u8c22\u8c22",
}
# Those that only a reader of HTML undoes.
MARKUP: dict[str, Disguise] = {
    "split by tags": lambda a: a.replace("@", "<b>@</b>").replace("me", "m<i>e</i>"),
    "split by comments": lambda a: a.replace("@", "<!-- x > y -->@<!---->"),
    "split by wbr": lambda a: _split(a, "<wbr>"),
    "split by attributes": lambda a: a.replace("@", '<span title="a > b">@</span>'),
    "split by blocks": lambda a: a.replace("@", "</div><div>@"),
    "references and tags": lambda a: a.replace("@", "<b>&#64;</b>").replace(".", "<i>&#x2e;</i>"),
    "hidden": lambda a: f'<span style="display:none">{a}</span>',
    "after a cell": lambda a: f"<td>Email</td><td>{a.replace('@', '<b>@</b>')}</td>",
}
