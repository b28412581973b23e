"""What the leak guard sees in archives, encodings within each other and PDFs, and where it gives up.

Promise: what can't be looked into is a finding, and nothing is looked into for ever.
"""

from __future__ import annotations

import base64
import time
import zlib

import pytest

from sortingoffice.mail import pages
from sortingoffice.mail.readings import Budget
from tests import leaks
from tests.leaks import MAILBOX
from tests.test_guard import gated


def test_a_finding_names_the_attachment_and_the_encoding() -> None:
    _, found = gated(
        leaks.attached("application/zip", leaks.zipped(f"<a>{MAILBOX}</a>", "a.xml"), name="b.zip")
    )
    assert [each.where for each in found] == ['the attachment "b.zip" (compressed)']


@pytest.mark.parametrize("depth", [3, 5, 9, 30])
def test_archives_in_archives_are_looked_into_or_told(depth: int) -> None:
    octets = f"hello {MAILBOX}".encode()
    for level in range(depth):
        octets = leaks.zipped(base64.b64encode(octets).decode()) if level % 3 else zlib.compress(octets)
    _, found = gated(leaks.attached("application/octet-stream", octets))
    assert found


def test_encodings_in_encodings_are_undone_or_told() -> None:
    octets = f"hello {MAILBOX}".encode()
    for _ in range(12):
        octets = base64.b64encode(octets)
        assert gated(leaks.alone(leaks.part("text/plain", b"see " + octets, "8bit")))[1]


def test_a_bomb_is_a_finding_and_ends_soon() -> None:
    started = time.process_time()
    bomb = leaks.zipped("0" * (1 << 28), "a.txt")
    _, found = gated(leaks.attached("application/zip", bomb))
    assert [each.what for each in found] == ["more than can be searched"]
    assert time.process_time() - started < 20


def test_a_pdf_of_many_fonts_with_a_large_picture_is_no_finding() -> None:
    table = zlib.compress(b"1 beginbfchar <01> <0041> endbfchar")
    fonts = b"".join(b"%d 0 obj<<>>stream\n%b\nendstream\n" % (n, table) for n in range(190))
    picture = zlib.compress(b"\xff(Tj" * 100_000)
    pdf = b"%PDF-1.7\n" + fonts + b"200 0 obj<</Subtype /Image>>stream\n" + picture + b"\nendstream\n"
    assert not gated(leaks.attached("application/pdf", pdf))[1]


def test_streams_of_a_pdf_that_never_end_are_read_once() -> None:
    octets = b"%PDF-1.7\n" + b"stream\nBT () Tj\n" * 1000
    assert sum(len(each) for each in pages._streams(octets, Budget(1 << 26))) <= len(octets)


def test_a_pdf_may_escape_any_sign() -> None:
    page = zlib.compress(b"BT (\\8 and \\9 and \\400) Tj ET")
    raw = leaks.attached("application/pdf", b"%PDF-1.7\n1 0 obj<<>>stream\n" + page + b"\nendstream\n")
    assert not gated(raw)[1]
