"""DKIM, ours: against the RFC's vectors, against dkimpy both ways, and against what dkimpy lets through."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from unittest.mock import patch

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from sortingoffice.mail import canonical, dkim, keys, tags
from sortingoffice.mail.asking import Answer, Outcome, Question, run
from sortingoffice.mail.authentication import DkimResult, Result
from sortingoffice.mail.message import Field, Message

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


def _answers(zone: dict[str, bytes | tuple[bytes, ...]] | dict[str, bytes]) -> Callable[[Question], Answer]:
    def answer(question: Question) -> Answer:
        record = zone.get(question.name)
        if record is None:
            return Answer(Outcome.NO_NAME)
        return Answer(Outcome.FOUND, record if isinstance(record, tuple) else (record,))

    return answer


def _verify(raw: bytes, zone: dict[str, bytes] | None = None, now: datetime = NOW) -> tuple[DkimResult, ...]:
    return run(dkim.verify(raw, now), _answers(ZONE if zone is None else zone))


def _signed(raw: bytes = MESSAGE, *signers: dkim.SigningKey) -> bytes:
    return b"".join(f.raw for f in dkim.sign(raw, signers or (RSA, ED), NOW)) + raw


def _by_hand(
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


def _dkimpy_verifies(raw: bytes, zone: dict[str, bytes], index: int = 0) -> bool:
    def fetch(name: bytes, timeout: int = 5) -> bytes | None:
        return zone.get(name.decode().rstrip("."))

    return bool(dkimpy.DKIM(raw).verify(index, dnsfunc=fetch))


# ---- the plain cases -------------------------------------------------------------------------------


def test_what_we_sign_with_both_algorithms_verifies_here_and_with_dkimpy() -> None:
    raw = _signed()
    assert [found.result for found in _verify(raw)] == [Result.PASS, Result.PASS]
    assert [found.algorithm for found in _verify(raw)] == ["rsa-sha256", "ed25519-sha256"]
    assert _dkimpy_verifies(raw, ZONE, 0)
    assert _dkimpy_verifies(raw, ZONE, 1)


def test_a_result_tells_what_it_rests_on() -> None:
    found = _verify(_signed(MESSAGE, RSA))[0]
    assert (found.domain, found.selector, found.bits) == ("shop.example", "r1", 2048)
    assert found.key == RSA.record.encode()
    assert {"from", "to", "subject"} <= set(found.signed)
    assert len(found.tag) == 8


@pytest.mark.parametrize("header", [b"simple", b"relaxed"])
@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
@pytest.mark.parametrize(
    "raw", [MESSAGE, MESSAGE[: MESSAGE.index(b"Dear")], MESSAGE + b" \t x \t\r\n\t \r\n\r\n"]
)
def test_what_dkimpy_signs_verifies_here(header: bytes, body: bytes, raw: bytes) -> None:
    field = dkimpy.sign(raw, b"r1", b"shop.example", RSA_PEM, canonicalize=(header, body))
    assert _verify(field + raw)[0].result is Result.PASS


def test_a_change_of_a_signed_field_or_of_the_body_fails() -> None:
    raw = _signed(MESSAGE, RSA)
    assert _verify(raw.replace(b"Your  order", b"Your refund"))[0].result is Result.FAIL
    changed = _verify(raw.replace(b"Thanks.", b"Thinks."))[0]
    assert (changed.result, changed.reason) == (Result.FAIL, "body hash did not verify")


def test_a_relay_that_refolds_and_trims_leaves_the_signature_whole() -> None:
    raw = _signed(MESSAGE, RSA).replace(b"Subject: Your  order", b"SUBJECT:\r\n\tYour \r\n order ")
    assert _verify(raw.replace(b"Thanks. \r\n\r\n", b"Thanks.   \r\n"))[0].result is Result.PASS


@pytest.mark.parametrize("name", ["From", "To", "Subject", "Cc", "Reply-To", "Content-Type"])
def test_nobody_can_add_another_of_a_field_that_a_mail_has_once(name: str) -> None:
    added = f"{name}: evil@else.example\r\n".encode()
    raw = _signed(MESSAGE, RSA)
    assert _verify(added + raw)[0].result is not Result.PASS
    head, _, body = raw.partition(b"\r\n\r\n")
    assert _verify(head + b"\r\n" + added + b"\r\n" + body)[0].result is not Result.PASS


def test_list_fields_are_signed_where_they_are_and_may_be_added_where_they_are_not() -> None:
    raw = _signed(MESSAGE, RSA)
    assert _verify(b"List-Id: <news.shop.example>\r\n" + raw)[0].result is Result.PASS
    listed = _signed(b"List-Unsubscribe: <https://shop.example/u>\r\n" + MESSAGE, RSA)
    assert _verify(listed.replace(b"shop.example/u", b"else.example/u"))[0].result is Result.FAIL
    assert _verify(b"List-Unsubscribe: <https://else.example/u>\r\n" + listed)[0].result is Result.FAIL


def test_our_field_is_folded_below_78_octets_and_carries_the_time() -> None:
    raw = b"".join(b"To: a%d@sort.example\r\n" % n for n in range(40)) + MESSAGE
    for field in dkim.sign(raw, (RSA, ED), NOW):
        assert max(map(len, field.raw.split(b"\r\n"))) <= 78
        assert f"t={int(NOW.timestamp())}".encode() in field.raw
    assert [found.result for found in _verify(_signed(raw))] == [Result.PASS, Result.PASS]


def test_a_field_that_was_added_to_a_replayed_message_is_not_covered() -> None:
    raw = b"To: other@sort.example\r\n" + _by_hand(MESSAGE, PLAIN)
    found = _verify(raw)[0]
    assert found.passed  # h=to covers one To, the lowest
    fields = dkim.covered(Message.parse(raw), found, "To")
    assert [field.unfolded for field in fields] == [b"lunar.otter4821@sort.example"]
    assert dkim.covered(Message.parse(raw), found, "Cc") == []
    failed = _verify(raw.replace(b"Thanks", b"Thinks"))[0]
    assert dkim.covered(Message.parse(raw), failed, "To") == []


@pytest.mark.parametrize("name", ["Subject", "Date", "Reply-To", "Content-Type", "Content-Transfer-Encoding"])
def test_a_second_field_on_top_of_one_that_is_signed_once_is_no_pass(name: str) -> None:
    """The octets that were signed are all there; a reader would show the other one."""
    message = f"{name}: first\r\n".encode() + MESSAGE.replace(b"Subject", b"X-Subject").replace(
        b"Date", b"X-Date"
    )
    lower, added = name.lower(), f"{name}: second\r\n".encode()
    for names, result in ((f"from:{lower}", Result.POLICY), (f"from:{lower}:{lower}", Result.FAIL)):
        raw = _by_hand(message, f"v=1; a=rsa-sha256; d=shop.example; s=r1; h={names}")
        assert _verify(raw)[0].result is Result.PASS
        assert _verify(added + raw)[0].result is result
    unsigned = _by_hand(message, "v=1; a=rsa-sha256; d=shop.example; s=r1; h=from:to")
    assert _verify(added + unsigned)[0].result is Result.PASS, "it was open from the start"


def test_a_message_without_signatures_has_no_results() -> None:
    assert _verify(MESSAGE) == ()


# RFC 8463 appendix A: both signatures, both keys.
RFC8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
RFC8463_ZONE = {
    "brisbane._domainkey.football.example.com": (
        b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    ),
    "test._domainkey.football.example.com": (
        b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3id"
        b"Y6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+"
        b"PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
    ),
}


def test_the_example_of_rfc_8463_passes_with_both_signatures() -> None:
    assert [(f.result, f.reason) for f in _verify(RFC8463, RFC8463_ZONE)] == [(Result.PASS, "")] * 2


# ---- what dkimpy lets through (the design's pitfalls) ------------------------------------------------


def test_from_outside_the_signature_is_no_pass() -> None:
    raw = _by_hand(MESSAGE, "v=1; a=rsa-sha256; d=shop.example; s=r1; h=to:subject")
    found = _verify(raw.replace(b"sales@shop.example", b"boss@shop.example"))[0]
    assert (found.result, found.reason) == (Result.PERMERROR, "From not signed")


def test_two_from_fields_are_no_pass_however_they_are_signed() -> None:
    raw = _by_hand(
        b"From: evil@else.example\r\n" + MESSAGE, "v=1; a=rsa-sha256; d=shop.example; s=r1; h=from:from"
    )
    assert _verify(raw)[0].reason == "not exactly one From"


def test_a_signature_by_hand_like_those_below_does_pass() -> None:
    assert _verify(_by_hand(MESSAGE, PLAIN))[0].result is Result.PASS


@pytest.mark.parametrize("methods", ["dns/txt", "x-web/page : dns/txt", "dns/txt:x-web"])
def test_a_way_to_find_the_key_that_nobody_knows_is_ignored(methods: str) -> None:
    assert _verify(_by_hand(MESSAGE, f"{PLAIN}; q={methods}"))[0].result is Result.PASS


@pytest.mark.parametrize("names", ["from:dkim-signature", "from:dkim-signature:dkim-signature"])
def test_a_signature_never_means_itself_among_what_it_covers(names: str) -> None:
    """RFC 6376 §3.5; it may mean others, the lowest first."""
    signer = f"v=1; a=rsa-sha256; d=shop.example; s=r1; h={names}"
    assert _verify(_by_hand(MESSAGE, signer))[0].result is Result.PASS
    second = _by_hand(_by_hand(MESSAGE, PLAIN), signer)
    assert [each.result for each in _verify(second)] == [Result.PASS, Result.PASS]
    assert _verify(second.replace(b"h=from:to:subject", b"h=from:to:Subject"))[0].result is Result.FAIL
    top, _, rest = second.partition(b"\r\nDKIM")
    turned = b"DKIM" + rest.replace(b"\r\nFrom:", b"\r\n" + top + b"\r\nFrom:", 1)
    assert [each.result for each in _verify(turned)] == [Result.PASS, Result.PASS]


def test_a_signature_that_ends_when_it_begins_is_no_pass() -> None:
    """RFC 6376 §3.5: x= is greater than t=."""
    at = int(NOW.timestamp()) + 60
    found = _verify(_by_hand(MESSAGE, f"{PLAIN}; t={at}; x={at}"))[0]
    assert (found.result, found.reason) == (Result.PERMERROR, "t= or x= malformed")
    assert _verify(_by_hand(MESSAGE, f"{PLAIN}; t={at}; x={at + 1}"))[0].result is Result.PASS


def test_l_is_no_pass_with_and_without_appended_text() -> None:
    length = len(canonical.relaxed_body(Message.parse(MESSAGE).body))
    raw = _by_hand(MESSAGE, f"{PLAIN}; l={length}")
    for tail in (b"", b"Pay here instead: https://evil.example\r\n"):
        assert _verify(raw + tail)[0].result is Result.POLICY


def test_rsa_sha1_is_no_pass() -> None:
    raw = dkimpy.sign(MESSAGE, b"r1", b"shop.example", RSA_PEM, signature_algorithm=b"rsa-sha1") + MESSAGE
    assert _verify(raw)[0].result is Result.PERMERROR


def _record(signer: keys.SigningKey, **changes: str) -> dict[str, bytes]:
    found = (tags.parse(signer.record.encode()) or {}) | changes
    return {"r1._domainkey.shop.example": "; ".join(f"{k}={v}" for k, v in found.items()).encode()}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"p": ""}, "key revoked"),
        ({"h": "sha1"}, "key not for sha256"),
        ({"s": "tlsrpt"}, "key not for email"),
        ({"k": "ed25519"}, "key of another algorithm"),
        ({"v": "DKIM2"}, "not a DKIM1 key record"),
        ({"p": "AAAA"}, "key malformed"),
        ({"p": "=()"}, "key malformed"),
        ({"p": ED_PUBLIC}, "key malformed"),
    ],
)
def test_a_key_that_may_not_verify_does_not(changes: dict[str, str], reason: str) -> None:
    found = _verify(_by_hand(MESSAGE, PLAIN), _record(RSA, **changes))[0]
    assert (found.result, found.reason) == (Result.PERMERROR, reason)


@pytest.mark.parametrize(
    "changes", [{"h": "sha1:sha256"}, {"s": "*"}, {"s": "tlsrpt : email"}, {"t": "y"}, {"n": "x"}]
)
def test_a_key_that_may_verify_does(changes: dict[str, str]) -> None:
    found = _verify(_by_hand(MESSAGE, PLAIN), _record(RSA, **changes))[0]
    assert found.result is Result.PASS
    assert found.testing == (changes == {"t": "y"})


def test_a_key_with_the_exact_flag_refuses_a_subdomain_in_i() -> None:
    strict = _record(RSA, t="s")
    assert _verify(_by_hand(MESSAGE, f"{PLAIN}; i=x@shop.example"), strict)[0].result is Result.PASS
    assert _verify(_by_hand(MESSAGE, PLAIN), strict)[0].result is Result.PASS
    below = _by_hand(MESSAGE, f"{PLAIN}; i=x@news.shop.example")
    assert _verify(below)[0].result is Result.PASS
    assert _verify(below, strict)[0].result is Result.PERMERROR


@pytest.mark.parametrize(
    "identity", ["x@else.example", "x@evilshop.example", "shop.example", "@", "", "x@example"]
)
def test_i_outside_d_is_no_pass(identity: str) -> None:
    assert _verify(_by_hand(MESSAGE, f"{PLAIN}; i={identity}"))[0].result is Result.PERMERROR


def _der_of_512_bits() -> bytes:
    """An RSA public key of 512 bits, which no library makes any more."""
    modulus = int.from_bytes(hashlib.sha512(b"small").digest(), "big") | 1 | 1 << 511
    return (
        rsa.RSAPublicNumbers(65537, modulus)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def test_a_key_below_1024_bits_verifies_nothing() -> None:
    record = base64.b64encode(_der_of_512_bits()).decode()
    found = _verify(_by_hand(MESSAGE, PLAIN), _record(RSA, p=record))[0]
    assert (found.result, found.reason) == (Result.PERMERROR, "key of 512 bits")


@pytest.mark.parametrize(("bits", "usable"), [(17, True), (64, True), (65, False), (2047, False)])
def test_a_key_whose_exponent_makes_us_work_verifies_nothing(bits: int, usable: bool) -> None:
    """A stranger's chain of fifty forwarders with such a key took the interpreter for half a second."""
    numbers = serialization.load_pem_private_key(RSA_PEM, None).public_key().public_numbers()  # type: ignore[union-attr]
    public = rsa.RSAPublicNumbers((1 << bits - 1) + 1, numbers.n).public_key()  # type: ignore[union-attr]
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; p=" + base64.b64encode(der)
    if usable:
        assert keys.public_key(record, "rsa-sha256").bits == 2048
    else:
        with pytest.raises(keys.Unusable, match="large exponent"):
            keys.public_key(record, "rsa-sha256")


