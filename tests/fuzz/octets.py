"""What fuzzers feed: known good octets, changed, torn, joined and repeated, as strategies of hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

MOST = 65_536
SPECIAL = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\r\n ",
    b"\r\n.\r\n",
    b"\x1b[31m",
    b"\xff\xfe",
    b"\xe2\x80\x8b",
    b"\xf0\x9f\x92\xa1",
    "Ａ＠ı".encode(),
    b"=?utf-8?q?=0D=0A?=",
    b"=?utf-8?b?",
    b"%0d%0a",
    b"&#x0d;",
    b"*0*=",
    b"//",
    b"\\",
    b'"',
    b"(",
    b")",
    b"<",
    b">",
    b"@",
    b",",
    b";",
    b":",
    b"=",
    b"%{",
    b"{{",
    b"[",
    b"]",
    b"--",
    b"0",
    b"99999999999999999999",
    b"-1",
    b"1e999",
)
_LENGTHS = (2, 3, 16, 300, 4096, 30_000)

Edit = tuple[str, float, bytes, int]


def octets(seeds: tuple[bytes, ...], words: tuple[bytes, ...] = ()) -> st.SearchStrategy[bytes]:
    """Mostly a seed with some edits; sometimes anything at all."""
    piece = st.sampled_from(SPECIAL + words) | st.binary(max_size=12) | st.sampled_from(seeds)
    edit = st.tuples(
        st.sampled_from(("insert", "replace", "cut", "repeat", "double")),
        st.floats(0, 1),
        piece,
        st.sampled_from(_LENGTHS),
    )
    changed = st.builds(edited, st.sampled_from(seeds), st.lists(edit, max_size=6))
    return st.one_of(changed, changed, changed, st.binary(max_size=200))


def edited(seed: bytes, edits: list[Edit]) -> bytes:
    """The seed after these edits; `where` is a share of its length."""
    found = seed
    for what, where, piece, number in edits:
        at = int(where * len(found))
        if what == "insert":
            found = found[:at] + piece + found[at:]
        elif what == "replace":
            found = found[:at] + piece + found[at + len(piece) :]
        elif what == "cut":
            found = found[:at] + found[at + number :]
        elif what == "repeat":
            found = found[:at] + piece * min(number, MOST // max(len(piece), 1)) + found[at:]
        else:
            found = found[:at] + found[at : at + number] + found[at:]
        found = found[:MOST]
    return found
