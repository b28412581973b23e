"""Nothing leaks, nothing is mangled: every place × disguise × encoding is rewritten, or told."""

from __future__ import annotations

import email
import email.policy
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import guard, naming, outward, secrets
from sortingoffice.core.checked import Found
from sortingoffice.core.outward import OutwardFacts
from sortingoffice.core.secrets import Secret, Secrets
from sortingoffice.core.turned import Correspondent
from sortingoffice.mail import mime
from sortingoffice.mail.address import Address
from sortingoffice.mail.message import Message
from tests import attacks, disguises, leaks, ordinary, outsiders
from tests.leaks import MAILBOX, REVERSE, SECOND
from tests.test_quoting import TEXT
from tests.test_quoting_html import HTML

ALIAS = "lunar.otter4821@sort.example"
FACTS = OutwardFacts(
    alias=Address("lunar.otter4821", "sort.example"),
    display_name="",
    contacts={naming.canonical(REVERSE): Correspondent(Address("orders", "lampshop.example"), "Lamp Shop")},
    mailboxes=frozenset({MAILBOX, SECOND}),
    message_id="<new.1@sort.example>",
    references={},
    now=datetime(2026, 11, 22, 14, 0, tzinfo=UTC),
)


def gated(raw: bytes, others: tuple[Secret, ...] = ()) -> tuple[Message, tuple[Found, ...]]:
    """The one way out: rewritten, then guarded."""
    return guard.guarded(outward.rewrite(Message.parse(raw), FACTS), FACTS, others)


MORE_PLACES = {
    "prose": leaks.TEXT_PLACES["prose"],
    "a quote": leaks.TEXT_PLACES["a quote"],
    "a CSV attachment": leaks.TEXT_PLACES["a CSV attachment"],
    "HTML prose": leaks.HTML_PLACES["HTML prose"],
}


def judged(message: Message) -> Iterator[str]:
    """What a reader that isn't ours gets to see of a message: the standard library's."""
    raw = bytes(message)
    yield raw.decode("latin-1")
    for part in email.message_from_bytes(raw, policy=email.policy.compat32).walk():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            yield payload.decode("latin-1")
            for charset in (part.get_content_charset("utf-8"), "utf-8"):
                try:
                    yield payload.decode(charset)
                except (LookupError, UnicodeError):
                    continue


def leaked(raw: bytes, planted: str) -> str:
    """ "" where the guard told, or where what was planted is gone."""
    message, found = gated(raw)
    if found:
        assert all(each.where and each.what for each in found)
        return ""
    for text in judged(message):
        for spelling in (planted, planted.replace("\n", "\r\n")):
            if spelling in text:
                return spelling
    return ""


@pytest.mark.parametrize("disguise", attacks.DISGUISES | attacks.UNICODE)
@pytest.mark.parametrize("place", MORE_PLACES)
def test_no_disguise_of_a_hostile_reader_passes(place: str, disguise: str) -> None:
    address = (attacks.DISGUISES | attacks.UNICODE)[disguise](MAILBOX)
    assert not leaked(MORE_PLACES[place](address, "utf-8", "8bit"), address)


@pytest.mark.parametrize("disguise", outsiders.DISGUISES)
def test_no_disguise_of_an_outsider_passes(disguise: str) -> None:
    _, found = gated(MORE_PLACES["prose"](outsiders.DISGUISES[disguise](MAILBOX), "utf-8", "8bit"))
    assert found


@pytest.mark.parametrize("disguise", outsiders.MARKUP)
def test_no_markup_of_an_outsider_passes(disguise: str) -> None:
    _, found = gated(MORE_PLACES["HTML prose"](outsiders.MARKUP[disguise](MAILBOX), "utf-8", "8bit"))
    assert found


@pytest.mark.parametrize("place", outsiders.PLACES)
def test_no_place_of_an_outsider_passes(place: str) -> None:
    _, found = gated(outsiders.PLACES[place](MAILBOX))
    assert found


@pytest.mark.parametrize(
    "written", ["a.private at gmail", "aprivate (at) googlemail", "A.Private at Gmail, or by phone"]
)
def test_a_provider_needs_no_ending(written: str) -> None:
    assert gated(MORE_PLACES["prose"](written, "utf-8", "8bit"))[1]


