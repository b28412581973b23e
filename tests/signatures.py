"""DKIM signatures for tests: a shop's keys and zone, a message of its own, and any tags by hand."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime

from sortingoffice.mail import canonical, dkim, keys, tags
from sortingoffice.mail.asking import Answer, Outcome, Question, run
from sortingoffice.mail.authentication import DkimResult
from sortingoffice.mail.message import Message

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RSA_PEM, RSA_PUBLIC = keys.generate_rsa()
ED_PEM, ED_PUBLIC = keys.generate_ed25519()
RSA = dkim.SigningKey.from_pem("shop.example", "r1", RSA_PEM)
ED = dkim.SigningKey.from_pem("shop.example", "e1", ED_PEM)
ZONE = {
    "r1._domainkey.shop.example": RSA.record.encode(),
    "e1._domainkey.shop.example": ED.record.encode(),
}
MESSAGE = (
    b"From: Lamp Shop <sales@shop.example>\r\nTo: lunar.otter4821@sort.example\r\nSubject: Your  order\r\n"
    b"Date: Sun, 1 Mar 2026 12:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\n"
    b"\r\nDear Anna,\r\n\r\nThanks. \r\n\r\n"
)


def answers(zone: dict[str, bytes | tuple[bytes, ...]] | dict[str, bytes]) -> Callable[[Question], Answer]:
    def answer(question: Question) -> Answer:
        record = zone.get(question.name)
        if record is None:
            return Answer(Outcome.NO_NAME)
        return Answer(Outcome.FOUND, record if isinstance(record, tuple) else (record,))

    return answer


def verify(raw: bytes, zone: dict[str, bytes] | None = None, now: datetime = NOW) -> tuple[DkimResult, ...]:
    return run(dkim.verify(raw, now), answers(ZONE if zone is None else zone))


def signed(raw: bytes = MESSAGE, *signers: dkim.SigningKey) -> bytes:
    return b"".join(f.raw for f in dkim.sign(raw, signers or (RSA, ED), NOW)) + raw


def by_hand(
    raw: bytes, tags_before_bh: str, *, body: bytes | None = None, signer: keys.SigningKey = RSA
) -> bytes:
    """Sign with tags of one's choice, which `sign` would never write; c=relaxed/relaxed."""
    message = Message.parse(raw)
    found = tags.parse(tags_before_bh.encode()) or {}
    names = [word.lower().encode() for word in tags.words(found.get("h", ""))]
    digest = base64.b64encode(canonical.body_hash(message.body if body is None else body, relaxed=True))
    start = tags_before_bh.encode() + b"; c=relaxed/relaxed; bh=" + digest + b"; b="
    octets = canonical.header_octets(canonical.chosen(message.fields, names), relaxed=True)
    octets += canonical.relaxed_field(b"DKIM-Signature", start).removesuffix(b"\r\n")
    return b"DKIM-Signature: " + start + base64.b64encode(signer.signature(octets)) + b"\r\n" + raw


PLAIN = "v=1; a=rsa-sha256; d=shop.example; s=r1; h=from:to:subject"
