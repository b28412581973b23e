"""Vendor → person through a running office: over real SMTP, with real DNS and signatures."""

from __future__ import annotations

import dkim as dkimpy
import pytest

from sortingoffice.cli.stage import HOME, MAILBOX, OFFICE, ORDERS, VENDOR, until
from sortingoffice.mail import keys
from sortingoffice.mail.message import Message
from tests.office import Office, addresses, written


def test_a_vendors_mail_arrives_at_the_mailbox_as_it_was_sent_but_for_the_named_fields(
    office: Office,
) -> None:
    shop = office.fresh("--site", VENDOR)
    raw = written(
        f'From: "Lamp Shop" <{ORDERS}>',
        f"To: Anna <{shop.alias}>",
        "X-Odd:   folded\r\n\tand odd",
        f"Message-ID: <i1@{VENDOR}>",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        subject="inward 1",
        body="Grüße, ".encode() + b"trailing  \r\n.dot\r\n" + b"x" * 2000 + b"\r\n",
    )
    office.from_vendor(shop.alias, raw)
    got = office.home("inward 1")
    before = Message.parse(raw)
    assert got.body == before.body
    assert addresses(got, "From") == [shop.contact()]
    assert got.value("From").startswith(b'"Lamp Shop - orders at lampshop.example"')  # type: ignore[union-attr]
    for field in before.fields:
        if field.name != b"From":
            assert field in got.fields, field.raw


def test_what_we_add_stands_on_top(office: Office) -> None:
    shop = office.fresh()
    forged = f"Authentication-Results: MX.{OFFICE}; dkim=pass header.d=bank.example"
    office.from_vendor(
        shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", forged, subject="inward 2")
    )
    received = office.arrived(office.stage.home, "inward 2")[0]
    got = Message.parse(received.octets)
    assert received.recipients == (MAILBOX,)
    assert received.sender.endswith(f"@{OFFICE}")
    assert received.sender != shop.alias
    results = [each.unfolded for each in got.all("Authentication-Results")]
    assert len(results) == 1
    assert results[0].startswith(f"mx.{OFFICE};".encode())
    assert b"dkim=pass" in results[0]
    assert b"dmarc=pass" in results[0]
    assert b"header.d=bank.example" not in results[0]
    signed = [each.unfolded for each in got.all("DKIM-Signature") if f"d={OFFICE}".encode() in each.unfolded]
    assert len(signed) == 2, "both algorithms"
    assert b"mx.sort.example" in (got.value("Received") or b"")


NAMED = (
    b"from",
    b"reply-to",
    b"sender",
    b"cc",
    b"list-unsubscribe",
    b"list-post",
    b"disposition-notification-to",
)


@pytest.mark.parametrize("form", [(b"simple", b"simple"), (b"relaxed", b"relaxed")])
def test_the_vendors_signature_verifies_again_once_the_named_fields_are_put_back(
    office: Office, form: tuple[bytes, bytes]
) -> None:
    subject = f"signed {form[0].decode()}"
    shop = office.fresh()
    pem, public = keys.generate_rsa()
    record = f"v=DKIM1; k=rsa; p={public}"
    office.stage.zone.set(f"{form[0].decode()}._domainkey.{VENDOR}", "TXT", record)
    raw = written(
        f'From: "Lamp Shop" <{ORDERS}>',
        f"Sender: sender@{VENDOR}",
        f"Reply-To: Desk <desk@{VENDOR}>",
        f"To: Anna <{shop.alias}>",
        f"Cc: Jim <jim@other.example>,\r\n  {shop.alias}",
        f"Message-ID: <{form[0].decode()}@{VENDOR}>",
        f"Disposition-Notification-To: {ORDERS}",
        f"List-Id: Offers <offers.{VENDOR}>",
        f"List-Unsubscribe: <mailto:leave@{VENDOR}?subject=x>, <https://{VENDOR}/leave>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        f"List-Post: <mailto:offers@{VENDOR}>",
        "Auto-Submitted: auto-generated",
        "X-Odd:   folded\r\n\tand odd  ",
        "MIME-Version: 1.0",
        'Content-Type: multipart/alternative; boundary="b 1"',
        subject=subject,
        body=b"preamble\r\n--b 1\r\nContent-Type: text/plain\r\n\r\nGr\xfc\xdfe,  \r\n\r\n--b 1\r\n"
        b"Content-Type: text/html\r\n\r\n<p>" + b"x" * 1200 + b"</p>\r\n--b 1--\r\n\r\nepilogue\r\n\r\n",
    )
    signed = (
        dkimpy.sign(
            raw,
            form[0],
            VENDOR.encode(),
            pem,
            canonicalize=form,
            include_headers=[each.name.lower() for each in Message.parse(raw).fields],
        )
        + raw
    )
    with office.stage.client(VENDOR) as client:
        client.sendmail(ORDERS, [shop.alias], signed)
    got = Message.parse(office.arrived(office.stage.home, subject)[0].octets)
    originals = Message.parse(signed).fields
    ours = len(got.fields) - len(originals)
    put_back = [
        before if before.name.lower() in NAMED else now
        for before, now in zip(originals, got.fields[ours:], strict=True)
    ]
    assert any(before != now for before, now in zip(originals, got.fields[ours:], strict=True))
    again = b"".join(each.raw for each in put_back) + got.separator + got.body
    assert dkimpy.verify(again, dnsfunc=lambda name, timeout=5: record.encode())
    for touched in (again + b"x", again.replace(b"X-Odd:   folded", b"X-Odd:  unfolded")):
        assert not dkimpy.verify(touched, dnsfunc=lambda name, timeout=5: record.encode())