@pytest.mark.parametrize("disguise", attacks.MARKUP)
@pytest.mark.parametrize("place", ["HTML prose", "an HTML quote", "an HTML attachment"])
def test_no_markup_of_a_hostile_reader_passes(place: str, disguise: str) -> None:
    address = attacks.MARKUP[disguise](MAILBOX)
    assert not leaked(leaks.HTML_PLACES[place](address, "utf-8", "8bit"), address)


@pytest.mark.parametrize("place", attacks.REWRITTEN)
def test_what_a_program_wrote_in_a_field_is_rewritten(place: str) -> None:
    message, found = gated(attacks.REWRITTEN[place](MAILBOX))
    assert found == ()
    assert ALIAS in " ".join(judged(message))
    assert MAILBOX not in " ".join(judged(message))


@pytest.mark.parametrize("place", attacks.PLACES)
def test_no_place_of_a_hostile_reader_passes(place: str) -> None:
    _, found = gated(attacks.PLACES[place](MAILBOX))
    assert found


@pytest.mark.parametrize("disguise", [*disguises.DISGUISES, *disguises.UNICODE])
@pytest.mark.parametrize("place", leaks.TEXT_PLACES | leaks.HTML_PLACES | leaks.INSIDE_MARKUP)
def test_no_disguise_passes_a_text_place(place: str, disguise: str) -> None:
    build = (leaks.TEXT_PLACES | leaks.HTML_PLACES | leaks.INSIDE_MARKUP)[place]
    for address in (MAILBOX, SECOND):
        planted = (disguises.DISGUISES | disguises.UNICODE)[disguise](address)
        # Every place meets every disguise as it is, and in one of the other encodings by turns.
        turn = (len(place) + len(disguise)) % len(leaks.ENCODINGS)
        for charset, transfer in {leaks.ENCODINGS[0], leaks.ENCODINGS[turn]}:
            try:
                planted.encode(charset)
            except UnicodeError:
                continue
            assert not leaked(build(planted, charset, transfer), planted), (address, charset, transfer)


@pytest.mark.parametrize("disguise", disguises.MARKUP)
@pytest.mark.parametrize("place", leaks.HTML_PLACES)
def test_no_markup_hides_an_address(place: str, disguise: str) -> None:
    for address in (MAILBOX, SECOND):
        planted = disguises.MARKUP[disguise](address)
        assert not leaked(leaks.HTML_PLACES[place](planted, "utf-8", "quoted-printable"), planted)


@pytest.mark.parametrize(
    "address", [MAILBOX, SECOND, MAILBOX.upper(), "aprivate@googlemail.com", "a.p.rivate+x@gmail.com"]
)
@pytest.mark.parametrize("place", leaks.BINARY_PLACES)
def test_no_other_place_hides_an_address(place: str, address: str) -> None:
    message, found = gated(leaks.BINARY_PLACES[place](address))
    assert bool(found) is (place not in leaks.TURNED)
    if not found:
        for text in judged(message):
            assert address not in text
        assert not Secrets(secrets.addresses(FACTS.mailboxes)).hits(bytes(message).decode("latin-1"))


# Prose, code, URLs and quotes that must come through as they are, near misses among them.
UNTOUCHED = """\
Hello joanna@home.example and anna@home.example.org, and anna-b@home.example, x.anna@home.example,
anna@homes.example, anna@work.example, nna@home.example, privata@gmail.com; Anna is at home, for example.
The look at home: example. Meet me @home. See https://shop.example/u/anna?home=example&x=%20%C3%A9#a@b
def anna(home): return home @ example  # anna, home, example
a=3D b=40 c=C3 \\u0041 \\x41 \\101 &amp; &lt;b&gt; &copy=1 +AGE 100% =?utf-8?q?no?=
SGVsbG8gd29ybGQsIHRoaXMgaXMgYmFzZTY0IHRleHQgd2l0aG91dCBzZWNyZXRz
-----BEGIN PGP SIGNATURE-----
iQEzBAABCAAdFiEEq0oAAAAAAAAAAAAAAAAAAAAAAAAFAl0AAAAACgkQAAAAAAAAAAAA
-----END PGP SIGNATURE-----

On 1 Nov 2026, at 10:00, Lamp Shop wrote:
> On 31 Oct 2026 someone@else.example wrote:
>> Hello   with   blanks \t and tabs
> \u200bzero\u200bwidth \u00e9\u0301 \u202emirror\u202c
-- \nAnna
"""


