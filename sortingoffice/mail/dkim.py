"""DKIM: verify the signatures of a message, and make ours.

Promise: PASS means that the author's From and the whole body were signed, by a key in DNS that may sign
them, with an algorithm that holds.  What RFC 6376 leaves open is decided strictly here: exactly one From
and it is signed, no l=, rsa-sha256 and ed25519-sha256 only, RSA of 1,024 bits and more, x= honoured, the
key's flags obeyed, a failed look-up temporary, five signatures at most.

The arithmetic is `cryptography`'s.  dkimpy, which would do the protocol, passes each of the above and is
quadratic in three places (measured: 25 s for 50 kB of blanks in b=); the tests hold us to it both ways.

Sources: RFC 6376; RFC 8301; RFC 8463; RFC 8616.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sortingoffice.mail import address, canonical, tags
from sortingoffice.mail.asking import Answer, Outcome, Program, Question
from sortingoffice.mail.authentication import DkimResult, Result
from sortingoffice.mail.keys import (
    PublicKey,
    SigningKey,
    Unusable,
    generate_ed25519,
    generate_rsa,
    public_key,
)
from sortingoffice.mail.message import Field, Message, field

__all__ = ["SigningKey", "generate_ed25519", "generate_rsa", "sign", "verify"]

MAX_SIGNATURES = 5
MAX_HEADER = 131_072  # octets
ALGORITHMS = ("rsa-sha256", "ed25519-sha256")

# Signed always, and once more than present, so that nobody can add one below our signature
# (RFC 6376 §8.15).  A relay may add Message-ID and Date where they lack; ours never lack them.
_SINGLETONS = (
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
)
# Signed, and once more, only where present: a mailing list may add them rightly.
_IF_PRESENT = (
    "sender",
    "content-disposition",
    "auto-submitted",
    "list-id",
    "list-help",
    "list-post",
    "list-owner",
    "list-archive",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
)


class _Bad(Exception):
    """Why a signature doesn't count: a result and its reason in ASCII, without a peer's octets."""

    def __init__(self, result: Result, reason: str):
        super().__init__(reason)
        self.result = result
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM-Signature or ARC-Message-Signature, its tags read and found possible."""

    own: Field
    algorithm: str
    domain: str
    selector: str
    signed: tuple[bytes, ...]
    relaxed_header: bool
    relaxed_body: bool
    body_hash: bytes
    octets: bytes

    @property
    def question(self) -> Question:
        return Question(f"{self.selector}._domainkey.{self.domain}", "TXT")

    def verified(self, message: Message, key: PublicKey) -> bool:
        """Whether the fields are what was signed; the body is checked by its hash."""
        fields = canonical.chosen(message.fields, self.signed)
        octets = canonical.signed_octets(fields, self.own, relaxed=self.relaxed_header)
        return key.verifies(self.octets, octets)


class BodyHashes:
    """The hashes of one body, each made once however many signatures ask."""

    def __init__(self, body: bytes):
        self._body = body
        self._made: dict[bool, bytes] = {}

    def get(self, *, relaxed: bool) -> bytes:
        if relaxed not in self._made:
            self._made[relaxed] = canonical.body_hash(self._body, relaxed=relaxed)
        return self._made[relaxed]


# ---- verifying -----------------------------------------------------------------------------------


def verify(message: bytes | Message, now: datetime) -> Program[tuple[DkimResult, ...]]:
    """A result per signature, top to bottom, at most five; () where there is none."""
    parsed = Message.parse(message) if isinstance(message, bytes) else message
    signatures = tuple(parsed.all("DKIM-Signature"))
    if not signatures:
        return ()
    if len(parsed.header) > MAX_HEADER:
        return (DkimResult(Result.PERMERROR, reason="header too large"),)
    hashes = BodyHashes(parsed.body)
    results = []
    for own in _preferred(parsed, signatures):
        results.append((yield from _one(parsed, own, hashes, now)))
    return tuple(results)


