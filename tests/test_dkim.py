"""DKIM, ours: against the RFC's vectors, against dkimpy both ways, and in linear time."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from unittest.mock import patch

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from sortingoffice.mail import canonical, dkim, keys
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.message import Field, Message
from tests.signatures import ED, ED_PEM, ED_PUBLIC, MESSAGE, NOW, PLAIN, RSA, RSA_PEM, RSA_PUBLIC, ZONE
from tests.signatures import by_hand as _by_hand
from tests.signatures import signed as _signed
from tests.signatures import verify as _verify


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