def test_a_relationship_can_take_the_tracking_pixels_out_of_its_mail(office: Office) -> None:
    shop = office.fresh()
    page = (
        '<p>Hello <img src="https://lampshop.example/lamp.jpg"></p>'
        '<img src="https://t.example/4711" width="1" height="1">\r\n'
    )
    bodies = {}
    for wish in ("keep", "pixels", "block"):
        if wish != "keep":
            office.stage.command("set", shop.slug, "--remote-images", wish)
        raw = written(
            f"From: {ORDERS}", f"To: {shop.alias}", "Content-Type: text/html", subject=wish, body=page
        )
        office.from_vendor(shop.alias, raw)
        got = office.home(wish)
        bodies[wish] = (got.body.decode(), got.value("X-Remote-Content"))
    assert bodies == {
        "keep": (page, None),
        "pixels": (
            page.replace("https://t.example/4711", "data:,"),
            b"2 remote, 1 of them tracking pixels",
        ),
        "block": (
            page.replace("https://t.example/4711", "data:,").replace(
                "https://lampshop.example/lamp.jpg", "data:,"
            ),
            b"2 remote, 1 of them tracking pixels",
        ),
    }
    assert office.stage.json("show", shop.slug)["pixels"] == 2
    assert "1 of them tracking pixels" in office.stage.command("log", shop.slug)


def test_vendors_are_named_in_the_form_that_the_person_chose_and_a_reply_names_them_right(
    office: Office,
) -> None:
    shop = office.fresh()
    office.stage.command("admin", "account", "set", "--from-form", "name")
    office.from_vendor(
        shop.alias, written(f'From: "Lamp Shop" <{ORDERS}>', f"To: {shop.alias}", subject="named")
    )
    got = office.home("named")
    reverse = shop.contact()
    assert got.value("From") == f"Lamp Shop <{reverse}>".encode()
    office.stage.command("admin", "account", "set", "--from-form", "name-and-address")
    reply = f'On Sunday, "Lamp Shop" <{reverse}> wrote:\r\n> hello\r\n'
    office.from_home(
        reverse,
        written(f"From: {MAILBOX}", f"To: {reverse}", subject="Re: named", body=f"yes\r\n\r\n{reply}"),
    )
    assert f'"Lamp Shop" <{ORDERS}> wrote:'.encode() in office.vendor("Re: named").body


def test_the_first_proof_binds_a_relationship_to_its_vendor(office: Office) -> None:
    shop = office.fresh()
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="inward 3"))
    office.home("inward 3")
    assert office.stage.json("show", shop.slug)["bindings"] == [VENDOR]


def test_each_recipient_gets_a_copy_of_its_own(office: Office) -> None:
    one, two = office.fresh(), office.fresh()
    raw = written(
        f"From: {ORDERS}", f"To: {one.alias}, {two.alias}", f"Message-ID: <i4@{VENDOR}>", subject="inward 4"
    )
    office.from_vendor([one.alias, two.alias], raw)
    copies = [Message.parse(each.octets) for each in office.arrived(office.stage.home, "inward 4", 2)]
    assert len({addresses(each, "From")[0] for each in copies}) == 2
    ids = [each.value("Message-ID") for each in copies]
    assert len(set(ids)) == 2, "Gmail would drop the second copy with one id"
    assert f"<i4@{VENDOR}>".encode() in ids


def test_the_same_message_sent_again_is_delivered_once(office: Office) -> None:
    shop = office.fresh()
    raw = written(f"From: {ORDERS}", f"To: {shop.alias}", f"Message-ID: <i5@{VENDOR}>", subject="inward 5")
    office.from_vendor(shop.alias, raw)
    office.from_vendor(shop.alias, raw)
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="inward 5 end"))
    office.home("inward 5 end")
    assert len(office.arrived(office.stage.home, "inward 5")) == 1
    assert "repeated_message" in office.stage.command("log", shop.slug)


