"""Mailbox addresses: RFC 5321's, strictly, on octets.

An `Address` is what an envelope, an alias and an alignment are made of.  It is
parsed here and nowhere else; the standard library parses none (pitfalls: it
decodes encoded-words inside a path).  Lists in header fields, which are
RFC 5322's more generous grammar, are in `mail.headers`.

Promise: parse(str(a)) == a for every Address a that `parse` made; what is not an RFC 5321
Mailbox is None, never an exception and never something near it: no compatibility mapping, no
look-alike is folded onto an ASCII letter.  The rules that we bend are in docs/quirks.md.

Sources: RFC 5321 §4.1.2, §4.1.3, §4.5.3.1; RFC 6531 §3.3 (UTF-8); RFC 5891 §4 (A-labels).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import idna

from sortingoffice.frozen import dataclass

MAX_LOCAL = 64  # octets, RFC 5321 §4.5.3.1.1
MAX_DOMAIN = 255  # octets, RFC 5321 §4.5.3.1.2
MAX_PATH = 256  # octets with the brackets, RFC 5321 §4.5.3.1.3
_MAX_ADDRESS = MAX_PATH - 2

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_DOT_STRING = re.compile(rf"[{_ATEXT}\u0080-\U0010ffff]+(?:\.[{_ATEXT}\u0080-\U0010ffff]+)*")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*)"')
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?|_[A-Za-z0-9_-]{0,61}[A-Za-z0-9]")
_ESCAPED = re.compile(r"\\(.)")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# What RFC 6531 would let into a local part, but nobody could see or tell apart: C1 controls, blanks,
# invisible and bidi controls (ZWJ and ZWNJ are letters' company in some scripts), surrogates,
# private use at the end of planes.
_HIDDEN = re.compile(
    "[\x80-\xa0\xad\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f\u3000"
    "\ud800-\udfff\ufeff\ufff0-\uffff\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox.

    local   text, unquoted and unescaped, in the spelling it came in; ≤ 64 octets as UTF-8
    domain  lower case, A-labels, without a trailing dot; or an address literal "[…]"
    """

    local: str
    domain: str

    def __str__(self) -> str:
        """The address as it stands in a path or a header, the local part quoted where it must be."""
        return f"{quote_local(self.local)}@{self.domain}"

    @property
    def normal(self) -> str:
        """The form in which addresses are compared and stored: all lower case."""
        return f"{_normal_local(self.local)}@{self.domain}"

    @property
    def ascii(self) -> bool:
        """Whether it can travel without SMTPUTF8 (RFC 6531)."""
        return self.local.isascii()


def quote_local(local: str) -> str:
    """A local part as it is written in an address (RFC 5321 §4.1.2 Local-part)."""
    if _DOT_STRING.fullmatch(local):
        return local
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'


@lru_cache(4096)
def _normal_local(local: str) -> str:
    return quote_local(lower(local))


def lower(text: str) -> str:
    """Lower case, letter by letter; what would become ASCII stays (the Kelvin sign is not a k)."""
    if text.isascii():
        return text.lower()
    return "".join(c if not c.isascii() and any(x.isascii() for x in c.lower()) else c.lower() for c in text)


def parse(text: str | bytes) -> Address | None:
    """An RFC 5321 Mailbox, without brackets; None if it is anything else."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        if quoted is None or text[quoted.end() : quoted.end() + 1] != "@":
            return None
        written, local = quoted[0], _ESCAPED.sub(r"\1", quoted[1])
        rest = text[quoted.end() + 1 :]
    else:
        written, at, rest = text.partition("@")
        local = written
        if not at or not _DOT_STRING.fullmatch(local):
            return None
    if not text.isascii() and _HIDDEN.search(written):
        return None
    name = domain(rest)
    if not name or _octets(written) > MAX_LOCAL or _octets(text) > _MAX_ADDRESS:
        return None
    address = Address(local, name)
    # An A-label, or a lower-case letter, may be longer than what was written.
    if not text.isascii() and (
        _octets(lower(local)) > MAX_LOCAL - 2 or _octets(address.normal) > _MAX_ADDRESS
    ):
        return None
    return address


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def domain(text: str) -> str:
    """A domain or address literal in normal form; "" if it is neither.

    U-labels become A-labels (RFC 5891, without the mappings of RFC 5895 but for case); upper case
    becomes lower case.
    """
    if text.startswith("["):
        return _literal(text)
    if not text or _octets(text) > MAX_DOMAIN:
        return ""
    text = lower(text)
    if not text.isascii():
        try:
            text = idna.encode(text, strict=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return ""
    if len(text) > MAX_DOMAIN or not all(map(_LABEL.fullmatch, text.split("."))):
        return ""
    return text


def _literal(text: str) -> str:
    """RFC 5321 §4.1.3: [192.0.2.1] and [IPv6:2001:db8::1]."""
    if not text.endswith("]"):
        return ""
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]" if "%" not in inner else ""
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Path:
    """The argument of MAIL or RCPT, parsed.

    address     None for the null path `<>`
    parameters  esmtp keywords, upper case, with their values ("" where there is none)
    """

    address: Address | None
    parameters: dict[str, str]


_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?")


def parse_path(octets: bytes, *, utf8: bool = True, hostname: str = "") -> Path | None:
    """What follows "MAIL FROM:" or "RCPT TO:", strictly; None where it breaks the grammar.

    octets    without CR LF; brackets are required; spaces are allowed only around parameters
              (one leading space is tolerated, since real clients send it: docs/quirks.md)
    utf8      whether the transaction may carry UTF-8 (the SMTPUTF8 parameter is looked for by the
              caller: RFC 6531 §3.4)
    hostname  where given, `<Postmaster>` without a domain is read as postmaster@hostname
              (RFC 5321 §4.1.1.3)

    Source routes (`<@a,@b:c@d>`) are refused: nobody sends them but those who probe.
    """
    text_octets = octets[1:] if octets.startswith(b" ") else octets
    if not text_octets.startswith(b"<") or _CONTROL.search(text_octets):
        return None
    try:
        text = text_octets.decode("utf-8" if utf8 else "ascii")
    except UnicodeDecodeError:
        return None
    end = _closing(text)
    if end < 0 or _octets(text[: end + 1]) > MAX_PATH:
        return None
    inner, rest = text[1:end], text[end + 1 :]
    parameters = _parameters(rest)
    if parameters is None:
        return None
    if not inner:
        return Path(None, parameters)
    if hostname and inner.lower() == "postmaster":
        return Path(Address(inner, hostname), parameters)
    address = parse(inner)
    return Path(address, parameters) if address is not None else None


def _closing(text: str) -> int:
    """The index of the bracket that ends the path, which a quoted local part may contain; -1: none."""
    if text.startswith('<"'):
        quoted = _QUOTED.match(text, 1)
        return text.find(">", quoted.end()) if quoted else -1
    return text.find(">")


def _parameters(text: str) -> dict[str, str] | None:
    text = text.rstrip(" ")
    found: dict[str, str] = {}
    if not text:
        return found
    if not text.startswith(" "):
        return None
    for word in filter(None, text.split(" ")):
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1].upper() in found:
            return None
        found[match[1].upper()] = match[2] or ""
    return found
