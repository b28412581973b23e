"""DKIM: verify the signatures of a message, and make ours.

Promise: PASS means that the author's From and the whole body were signed, by a key in DNS that may sign
them, with an algorithm that holds.  What RFC 6376 leaves open is decided strictly here: exactly one From
and it is signed, no l=, no second Subject on top, rsa-sha256 and ed25519-sha256 only, RSA of 1,024 bits and
more, x= honoured, the key's flags obeyed, a failed look-up temporary, five signatures at most.

The arithmetic is `cryptography`'s.  dkimpy, which would do the protocol, passes each of the above and is
quadratic in three places (measured: 25 s for 50 kB of blanks in b=); the tests hold us to it both ways.

Sources: RFC 6376; RFC 8301; RFC 8463; RFC 8616.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sortingoffice.frozen import dataclass
from sortingoffice.mail import address, canonical, tags
from sortingoffice.mail.asking import Program
from sortingoffice.mail.authentication import DkimResult, Result
from sortingoffice.mail.keys import (
    SigningKey,
    Unusable,
    generate_ed25519,
    generate_rsa,
    public_key,
)
from sortingoffice.mail.message import Field, Message, field
from sortingoffice.mail.signature import (
    MAX_HEADER,
    Bad,
    BodyHashes,
    Signature,
    fold_base64,
    fold_names,
    key_record,
    read_signature,
)

__all__ = [
    "Covered",
    "SigningKey",
    "body_hash",
    "cover",
    "covered",
    "generate_ed25519",
    "generate_rsa",
    "sign",
    "verify",
]

MAX_SIGNATURES = 5

# What a reader shows or reads the body by, once in every honest mail.  A second one on top of a signature
# that names it once leaves the octets whole and says something else (RFC 6376 §8.15).
_ONCE = ("subject", "date", "reply-to", "content-type", "content-transfer-encoding")

# Signed always, and once more than present, so that nobody can add one below our signature
# (RFC 6376 §8.15).  A relay may add Message-ID and Date where they lack; ours never lack them.
_SINGLETONS = (
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
# Signed, and once more, only where present: a mailing list may add them rightly.
_IF_PRESENT = (
    b"sender",
    b"content-disposition",
    b"auto-submitted",
    b"list-id",
    b"list-help",
    b"list-post",
    b"list-owner",
    b"list-archive",
    b"list-subscribe",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"feedback-id",
)


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


def covered(message: Message, found: DkimResult, name: str) -> list[Field]:
    """The fields of a name that a signature covers: as many as h= names, from the bottom (RFC 6376 §5.4.2).

    What a stranger put above them in a replayed message is not among them.
    """
    if not found.passed:
        return []
    wanted = name.lower()
    names = [each.encode() for each in found.signed if each == wanted]
    return canonical.chosen(message.fields, names)


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
        algorithm=found.get("a", ""),
        identity=found.get("i", "@" + found.get("d", "")),
        signed=tuple(name.lower() for name in tags.words(found.get("h", ""))),
        tag="".join(found.get("b", "").split())[:8],
        stamp=tags.number(found["t"]) if "t" in found else None,
    )
    try:
        signature = _read(message, own, found, now)
        about = replace(about, signature=signature.signer.octets)
        record = key_record((yield signature.signer.question))
        about = replace(about, domain=signature.signer.domain, key=record)
        key = public_key(record, signature.signer.algorithm)
        about = replace(about, bits=key.bits, testing=key.testing)
        if key.exact and "i" in found and _below(found["i"]) != signature.signer.domain:
            raise Bad(Result.PERMERROR, "i= is a subdomain, which the key forbids")
        if hashes.get(relaxed=signature.relaxed_body) != signature.body_hash:
            raise Bad(Result.FAIL, "body hash did not verify")
        if not signature.verified(message, key):
            raise Bad(Result.FAIL, "signature did not verify")
    except Bad as bad:
        return replace(about, result=bad.result, reason=bad.reason)
    except Unusable as unusable:
        return replace(about, result=Result.PERMERROR, reason=str(unusable))
    return replace(about, result=Result.PASS)


def _read(message: Message, own: Field, found: dict[str, str], now: datetime) -> Signature:
    """RFC 6376 §6.1.1, and our policy."""
    if found.get("v") != "1":
        raise Bad(Result.PERMERROR, "signature malformed")
    if len(list(message.all("From"))) != 1:
        raise Bad(Result.PERMERROR, "not exactly one From")
    signature = read_signature(own, found)
    if b"from" not in signature.signed:
        raise Bad(Result.PERMERROR, "From not signed")
    if second := unsigned_second(message, signature):
        raise Bad(Result.POLICY, f"a second {second} is not signed")
    if "l" in found:
        raise Bad(Result.POLICY, "l= leaves a part of the body unsigned")
    if "dns/txt" not in tags.words(found.get("q", "dns/txt")):  # others are ignored (§3.5)
        raise Bad(Result.PERMERROR, "unknown query method")
    _check_identity(found.get("i"), signature.signer.domain)
    _check_times(found, now)
    return signature


def unsigned_second(message: Message, signature: Signature) -> str:
    """The name of a field that stands there more often than the signature covers it; "" if none does."""
    for name in _ONCE:
        there = sum(1 for _ in message.all(name))
        if there > 1 and 0 < signature.signed.count(name.encode()) < there:
            return name
    return ""


def _check_identity(identity: str | None, domain: str) -> None:
    """RFC 6376 §3.5: i= is d= or below it."""
    if identity is None:
        return
    below = _below(identity)
    if "@" not in identity or not (below == domain or below.endswith("." + domain)):
        raise Bad(Result.PERMERROR, "i= is not within d=")


def _below(identity: str) -> str:
    """The domain of an i=, in normal form where it has one."""
    domain = identity.rpartition("@")[2].lower()
    return domain if domain.isascii() else address.domain(domain)


def _check_times(found: dict[str, str], now: datetime) -> None:
    made = tags.number(found["t"]) if "t" in found else -1
    ends = tags.number(found["x"]) if "x" in found else 10**12
    if made is None or ends is None or ends <= made:  # §3.5: x= is greater than t=
        raise Bad(Result.PERMERROR, "t= or x= malformed")
    if ends < now.timestamp():
        raise Bad(Result.FAIL, "signature expired")


# ---- signing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Covered:
    """What our signatures of one message cover, made canonical once however many they are.

    names      h=, lower case
    octets     the fields that they mean, relaxed
    body_hash  bh=, of the relaxed body
    """

    names: tuple[bytes, ...]
    octets: bytes
    body_hash: str

    def and_fields(self, fields: Sequence[Field]) -> Covered:
        """With all fields of one more name, given as they stand, top to bottom."""
        names = (*self.names, *(own.name.lower() for own in fields))
        return replace(
            self, names=names, octets=self.octets + canonical.header_octets(fields[::-1], relaxed=True)
        )


def cover(message: Message) -> Covered:
    """h= names each field as often as it is present, and once more."""
    present: dict[bytes, list[Field]] = {}
    for own in message.fields:
        present.setdefault(own.name.lower(), []).append(own)
    names: list[bytes] = []
    fields: list[Field] = []
    for name in (*_SINGLETONS, *(name for name in _IF_PRESENT if name in present)):
        found = present.get(name, [])
        names += [name] * (len(found) + 1)
        fields += found[::-1]  # the lowest is meant first (§5.4.2)
    return Covered(tuple(names), canonical.header_octets(fields, relaxed=True), body_hash(message.body))


def body_hash(body: bytes) -> str:
    """bh= of the relaxed body."""
    return base64.b64encode(canonical.body_hash(body, relaxed=True)).decode("ascii")


def sign(
    message: bytes | Message,
    keys: SigningKey | Iterable[SigningKey],
    now: datetime,
    covered: Covered | None = None,
) -> tuple[Field, ...]:
    """A DKIM-Signature per key, to be prepended; the message is left as it is.

    covered  of this message, where the caller has it
    c=relaxed/relaxed: a relay that refolds or trims leaves it whole.
    """
    if covered is None:
        covered = cover(Message.parse(message) if isinstance(message, bytes) else message)
    at = int(now.timestamp())
    return tuple(_signed(key, at, covered) for key in ([keys] if isinstance(keys, SigningKey) else keys))


def _signed(key: SigningKey, at: int, covered: Covered) -> Field:
    start = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed;\r\n\td={key.domain}; s={key.selector}; t={at};\r\n\t"
        f"h={fold_names(covered.names, 2)};\r\n\tbh={covered.body_hash};\r\n\tb="
    )
    emptied = canonical.relaxed_field(b"DKIM-Signature", start.encode("ascii")).removesuffix(b"\r\n")
    signature = base64.b64encode(key.signature(covered.octets + emptied)).decode("ascii")
    return field("DKIM-Signature", start + fold_base64(signature))
