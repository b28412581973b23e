"""Evidence that an address leaked: what is kept of a stranger's mail, its chain, and the odds of a guess.

    chain(n) = SHA-256(chain(n-1) ‖ canonical JSON of entry n),   chain(0) = SHA-256 of the issuing

Promise: `Evidence.hash` is of exactly what `entry` gives, so a report can be checked by anybody with a
SHA-256, without this office, its database or its word.

Sources: RFC 8785 in spirit (keys sorted, no blanks); RFC 6234 (SHA-256).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sortingoffice.core import naming
from sortingoffice.frozen import dataclass
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message

MOST_OCTETS = 2**20  # of one message; of a larger one the header and the hash are kept
KEEP = 10  # messages of one writer
_DIGITS_BITS = math.log2(10_000)
_WORD_BITS = 10.0  # 1,024 words
_TOKEN_BITS = 45.0
_SIGNED_BITS = 80.0  # of a return path, by its MAC (mail.token)
_RETURN_PATH = re.compile(r"rp[a-z2-7]{26}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A row: one stranger's message, as it came.

    standing, identity  as in `Writer`
    rule      what was decided
    peer      "203.0.113.9 helo mail.example TLSv1.3 …"
    sender    envelope sender, "" for null; recipient: the alias as it was written to
    results   our own Authentication-Results
    records   JSON: the DNS records that the results rest on, as fetched
    guesses   recipients that never existed, tried at this domain until then
    live      aliases that a guess could hit
    size, sha256  of the whole message
    raw       the message; of one larger than MOST_OCTETS its header
    previous, hash  the chain of the relationship
    """

    id: int
    account_id: int
    relationship_id: int
    message: str
    at: datetime
    standing: str
    identity: str
    rule: str
    peer: str
    sender: str
    recipient: str
    results: str
    records: str
    guesses: int
    live: int
    size: int
    sha256: str
    raw: bytes
    previous: str
    hash: str


def moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def issuing(alias: str, office: str, at: datetime) -> dict[str, Any]:
    """What the chain begins with."""
    return {"alias": alias, "issued": moment(at), "issued_by": office}


def entry(of: Evidence) -> dict[str, Any]:
    """What is hashed, and what a report shows: everything but the octets, which `sha256` stands for."""
    return {
        "message": of.message,
        "at": moment(of.at),
        "class": of.standing,
        "identity": of.identity,
        "rule": of.rule,
        "peer": of.peer,
        "envelope_from": of.sender,
        "envelope_to": of.recipient,
        "authentication_results": of.results,
        "dns_records": json.loads(of.records),
        "wrong_guesses_before": of.guesses,
        "live_aliases": of.live,
        "size": of.size,
        "sha256": of.sha256,
    }


def canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def start(issued: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(issued)).hexdigest()


def link(previous: str, of: Mapping[str, Any]) -> str:
    return hashlib.sha256(previous.encode("ascii") + canonical(of)).hexdigest()


def chained(of: Evidence) -> Evidence:
    """The evidence with its link, made from its `previous`."""
    return replace(of, hash=link(of.previous, entry(of)))


def broken(first: str, entries: Iterable[tuple[Mapping[str, Any], str, str]]) -> str:
    """The first entry whose link does not hold, by its message; "" where the chain is whole.

    entries  (entry, previous, hash), oldest first
    """
    at = first
    for of, previous, hash in entries:
        if previous != at or link(previous, of) != hash:
            return str(of.get("message", "?"))
        at = hash
    return ""


def kept(message: Message, size: int) -> bytes:
    """What is kept of a message; of a large one the header.  size  of the whole"""
    return bytes(message) if size <= MOST_OCTETS else message.header[:MOST_OCTETS] + b"\r\n"


def digest(message: Message) -> str:
    """SHA-256 of its octets, which are not joined for it."""
    found = hashlib.sha256(message.header)
    found.update(message.separator)
    found.update(message.body)
    return found.hexdigest()


def records(auth: Authentication) -> str:
    """The DNS records that the results rest on, as JSON."""
    found: list[dict[str, str]] = []
    for each in auth.dkim:
        if each.key:
            name = f"{each.selector}._domainkey.{each.domain}"
            found.append({"name": name, "type": "TXT", "octets": _base64(each.key), "for": "dkim"})
    if auth.spf.record:
        found.append(
            {"name": auth.spf.domain, "type": "TXT", "octets": _base64(auth.spf.record), "for": "spf"}
        )
    if auth.dmarc.record:
        name = f"_dmarc.{auth.dmarc.found_at}"
        found.append({"name": name, "type": "TXT", "octets": _base64(auth.dmarc.record), "for": "dmarc"})
    return json.dumps(found)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


# ---- odds ------------------------------------------------------------------------------------------------


def bits(alias: str) -> float | None:
    """How hard an alias is to guess, by its own form; None where a person chose it."""
    local = alias.rpartition("@")[0]
    if _RETURN_PATH.fullmatch(local):
        return _SIGNED_BITS
    parts = local.split(".")
    if re.fullmatch(r"[a-z]+[0-9]{4}", parts[-1]):
        spoken = [*parts[:-1], parts[-1][:-4]]
        if len(spoken) > 1 and all(each in naming.words() for each in spoken):
            return _WORD_BITS * len(spoken) + _DIGITS_BITS
    if (
        len(parts) < 3
        and re.fullmatch(r"[0-9abcdefghjkmnpqrstvwxyz]{9}", parts[-1])
        and re.search("[0-9]", parts[-1])
    ):
        return _TOKEN_BITS
    return None


def one_in(alias: str, guesses: int) -> int | None:
    """This very alias would have been hit by chance once in so many offices with as many wrong guesses."""
    found = bits(alias)
    return None if found is None else max(int(2**found / (guesses + 1)), 1)


def odds(alias: str, guesses: int) -> str:
    """The odds, for a reader who is no engineer."""
    chance = one_in(alias, guesses)
    if chance is None:
        return "The address was chosen by its owner, so no odds are given for a guess."
    return (
        f"The address was drawn at random from about 2^{bits(alias):.0f} possible ones. "
        f"Until this message came, {guesses:,} recipients that never existed had been tried at its domain, "
        "by all senders together. "
        f"That one of so many tries hits this very address by chance happens once in {chance:,} cases."
    )