@pytest.mark.parametrize("algorithm", ["rsa-sha512", "RSA-SHA256", "none", ""])
def test_an_unknown_algorithm_is_told(algorithm: str) -> None:
    raw = _by_hand(MESSAGE, PLAIN.replace("rsa-sha256", algorithm))
    assert _verify(raw)[0].reason == "unknown algorithm"


def test_a_signature_past_its_end_is_no_pass() -> None:
    at = int(NOW.timestamp())
    raw = _by_hand(MESSAGE, f"{PLAIN}; t={at}; x={at + 60}")
    assert _verify(raw)[0].result is Result.PASS
    assert _verify(raw, now=NOW + timedelta(minutes=2))[0].reason == "signature expired"
    assert _verify(_by_hand(MESSAGE, f"{PLAIN}; t={at}; x={at - 1}"))[0].result is Result.PERMERROR


@pytest.mark.parametrize(
    ("answer", "result", "reason"),
    [
        (Answer(Outcome.TEMPORARY), Result.TEMPERROR, "key not reachable"),
        (Answer(Outcome.NO_NAME), Result.PERMERROR, "no key"),
        (Answer(Outcome.NO_DATA), Result.PERMERROR, "no key"),
        (
            Answer(Outcome.FOUND, (RSA.record.encode(), ED.record.encode())),
            Result.PERMERROR,
            "more than one key",
        ),
        (Answer(Outcome.FOUND, (b"site-verification", RSA.record.encode())), Result.PASS, ""),
    ],
)
def test_a_failed_look_up_is_not_an_absent_key(answer: Answer, result: Result, reason: str) -> None:
    found = run(dkim.verify(_signed(MESSAGE, RSA), NOW), lambda question: answer)[0]
    assert (found.result, found.reason) == (result, reason)


