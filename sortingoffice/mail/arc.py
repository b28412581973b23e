"""ARC: what the forwarders before us say they saw, and our own word for the next.

Promise: PASS means that every seal from the first to the last holds and that the last forwarder's message
signature holds; the chain says nothing about whether its sealers are to be trusted.

Sources: RFC 8617 §4 (the fields), §5.1 (sealing), §5.2 (validating).  The judge is ValiMail's suite: 171 of
171 validated, 17 of 17 sealed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Sequence
from datetime import datetime

from sortingoffice.frozen import dataclass
from sortingoffice.mail import canonical, dkim, tags, trace
from sortingoffice.mail.asking import Program
from sortingoffice.mail.authentication import ArcResult, Result
from sortingoffice.mail.keys import SigningKey, Unusable, public_key
from sortingoffice.mail.message import Field, Message, field
from sortingoffice.mail.publicsuffix import organizational
from sortingoffice.mail.signature import (
    MAX_HEADER,
    Bad,
    BodyHashes,
    Signature,
    Signer,
    fold_base64,
    fold_names,
    key_record,
    read_signature,
    read_signer,
)

MAX_SETS = 50  # RFC 8617 §5.2, step 1
MAX_TOLD = 2000  # characters of one forwarder's results that are kept
_RESULTS, _MESSAGE, _SEAL = "arc-authentication-results", "arc-message-signature", "arc-seal"
_NAMES = frozenset(name.encode() for name in (_RESULTS, _MESSAGE, _SEAL))
_INSTANCE = re.compile(r"[1-9][0-9]?")
_RESULTS_INSTANCE = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9][0-9]?)[ \t\r\n]*;")


@dataclass(frozen=True, slots=True)
class _Set:
    """One forwarder's three fields, read."""

    instance: int
    results: Field
    message: Field
    seal: Field
    seal_tags: dict[str, str]
    signature: Signature
    sealer: Signer

    @property
    def status(self) -> str:
        return self.seal_tags.get("cv", "")


# ---- validating, §5.2 --------------------------------------------------------------------------------


def validate(message: bytes | Message) -> Program[ArcResult]:
    """The state of the chain; NONE where there is none."""
    parsed = Message.parse(message) if isinstance(message, bytes) else message
    if not any(_is_arc(own) for own in parsed.fields):
        return ArcResult(Result.NONE)
    if len(parsed.header) > MAX_HEADER:
        return ArcResult(Result.FAIL, reason="header too large")
    about = ArcResult(Result.FAIL)
    try:
        sets = _sets(parsed)
        domains = tuple(each.sealer.domain for each in sets)
        about = ArcResult(Result.FAIL, len(sets), domains[-1], 0, domains)
        _check_statuses(sets)
        records: list[bytes] = []
        hashes = BodyHashes(parsed.body)
        yield from _check_message(parsed, sets[-1], hashes, records)
        yield from _check_seals(sets, records)
        oldest = yield from _oldest(parsed, sets, hashes, records)
    except Bad as bad:
        result = Result.TEMPERROR if bad.result is Result.TEMPERROR else Result.FAIL
        return ArcResult(result, about.instances, about.sealer, 0, about.domains, bad.reason)
    told = tuple(_told(each.results) for each in sets)
    last = sets[-1].signature
    whole = b"from" in last.signed and not dkim.unsigned_second(parsed, last)
    return ArcResult(
        Result.PASS, len(sets), domains[-1], oldest, domains, told=told, keys=tuple(records), whole=whole
    )


def vouched(found: ArcResult, trusted: Collection[str], author: str) -> bool:
    """Whether forwarders that we all trust say that the author was proved before they changed the message.

    trusted  organizational domains of sealers; author: the domain in From
    The first set counts: what later ones found, the first may have broken (RFC 8617 §7.2.1).
    A second Subject or Content-Type on top of what the last one signed is nobody's word (RFC 6376 §8.15).
    """
    if found.result is not Result.PASS or not found.whole or not author:
        return False
    if not all(organizational(domain) in trusted for domain in found.domains):
        return False
    for words in trace.results(found.told[0]):
        if words[0] == "dmarc=pass":
            return any(word.lower() in (f"header.from={author}", f'header.from="{author}"') for word in words)
    return False