def test_trace_says_of_both_why_the_same_message_was_delivered_once(office: Office) -> None:
    shop = office.fresh()
    raw = written(f"From: {ORDERS}", f"To: {shop.alias}", f"Message-ID: <i6@{VENDOR}>", subject="sent twice")
    names = []
    for _ in range(2):  # a client that missed our 250
        with office.stage.client() as client:
            client.ehlo_or_helo_if_needed()
            client.mail(ORDERS)
            client.rcpt(shop.alias)
            code, text = client.data(office.stage.signed(VENDOR, raw))
            assert code == 250
            names.append(text.decode().rpartition(" ")[2])
    first, again = names
    office.home("sent twice")
    assert f"repeated_message  sent again, as {again}" in " ".join(
        office.stage.command("trace", first).split("\n")
    )
    told = office.stage.command("trace", again)
    assert "the same message again: delivered once" in told
    assert f"it first came as {first}" in told
    assert len(office.arrived(office.stage.home, "sent twice")) == 1


@pytest.mark.parametrize("name", ["Reply-To", "Disposition-Notification-To", "Sender"])
def test_an_address_of_another_relationship_is_answered_as_from_the_one_that_named_it(
    office: Office, name: str
) -> None:
    shop, other = office.fresh(), office.fresh()
    local, _, domain = other.alias.partition("@")
    for number, named in enumerate((f"{local}+y=spy.example@{domain}", other.alias, other.contact())):
        subject = f"{name} {number}"
        office.from_vendor(
            shop.alias,
            written(f"From: {ORDERS}", f"To: {shop.alias}", f"{name}: {named}", subject=subject),
        )
        (answered,) = addresses(office.home(subject), name)
        assert answered != named
        office.from_home(
            answered,
            written(
                f"From: {MAILBOX}",
                f"To: {answered}",
                "Auto-Submitted: auto-replied",
                subject="Re: " + subject,
            ),
        )
    assert "sent_as_alias" in office.stage.command("log", shop.slug)
    assert "sent_as_alias" not in office.stage.command("log", other.slug)


def test_threads_join_on_both_sides(office: Office) -> None:
    shop = office.fresh()
    office.from_vendor(
        shop.alias,
        written(f"From: {ORDERS}", f"To: {shop.alias}", f"Message-ID: <t1@{VENDOR}>", subject="thread 1"),
    )
    office.home("thread 1")
    office.from_home(
        shop.contact(),
        written(
            f"From: {MAILBOX}",
            f"To: {shop.contact()}",
            f"Message-ID: <t2@{HOME}>",
            f"In-Reply-To: <t1@{VENDOR}>",
            f"References: <t1@{VENDOR}> <private@{HOME}>",
            subject="thread 2",
        ),
    )
    sent = office.vendor("thread 2")
    ours = (sent.value("Message-ID") or b"").decode()
    assert HOME not in ours
    assert sent.value("In-Reply-To") == f"<t1@{VENDOR}>".encode()
    assert sent.value("References") == f"<t1@{VENDOR}>".encode(), "only ids that the relationship has carried"
    office.from_vendor(
        shop.alias,
        written(
            f"From: {ORDERS}",
            f"To: {shop.alias}",
            f"Message-ID: <t3@{VENDOR}>",
            f"In-Reply-To: {ours}",
            f"References: <t1@{VENDOR}>\r\n {ours}",
            subject="thread 3",
        ),
    )
    got = office.home("thread 3")
    assert got.value("In-Reply-To") == f"<t2@{HOME}>".encode()
    assert got.value("References") == f"<t1@{VENDOR}> <t2@{HOME}>".encode()


def test_a_mailbox_that_refuses_gives_the_vendor_a_return_that_says_nothing_about_it(office: Office) -> None:
    shop, vendor = office.fresh(), "orders@proved.example"
    office.stage.publish("proved.example", "127.0.0.2", spf="ip4:127.0.0.1 -all")
    office.stage.home.answers["RCPT"] = [f"550 5.1.1 <{MAILBOX}> unknown at {HOME}"]
    raw = written(f"From: {vendor}", f"To: {shop.alias}", subject="inward 15")
    office.stage.send("proved.example", vendor, shop.alias, raw)

    def returned() -> list[bytes]:
        found = [each for each in tuple(office.stage.vendor.received) if each.recipients == (vendor,)]
        return [each.octets for each in found if b"delivery-status" in each.octets]

    dsn = until(returned, "the return")[0]
    assert HOME.encode() not in dsn
    assert shop.alias.encode() in dsn


