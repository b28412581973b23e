"""Organizational domains: where registries end and organisations begin.

Promise: organizational(organizational(d)) == organizational(d); an unknown top-level domain counts as
a registry (the list's rule `*`), and a public suffix itself is its own organizational domain.

Sources: RFC 7489 §3.2; publicsuffix.org/list (private section included: blogspot.com is nobody's
organisation, and DMARC implementations use the whole list).
"""

from __future__ import annotations

from functools import cache, lru_cache

from publicsuffixlist import PublicSuffixList


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@lru_cache(maxsize=4096)
def registrable(domain: str) -> str | None:
    """The name that an organisation registered (eTLD+1), lower case A-labels; None for a public suffix."""
    name = domain.lower()
    if not name or name.startswith((".", "[")) or ".." in name:
        return None
    found: str | None = _suffixes().privatesuffix(name.rstrip("."))
    return found


def organizational(domain: str) -> str:
    """The organizational domain of a domain; the domain itself where it is a public suffix or a literal."""
    name = domain.lower().rstrip(".")
    return registrable(name) or name
