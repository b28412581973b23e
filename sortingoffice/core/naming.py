"""Names that the office makes: aliases, reverse aliases, slugs; and the form in which they are matched.

Promise: canonical(canonical(a)) == canonical(a), and two spellings that differ only in case, `.`, `-`
and `_` of the local part have one canonical form.  Every local part made here is at most 64
octets of lower-case letters, digits and dots, and is hard to guess:

    bits(alias_local(live)) ≥ log2(live) + 24      bits(labelled) = 45      bits(reverse_local) = 40

Whether a canonical form is already taken, the caller asks `store.relationships.canonical_taken`.

Sources: RFC 5321 §4.5.3.1.1 (64 octets), §4.5.1 (postmaster); RFC 2142 (role names).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from sortingoffice.mail.publicsuffix import organizational

Random = Callable[[int], bytes]

FEW = 600  # live aliases up to which two words and four digits are enough
GUESSES = 24  # bits: a guess hits any of the live aliases once in 2**24
_DIGITS = 10_000
_LABEL = 14  # so that a labelled local part stays within 24 octets
_PERSON = 24
_SLUG = 40
_ACCENTS = re.compile("[\u0300-\u036f]")  # Unicode: Combining Diacritical Marks

# No l, i, o, u: what is read out or copied by hand stays what it was.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

# Canonical local parts that go to the admin and are never issued: RFC 5321 §4.5.1, RFC 2142, and
# the names that the office itself uses.
RESERVED = frozenset(
    """abuse admin administrator anonymous card cards dmarc hostmaster mailerdaemon no noc noreply nobody
    office postmaster root security sortingoffice tlsrpt webmaster yes""".split()
)


# What the office's own local parts with a secret begin with: an alias beside them would look like one, to a
# person who is to answer and to whoever looks on.
_OWN = re.compile(r"(?:new|no|pocket|verify|yes)(?:[._-].*)?|rp[a-z2-7]{26}", re.DOTALL)


def canonical(address: str) -> str:
    """The form in which aliases are matched: lower case, the local part without `.`, `-` and `_`.

    address  "local@domain", or a local part alone
    """
    local, at, domain = address.lower().rpartition("@")
    if not at:
        local, domain = domain, ""
    return re.sub(r"[._-]", "", local) + at + domain


def reserved(local: str) -> bool:
    """Whether a local part is the office's own, in any spelling."""
    return canonical(local) in RESERVED


def prefixed(local: str) -> bool:
    """Whether a local part looks like one of the office's own with a secret in it; nobody may choose it."""
    return _OWN.fullmatch(local.lower()) is not None


@cache
def words() -> tuple[str, ...]:
    """1,024 words of 4–7 letters, no two within one edit, easy to say on the phone."""
    text = files("sortingoffice.core").joinpath("words.txt").read_text("ascii")
    return tuple(text.split())


def alias_local(random: Random, live: int) -> str:
    """A local part such as `lunar.otter4821`; a word more where many aliases are live.

    live  aliases of the office that a guess could hit
    """
    count = 2 if live <= FEW else 3
    while count * 10 + math.log2(_DIGITS) < math.log2(max(live, 1)) + GUESSES:
        count += 1
    chosen = [words()[_below(random, 1024)] for _ in range(count)]
    return f"{'.'.join(chosen)}{_below(random, _DIGITS):04d}"


def labelled(label: str, random: Random) -> str:
    """`shop.5v8k2m9q3` for a label that the person chose; without a usable letter, the token alone."""
    return _joined([_plain(label)[:_LABEL], _token(random, 9)])


def reverse_local(contact: str, random: Random) -> str:
    """A readable local part that leads to a contact: `support.lampshop.5v8k2m9q`.

    contact  the contact's address; its domain is shown only by its organization's name, and what
             follows a `+`, `=` or `%` in its local part not at all: that is often an address itself
    """
    local, _, domain = contact.rpartition("@")
    person = re.split(r"[+=%!#]", local, maxsplit=1)[0]
    organization = organizational(domain).split(".")[0]
    return _joined([_plain(person)[:_PERSON], _plain(organization)[:_PERSON], _token(random, 8)])


def slug(name: str) -> str:
    """What the command line calls a relationship: `lamp-shop` for "Lamp Shop!".

    Accents go, which a keyboard may lack; marks that make another letter (kana's, Hangul's) stay.
    """
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", name))
    folded = unicodedata.normalize("NFC", bare.casefold())
    words = "".join(c if c.isalnum() or unicodedata.category(c).startswith("M") else "-" for c in folded)
    return re.sub("-+", "-", words).strip("-")[:_SLUG].strip("-") or "vendor"


def _joined(parts: list[str]) -> str:
    return ".".join(part for part in parts if part)


def _token(random: Random, characters: int) -> str:
    """Five bits a character."""
    return "".join(_ALPHABET[octet & 31] for octet in random(characters))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", slug(text)) if re.search(r"[^\W_]", text) else ""


def _below(random: Random, limit: int) -> int:
    """Uniform below `limit`, which is at most 2**14: what falls outside is drawn again."""
    mask = (1 << (limit - 1).bit_length()) - 1
    while True:
        drawn = int.from_bytes(random(2), "big") & mask
        if drawn < limit:
            return drawn