@pytest.mark.parametrize(
    "recipient",
    [
        "<no-brackets",
        "<a@b@c>",
        "<>",
        "<@x:y@sort.example>",
        "<" + "a" * 65 + "@sort.example>",
        "<ü@sort.example>",
        "<a@" + "b" * 300 + ".example>",
        "<a b@sort.example>",
        "<a@sort.example\x00>",
        "<=?utf-8?q?a=40b?=@sort.example>",
    ],
)
def test_a_malformed_recipient_is_refused_and_the_session_goes_on(office: Office, recipient: str) -> None:
    with office.stage.client() as client:
        client.ehlo()
        client.docmd("MAIL FROM:<a@b.example>")
        client.send(f"RCPT TO:{recipient}\r\n".encode())
        code, text = client.getreply()
        assert 500 <= code < 600, text
        assert client.noop()[0] == 250


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        (b"Subject: no author\r\n\r\nx\r\n", {550}),
        (b"From: a@x.example\r\nFrom: b@x.example\r\n\r\nx\r\n", {550}),
        (b"From: a@x.example\r\nSubject: a\nb\r\n\r\nx\r\n", {550, 554, 500, 501}),
        (b"From: a@x.example\r\nSubject: a\x00b\r\n\r\nx\r\n", {550, 554, 500, 501}),
        (b"From: a@x.example\r\nSubject: " + b"y" * 2**20 + b"\r\n\r\nx\r\n", {552, 550, 554, 500}),
        (b"From: a@x.example\r\n" + b"X: y\r\n" * 40000 + b"\r\nx\r\n", {552}),
        (b"", {550}),
    ],
    ids=["no From", "two From", "bare LF", "NUL", "1 MB line", "40,000 fields", "empty"],
)  # fmt: skip
def test_a_bad_message_gets_a_clear_answer_and_the_office_lives(
    office: Office, raw: bytes, codes: set[int]
) -> None:
    shop = office.fresh()
    with office.stage.client() as client:
        client.ehlo()
        client.mail("a@x.example")
        assert client.rcpt(shop.alias)[0] == 250
        assert client.docmd("DATA")[0] == 354
        client.send(raw + b"\r\n.\r\n" if not raw.endswith(b"\r\n") else raw + b".\r\n")
        code, text = client.getreply()
    assert code in codes, text
    assert len(text) > 10
    assert office.alive()


_PARTS = b"--b\r\n\r\nx\r\n" * 5000 + b"--b--\r\n"
_NESTED = b"".join(
    b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n' % (n, n + 1) for n in range(500)
)


@pytest.mark.parametrize(
    ("subject", "head", "body"),
    [
        ("odd 8-bit header", "X-Latin: caf\xe9", b"x\r\n"),
        ("odd 10 MB", "X-Size: large", b"0123456789abcde\r\n" * 620000),
        ("odd parts", 'Content-Type: multipart/mixed; boundary="b"', _PARTS),
        ("odd empty lines", "X-Empty: lines", b"\r\n" * (12 * 2**20 + 2**19)),
        ("odd nesting", 'Content-Type: multipart/mixed; boundary="b0"', _NESTED),
    ],
)
def test_an_odd_message_arrives_octet_for_octet(office: Office, subject: str, head: str, body: bytes) -> None:
    shop = office.fresh()
    raw = written(f"From: {ORDERS}", f"To: {shop.alias}", subject=subject, body=body)
    raw = head.encode("latin-1") + b"\r\n" + raw
    office.from_vendor(shop.alias, raw)
    got = office.home(subject)
    assert got.body == body
    assert head.encode("latin-1") in got.header
    assert office.alive()


@pytest.mark.parametrize("bare", ["bare.1@{0}", "<half.1@{0}", "half.2@{0}>", "20261124.17"])
def test_an_answer_to_a_message_whose_id_lacks_its_brackets_joins_the_vendors_thread(
    office: Office, bare: str
) -> None:
    shop = office.fresh()
    written_id = bare.format(VENDOR)
    whole = f"<{written_id.strip('<>')}>"
    asked, answered = f"asked in {written_id}", f"answered in {written_id}"
    fields = (f"From: {ORDERS}", f"To: {shop.alias}", f"Message-ID: {written_id}")
    office.from_vendor(shop.alias, written(*fields, subject=asked))
    got = office.home(asked)
    assert got.value("Message-ID") == written_id.encode()
    [contact] = addresses(got, "From")
    named = (f"In-Reply-To: {whole}", f"References: {whole}", "Message-ID: <a@home.example>")
    office.from_home(contact, written(f"From: {MAILBOX}", f"To: {contact}", *named, subject=answered))
    left = office.vendor(answered)
    assert left.value("In-Reply-To") == whole.encode()
    assert left.value("References") == whole.encode()