def test_of_many_signatures_five_are_looked_at_and_the_authors_own_first() -> None:
    junk = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=x%d.example; s=s; h=from; bh=AA==; b=AA==\r\n" % n
        for n in range(9)
    )
    found = _verify(junk + _signed(MESSAGE, RSA))
    assert len(found) == 5
    assert (found[0].domain, found[0].result) == ("shop.example", Result.PASS)


def test_a_header_beyond_128_kb_is_not_looked_at() -> None:
    raw = b"X: " + b"x" * 132_000 + b"\r\n" + _signed(MESSAGE, RSA)
    assert [found.reason for found in _verify(raw)] == ["header too large"]


@pytest.mark.parametrize(
    "value",
    [
        b"", b"v=1", b"v=1; a=rsa-sha256; a=rsa-sha256", b"v=2; " + PLAIN[5:].encode() + b"; bh=AA==; b=AA==",
        PLAIN.encode() + b"; bh=!; b=AA==", PLAIN.encode() + b"; bh=AA==; b=",
        PLAIN.encode() + b"; bh=AA==; b=\xff",
        PLAIN.replace("shop.example", "[192.0.2.1]").encode() + b"; bh=AA==; b=AA==",
        PLAIN.replace("s=r1", "s=a..b").encode() + b"; bh=AA==; b=AA==",
        PLAIN.encode() + b"; c=relaxed/none; bh=AA==; b=AA==", PLAIN.encode() + b"; q=http; bh=AA==; b=AA==",
        PLAIN.encode() + b"; c=relaxed/; bh=AA==; b=AA==",
    ],
)  # fmt: skip
def test_a_signature_that_breaks_the_grammar_is_permerror(value: bytes) -> None:
    assert _verify(b"DKIM-Signature: " + value + b"\r\n" + MESSAGE)[0].result is Result.PERMERROR


