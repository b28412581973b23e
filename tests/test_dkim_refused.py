"""DKIM, what is no pass: open signatures, keys that may not verify, and what dkimpy lets through."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sortingoffice.mail import canonical, dkim, keys, tags
from sortingoffice.mail.asking import Answer, Outcome, run
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.message import Message
from tests.signatures import ED, ED_PUBLIC, MESSAGE, NOW, PLAIN, RSA, RSA_PEM
from tests.signatures import by_hand as _by_hand
from tests.signatures import signed as _signed
from tests.signatures import verify as _verify


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
