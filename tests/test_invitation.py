"""Invitations: whoever reads one, and however, answers to the reverse alias."""

from __future__ import annotations

import base64
import binascii
import email
import quopri
import re
import time
from collections.abc import Callable, Iterator
from email.message import Message as EmailMessage
from itertools import pairwise
from typing import Any

import pytest
import vobject
from hypothesis import example, given
from hypothesis import strategies as st

from sortingoffice.core import invitation, inward
from sortingoffice.core.inward import InwardFacts
from sortingoffice.mail.address import Address
from sortingoffice.mail.message import Message

ALIAS = Address("lunar.otter4821", "sort.example")
MAILBOX = Address("anna", "home.example")
BOSS = "boss@shop.example"
REVERSE = "r1@sort.example"
OWN = frozenset({ALIAS.normal, MAILBOX.normal})
HEAD = "From: Shop <a@shop.example>\r\nMIME-Version: 1.0\r\n"
ASKED = f"ATTENDEE;RSVP=TRUE:mailto:{ALIAS}"
TURNED = f"ATTENDEE;RSVP=TRUE:mailto:{MAILBOX}"


def ics(organizer: str = f"ORGANIZER;CN=Boss:mailto:{BOSS}", end: str = "\r\n", asked: str = ASKED) -> str:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:1"]
    lines += ["DTSTART:20270101T100000Z", organizer, asked, "END:VEVENT", "END:VCALENDAR"]
    return "".join(line + end for line in lines)


def rewritten(raw: str | bytes) -> bytes:
    message = Message.parse(raw.encode() if isinstance(raw, str) else raw)
    reverse = {
        each.address.normal: Address(f"r{number}", "sort.example")
        for number, each in enumerate(inward.people(message, OWN))
    }
    return bytes(inward.rewrite(message, InwardFacts(reverse, OWN, ALIAS, MAILBOX, inside={})))


def body(raw: str | bytes) -> bytes:
    return rewritten(raw).partition(b"\r\n\r\n")[2]


def parts(octets: bytes) -> list[EmailMessage[str, str]]:
    return list(email.message_from_bytes(octets).walk())


def read(octets: bytes) -> Iterator[bytes]:
    """The content of each part, as a reader of its own decodes it; nested messages in base64 too."""
    for part in parts(octets):
        content: Any = part.get_payload(decode=True)
        if isinstance(content, bytes):
            yield content
        elif part["Content-Transfer-Encoding"] == "base64":  # a message that email takes for plain text
            inner: Any = part.get_payload(0)
            yield from read(base64.b64decode(inner.get_payload()))


def organizer(content: bytes, charset: str = "utf-8") -> str:
    """As vobject reads it."""
    return str(vobject.readOne(content.decode(charset)).vevent.organizer.value)


def mixed(*parts: str) -> str:
    return (
        f'{HEAD}Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        + "".join(f"--b\r\n{part}\r\n" for part in parts)
        + "--b--\r\n"
    )


CALENDAR = "Content-Type: text/calendar; method=REQUEST; charset=utf-8\r\n\r\n"