@pytest.mark.parametrize(
    ("charset", "transfer"), [("utf-8", "8bit"), ("utf-8", "base64"), ("utf-8", "quoted-printable")]
)
@pytest.mark.parametrize("subtype", ["plain", "html", "x-code"])
def test_what_is_no_address_of_the_person_leaves_octet_for_octet(
    subtype: str, charset: str, transfer: str
) -> None:
    entity = leaks.text_part(subtype, UNTOUCHED, charset, transfer)
    message, found = gated(leaks.alone(entity))
    assert found == ()
    assert message.body == entity.partition(b"\r\n\r\n")[2]


def test_a_safe_rewrite_changes_its_line_and_no_other() -> None:
    planted = UNTOUCHED.replace("\n> \u200bzero", f"\n> {MAILBOX[:4]}\u200b{MAILBOX[4:]}\n> \u200bzero")
    entity = leaks.text_part("plain", planted, "utf-8", "quoted-printable")
    message, found = gated(leaks.alone(entity))
    assert found == ()
    before, after = entity.partition(b"\r\n\r\n")[2].split(b"\n"), message.body.split(b"\n")
    assert len(before) == len(after)
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [f"> {ALIAS}\r".encode()]


def test_an_unquoted_file_name_is_rewritten_within_its_line() -> None:
    named = f"Content-Disposition: attachment; filename*0={MAILBOX[:4]}; filename*1={MAILBOX[4:]}\r\n"
    message, found = gated(leaks.mixed(leaks.part("text/plain", b"x", "8bit", named)))
    assert found == ()
    assert f'; filename="{ALIAS}"\r\n\r\nx'.encode() in message.body


def test_new_prose_is_told_and_left() -> None:
    entity = leaks.text_part("plain", f"Write to {MAILBOX}.\n\n> and {MAILBOX}\n", "utf-8", "8bit")
    message, found = gated(leaks.alone(entity))
    assert [(each.where, each.what, each.safe) for each in found] == [
        ("the text", f"your address {MAILBOX}", False)
    ]
    assert message.body == f"Write to {MAILBOX}.\r\n\r\n> and {ALIAS}\r\n".encode()


