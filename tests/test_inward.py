"""What the person gets: the named fields rewritten, everything else octet for octet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import inward
from sortingoffice.core.inward import InwardFacts
from sortingoffice.core.model import FromForm
from sortingoffice.mail import headers
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.message import Field, Message

ALIAS = Address("lunar.otter4821", "sort.example")
MAILBOX = Address("anna", "home.example")
NAMED = frozenset(
    "from reply-to sender disposition-notification-to return-receipt-to mail-followup-to mail-reply-to "
    "x-confirm-reading-to to cc list-post list-unsubscribe "
    "list-subscribe list-help list-owner in-reply-to references message-id".split()
)


def rewritten(raw: bytes, *, inside: dict[str, str] | None = None, message_id: str = "") -> Message:
    message = Message.parse(raw)
    own = frozenset({ALIAS.normal, MAILBOX.normal})
    reverse = {
        each.address.normal: Address(f"r{number}", "sort.example")
        for number, each in enumerate(inward.people(message, own))
    }
    return inward.rewrite(
        message, InwardFacts(reverse, own, ALIAS, MAILBOX, inside=inside or {}, message_id=message_id)
    )


def value(message: Message, name: str) -> str:
    found = message.value(name)
    return "" if found is None else found.decode()


@pytest.mark.parametrize(
    "name", ["From", "Reply-To", "Sender", "Disposition-Notification-To", "Mail-Followup-To"]
)
def test_every_address_that_a_client_answers_to_becomes_a_reverse_alias(name: str) -> None:
    got = rewritten(f'{name}: "Lamp Shop" <orders@lampshop.example>\r\n\r\nx'.encode())
    assert value(got, name) == '"Lamp Shop - orders at lampshop.example" <r0@sort.example>'


def test_a_field_that_was_absent_stays_absent() -> None:
    got = rewritten(b"From: a@x.example\r\n\r\nx")
    assert [field.name for field in got.fields] == [b"From"]


def test_the_alias_stays_as_the_vendor_wrote_it_and_everybody_else_is_reversed() -> None:
    raw = (
        b"From: a@x.example\r\n"
        b"To: Anna <Lunar.Otter4821@SORT.example>,  Bob <bob@other.example>\r\n"
        b"Cc: anna@home.example, carol@x.example\r\n\r\nx"
    )
    got = rewritten(raw)
    assert b"To: Anna <Lunar.Otter4821@SORT.example>,  " in got.header
    assert b"bob@other.example" not in got.header
    assert b"<r1@sort.example>" in got.header
    assert value(got, "Cc").startswith("anna@home.example, ")
    assert b"carol@x.example" not in got.header


def test_what_a_client_might_read_as_an_address_leaves_to() -> None:
    got = rewritten(b"From: a@x.example\r\nTo: lunar.otter4821@sort.example, bad@@x.example\r\n\r\nx")
    assert value(got, "To") == "lunar.otter4821@sort.example"
    assert value(got, "X-Omitted-Recipients") == "1"


@pytest.mark.parametrize("name", ["To", "Cc"])
@pytest.mark.parametrize(
    "disguised",
    [
        "=?utf-8?q?spy=40evil=2Eexample?=",
        "=?utf-8?b?c3B5QGV2aWwuZXhhbXBsZQ==?=",
        "=?utf-8?q?Bob_=3Cspy=40evil=2Eexample=3E?=",
        "spy＠evil.example",
        "(spy@evil.example)",
        "=?utf-8?q?spy=40evil=2Eexample?=:",
        "=?utf-8?q?spy=40evil=2Eexample?= ;",
    ],
)
@pytest.mark.parametrize("order", ["{0}, {1}", "{1}, {0}", "{1},\r\n {0}, Bob <bob@other.example>"])
def test_an_address_that_only_some_programs_read_leaves_to_and_cc(
    name: str, disguised: str, order: str
) -> None:
    listed = order.format(ALIAS, disguised)
    got = rewritten(f"From: a@x.example\r\n{name}: {listed}\r\nSubject: x\r\n\r\nx".encode())
    shown = headers.decode(got.value(name) or b"")
    assert "evil" not in shown
    assert str(ALIAS) in shown
    assert ("@sort.example>" in shown) is ("Bob <" in listed)
    assert value(got, "X-Omitted-Recipients") == "1"
    assert value(got, "Subject") == "x"


def test_a_comment_that_is_never_closed_hides_no_address_from_us() -> None:
    got = rewritten(f"From: a@x.example\r\nTo: {ALIAS}, (spy@evil.example, x\r\n\r\nx".encode())
    assert value(got, "To") == str(ALIAS)


@pytest.mark.parametrize(
    "listed", ["{0} (Anna)", "Friends of lamps: {0};", "=?utf-8?q?B=C3=BCro?= <{0}>", "nobody,\t{0},,"]
)
def test_what_nobody_reads_as_another_address_stays_octet_for_octet(listed: str) -> None:
    line = b"To: " + listed.format(ALIAS).encode() + b"\r\n"
    assert line in rewritten(b"From: a@x.example\r\n" + line + b"\r\nx").header


@pytest.mark.parametrize(
    "people",
    [
        b"<lunar.otter4821@sort.example> bob@other.example",
        b"<lunar.otter4821@sort.example> Bob <bob@other.example>",
        b'<lunar.otter4821@sort.example> (x) "Bob" <bob@other.example> carol@other.example',
        b"lunar.otter4821@sort.example, " + b", ".join(b"p%d@other.example" % n for n in range(1200)),
        b"Team: " + b",".join(b"p%d@other.example" % n for n in range(600)) + b";",
        b"lunar.otter4821@sort.example, Bob <bob@oth(er.example>",
        b"bob@other.example:;, lunar.otter4821@sort.example",
        b"Bob <bob@other.example> : lunar.otter4821@sort.example;",
    ],
    ids=[
        *("no comma", "no comma and a name", "two without a comma", "1,200", "a group of 600"),
        *("open comment", "a group's name", "a bracket in a group's name"),
    ],
)
def test_nobody_elses_address_is_left_in_to_and_the_next_field_is_what_it_was(people: bytes) -> None:
    got = rewritten(b"From: a@x.example\r\nTo: " + people + b"\r\nX-Next: 1\r\n\r\nx")
    assert b"@oth" not in got.header
    assert [field.name for field in got.fields][:3] == [b"From", b"To", b"X-Next"]
    assert Message.parse(bytes(got)) == got


@pytest.mark.parametrize("odd", [b"no field at all", b"X-Gr\xc3\xbc\xc3\x9fe: 1", b"X Space: y", b": 1"])
@pytest.mark.parametrize(
    "name", [b"Reply-To", b"reply-to ", b"Cc", b"From", b"List-Post", b"Authentication-Results"]
)
def test_what_only_a_kinder_reader_would_answer_to_or_believe_is_body_for_every_reader(
    odd: bytes, name: bytes
) -> None:
    head, below = b"From: a@x.example\r\n", odd + b"\r\n" + name + b": <mailto:b@y.example>\r\n\r\nx\r\n"
    assert bytes(rewritten(head + below)).endswith(b"\r\n\r\n" + below)


def test_an_odd_line_that_hides_nothing_stays_where_it_stands() -> None:
    raw = b"From: a@x.example\r\nno field at all\r\nX-Other: 1\r\n\r\nReply-To: b@y.example\r\n"
    assert bytes(rewritten(raw)).endswith(raw.partition(b"\r\n")[2])


def test_at_most_fifty_people_stay_and_the_rest_are_counted() -> None:
    people = ", ".join(f"p{n}@x.example" for n in range(60))
    got = rewritten(f"From: a@x.example\r\nTo: {people}, {ALIAS}\r\n\r\nx".encode())
    assert len(headers.addresses(got.first("To").value)) == 51  # type: ignore[union-attr]
    assert value(got, "X-Omitted-Recipients") == "10"
    assert str(ALIAS) in value(got, "To")


def test_a_thousand_addresses_to_answer_to_cost_no_more_than_fifty_reverse_aliases() -> None:
    """Each is made while all others wait for the writer: 3,000 took six seconds."""
    raw = (
        b"From: a@x.example\r\nTo: b@x.example\r\n"
        + b"".join(
            b"Reply-To: " + b", ".join(b"p%d.%d@x.example" % (f, n) for n in range(250)) + b"\r\n"
            for f in (0, 1)
        )
        + b"List-Unsubscribe: "
        + b", ".join(b"<mailto:u%d@x.example>" % n for n in range(250))
        + b"\r\nContent-Type: text/calendar\r\n\r\n"
        + b"".join(b"ORGANIZER:mailto:o%d@x.example\r\n" % n for n in range(250))
    )
    people = inward.people(Message.parse(raw), frozenset())
    assert (len(people), people[0].address.local, people[-1].address.local) == (51, "a", "b")
    got = rewritten(raw)
    assert len(headers.addresses(got.first("Reply-To").value)) == 49  # type: ignore[union-attr]
    assert value(got, "X-Omitted-Recipients") == "451"
    assert b"@x.example" not in bytes(got), "where one can't leave, the author's reverse alias stands"
    assert value(got, "List-Unsubscribe").count("mailto:r0@sort.example") == 250
    assert got.body.count(b"ORGANIZER:mailto:r0@sort.example\r\n") == 250


@pytest.mark.parametrize("name", ["List-Post", "List-Subscribe", "List-Help", "List-Owner"])
def test_whatever_a_list_offers_by_mail_leads_to_a_reverse_alias(name: str) -> None:
    got = rewritten(f"{name}: <https://x.example/>, <mailto:desk@x.example?subject=hi>\r\n\r\nx".encode())
    assert value(got, name) == "<https://x.example/>, <mailto:r0@sort.example?subject=hi>"


def test_mailto_leads_to_the_reverse_alias_and_https_stays() -> None:
    raw = (
        b"From: a@x.example\r\n"
        b"List-Unsubscribe: <https://x.example/u?id=1>,\r\n <mailto:leave%40x@x.example?subject=off>, "
        b"<mailto:leave@x.example?subject=off>\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nx"
    )
    got = rewritten(raw)
    assert "<https://x.example/u?id=1>" in value(got, "List-Unsubscribe")
    assert "mailto:r1@sort.example?subject=off" in value(got, "List-Unsubscribe")
    assert "mailto:leave@x.example" not in value(got, "List-Unsubscribe")
    assert value(got, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"


def test_references_to_our_ids_become_the_persons_own() -> None:
    got = rewritten(
        b"From: a@x.example\r\nReferences: <q@x.example>\r\n <o1@sort.example>\r\n"
        b"In-Reply-To: <o1@sort.example>\r\n\r\nx",
        inside={"<o1@sort.example>": "<mine@home.example>"},
    )
    assert headers.message_ids(got.first("References").value) == ("<q@x.example>", "<mine@home.example>")  # type: ignore[union-attr]
    assert value(got, "In-Reply-To") == "<mine@home.example>"


def test_a_message_id_is_kept_unless_it_is_mapped() -> None:
    raw = b"From: a@x.example\r\nMessage-ID: <1@x.example>\r\n\r\nx"
    assert b"Message-ID: <1@x.example>\r\n" in rewritten(raw).header
    assert value(rewritten(raw, message_id="<2@sort.example>"), "Message-ID") == "<2@sort.example>"


def test_an_invitation_asks_the_mailbox_and_answers_through_the_reverse_alias() -> None:
    raw = (
        b"From: Shop <a@x.example>\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\norganizer:boss@x.example\r\n"
        b'--b\r\nContent-Type: text/calendar; method=REQUEST; charset="utf-8"\r\n\r\n'
        b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n"
        b"ORGANIZER;CN=Boss:mailto:boss@x.exa\r\n mple\r\n"
        b"ATTENDEE;RSVP=TRUE:mailto:lunar.otter4821@sort.example\r\n"
        b"ATTENDEE:mailto:bob@other.example\r\nSUMMARY:write to boss@x.example\r\n"
        b"END:VEVENT\r\nEND:VCALENDAR\r\n--b--\r\n"
    )
    body = rewritten(raw).body
    assert b"ORGANIZER;CN=Boss:mailto:r1@sort.example\r\n" in body
    assert b"ATTENDEE;RSVP=TRUE:mailto:anna@home.example\r\n" in body
    assert b"SUMMARY:write to boss@x.example\r\n" in body
    assert b"\r\norganizer:boss@x.example\r\n" in body


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("ORGANIZER:boss@x.example", "ORGANIZER:r1@sort.example"),
        ("ORGANIZER:mailto:boss%40x.example", "ORGANIZER:mailto:r1@sort.example"),
        ("ORGANIZER;CN=B:MAILTO: <boss@x.example>", "ORGANIZER;CN=B:MAILTO: <r1@sort.example>"),
        ("ORGANIZER;EMAIL=boss@x.example:/aMTA/", "ORGANIZER;EMAIL=r1@sort.example:/aMTA/"),
        (
            'ORGANIZER;SENT-BY="mailto:boss@x.example":mailto:boss@x.example',
            'ORGANIZER;SENT-BY="mailto:r1@sort.example":mailto:r1@sort.example',
        ),
        ("ORGANIZER;CN=\"B:mailto:boss@x.example", "ORGANIZER;CN=\"B:mailto:r1@sort.example"),
        ("ATTENDEE;EMAIL=Lunar-Otter4821@sort.example:/b/", "ATTENDEE;EMAIL=anna@home.example:/b/"),
        ("ATTENDEE;DIR=\"CID:a@x.example\":mailto:bob@other.example",) * 2,
        ("ORGANIZER:invalid:nomail",) * 2,
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "kind", ["text/calendar", "application/ics", 'application/octet-stream; name="Invite.ICS"']
)
def test_whatever_a_client_answers_to_in_an_invitation_is_turned(kind: str, line: str, wanted: str) -> None:
    calendar = f"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n{line}\r\nEND:VCALENDAR\r\n"
    head = f"From: Shop <a@x.example>\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n"
    assert rewritten((head + calendar).encode()).body.decode() == calendar.replace(line, wanted)


def test_a_published_calendar_that_is_attached_arrives_octet_for_octet() -> None:
    raw = (
        b"From: Shop <a@x.example>\r\nContent-Type: application/ics\r\n\r\nBEGIN:VCALENDAR\r\n"
        b"METHOD:PUBLISH\r\nORGANIZER:mailto:boss@x.example\r\nEND:VCALENDAR\r\n"
    )
    assert rewritten(raw).body == Message.parse(raw).body


_FIELD = st.builds(
    lambda name, text: f"{name}: {text}\r\n".encode(),
    st.sampled_from(
        [
            "From",
            "To",
            "Cc",
            "Reply-To",
            "Subject",
            "X-Odd",
            "References",
            "List-Id",
            "Received",
            "Message-ID",
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=80),
)


@given(st.lists(_FIELD, max_size=8), st.binary(max_size=200))
def test_every_field_that_the_table_does_not_name_and_the_body_are_equal_octet_for_octet(
    fields: list[bytes], body: bytes
) -> None:
    raw = b"".join(fields) + b"\r\n" + body
    before, after = Message.parse(raw), rewritten(raw)

    def untouched(message: Message) -> list[Field]:
        return [
            each
            for each in message.fields
            if each.name.decode("latin-1").lower() not in NAMED | {"x-omitted-recipients"}
        ]

    assert untouched(before) == untouched(after)
    assert before.body == after.body


_LISTED = st.lists(
    st.sampled_from(
        [
            "orders@lampshop.example",
            '"A, B" <x.y@other.example>',
            "=?utf-8?q?J=C3=B6rg?= <j@x.example>",
            "Group: a@g.example, b@g.example;",
            "lunar.otter4821@sort.example",
            "(comment) c@x.example (and more)",
            "broken@@x.example",
            '"unclosed <u@x.example>',
            "<@route.example:r@x.example>",
        ]
    ),
    min_size=1,
    max_size=6,
)


@given(_LISTED, st.sampled_from(["To", "Cc", "From", "Reply-To"]))
def test_no_address_of_the_vendors_side_is_left_where_a_reply_all_would_find_it(
    people: list[str], name: str
) -> None:
    got = rewritten(f"{name}: {', '.join(people)}\r\n\r\nx".encode())
    for field in got.all(name):
        for mention in headers.addresses(field.value):
            assert mention.address is None or mention.address.domain in ("sort.example", "home.example")
        for word in field.value.replace(b"<", b" ").replace(b">", b" ").split():
            found = parse(word.strip(b",;"))
            assert found is None or found.domain in ("sort.example", "home.example")


@pytest.mark.parametrize(
    ("form", "display", "wanted"),
    [
        (FromForm.NAME_AND_ADDRESS, "Lamp Shop", "Lamp Shop - orders at lampshop.example"),
        (FromForm.NAME, "Lamp Shop", "Lamp Shop"),
        (FromForm.NAME, "", "orders at lampshop.example"),
        (FromForm.NAME, "orders@lampshop.example", "orders at lampshop.example"),
        (FromForm.NAME, "Lamp <x@y.example>", "Lamp x at y.example"),
        (FromForm.ADDRESS, "Lamp Shop", "orders at lampshop.example"),
        (FromForm.NAME_AND_ADDRESS, "x" * 999, "x" * 100 + " - orders at lampshop.example"),
    ],
)
def test_a_person_chooses_how_vendors_are_named(form: FromForm, display: str, wanted: str) -> None:
    address = parse("orders@lampshop.example")
    assert address is not None
    assert inward.written_as(display, address, form) == wanted