# ---- how a line is written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"ORGAN\r\n IZER;CN=Boss:mailto:{BOSS}",
        f"ORGAN\r\n\tIZER;CN=Boss:mailto:{BOSS}",
        f"ORGAN\n IZER;CN=Boss:mailto:{BOSS}",
        f"ORGAN\r\r\n IZER;CN=Boss:mailto:{BOSS}",
        f"ORGAN\r\n\r\n IZER;CN=Boss:mailto:{BOSS}",
        f"ORGAN\r IZER;CN=Boss:mailto:{BOSS}",
        f"x.ORGANIZER;CN=Boss:mailto:{BOSS}",
        f"x.ORGAN\r\n IZER:mailto:{BOSS}",
        f"Organizer ;CN=Boss:mailto:{BOSS}",
        "ORGANIZER;CN=Boss:mail\r\n to:bo\r\n\tss@shop\n .example",
        f"ORGANIZER;CN=a\u2028b:mailto:{BOSS}",
        f"ORGANIZER;CN=a\vb\x85c:mailto:{BOSS}",
        f"ORGANIZER;CN=a\rb:mailto:{BOSS}",
        f"ORGANIZER;X-A=b\r\rX-B:mailto:{BOSS}",
        f"X-A:b\rORGANIZER:mailto:{BOSS}",
        f"X-A:b\u2028ORGANIZER:mailto:{BOSS}",
        f"X-A:b\r\n\r\n ORGANIZER:mailto:{BOSS}",
        f"ORGANIZER;CN=Boss:mailto:Boss <{BOSS}>",
        'ORGANIZER;CN=Boss:mailto:"a b"@shop.example',
        f"ORGANIZER;CN=Boss:mailto:{ALIAS},{BOSS}",
        f"ORGANIZER;CN=Boss:mailto%3A{BOSS}",
        f'ORGANIZER;EMAIL="mailto:{BOSS}":/x/',
        f'ORGANIZER;SENT-BY="{BOSS}":/x/',
        f"ORGANIZER;X-EMAIL={BOSS}:/x/",
        f'ORGANIZER;CN="a\\":mailto:{BOSS};X="b":mailto:{ALIAS}',
        "ORGANIZER;ENCODING=QUOTED-PRINTABLE:mailto:boss=40shop.example",
        "ORGANIZER;ENCODING=BASE64:" + base64.b64encode(f"mailto:{BOSS}".encode()).decode(),
        f"ATTENDEE;ROLE=ORGANIZER:mailto:{BOSS}",
    ],
)  # fmt: skip
def test_however_a_line_is_written_no_program_reads_the_organizers_own_address(line: str) -> None:
    got = body(HEAD + CALENDAR + ics(line))
    views = [
        got.decode(),
        *(re.sub(p, "", got.decode()) for p in (r"\r?\n[ \t]", r"(?:\r*\n)+[ \t]", r"\s+")),
    ]
    for view in views:
        for end in (r"\n", r"\r\n|\r|\n", r"\r|\n|[\v\f\x1c-\x1e\x85\u2028\u2029]"):
            live = [
                x for x in re.split(end, view) if re.match(r"(?i)(?:[\w-]+\.)*ORGANIZER|ATTENDEE;ROLE", x)
            ]
            assert not [each for each in live if "shop.example" in each or "=40shop" in each]
    assert b"Ym9zc0BzaG9w" not in got
    assert b"bWFpbHRvOmJvc3" not in got


def test_an_organizer_that_is_written_unreadably_becomes_the_author() -> None:
    got = body(HEAD + CALENDAR + ics(f"ORGANIZER;CN=Boss:mailto:Boss <{BOSS}>"))
    assert got.decode() == ics("ORGANIZER;CN=Boss:mailto:r0@sort.example", asked=TURNED)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_line_ends_stay_what_they_were(end: str) -> None:
    wanted = ics(f"ORGANIZER;CN=Boss:mailto:{REVERSE}", end, TURNED)
    assert body(HEAD + CALENDAR + ics(end=end)).decode() == wanted


def test_a_byte_order_mark_and_mixed_line_ends_stay() -> None:
    text = "\ufeff" + ics().replace("UID:1\r\n", "UID:1\nX-A:a\r\rb\r\nSUMMARY:a\u2028b\n")
    wanted = text.replace(BOSS, REVERSE).replace(ASKED, TURNED)
    assert body(HEAD + CALENDAR + text).decode() == wanted


FOLDS = ("\r\n ", "\r\n\t", "\n ", "\n\t", "\r ", "\r\r\n ", "\r\n \r\n ")