def _preferred(message: Message, signatures: Sequence[Field]) -> Sequence[Field]:
    """At most five; where there are more, those first that name the author's domain."""
    if len(signatures) <= MAX_SIGNATURES:
        return signatures
    author = message.value("From") or b""
    domain = author.rpartition(b"@")[2].strip(b"> \t").lower()

    def foreign(own: Field) -> bool:
        signer = (tags.parse(own.value) or {}).get("d", "").lower().encode("utf-8", "replace")
        return not (signer and (domain == signer or domain.endswith(b"." + signer)))

    return sorted(signatures, key=foreign)[:MAX_SIGNATURES]


def _one(message: Message, own: Field, hashes: BodyHashes, now: datetime) -> Program[DkimResult]:
    found = tags.parse(own.value) or {}
    about = DkimResult(
        Result.NEUTRAL,
        domain=found.get("d", "").lower(),
        selector=found.get("s", ""),
        algorithm=found.get("a", "").lower(),
        identity=found.get("i", "@" + found.get("d", "")),
        signed=tuple(name.lower() for name in tags.words(found.get("h", ""))),
        tag="".join(found.get("b", "").split())[:8],
    )
    try:
        signature = _read(message, own, found, now)
        record = key_record((yield signature.question))
        about = replace(about, domain=signature.domain, key=record)
        key = public_key(record, signature.algorithm)
        about = replace(about, bits=key.bits, testing=key.testing)
        if key.exact and "i" in found and _below(found["i"]) != signature.domain:
            raise _Bad(Result.PERMERROR, "i= is a subdomain, which the key forbids")
        if hashes.get(relaxed=signature.relaxed_body) != signature.body_hash:
            raise _Bad(Result.FAIL, "body hash did not verify")
        if not signature.verified(message, key):
            raise _Bad(Result.FAIL, "signature did not verify")
    except _Bad as bad:
        return replace(about, result=bad.result, reason=bad.reason)
    except Unusable as unusable:
        return replace(about, result=Result.PERMERROR, reason=str(unusable))
    return replace(about, result=Result.PASS)


def _read(message: Message, own: Field, found: dict[str, str], now: datetime) -> Signature:
    """RFC 6376 §6.1.1, and our policy."""
    if found.get("v") != "1":
        raise _Bad(Result.PERMERROR, "signature malformed")
    if len(list(message.all("From"))) != 1:
        raise _Bad(Result.PERMERROR, "not exactly one From")
    signature = read_signature(own, found)
    if b"from" not in signature.signed:
        raise _Bad(Result.PERMERROR, "From not signed")
    if "l" in found:
        raise _Bad(Result.POLICY, "l= leaves a part of the body unsigned")
    if found.get("q", "dns/txt").replace(" ", "") != "dns/txt":
        raise _Bad(Result.PERMERROR, "unknown query method")
    _check_identity(found.get("i"), signature.domain)
    _check_times(found, now)
    return signature


def read_signature(own: Field, found: dict[str, str]) -> Signature:
    """The tags that DKIM and ARC share.

    Raises _Bad.
    """
    algorithm = found.get("a", "").lower()
    if algorithm == "rsa-sha1":
        raise _Bad(Result.PERMERROR, "rsa-sha1 proves nothing (RFC 8301)")
    if algorithm not in ALGORITHMS:
        raise _Bad(Result.PERMERROR, "unknown algorithm")
    header, _, body = found.get("c", "simple/simple").lower().partition("/")
    if header not in ("simple", "relaxed") or (body or "simple") not in ("simple", "relaxed"):
        raise _Bad(Result.PERMERROR, "unknown canonicalisation")
    domain = address.domain(found.get("d", ""))
    selector = address.domain(found.get("s", "") + ".x").removesuffix(".x")  # labels, also a digit alone
    body_hash = tags.octets(found.get("bh", ""))
    octets = tags.octets(found.get("b", ""))
    if not domain or domain.startswith("[") or not selector or not body_hash or not octets:
        raise _Bad(Result.PERMERROR, "signature malformed")
    return Signature(
        own,
        algorithm,
        domain,
        selector,
        tuple(name.lower().encode("utf-8") for name in tags.words(found.get("h", ""))),
        header == "relaxed",
        body == "relaxed",
        body_hash,
        octets,
    )


