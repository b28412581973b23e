"""Whether letters after a dot make a longer domain: known top-level domains, and what only looks like one.

Sources: publicsuffix.org/list; RFC 2606, RFC 6761, RFC 8375 (reserved names).
"""

from __future__ import annotations

import re
from functools import cache

from publicsuffixlist import PublicSuffixList

_RESERVED = frozenset(
    {"example", "test", "invalid", "localhost", "local", "onion", "internal", "lan", "home", "corp"}
)
# Registered, but after an address it is a file's name far more often.
_EXTENSIONS = frozenset({"zip", "mov", "md", "py", "sh"})
_LABELS = re.compile(r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?){1,10}")


@cache
def _known() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)


def prolongs(text: str, at: int) -> bool:
    """Whether text[at:], which begins with a dot, goes on with a domain: ".example.org", but not ".txt"."""
    match = _LABELS.match(text, at)
    if match is None:
        return False
    last = match[0].rpartition(".")[2]
    if last != last.lower() or last in _EXTENSIONS:  # "me@home.example.Thanks": a new sentence
        return False
    return last in _RESERVED or _known().publicsuffix(last) is not None