def _is_arc(own: Field) -> bool:
    return own.name.lower() in _NAMES


def _sets(message: Message) -> list[_Set]:
    """All sets, first to last; Bad unless each instance has exactly one of each (steps 1 and 3)."""
    found: dict[tuple[str, int], Field] = {}
    for own in message.fields:
        if _is_arc(own):
            key = (own.name.lower().decode("ascii"), _instance(own))
            if key[1] == 0 or key in found:
                raise Bad(Result.FAIL, "instance missing or twice")
            found[key] = own
    count = max(instance for _, instance in found)
    if count > MAX_SETS:
        raise Bad(Result.FAIL, "too many sets")
    return [_set(found, instance) for instance in range(1, count + 1)]


def _instance(own: Field) -> int:
    """The i= of an ARC field; 0 where it has none that can be."""
    if own.is_named(_RESULTS):
        match = _RESULTS_INSTANCE.match(own.value)
        return int(match[1]) if match else 0
    written = (tags.parse(own.value) or {}).get("i", "")
    return int(written) if _INSTANCE.fullmatch(written) else 0


def _set(found: dict[tuple[str, int], Field], instance: int) -> _Set:
    try:
        results, message, seal = (found[name, instance] for name in (_RESULTS, _MESSAGE, _SEAL))
    except KeyError:
        raise Bad(Result.FAIL, "sets incomplete") from None
    message_tags, seal_tags = tags.parse(message.value) or {}, tags.parse(seal.value) or {}
    signature = read_signature(message, message_tags, forms="relaxed/relaxed")
    if _SEAL.encode() in signature.signed:  # §4.1.2
        raise Bad(Result.FAIL, "message signature covers a seal")
    if "h" in seal_tags:  # §4.1.3
        raise Bad(Result.FAIL, "seal with h=")
    for found_tags in (message_tags, seal_tags):
        if "t" in found_tags and tags.number(found_tags["t"]) is None:
            raise Bad(Result.FAIL, "t= malformed")
    return _Set(instance, results, message, seal, seal_tags, signature, read_signer(seal_tags))


def _told(results: Field) -> str:
    """The value behind i=, on one line."""
    text = " ".join(results.value.decode("ascii", "replace").split()).partition(";")[2].strip()
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:MAX_TOLD]


def _check_statuses(sets: Sequence[_Set]) -> None:
    """Steps 2 and 3: who came before us may already have found the chain broken."""
    for each in sets:
        if each.status == "fail":
            raise Bad(Result.FAIL, f"i={each.instance} says that the chain had failed")
        if each.status != ("none" if each.instance == 1 else "pass"):
            raise Bad(Result.FAIL, f"i={each.instance} with an impossible cv=")


def _check_message(message: Message, each: _Set, hashes: BodyHashes, records: list[bytes]) -> Program[None]:
    """Step 4: one message signature."""
    signature = each.signature
    record = key_record((yield signature.signer.question))
    records.append(record)
    try:
        key = public_key(record, signature.signer.algorithm)
    except Unusable as unusable:
        raise Bad(Result.FAIL, f"i={each.instance} {unusable}") from None
    if hashes.get(relaxed=signature.relaxed_body) != signature.body_hash:
        raise Bad(Result.FAIL, f"i={each.instance} body hash did not verify")
    if not signature.verified(message, key):
        raise Bad(Result.FAIL, f"i={each.instance} message signature did not verify")


def _check_seals(sets: Sequence[_Set], records: list[bytes]) -> Program[None]:
    """Step 6: each seal covers its own set and all before it, relaxed."""
    before = b""
    for each in sets:
        for own in (each.results, each.message):
            before += canonical.relaxed_field(own.name, own.value)
        record = key_record((yield each.sealer.question))
        records.append(record)
        try:
            key = public_key(record, each.sealer.algorithm)
        except Unusable as unusable:
            raise Bad(Result.FAIL, f"i={each.instance} {unusable}") from None
        emptied = canonical.without_signature(each.seal)
        last = canonical.relaxed_field(emptied.name, emptied.value).removesuffix(b"\r\n")
        if not key.verifies(each.sealer.octets, before + last):
            raise Bad(Result.FAIL, f"i={each.instance} seal did not verify")
        before += canonical.relaxed_field(each.seal.name, each.seal.value)


