"""A chain over the log and the ledger: what was changed or taken out later shows.

    hash(n) = SHA-256(hash(n-1) ‖ digest of the n-th line),   hash(0) = SHA-256 of nothing

A line is linked within a minute of its commit, so that no transaction waits for another's.  Whoever holds the
whole database can make a new chain: the last hash, noted elsewhere, is what they can't change.

Sources: RFC 6234 (SHA-256).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sortingoffice.frozen import dataclass

START = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Link:
    """A row: one line's place in the chain.

    line    "event", "disclosure" or "disclosure_item"; number: its id there
    digest  of the line's columns; hash: the chain up to here
    """

    id: int
    line: str
    number: int
    digest: str
    hash: str


def digest(columns: Mapping[str, Any]) -> str:
    """Of a line as it stands in the database: integers, texts and octets."""
    plain = {name: each.hex() if isinstance(each, bytes) else each for name, each in columns.items()}
    octets = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    return hashlib.sha256(octets).hexdigest()


def after(previous: str, line: str, number: int, digest: str) -> str:
    return hashlib.sha256(f"{previous} {line} {number} {digest}".encode()).hexdigest()
