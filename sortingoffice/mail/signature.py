"""One signature over fields and a body: what DKIM and ARC have in common.

Promise: a `Signature` that could be read has every tag that verifying needs, in a form that can be right;
a body is hashed once per canonical form, however many signatures ask.

Sources: RFC 6376 §3.5, §3.6.2, §6.1; RFC 8301; RFC 8617 §4.1.2 (the same tags, in an ARC-Message-Signature).
"""

from __future__ import annotations

from functools import lru_cache

from sortingoffice.frozen import dataclass
from sortingoffice.mail import address, canonical, tags
from sortingoffice.mail.asking import Answer, Outcome, Question
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.keys import PublicKey
from sortingoffice.mail.message import Field, Message

ALGORITHMS = ("rsa-sha256", "ed25519-sha256")
MAX_HEADER = 131_072  # octets of a header block that is looked at


class Bad(Exception):
    """Why a signature doesn't count: a result and its reason in ASCII, without a peer's octets."""

    def __init__(self, result: Result, reason: str):
        super().__init__(reason)
        self.result = result
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signer:
    """The tags that also an ARC-Seal has: whose key, which algorithm, and the signature's octets."""

    algorithm: str
    domain: str
    selector: str
    octets: bytes

    @property
    def question(self) -> Question:
        return Question(f"{self.selector}._domainkey.{self.domain}", "TXT")


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM-Signature or ARC-Message-Signature, its tags read and found possible."""

    own: Field
    signer: Signer
    signed: tuple[bytes, ...]
    relaxed_header: bool
    relaxed_body: bool
    body_hash: bytes

    def verified(self, message: Message, key: PublicKey) -> bool:
        """Whether the fields are what was signed; the body is checked by its hash."""
        others = message.fields  # h= may name other signatures, never this one (RFC 6376 §3.5)
        if self.own.name.lower() in self.signed:
            others = tuple(field for field in others if field is not self.own)
        fields = canonical.chosen(others, self.signed)
        octets = canonical.signed_octets(fields, self.own, relaxed=self.relaxed_header)
        return key.verifies(self.signer.octets, octets)


class BodyHashes:
    """The hashes of one body, each made once however many signatures ask."""

    def __init__(self, body: bytes):
        self._body = body
        self._made: dict[bool, bytes] = {}

    def get(self, *, relaxed: bool) -> bytes:
        if relaxed not in self._made:
            self._made[relaxed] = canonical.body_hash(self._body, relaxed=relaxed)
        return self._made[relaxed]


def read_signer(found: dict[str, str]) -> Signer:
    """Raises Bad where a=, d=, s= or b= is missing or can't be right."""
    algorithm = found.get("a", "")
    if algorithm == "rsa-sha1":
        raise Bad(Result.PERMERROR, "rsa-sha1 proves nothing (RFC 8301)")
    if algorithm not in ALGORITHMS:
        raise Bad(Result.PERMERROR, "unknown algorithm")
    domain = address.domain(found.get("d", ""))
    selector = address.domain(found.get("s", "") + ".x").removesuffix(".x")  # labels, also a digit alone
    octets = tags.octets(found.get("b", ""))
    if not domain or domain.startswith("[") or not selector or not octets:
        raise Bad(Result.PERMERROR, "signature malformed")
    return Signer(algorithm, domain, selector, octets)


def read_signature(own: Field, found: dict[str, str], *, forms: str = "simple/simple") -> Signature:
    """The tags that DKIM-Signature and ARC-Message-Signature share.

    forms  what c= is where it is missing
    Raises Bad.
    """
    signer = read_signer(found)
    header, slash, body = found.get("c", forms).partition("/")
    if header not in ("simple", "relaxed") or (slash and body not in ("simple", "relaxed")):
        raise Bad(Result.PERMERROR, "unknown canonicalisation")
    body_hash = tags.octets(found.get("bh", ""))
    if not body_hash or "h" not in found:
        raise Bad(Result.PERMERROR, "signature malformed")
    signed = tuple(name.lower().encode("utf-8") for name in tags.words(found["h"]))
    return Signature(own, signer, signed, header == "relaxed", body == "relaxed", body_hash)


def key_record(answer: Answer) -> bytes:
    """The one key record of an answer.

    Raises Bad: a failed look-up is temporary, an absent key is not (RFC 6376 §6.1.2).
    """
    if answer.outcome is Outcome.TEMPORARY:
        raise Bad(Result.TEMPERROR, "key not reachable")
    records = [record for record in answer.records if isinstance(record, bytes)]
    if len(records) > 1:  # undefined by §3.6.2.2; strays that are no keys are ignored
        records = [record for record in records if "p" in (tags.parse(record) or {})]
    if not records:
        raise Bad(Result.PERMERROR, "no key")
    if len(records) > 1:
        raise Bad(Result.PERMERROR, "more than one key")
    return records[0]


@lru_cache(256)  # most messages have the same fields
def fold_names(names: tuple[bytes, ...], used: int, width: int = 76) -> str:
    """h=, broken after its colons so that no line grows beyond the width; `used` of the first is taken."""
    lines, line = [], " " * used
    for name in names:
        if len(line) + len(name) + 1 > width and line.strip():
            lines.append(line)
            line = "\t"
        line += name.decode("ascii") + ":"
    return "\r\n".join([*lines, line])[used:].removesuffix(":")


def fold_base64(text: str, width: int = 72) -> str:
    """Lines of 72, the first two shorter for its "b=": as ARC's suite folds, whose seals cover the folds."""
    rest = [text[at : at + width] for at in range(width - 2, len(text), width)]
    return "\r\n\t".join([text[: width - 2], *rest])