@given(
    st.sampled_from(["ORGANIZER", "Organizer", "x.ORGANIZER", "ORGANIZER;CN=Boss", 'ORGANIZER;CN="a:b;c"']),
    st.sampled_from(["mailto:", "MAILTO:", ""]),
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from(FOLDS)), max_size=8),
    st.sampled_from(["\r\n", "\n"]),
)
@example("ORGANIZER", "mailto:", [(5, "\r\n ")], "\r\n")
@example("ORGANIZER", "mailto:", [(9, "\r\n "), (12, "\n\t"), (20, "\r ")], "\r\n")
def test_however_an_invitation_is_folded_the_organizer_that_is_read_is_the_reverse_alias(
    name: str, scheme: str, folds: list[tuple[int, str]], end: str
) -> None:
    line = f"{name}:{scheme}{BOSS}"
    cuts = {at: fold for at, fold in folds if at < len(line)}
    at = [0, *sorted(cuts), len(line)]
    folded = "".join(cuts.get(start, "") + line[start:stop] for start, stop in pairwise(at))
    got = body(HEAD + CALENDAR + ics(folded, end))
    assert organizer(got).lower() == f"{scheme}{REVERSE}".lower()
    assert MAILBOX.normal in re.sub(rb"\r?\n[ \t]", b"", got).decode()


@given(st.text(st.sampled_from('\r\n\t \v\u2028:;="@.,x'), max_size=40), st.booleans())
def test_whatever_stands_around_an_organizer_a_reader_finds_none_of_the_vendors(
    odd: str, after: bool
) -> None:
    line = f"ORGANIZER:mailto:{BOSS}"
    cut = len(odd) % len(line)
    folded = odd + line if not after else line[:cut] + odd + line[cut:]
    got = body(HEAD + CALENDAR + ics("X-A:b\r\n" + folded)).decode()
    for unfolded in (re.sub(r"\r?\n[ \t]", "", got), re.sub(r"(?:\r\n|\r|\n)[ \t]", "", got)):
        for end in (r"\r?\n", r"\r\n|\r|\n"):
            for each in re.split(end, unfolded):
                assert not re.match(rf"(?i)ORGANIZER[;:].*mailto:{BOSS}\Z", each)


# ---- which part, in which octets ------------------------------------------------------------------------

OCTETS = "Content-Type: application/octet-stream"
PLAIN_TEXT = "Content-Type: text/plain"
HIDDEN = {
    "a type in capitals": "Content-Type: TEXT/CALENDAR",
    "a type with comments": "Content-Type: text/calendar (an (event)); charset=utf-8",
    "a type with a comment inside": "Content-Type: text/ (x) calendar",
    "application/ics": "Content-Type: application/ics",
    "text/x-vcalendar": "Content-Type: text/x-vcalendar",
    "application/calendar": "Content-Type: application/calendar",
    "a name": f"{PLAIN_TEXT}; name=invite.ics",
    ".ical": f"{PLAIN_TEXT}; name=invite.ical",
    ".vcs": f"{PLAIN_TEXT}; name=invite.VCS",
    ".ifb": f"{PLAIN_TEXT}; name=invite.ifb",
    "a name that ends in a point": f'{PLAIN_TEXT}; name="invite.ics. "',
    "an escaped name": f'{PLAIN_TEXT}; name="invite.i\\c\\s"',
    "one name of two": f"{PLAIN_TEXT}; name=invite.ics\r\nContent-Disposition: attachment; filename=x.bin",
    "RFC 2231": f"{PLAIN_TEXT}\r\nContent-Disposition: attachment; filename*=utf-8''invite.%69cs",
    "RFC 2231 in two": f"{PLAIN_TEXT}\r\nContent-Disposition: inline; filename*0=inv.i; filename*1=cs",
    "RFC 2231 beside a plain one": f"{PLAIN_TEXT}; name=x.bin; name*=utf-8''invite%2Eics",
    "RFC 2047": f'{PLAIN_TEXT}; name="=?utf-8?b?aW52aXRlLmljcw==?="',
    "RFC 2047 in two": f'{PLAIN_TEXT}; name="=?utf-8?q?invite=2E?= =?utf-8?q?ics?="',
    "what it begins with": OCTETS,
}


