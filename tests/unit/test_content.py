"""The content after DATA: one end, whole or refused, in linear time, whatever the framing."""

from __future__ import annotations

import re
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sortingoffice.edge import replies
from sortingoffice.edge.content import Content

END = b"\r\n.\r\n"


def read(
    octets: bytes, cuts: list[int] | None = None, *, most: int = 10**9, most_line: int = 10**9
) -> Content:
    """Feed the octets, cut where told; `rest` of the result is what stood after the end."""
    content = Content(most=most, most_line=most_line)
    places = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts or [])})
    for a, b in pairwise(places):
        rest = content.feed(octets[a:b])
        if rest is not None:
            assert rest + octets[b:] == after(octets)
            return content
    assert END not in b"\r\n" + octets
    return content


def after(octets: bytes) -> bytes:
    return (b"\r\n" + octets).split(END, 1)[1]


def expected(octets: bytes) -> bytes | None:
    """The slow way: line by line; None where it must be refused."""
    whole = (b"\r\n" + octets).split(END, 1)[0] + b"\r\n"
    body = whole[2:]
    if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", body):
        return None
    return b"".join(re.sub(rb"^\.", b"", line) + b"\r\n" for line in body.split(b"\r\n")[:-1])


SOUP = st.lists(
    st.sampled_from(
        [b"\r\n", b".", b"..", b"\r", b"\n", b"\0", b"a", b"\r\n.", b"\r\n..", b"x" * 10, b"\xff"]
    ),
    max_size=30,
).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)


@given(SOUP, SOUP, CUTS)
@example(b"", b"", [])
@example(b"\r\n", b"QUIT\r\n", [1, 2, 3, 4, 5, 6, 7])
@example(b".\r", b"", [1, 2, 3])
@example(b"a\r\n.\r", b"", list(range(12)))
def test_any_framing_gives_what_reading_line_by_line_gives(body: bytes, rest: bytes, cuts: list[int]) -> None:
    octets = body + END + rest
    content = read(octets, cuts)
    wanted = expected(octets)
    if wanted is None:
        assert content.refusal in (replies.BARE_LINE_END, replies.NUL_OCTET)
    else:
        assert content.refusal is None
        assert content.size == len(wanted)
        assert content.lines == wanted.count(b"\n")
        assert content.octets() == wanted


@given(SOUP, CUTS)
def test_the_end_is_found_in_the_same_place_while_it_is_thrown_away(body: bytes, cuts: list[int]) -> None:
    octets = body + END + b"QUIT\r\n"
    content = read(octets, cuts, most=3, most_line=2)
    wanted = expected(octets)
    if wanted is None:
        assert content.refusal in (replies.BARE_LINE_END, replies.NUL_OCTET)
    elif len(wanted) > 3:
        assert content.refusal == replies.TOO_LARGE


@given(st.lists(st.integers(0, 12), max_size=12), CUTS, st.integers(1, 10))
def test_a_line_is_too_long_exactly_beyond_its_limit(lines: list[int], cuts: list[int], limit: int) -> None:
    octets = b"".join(b"x" * length + b"\r\n" for length in lines) + b".\r\n"
    refused = read(octets, cuts, most_line=limit).refusal == replies.LONG_LINE
    assert refused == any(length > limit for length in lines)


ILLEGAL = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n.\0\r\n",
    b"\n\r.\r\n",
]


@pytest.mark.parametrize(
    "framing", ["at once", "octet by octet", "before the dot", "after the dot", "halves"]
)
@pytest.mark.parametrize("end", ILLEGAL, ids=repr)
@pytest.mark.parametrize("large", [False, True])
def test_no_illegal_sequence_ends_a_message_and_all_refuse_it(end: bytes, framing: str, large: bool) -> None:
    smuggled = b"MAIL FROM:<evil@b.example>\r\n"
    octets = b"Subject: x\r\n\r\nhi" + end + smuggled + b"\r\n.\r\n"
    dot = octets.index(b".")
    cuts = {
        "at once": [],
        "octet by octet": list(range(len(octets))),
        "before the dot": [dot],
        "after the dot": [dot + 1],
        "halves": [len(octets) // 2],
    }[framing]
    content = Content(most=8 if large else 10**6, most_line=10**6)
    places = sorted({0, len(octets), *cuts})
    rests = [content.feed(octets[a:b]) for a, b in pairwise(places)]
    assert [rest for rest in rests if rest is not None] == [b""]
    assert rests[-1] == b""
    assert content.refusal in (replies.BARE_LINE_END, replies.NUL_OCTET)


def test_an_end_after_a_bare_carriage_return_is_an_end_and_refused() -> None:
    content = Content(most=100, most_line=100)
    assert content.feed(b"hi\r\r\n.\r\nQUIT\r\n") == b"QUIT\r\n"
    assert content.refusal == replies.BARE_LINE_END


def test_octets_after_the_end_are_given_back() -> None:
    content = Content(most=100, most_line=100)
    assert content.feed(b"hi\r\n.\r\nQUIT\r\n") == b"QUIT\r\n"
    assert content.received == 7


def test_twenty_five_megabytes_of_empty_lines_cost_neither_time_nor_memory() -> None:
    chunk = b"\r\n" * 32768
    content = Content(most=10**8, most_line=100_000)
    tracemalloc.start()
    begun = time.process_time()
    slowest = 0.0
    for _ in range(400):
        at = time.process_time()
        content.feed(chunk)
        slowest = max(slowest, time.process_time() - at)
        if content.heavy:
            content.spill()
    assert content.feed(b".\r\n") == b""
    seconds = time.process_time() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert content.lines == 400 * 32768
    assert peak < 1_000_000
    assert seconds < 3
    assert slowest < 0.1
    assert content.octets() == chunk * 400
    content.close()


def test_a_large_message_comes_back_from_its_file_octet_for_octet(tmp_path: Path) -> None:
    content = Content(most=10**7, most_line=10**6, folder=tmp_path)
    wanted = b"".join(b"line %d\r\n" % n for n in range(50_000))
    for at in range(0, len(wanted), 9999):
        content.feed(wanted[at : at + 9999])
        if content.heavy:
            content.spill()
    content.feed(b".\r\n")
    assert content.in_file
    assert content.octets() == wanted
    content.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_a_refusal_for_now(tmp_path: Path) -> None:
    content = Content(most=10**7, most_line=10**6, folder=tmp_path / "gone")
    content.feed(b"x\r\n" * 60_000)
    content.spill()
    content.feed(b"x\r\n" * 60_000)
    assert content.feed(b".\r\n") == b""
    assert content.refusal == replies.NO_STORAGE
