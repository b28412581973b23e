"""What a mail program tells of itself in Content- fields and boundaries doesn't reach a vendor."""

from __future__ import annotations

import pytest

from sortingoffice.core import outward
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from tests.test_outward import FACTS, MAILBOX, REVERSE, body_of, sent

EXCHANGE = f"""\
From: {MAILBOX}
To: {REVERSE}
Message-ID: <5f2a9b8c7d6e41f0@EXCH01.home.example>
Content-Type: multipart/mixed; boundary="_004_OUTER"

--_004_OUTER
Content-Type: multipart/alternative;
 boundary="_000_INNER"

--_000_INNER
Content-Type: text/plain

Hi
--_000_INNER notadelimiter
--_000_INNER
Content-Type: text/html

<p>Hi</p>
--_000_INNER--

--_004_OUTER
Content-Type: application/pdf; name="a.pdf"; x-unix-mode=0644
Content-Disposition: attachment; filename="a.pdf"; size=9;
 creation-date="Mon, 23 Nov 2026 10:00:00 +0530";
 modification-date="Mon, 23 Nov 2026 10:00:00 +0530"

%PDF-1.4
--_004_OUTER--
"""


def texts(octets: str) -> list[tuple[str, str | None]]:
    root = mime.parse(Message.parse(octets.replace("\n", "\r\n").encode()))
    return [(each.content_type, each.text()) for each in root.leaves()]


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        # Exchange: the letters of the Message-ID, cut to a length; and another id at the same host.
        ("_004_5f2a9b8c7d6e41f0EXCH01homeexamp_", "_000_5f2a9b8c7d6e41f0EXCH01homeexamp_"),
        ("_004_0011223344homeexample_", "_000_0011223344homeexample_"),
        ("=_home.example-1", "=_home.example-1.2"),
    ],
)
def test_a_boundary_made_of_the_message_s_id_or_of_the_mailbox_s_domain_is_another(
    outer: str, inner: str
) -> None:
    head, _, body = EXCHANGE.replace("_004_OUTER", outer).replace("_000_INNER", inner).partition("\n\n")
    after = sent(f"{head}\n", f"\n{body}")
    assert f"--{outer}\n" not in after
    assert f'"{outer}"' not in after
    assert f'"{inner}"' not in after
    assert texts(after) == texts(f"{head}\n\n{body}")
    assert f"\n--{inner} notadelimiter\n" in after, "it is no boundary, but text of the part"


def test_another_boundary_stays_as_it_is() -> None:
    head, _, body = EXCHANGE.partition("\n\n")
    after = sent(f"{head}\n", f"\n{body}")
    assert 'boundary="_004_OUTER"' in after
    assert '\n boundary="_000_INNER"\n' in after


def test_what_is_signed_keeps_its_boundary() -> None:
    body = "--home.example\nContent-Type: text/plain; x-a=1\n\nHi\n--home.example--\n"
    header = f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: multipart/signed; boundary=home.example\n"
    assert body_of(header, "\n" + body) == body


def test_a_file_s_times_and_machine_are_not_told() -> None:
    head, _, body = EXCHANGE.partition("\n\n")
    after = sent(f"{head}\n", f"\n{body}")
    assert 'Content-Type: application/pdf; name="a.pdf"\n' in after
    assert 'Content-Disposition: attachment; filename="a.pdf"; size=9\n' in after
    assert "0530" not in after


def test_a_single_part_s_own_fields_tell_nothing_either() -> None:
    header = (
        f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: text/plain; X-Mac-Creator=1; charset=utf-8\n"
        f'Content-Disposition: inline; read-date="Mon, 23 Nov 2026 10:00:00 +0530"\n'
    )
    after = sent(header, "\nHi\n")
    assert "Content-Type: text/plain; charset=utf-8\n" in after
    assert "Content-Disposition: inline\n" in after


def test_what_tells_nothing_stays_as_it_was_written() -> None:
    odd = 'Content-Disposition:attachment ;FILENAME = "a b.pdf"; size=9'
    assert odd in sent(f"From: {MAILBOX}\nTo: {REVERSE}\nContent-Type: application/pdf\n{odd}\n", "\nx\n")


@pytest.mark.parametrize("value", [b"a; x-b=\x00", b"a;\n x-b=1;\n c=2", b";x-a=1", b"; ;x-a*0=1;x-a*1=2; b"])
def test_odd_parameters_do_not_make_it_fail(value: bytes) -> None:
    raw = b"From: " + MAILBOX.encode() + b"\r\nContent-Type: " + value + b"\r\n\r\nHi\r\n"
    after = bytes(outward.rewrite(Message.parse(raw), FACTS))
    assert b"x-" not in after