@pytest.mark.parametrize("encoding", ["", "base64", "quoted-printable"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("head", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_calendar_is_found_by_whatever_a_client_finds_it(head: str, large: bool, encoding: str) -> None:
    coded = {
        "": ics(),
        "base64": base64.encodebytes(ics().encode()).decode(),
        "quoted-printable": quopri.encodestring(ics().encode()).decode(),
    }[encoding]
    text = "Content-Type: text/plain\r\n\r\n" + "hello\r\n" * (10_000 if large else 1)
    raw = mixed(text, f"{head}\r\nContent-Transfer-Encoding: {encoding or '8bit'}\r\n\r\n{coded}")
    found = [content for content in read(rewritten(raw)) if b"VCALENDAR" in content]
    assert [organizer(each) for each in found] == [f"mailto:{REVERSE}"]
    assert str(MAILBOX).encode() in found[0]


def test_a_calendar_that_is_the_whole_message_is_found_by_its_name_and_by_what_it_begins_with() -> None:
    for head in HIDDEN.values():
        assert organizer(body(f"{HEAD}{head}\r\n\r\n{ics()}")) == f"mailto:{REVERSE}", head


LABELS = ["x-utf-8", "utf-7", "utf-16", "utf-32", "hz", "iso-2022-jp", "ibm037", "no such", "us-ascii"]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    "more", ["", "SUMMARY:\xff\r\n", "SUMMARY:+A\u00e9\r\n", "SUMMARY:+AOk- ~{VPND~}\r\n"]
)
def test_an_invitation_in_ascii_is_turned_whatever_charset_it_claims(label: str, more: str) -> None:
    text = ics().replace("UID:1\r\n", f"UID:1\r\n{more}").encode("latin-1")
    head = f"{HEAD}Content-Type: text/calendar; charset={label}; method=REQUEST\r\n\r\n"
    got = body(head.encode() + text)
    assert got == text.replace(BOSS.encode(), REVERSE.encode()).replace(ASKED.encode(), TURNED.encode())


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"])
@pytest.mark.parametrize("label", ["", "utf-8", "utf-16", "utf-7"])
@pytest.mark.parametrize("tail", [b"", b"\n"])
def test_an_invitation_in_another_charset_is_turned_whatever_it_claims(
    charset: str, label: str, tail: bytes
) -> None:
    octets = ics().encode(charset) + tail
    named = label or charset
    if charset == "utf-7":
        octets, named = ics().replace("@", "+AEA-").encode() + tail, "utf-7"
    head = f"{HEAD}Content-Type: text/calendar; charset={named}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    (got,) = read(rewritten(head.encode() + base64.encodebytes(octets)))
    assert organizer(got[: len(got) - len(tail)], charset) == f"mailto:{REVERSE}"


def test_a_charset_that_is_not_known_here_is_named_utf_8_so_that_nobody_reads_another_text() -> None:
    octets = ics().encode("cp037")
    head = (
        f'{HEAD}Content-Type: text/calendar; charset="ibm037";\r\n\tmethod=REQUEST; charset=ebcdic\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    got = rewritten(head.encode() + base64.encodebytes(octets))
    assert email.message_from_bytes(got).get_content_charset() == "utf-8"
    assert b"ibm037" not in got
    assert b"ebcdic" not in got
    assert b"method=REQUEST" in got
    assert email.message_from_bytes(got).get_payload(decode=True) == octets


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: b.replace("\r\n", "\r\n!-_\r\n", 1),
        lambda b: b[:40] + "=" + b[40:],
        lambda b: b.rstrip("=\r\n"),
        lambda b: b + "\r\n-- \r\nsent by a list\r\n",
    ],
    ids=["foreign characters", "padding inside", "no padding", "a footer"],
)
@pytest.mark.parametrize("text", [ics(), ics("X-A:b", asked="X-B:c")], ids=["one is turned", "none is"])
def test_broken_base64_is_written_anew_so_that_all_decode_the_same(
    spoil: Callable[[str], str], text: str
) -> None:
    broken = spoil(base64.encodebytes(text.encode()).decode().replace("\n", "\r\n"))
    got = rewritten(f"{HEAD}Content-Transfer-Encoding: base64\r\n{CALENDAR}{broken}")
    octets = got.partition(b"\r\n\r\n")[2]
    assert BOSS.encode() not in base64.b64decode(octets, validate=False)
    base64.b64decode(octets.replace(b"\r\n", b""), validate=True)


def test_broken_quoted_printable_is_written_anew_so_that_all_decode_the_same() -> None:
    text = ics("X-A:= \r\nORGANIZER:mailto:direct@shop.example")
    got = rewritten(f"{HEAD}Content-Transfer-Encoding: quoted-printable\r\n{CALENDAR}{text}")
    octets = got.partition(b"\r\n\r\n")[2]
    assert b"\r\nORGANIZER" not in octets
    assert b"\r\nORGANIZER" not in quopri.decodestring(octets)


@pytest.mark.parametrize("encoding", ["x-uuencode", "base-64", '"base64"', "(x) BASE64"])
def test_an_odd_transfer_encoding_is_replaced_by_one_that_everybody_knows(encoding: str) -> None:
    coded = base64.encodebytes(ics().encode()).decode()
    if encoding == "x-uuencode":
        octets = ics().encode()
        lines = [binascii.b2a_uu(octets[at : at + 45]).decode() for at in range(0, len(octets), 45)]
        coded = "begin 644 invite.ics\r\n" + "".join(lines) + "`\r\nend\r\n"
    got = rewritten(f"{HEAD}Content-Transfer-Encoding: {encoding}\r\n{CALENDAR}{coded}")
    (content,) = read(got)
    assert email.message_from_bytes(got)["Content-Transfer-Encoding"] == "base64"
    assert BOSS.encode() not in content


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: text/plain\r\nContent-Type: text/calendar\r\n",
        "Content-Type: text/calendar\r\nContent-Type: text/plain\r\n",
        'Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary="c"\r\n',
        "Content-Type: text/calendar\r\nContent-Transfer-Encoding: 7bit\r\n"
        "Content-Transfer-Encoding: base64\r\n",
    ],
)
def test_of_a_field_that_stands_twice_only_the_first_is_left_to_be_read(fields: str) -> None:
    name = fields.splitlines()[-1].partition(":")[0]
    got = rewritten(mixed("\r\nhi", f"{fields}\r\n{ics()}"))
    part = next(each for each in parts(got) if each.get_all(name) and not each.is_multipart())
    assert len(part.get_all(name, [])) == 1
    assert part.get_content_type() == "text/plain" or BOSS.encode() not in got


