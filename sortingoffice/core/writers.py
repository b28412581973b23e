"""Who writes to a relationship: counted by class and identity; processors, learnt from the vendor's mail.

A processor is somebody whom the vendor lets write for it, such as its newsletter's provider.  It is learnt
where the vendor's own aligned signature stands in the same mail as the processor's signature or return path:
the vendor vouches for it.  A learnt one counts for mail with a List-Id that was seen so, since a provider
has many customers; the person's yes makes it count for all that it signs, their no for nothing.

Promise: nothing that an unauthenticated message says makes anybody known.

Sources: the design, "Authentication, strangers, evidence"; RFC 2919 (List-Id); RFC 6376 §3.5 (d=).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from sortingoffice.core.binding import Identities, Stranger, identity, proven
from sortingoffice.frozen import dataclass

MOST_MARKS = 20
_LIST, _PATH = "list ", "return path"


@dataclass(frozen=True, slots=True)
class Writer:
    """A row: whose mail came to a relationship, as far as it is proved.

    standing  what they are to the relationship: a value of `Stranger`
    identity  organizational domain, or address at a public provider; "" for those who prove nothing
    marks     JSON list: for a processor what it was seen with, "list shop.mail.example" or "return path"
    last_message  the token of the last one
    pending   the person is to be told, in the next digest; told: when they last were
    """

    id: int
    relationship_id: int
    standing: str
    identity: str
    marks: str
    number: int
    first: datetime
    last: datetime
    last_message: str
    pending: bool
    told: datetime | None


def list_id(value: bytes | None) -> str:
    """The identifier of a List-Id field, "" if none (RFC 2919 §3); the phrase before it says nothing."""
    text = (value or b"").decode("ascii", "replace")
    inside = text.rpartition("<")[2].partition(">")[0].strip().lower()
    return inside[:255] if inside.isprintable() and " " not in inside else ""


def who(standing: Stranger, identities: Identities) -> str:
    """The identity under which a message counts; "" for one that proves nothing."""
    if standing in (Stranger.VENDOR, Stranger.AUTHENTICATED):
        return proven(identities)
    if standing is Stranger.FORGED and identities.author is not None:
        return identity(identities.author)
    return ""


def processors(identities: Identities, path: str, list_of: str) -> dict[str, tuple[str, ...]]:
    """Who else had a hand in mail that the vendor proved: {organizational domain: marks}.

    path     organizational domain of the return path, where SPF passed for it; "" otherwise
    list_of  the List-Id that the vendor's own signature covers, "" if none
    """
    vendor = identities.authenticated
    others = (identities.signers | ({path} if path else frozenset())) - vendor
    marked: dict[str, tuple[str, ...]] = {}
    for domain in sorted(others):
        marks = [_PATH] if domain == path else []
        if list_of and domain in identities.signers:
            marks.append(_LIST + list_of)
        marked[domain] = tuple(marks)
    return marked


def recognised(learnt: Mapping[str, Iterable[str]], signers: Iterable[str], list_of: str) -> bool:
    """Whether a learnt processor signed this, for a list that it was seen with.

    list_of  the List-Id that its signature covers
    """
    return bool(list_of) and any(_LIST + list_of in learnt.get(domain, ()) for domain in signers)


def marks(text: str) -> tuple[str, ...]:
    """The `marks` of a row."""
    return tuple(json.loads(text)) if text else ()


def joined(before: str, more: Iterable[str]) -> str:
    """Marks with what was seen now, bounded: the first ones stay."""
    known = list(marks(before))
    known += [each for each in dict.fromkeys(more) if each not in known]
    return json.dumps(known[:MOST_MARKS]) if known else ""