TREES = st.recursive(
    st.tuples(st.sampled_from(["plain", "html", "csv"]), st.sampled_from(leaks.ENCODINGS)),
    lambda inner: st.tuples(
        st.sampled_from(["mixed", "alternative", "related", "signed", "report", "digest", "message"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


def planted_in(tree: Any, at: list[int], text: str, boundary: str) -> bytes:
    """The tree's octets with the text in the leaf whose turn it is; `at` counts the leaves down."""
    kind, inner = tree
    if isinstance(inner, tuple):
        at[0] -= 1
        words = f"Hello\n{text}\nBye\n" if at[0] == -1 else "Hello\n> quoted\n"
        return leaks.text_part(kind, words, *inner)
    if kind == "message":
        return b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n" + planted_in(
            inner[0], at, text, boundary + "m"
        )
    parts = b"".join(
        f"--{boundary}\r\n".encode() + planted_in(each, at, text, f"{boundary}{number}") + b"\r\n"
        for number, each in enumerate(inner)
    )
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'
    return head.encode() + parts + f"--{boundary}--\r\n".encode()


@given(
    TREES,
    st.integers(0, 5),
    st.sampled_from([*disguises.DISGUISES, *disguises.UNICODE]),
    st.sampled_from(["{}", "> {}", "On 1 Jan 2026 at 10:00, {} wrote:\n> x", "<a href='mailto:{}'>x</a>"]),
)
def test_no_random_tree_hides_an_address(tree: Any, leaf: int, disguise: str, around: str) -> None:
    address = (disguises.DISGUISES | disguises.UNICODE)[disguise](MAILBOX)
    try:
        raw = leaks.HEAD.encode() + planted_in(tree, [leaf], around.replace("{}", address), "=_b")
    except UnicodeError:
        return
    assert not leaked(raw, address)


@given(st.binary(max_size=500), st.binary(max_size=60))
def test_no_octets_make_the_guard_fail(raw: bytes, more: bytes) -> None:
    with suppress(mime.TooComplex):
        gated(raw + more)
        gated(b"Content-Type: text/html\r\n\r\n" + more + MAILBOX.encode() + raw)
        gated(b"Content-Type: application/pdf\r\n\r\n%PDF" + more + b"\x78\x9cPK\x03\x04LZFu" + raw)


@pytest.mark.parametrize(
    ("subtype", "client"), [*(("plain", client) for client in TEXT), *(("html", client) for client in HTML)]
)
def test_an_ordinary_reply_that_quotes_the_mailbox_passes_turned_round(subtype: str, client: str) -> None:
    if subtype == "plain":
        source = "".join(line[2:] + "\n" for line in TEXT[client].split("\n")[:-1])
        named = source.replace("orders@sort.example", REVERSE).replace("Dear Anna", f"Dear Anna ({MAILBOX})")
        entity = leaks.text_part("plain", named, "utf-8", "quoted-printable")
    else:
        source = HTML[client][0]
        named = source.replace("o@sort.example", REVERSE).replace("Dear Anna", f"Dear Anna ({MAILBOX})")
        entity = leaks.text_part("html", named, "utf-8", "quoted-printable")
    message, found = gated(leaks.alone(entity))
    assert not found
    for text in judged(message):
        assert MAILBOX not in text
        assert REVERSE not in text


def test_what_is_signed_within_the_text_is_told_and_left() -> None:
    signed = (
        "-----BEGIN PGP SIGNED MESSAGE-----\n\n> to Anna\u200b@HOME.example\n-----END PGP SIGNATURE-----\n"
    )
    message, found = gated(leaks.alone(leaks.text_part("plain", signed, "utf-8", "8bit")))
    assert [each.where for each in found] == ["the text, which is signed"]
    assert message.body.decode().replace("\r\n", "\n") == signed


HOSTILE: dict[str, bytes] = {
    "addresses": b"anna@home.example,",
    "return paths": b"home.example=anna ",
    "words": b"at dot anna home example ",
    "comments": b"<!--",
    "tags": b"<a b='",
    "attributions": b"On 1 Nov 2026, at 10:00, anna@home.example wrote:\n> x\n",
    "references": b"&#97",
    "ends of ASCII85": b"~>",
    "yEnc": b"=ybegin x\n",
    "numbers": b"97 ",
    "encoded words": b"=?utf-8?q?",
    "IMAP's UTF-7": b"&AEA",
    "bzip2": b"BZh91AY&SY",
    "compressed RTF": b"\0\1\0\0\0\0\0\0LZFu",
    "zip entries": b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(16) + b"\1\0\0\0a",
    "zlib streams": zlib.compress(b"a"),
}


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_repetition_costs_linear_time(unit: str) -> None:
    """Quadratic work would take tens of seconds; the worst of these takes a quarter of one."""
    octets = HOSTILE[unit] * (60_000 // len(HOSTILE[unit]))
    started = time.process_time()
    gated(leaks.attached("application/octet-stream", octets))
    if octets.isascii():
        gated(leaks.alone(leaks.part("text/html; charset=utf-8", octets, "8bit")))
    assert time.process_time() - started < 5


MAILBOXES = (MAILBOX, "john.smith@gmail.com", "info@beispiel.example", "me@posteo.example", "a@b-c.example")


def test_ordinary_replies_pass_untouched_whatever_the_mailbox_is_called() -> None:
    """At most one in twenty may be held; these are all let through, octet for octet."""
    held = []
    replies = ordinary.replies()
    for mailbox in MAILBOXES:
        facts = replace(FACTS, mailboxes=frozenset({mailbox}))
        for name, raw in replies.items():
            before = outward.rewrite(Message.parse(raw), facts)
            message, found = guard.guarded(before, facts)
            assert bytes(message) == bytes(before), name
            held += [(mailbox, name, each.where, each.around) for each in found]
    assert len(replies) > 80
    assert held == []