def test_fields_that_stand_twice_stay_where_no_calendar_is_spoken_of() -> None:
    twice = "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n"
    raw = mixed("\r\nhi", twice + "x" * 40_000)
    assert body(raw) == raw.encode().partition(b"\r\n\r\n")[2]


# ---- the tree -----------------------------------------------------------------------------------------


def nested(inner: str, depth: int) -> str:
    for n in range(depth):
        inner = f'Content-Type: multipart/mixed; boundary="d{n}x"\r\n\r\n--d{n}x\r\n{inner}\r\n--d{n}x--\r\n'
    return inner


PLAIN = "Content-Type: text/plain\r\n\r\nx"
TREES = {
    "201 parts": mixed(CALENDAR + ics(), *[PLAIN] * 201),
    "1,500 parts": mixed(*[PLAIN] * 1_500, CALENDAR + ics()),
    "22 deep": mixed(nested(CALENDAR + ics(), 22)),
    "beside 22 deep": mixed(CALENDAR + ics(), nested(PLAIN, 22)),
    "90 deep": mixed(nested(CALENDAR + ics(), 90)),
    "alternative": mixed(
        'Content-Type: multipart/alternative; boundary="a"\r\n\r\n'
        f"--a\r\n{PLAIN}\r\n--a\r\n{CALENDAR}{ics()}\r\n--a--"
    ),
    "message/rfc822": mixed(f"Content-Type: message/rfc822\r\n\r\nSubject: y\r\n{CALENDAR}{ics()}"),
    "message/rfc822 in base64": mixed(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(f"Subject: y\r\n{CALENDAR}{ics()}".encode()).decode()
    ),
}