# ---- linear time, and any octets ---------------------------------------------------------------------


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < 2 * seconds


HOSTILE = {
    "lines of spaces": (b" " * 70 + b"\r\n") * 40_000,
    "spaces": b" " * 3_000_000,
    "empty lines": b"\r\n" * 1_500_000,
    "bare ends": b"\n\r" * 1_500_000,
    "tabs": b"\t x" * 300_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_body_costs_linear_time(kind: str) -> None:
    raw = _by_hand(MESSAGE, PLAIN) + HOSTILE[kind]
    with _within(2.0):  # dkimpy takes 11 s for the first of these
        _verify(raw)
        _verify(raw.replace(b"c=relaxed/relaxed", b"c=simple/simple"))


@pytest.mark.parametrize(
    "value",
    [
        PLAIN.encode() + b"; bh=AA==; b=" + b" " * 100_000,
        PLAIN.encode() + b"; bh=AA==; b=" + b"AA \r\n " * 16_000,
        b"v=1;" + b" =;" * 30_000,
        PLAIN.encode() + b":from" * 20_000 + b"; bh=AA==; b=AA==",
        b"; ".join(b"t%d=x" % n for n in range(12_000)),
    ],
)
def test_a_hostile_signature_costs_linear_time(value: bytes) -> None:
    with _within(1.0):  # dkimpy takes 25 s for 50 kB of blanks in b=
        _verify(b"DKIM-Signature: " + value + b"\r\n" + MESSAGE)


@given(st.binary(max_size=400), st.binary(max_size=200))
def test_no_octets_make_verifying_or_signing_raise(value: bytes, body: bytes) -> None:
    raw = b"DKIM-Signature: " + value + b"\r\n" + MESSAGE + body
    assert all(found.result is not Result.PASS for found in _verify(raw))
    dkim.sign(value + body, ED, NOW)


_name = st.sampled_from([b"From", b"To", b"Subject", b"subject", b"X-Other", b"List-Id", b"Content-Type"])
_text = st.lists(
    st.sampled_from([b" ", b"\t", b"a", b"bc", b"\r\n ", b"=", b";", b":", "ü".encode(), b"\x0b", b"\x0c"]),
    max_size=12,
).map(b"".join)
_line = st.lists(st.sampled_from([b" ", b"\t", b"a", b".", b"--", "ü".encode(), b"\x0b"]), max_size=8).map(
    b"".join
)


@given(st.lists(st.tuples(_name, _text), max_size=6), st.lists(_line, max_size=6), st.booleans())
@settings(max_examples=150)
def test_for_any_message_ours_and_dkimpys_canonical_forms_agree(
    fields: list[tuple[bytes, bytes]], lines: list[bytes], ended: bool
) -> None:
    head = b"".join(
        name + b":" + b"x" + value + b"z\r\n" for name, value in fields if not name.startswith(b"From")
    )
    raw = b"From: sales@shop.example\r\n" + head + b"\r\n" + b"\r\n".join(lines) + (b"\r\n" if ended else b"")
    if raw.endswith((b" ", b"\t")):  # SMTP will end the line, and dkimpy would then hash another body
        raw += b"\r\n"
    body = Message.parse(raw).body
    assert canonical.relaxed_body(body) == dkimpy.canonicalization.Relaxed.canonicalize_body(body)
    assert canonical.simple_body(body) == dkimpy.canonicalization.Simple.canonicalize_body(body)
    for piece in (1, 7):
        with patch.object(canonical, "_PIECE", piece):  # a large body's hash is made in pieces
            assert canonical.body_hash(body, relaxed=True) == sha256(canonical.relaxed_body(body)).digest()
            assert canonical.body_hash(body, relaxed=False) == sha256(canonical.simple_body(body)).digest()
    assert _dkimpy_verifies(_signed(raw, ED), ZONE)


def test_a_large_body_has_the_canonical_form_of_its_parts() -> None:
    line = b"a\t \tb  " + b" " * 40 + b"c \t\r\n"
    assert canonical.relaxed_body(line * 20_000) == b"a b c\r\n" * 20_000
    assert canonical.relaxed_body(b"x" * 300_000 + b" " * 300_000 + b"y\t") == b"x" * 300_000 + b" y\r\n"


@given(_text)
def test_an_emptied_b_leaves_every_other_octet(noise: bytes) -> None:
    before, after = b" v=1; bh=" + noise.replace(b";", b"").replace(b"=", b""), b"; d=x\r\n"
    field = Field(b"DKIM-Signature", b"DKIM-Signature:" + before + b";\r\n b =\r\n AB \t CD " + after)
    assert canonical.without_signature(field).raw == b"DKIM-Signature:" + before + b";\r\n b =" + after


# ---- keys ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    pem: bytes
    public: str


@pytest.mark.parametrize("made", [_Made(RSA_PEM, RSA_PUBLIC), _Made(ED_PEM, ED_PUBLIC)])
def test_a_generated_key_says_in_its_record_what_it_returned(made: _Made) -> None:
    key = dkim.SigningKey.from_pem("a.example", "s", made.pem)
    assert key.record.endswith(f"p={made.public}")
    signature = key.signature(b"octets")
    assert keys.public_key(key.record.encode(), key.algorithm).verifies(signature, b"octets")
    assert not keys.public_key(key.record.encode(), key.algorithm).verifies(signature, b"0ctets")


def test_a_bare_pkcs1_public_key_is_read_as_rfc_6376_wrote_it() -> None:
    assert isinstance(RSA.private, rsa.RSAPrivateKey)
    octets = RSA.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.PKCS1
    )
    key = keys.public_key(b"p=" + base64.b64encode(octets), "rsa-sha256")
    assert key.verifies(RSA.private.sign(b"x", padding.PKCS1v15(), hashes.SHA256()), b"x")


@pytest.mark.parametrize("pem", [b"", b"rubbish", ED_PEM[:60]], ids=["empty", "rubbish", "cut off"])
def test_a_pem_that_holds_no_key_is_a_value_error(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        dkim.SigningKey.from_pem("a.example", "s", pem)