def _oldest(message: Message, sets: Sequence[_Set], hashes: BodyHashes, records: list[bytes]) -> Program[int]:
    """Step 5: the lowest instance from which on the message is unchanged; 0: from the first on."""
    for each in reversed(sets[:-1]):
        try:
            yield from _check_message(message, each, hashes, records)
        except Bad:
            return each.instance + 1
    return 0


# ---- sealing, §5.1 -----------------------------------------------------------------------------------


def seal(
    message: bytes | Message,
    key: SigningKey,
    results: str,
    now: datetime,
    *,
    covered: dkim.Covered | None = None,
) -> tuple[Field, ...]:
    """Our set, to be prepended in this order: seal, message signature, results.

    results  the value that `Authentication.text` made at receipt; its arc= tells the chain's state then
    covered  what the message signature covers; None: what DKIM signs, and the DKIM signatures
    Empty where no set is to be added: the chain had ended before us, couldn't be looked up, or is full.
    """
    parsed = Message.parse(message) if isinstance(message, bytes) else message
    instance, status = _next(parsed, _chain(results))
    if not status:
        return ()
    if covered is None:
        covered = dkim.cover(parsed).and_fields(tuple(parsed.all("DKIM-Signature")))
    told = field("ARC-Authentication-Results", f"i={instance}; " + trace.folded(results, 34))
    signed = _message_signature(covered, key, instance, int(now.timestamp()))
    earlier = _earlier(parsed, instance) if status == "pass" else []
    return _seal(key, instance, status, int(now.timestamp()), [*earlier, told, signed]), signed, told


def _chain(results: str) -> str:
    """What results of ours say of the chain: "" where they don't."""
    for words in trace.results(results):
        if words[0].startswith("arc="):
            return words[0].removeprefix("arc=")
    return ""


def _next(message: Message, chain: str) -> tuple[int, str]:
    """Our instance and the cv= of our seal; cv "" where we add no set (§5.1.1, §5.1.2)."""
    fields = [own for own in message.fields if _is_arc(own)]
    count = max((_instance(own) for own in fields), default=0)
    if not fields:
        return 1, "none" if chain in ("none", "") else ""
    ended = any((tags.parse(own.value) or {}).get("cv") == "fail" for own in message.all(_SEAL))
    if ended or count >= MAX_SETS or chain not in ("pass", "fail"):
        return count + 1, ""
    return count + 1, chain


def _earlier(message: Message, instance: int) -> list[Field]:
    """The fields of the sets before ours, in the order in which a seal covers them (§5.1.1)."""
    order = {_RESULTS: 0, _MESSAGE: 1, _SEAL: 2}
    fields = [own for own in message.fields if _is_arc(own) and 0 < _instance(own) < instance]
    return sorted(fields, key=lambda own: (_instance(own), order[own.name.lower().decode("ascii")]))


# dkimpy finds a message signature by " i=1;" with a blank, so before i= the fold's blank is a space.
def _message_signature(covered: dkim.Covered, key: SigningKey, instance: int, at: int) -> Field:
    start = f"a={key.algorithm};\r\n\tb="
    rest = (
        f";\r\n\tbh={covered.body_hash};\r\n\tc=relaxed/relaxed; d={key.domain};\r\n\t"
        f"h={fold_names(covered.names, 10)};\r\n i={instance}; s={key.selector}; t={at}"
    )
    return _signed("ARC-Message-Signature", key, start, rest, covered.octets)


def _seal(key: SigningKey, instance: int, status: str, at: int, covered: Sequence[Field]) -> Field:
    start = f"a={key.algorithm};\r\n\tb="
    rest = f";\r\n\tcv={status}; d={key.domain};\r\n i={instance}; s={key.selector}; t={at}"
    return _signed("ARC-Seal", key, start, rest, canonical.header_octets(covered, relaxed=True))


def _signed(name: str, key: SigningKey, start: str, rest: str, octets: bytes) -> Field:
    emptied = canonical.relaxed_field(name.encode(), f" {start}{rest}\r\n".encode("ascii"))
    signature = base64.b64encode(key.signature(octets + emptied.removesuffix(b"\r\n"))).decode("ascii")
    return field(name, start + fold_base64(signature) + rest)