@pytest.mark.parametrize("raw", TREES.values(), ids=TREES.keys())
def test_wherever_in_the_tree_an_invitation_stands_it_is_turned(raw: str) -> None:
    found = [content for content in read(rewritten(raw)) if content.lstrip().startswith(b"BEGIN:VCALENDAR")]
    assert [organizer(each) for each in found] == [f"mailto:{REVERSE}"]
    assert all(str(MAILBOX).encode() in each for each in found)


@pytest.mark.parametrize("raw", [TREES["201 parts"], TREES["90 deep"]], ids=["parts", "deep"])
def test_all_but_the_invitations_lines_stays_octet_for_octet_in_a_large_tree(raw: str) -> None:
    wanted = raw.replace(BOSS, REVERSE).replace(ASKED, TURNED)
    assert body(raw) == wanted.encode().partition(b"\r\n\r\n")[2]


def _in_base64(inner: str, times: int) -> str:
    for _ in range(times):
        coded = base64.encodebytes(inner.encode()).decode()
        inner = f"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n{coded}"
    return inner


@pytest.mark.parametrize(
    "raw",
    [
        mixed(CALENDAR + ics(), *[PLAIN] * 2_100),
        mixed(nested(CALENDAR + ics(), 105)),
        mixed(_in_base64(CALENDAR + ics(), 7)),
    ],
    ids=["2,100 parts", "105 deep", "seven messages in base64"],
)
def test_where_the_parts_are_more_than_anybody_counts_no_calendar_is_left_to_open(raw: str) -> None:
    got = rewritten(raw)
    assert "text/calendar" not in [part.get_content_type() for part in parts(got)]
    assert not [content for content in read(got) if content.startswith(b"BEGIN:VCALENDAR")]


# ---- what it costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unit",
    [
        "\r\n", "\r", "\n\r", "\r\n ", "\u2028", "ORGANIZER ", "x.", "ORGAN\r\n IZER", ";ROLE=", '"',
        "ORGANIZER:@\r\n", "\r\nORGANIZER:mailto:b@x.example", ";ENCODING=", "METHOD;", " ",
        "\r\n\r\n ORGANIZER:a@b.example",
    ],
)  # fmt: skip
def test_a_large_calendar_is_looked_through_in_linear_time(unit: str) -> None:
    def took(size: int) -> float:
        text = "BEGIN:VCALENDAR\r\nX-A:b\u2028" + unit * (size // len(unit)) + "\u2028ORGANIZER:b\r\n"
        message = Message.parse((HEAD + CALENDAR + text).encode())
        best = 1e9
        for _ in range(2):
            start = time.process_time()
            list(invitation.organizers(message))
            invitation.rewritten(message, lambda name, address: ALIAS, ALIAS)
            best = min(best, time.process_time() - start)
        return best

    took(1 << 12)
    small, large = took(1 << 15), took(1 << 18)
    assert large < 8 * small * 4 + 0.2


@pytest.mark.parametrize("text", ["hello", "see you in the calendar", "x" * 40_000])
def test_a_message_without_a_calendar_is_left_as_it_is(text: str) -> None:
    message = Message.parse(mixed(PLAIN, PLAIN + text).encode())
    assert invitation.rewritten(message, lambda name, address: ALIAS, ALIAS) is message
