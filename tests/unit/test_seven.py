"""Seven bits: every leaf decodes to what it was."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from sortingoffice.mail.seven import downgraded

TEXT = "Grüße, Größe\r\n".encode()
PLAIN = (
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)
EIGHT = b"Content-Transfer-Encoding: 8bit\r\n"
MIXED = b"".join(
    (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n" + EIGHT + b"\r\n",
        b"--B\r\nContent-Type: text/plain; charset=utf-8\r\n" + EIGHT + b"\r\n" + TEXT + b"\r\n",
        b"--B\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n",
        b"\xff\x00\xfe\r\n",
        b"--B\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: text/plain; charset=latin-1\r\n\r\n",
        b"\xe4\xf6\r\n",
        b"--B\r\nContent-Type: text/plain\r\n\r\nascii stays\r\n--B--\r\n",
    )
)


def test_a_text_becomes_quoted_printable_or_base64() -> None:
    made = bytes(downgraded(Message.parse(PLAIN + TEXT)))
    assert made.isascii()
    parsed = email.message_from_bytes(made, policy=email.policy.default)
    assert parsed.get_content().splitlines() == TEXT.decode().splitlines()


def test_every_leaf_of_a_tree_decodes_to_what_it_was() -> None:
    before = mime.parse(Message.parse(MIXED))
    made = downgraded(Message.parse(MIXED))
    after = mime.parse(made)
    assert made.body.isascii()
    assert b"8bit" not in bytes(made)
    assert b"binary" not in bytes(made)
    assert [leaf.octets() for leaf in after.leaves()] == [leaf.octets() for leaf in before.leaves()]
    assert b"\r\n\r\nascii stays\r\n--B--" in bytes(made)


def test_what_is_not_mime_is_labelled_unknown() -> None:
    made = bytes(downgraded(Message.parse(b"Subject: x\r\n\r\n\xe4\r\n")))
    assert b"charset=unknown-8bit" in made
    assert mime.parse(Message.parse(made)).octets() == b"\xe4\r\n"


def test_seven_bits_and_signed_parts_are_not_touched() -> None:
    plain = b"Subject: x\r\n\r\nx\r\n"
    assert bytes(downgraded(Message.parse(plain))) == plain
    signed = (
        b"Content-Type: multipart/signed; boundary=B\r\n\r\n--B\r\n\r\n\xe4\r\n--B\r\n\r\nsig\r\n--B--\r\n"
    )
    assert bytes(downgraded(Message.parse(signed))) == signed


def test_what_is_too_complex_is_not_touched() -> None:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=B%d\r\n\r\n--B%d\r\n" % (n, n) for n in range(40)
    )
    raw = deep + b"\r\n\xe4\r\n"
    assert bytes(downgraded(Message.parse(raw))) == raw


@pytest.mark.parametrize("head", [PLAIN, b"Subject: x\r\n\r\n"])
@given(body=st.binary(max_size=300))
def test_any_body_decodes_to_what_it_was(head: bytes, body: bytes) -> None:
    body = body.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
    made = downgraded(Message.parse(head + body))
    assert made.body.isascii()
    assert mime.parse(made).octets() == body