def _check_identity(identity: str | None, domain: str) -> None:
    """RFC 6376 §3.5: i= is d= or below it."""
    if identity is None:
        return
    below = _below(identity)
    if "@" not in identity or not (below == domain or below.endswith("." + domain)):
        raise _Bad(Result.PERMERROR, "i= is not within d=")


def _below(identity: str) -> str:
    """The domain of an i=, in normal form where it has one."""
    domain = identity.rpartition("@")[2].lower()
    return domain if domain.isascii() else address.domain(domain)


def _check_times(found: dict[str, str], now: datetime) -> None:
    made = tags.number(found["t"]) if "t" in found else 0
    ends = tags.number(found["x"]) if "x" in found else 10**12
    if made is None or ends is None or ends < made:
        raise _Bad(Result.PERMERROR, "t= or x= malformed")
    if ends < now.timestamp():
        raise _Bad(Result.FAIL, "signature expired")


def key_record(answer: Answer) -> bytes:
    """The one key record of an answer.

    Raises _Bad: a failed look-up is temporary, an absent key is not (RFC 6376 §6.1.2).
    """
    if answer.outcome is Outcome.TEMPORARY:
        raise _Bad(Result.TEMPERROR, "key not reachable")
    records = [record for record in answer.records if isinstance(record, bytes)]
    if len(records) > 1:  # undefined by §3.6.2.2; strays that are no keys are ignored
        records = [record for record in records if "p" in (tags.parse(record) or {})]
    if not records:
        raise _Bad(Result.PERMERROR, "no key")
    if len(records) > 1:
        raise _Bad(Result.PERMERROR, "more than one key")
    return records[0]


# ---- signing -------------------------------------------------------------------------------------


def sign(
    message: bytes | Message, keys: SigningKey | Iterable[SigningKey], now: datetime
) -> tuple[Field, ...]:
    """A DKIM-Signature per key, to be prepended; the message is left as it is.

    One hash of the body serves all keys.  c=relaxed/relaxed: a relay that refolds or trims leaves it whole.
    """
    parsed = Message.parse(message) if isinstance(message, bytes) else message
    names = _to_sign(parsed)
    fields = canonical.chosen(parsed.fields, names)
    body_hash = base64.b64encode(canonical.body_hash(parsed.body, relaxed=True)).decode("ascii")
    octets = canonical.header_octets(fields, relaxed=True)
    return tuple(
        _signed(key, int(now.timestamp()), b":".join(names).decode("ascii"), body_hash, octets)
        for key in ([keys] if isinstance(keys, SigningKey) else keys)
    )


def _to_sign(message: Message) -> list[bytes]:
    """h=: each name as often as it is present, and once more."""
    present: dict[bytes, int] = {}
    for own in message.fields:
        name = own.name.lower()
        present[name] = present.get(name, 0) + 1
    names: list[bytes] = []
    for text in _SINGLETONS:
        names += [text.encode()] * (present.get(text.encode(), 0) + 1)
    for text in _IF_PRESENT:
        if text.encode() in present:
            names += [text.encode()] * (present[text.encode()] + 1)
    return names


def _signed(key: SigningKey, at: int, names: str, body_hash: str, octets: bytes) -> Field:
    start = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed;\r\n\td={key.domain}; s={key.selector}; t={at};\r\n\t"
        f"h={fold(names, ':', 2)};\r\n\tbh={body_hash};\r\n\tb="
    )
    emptied = canonical.relaxed_field(b"DKIM-Signature", start.encode("ascii")).removesuffix(b"\r\n")
    signature = base64.b64encode(key.signature(octets + emptied)).decode("ascii")
    return field("DKIM-Signature", start + fold_base64(signature))


def fold(text: str, separator: str, used: int, width: int = 76) -> str:
    """Break a list after its separators so that no line grows beyond the width."""
    lines, line = [], " " * used
    for word in text.split(separator):
        if len(line) + len(word) + 1 > width and line.strip():
            lines.append(line)
            line = "\t"
        line += word + separator
    return "\r\n".join([*lines, line])[used:].removesuffix(separator)


def fold_base64(text: str, width: int = 74) -> str:
    first = width - 3
    rest = [text[at : at + width] for at in range(first, len(text), width)]
    return "\r\n\t".join([text[:first], *rest])
