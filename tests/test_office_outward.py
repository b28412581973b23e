"""Person → vendor through a running office: who may, to whom, and what leaves."""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime
from email.message import Message as Parsed
from email.parser import BytesParser

import pytest

from sortingoffice.cli.stage import HOME, MAILBOX, OFFICE, ORDERS, PATIENCE, VENDOR, Stage, until
from sortingoffice.mail import dkim, headers
from sortingoffice.mail.message import Message
from tests.office import Office, Relationship, addresses, opened, unsigned, written

ALLOWED = frozenset(
    "received dkim-signature from to cc subject date message-id mime-version in-reply-to references "
    "importance auto-submitted".split()
)


def reply(shop: Relationship, *lines: str, subject: str, body: str = "hello\r\n", to: str = "") -> bytes:
    return written(
        f"From: Anna Real <{MAILBOX}>", f"To: {to or shop.contact()}", *lines, subject=subject, body=body
    )


def returned(office: Office, subject: str) -> Parsed:
    """The notice of that subject to the person, with the original attached."""
    received = office.arrived(office.stage.home, subject)[0]
    assert received.sender == "", "nothing answers a notice"
    return BytesParser().parsebytes(received.octets)


def attached(notice: Parsed) -> Parsed:
    for part in notice.walk():
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload(0)
            assert isinstance(inner, Parsed)
            return inner
    raise AssertionError("the person's words are lost")


def test_only_what_is_allowed_leaves_and_it_comes_from_the_alias(office: Office) -> None:
    shop = office.fresh()
    raw = reply(
        shop,
        "Received: from laptop (home.example [10.0.0.7]) by home.example; Mon, 1 Jan 2024 00:00:00 +0100",
        f"Sender: {MAILBOX}",
        f"Reply-To: {MAILBOX}",
        f"Autocrypt: addr={MAILBOX}; keydata=AAAA",
        "User-Agent: Thunderbird",
        "X-Originating-IP: [203.0.113.9]",
        "Organization: Anna & Co",
        "Thread-Topic: lamps",
        "Importance: high",
        f"Message-ID: <o1@{HOME}>",
        subject="outward 1",
    )
    office.from_home(shop.contact(), raw)
    received = office.arrived(office.stage.vendor, "outward 1")[0]
    got = Message.parse(received.octets)
    assert received.recipients == (ORDERS,)
    assert received.sender.endswith(f"@{OFFICE}")
    assert {each.name.decode().lower() for each in got.fields} <= ALLOWED
    assert addresses(got, "From") == [shop.alias]
    assert got.value("From") == shop.alias.encode(), "no display name unless one is set"
    assert addresses(got, "To") == [ORDERS]
    assert (got.value("Date") or b"").endswith(b"+0000")
    assert b"from" not in (got.value("Received") or b"").lower().split()
    assert HOME.encode() not in received.octets
    assert b"anna" not in unsigned(received.octets).lower()


def test_a_reply_all_with_the_alias_and_the_mailbox_in_cc_just_works(office: Office) -> None:
    shop = office.fresh()
    raw = reply(shop, f"Cc: {shop.alias}, {MAILBOX}", subject="outward 2")
    office.from_home([shop.contact(), shop.alias], raw)
    got = office.vendor("outward 2")
    assert addresses(got, "To") == [ORDERS]
    assert addresses(got, "Cc") == []
    office.from_home(shop.contact(), reply(shop, subject="outward 2 end"))
    office.vendor("outward 2 end")
    assert len(office.arrived(office.stage.vendor, "outward 2")) == 1
    assert not [each for each in office.stage.home.received if b"Subject: outward 2\r\n" in each.octets]


def test_the_alias_as_a_transaction_of_its_own_is_taken_off_in_silence(office: Office) -> None:
    shop = office.fresh()
    raw = reply(shop, f"Cc: {shop.alias}", subject="outward 3")
    office.from_home(shop.alias, raw)
    office.from_home(shop.contact(), raw)
    office.vendor("outward 3")
    assert not [each for each in office.stage.home.received if b"outward 3" in each.octets]


def test_a_mail_to_nobody_but_oneself_comes_back_with_a_note(office: Office) -> None:
    shop = office.fresh()
    office.from_home(shop.alias, reply(shop, subject="outward 4", to=shop.alias))
    notice = returned(office, "Not sent: only you were left of the recipients")
    assert attached(notice)["Subject"] == "outward 4"


def test_an_address_that_an_addy_client_made_up_leads_to_its_contact(office: Office) -> None:
    shop = office.fresh()
    local, _, domain = shop.alias.partition("@")
    made = f"{local}+bob={VENDOR}@{domain}"
    for count in (1, 2):
        office.from_home(made, reply(shop, subject=f"made up {count}", to=f"Bob <{made}>"))
        received = office.arrived(office.stage.vendor, f"made up {count}")[0]
        assert received.recipients == (f"bob@{VENDOR}",)
        got = Message.parse(received.octets)
        assert addresses(got, "From") == [shop.alias]
        assert addresses(got, "To") == [f"bob@{VENDOR}"]
        assert HOME.encode() not in received.octets
    known = [each["address"] for each in office.stage.json("show", shop.slug)["contacts"]]
    assert known.count(f"bob@{VENDOR}") == 1
    never = office.stage.rcpt(f"never.issued.9+bob={VENDOR}@{OFFICE}")
    assert never[0] == 550
    stranger = written(f"From: {ORDERS}", f"To: {made}", subject="no")
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        office.from_vendor(made, stranger)
    assert (refusal.value.smtp_code, refusal.value.smtp_error) == (never[0], never[1].encode())
    office.stage.command("revoke", shop.slug)
    assert office.stage.rcpt(made) == never


def test_a_mail_to_two_relationships_comes_back_whole(office: Office) -> None:
    one, two = office.fresh(name="First Shop"), office.fresh(name="Second Shop")
    raw = reply(one, subject="outward 5", to=f"{one.contact()}, {two.contact()}", body="precious words\r\n")
    office.from_home([one.contact(), two.contact()], raw)
    notice = returned(office, "Not sent: this message goes to two relationships (First Shop, Second Shop)")
    assert "precious words" in str(attached(notice).get_payload())
    assert not [each for each in office.stage.vendor.received if b"precious words" in each.octets]


def test_a_recipient_who_is_no_reverse_alias_brings_the_whole_mail_back(office: Office) -> None:
    shop = office.fresh(name="Third Shop")
    raw = reply(shop, "Cc: jim@other.example", subject="outward 6")
    office.from_home(shop.contact(), raw)
    notice = returned(
        office, "Not sent: this message goes to two relationships (Third Shop, jim@other.example)"
    )
    assert attached(notice)["Subject"] == "outward 6"


def test_a_blind_copy_that_no_signature_covers_brings_the_whole_mail_back(office: Office) -> None:
    shop = office.fresh()
    one, two = shop.contact(), shop.contact("second@lampshop.example")
    office.from_home([one, two], reply(shop, subject="outward 6b", body="precious words 6b\r\n"))
    notice = returned(office, f"Not sent: {two} stands in Bcc alone")
    assert "precious words 6b" in str(attached(notice).get_payload())
    office.from_home(one, reply(shop, subject="outward 6b end"))
    office.vendor("outward 6b end")
    assert not [each for each in office.stage.vendor.received if b"precious words 6b" in each.octets]


def test_a_stranger_at_a_reverse_alias_hears_of_an_address_that_never_existed(office: Office) -> None:
    shop = office.fresh()
    never = office.stage.rcpt(f"never.issued.8@{OFFICE}")
    forged = reply(shop, subject="forged")
    assert office.refused(shop.contact(), forged, sender=MAILBOX) == never
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        office.from_vendor(shop.contact(), written(f"From: {ORDERS}", f"To: {shop.contact()}", subject="no"))
    assert (refusal.value.smtp_code, refusal.value.smtp_error) == (never[0], never[1].encode())


def test_a_forged_result_of_ours_proves_nothing(office: Office) -> None:
    shop = office.fresh()
    raw = b"Authentication-Results: mx.sort.example; dkim=pass header.d=home.example; dmarc=pass\r\n"
    assert office.refused(shop.contact(), raw + reply(shop, subject="forged"), sender=MAILBOX)[0] == 550


def test_a_signed_mail_played_again_to_another_reverse_alias_is_refused(office: Office) -> None:
    one, two = office.fresh(), office.fresh()
    raw = reply(one, subject="outward 7")
    with pytest.raises(smtplib.SMTPDataError):
        office.from_home(two.contact(), raw)


def test_a_signed_mail_played_again_under_another_to_is_refused(office: Office) -> None:
    one, two = office.fresh(), office.fresh()
    office.from_home(one.contact(), reply(one, subject="outward 7b"))
    office.vendor("outward 7b")
    raw = reply(one, subject="outward 7c")
    signed = b"".join(each.raw for each in dkim.sign(raw, [office.stage.keys[HOME]], datetime.now(UTC)))
    raw = f"To: {two.contact()}\r\n".encode() + signed + raw
    assert office.refused(two.contact(), raw, MAILBOX, HOME)[0] == 550


def test_spf_alone_counts_until_a_signature_was_seen(office: Office) -> None:
    shop = office.fresh()
    office.stage.publish("spfonly.example", "127.0.0.3", spf="ip4:127.0.0.1 -all", policy="none")
    office.stage.command("admin", "mailbox", "add", "ben@spfonly.example", "--identity")
    raw = written("From: ben@spfonly.example", f"To: {shop.contact()}", subject="outward 8")
    with office.stage.client("spfonly.example") as client:
        client.sendmail("ben@spfonly.example", [shop.contact()], raw)
    office.vendor("outward 8")
    raw = written("From: ben@spfonly.example", f"To: {shop.contact()}", subject="outward 9")
    office.stage.send("spfonly.example", "ben@spfonly.example", shop.contact(), raw)
    office.vendor("outward 9")
    raw = written("From: ben@spfonly.example", f"To: {shop.contact()}", subject="outward 10")
    assert office.refused(shop.contact(), raw, "ben@spfonly.example", "spfonly.example")[0] == 550


def submission(stage: Stage, password: str) -> smtplib.SMTP:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = smtplib.SMTP("127.0.0.1", stage.submission_port, timeout=PATIENCE)
    try:
        client.starttls(context=context)
        client.login("anna", password)
    except smtplib.SMTPException:
        client.close()
        raise
    return client


def test_submission_needs_tls_and_the_right_password(office: Office) -> None:
    with smtplib.SMTP("127.0.0.1", office.stage.submission_port, timeout=PATIENCE) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("MAIL FROM:<a@b.example>")[0] == 530
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submission(office.stage, "wrong")


def test_submitted_mail_needs_no_signature_and_may_go_to_a_new_contact_from_the_alias(office: Office) -> None:
    shop = office.fresh()
    password = office.stage.command("admin", "password", "new", "--label", "laptop")
    with submission(office.stage, password) as client:
        client.sendmail(MAILBOX, [shop.contact()], reply(shop, subject="submitted 1"))
        raw = written(f"From: {shop.alias}", f"To: new@{VENDOR}", subject="submitted 2")
        client.sendmail(shop.alias, [f"new@{VENDOR}"], raw)
        raw = written("From: boss@bank.example", f"To: {shop.contact()}", subject="forged")
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            client.sendmail(MAILBOX, [shop.contact()], raw)
    assert refusal.value.smtp_code == 550
    assert addresses(office.vendor("submitted 1"), "From") == [shop.alias]
    assert addresses(office.vendor("submitted 2"), "To") == [f"new@{VENDOR}"]
    shown = office.stage.json("show", shop.slug)
    assert {each["address"] for each in shown["contacts"]} >= {f"new@{VENDOR}"}


def test_somebody_new_beside_a_contact_becomes_one_where_the_person_set_it_so(office: Office) -> None:
    shop, other = office.fresh(name="Fourth Shop"), office.fresh(name="Fifth Shop")
    password = office.stage.command("admin", "password", "new", "--label", "desk")
    jim, sue = f"jim@{VENDOR}", f"sue@{VENDOR}"
    two = "Not sent: this message goes to two relationships"
    copy = reply(shop, f"Cc: Jim <{jim}>", subject="beside 1")
    with submission(office.stage, password) as client:
        client.sendmail(MAILBOX, [shop.contact(), jim], copy)
        assert attached(returned(office, f"{two} (Fourth Shop, {jim})"))
        office.stage.command("admin", "account", "set", "--new-contacts")
        try:
            client.sendmail(
                MAILBOX, [shop.contact(), jim], reply(shop, f"Cc: Jim <{jim}>", subject="beside 2")
            )
            both = reply(shop, subject="beside 3", to=f"{shop.contact()}, {other.contact()}, {sue}")
            client.sendmail(MAILBOX, [shop.contact(), other.contact(), sue], both)
            assert attached(returned(office, f"{two} (Fourth Shop, Fifth Shop, {sue})"))
            client.sendmail(MAILBOX, [sue], reply(shop, subject="beside 4", to=sue))
            assert attached(returned(office, f"Not sent: {sue} is no contact of yours"))
            office.from_home(shop.contact(), reply(shop, f"Cc: {sue}", subject="beside 5"))
            assert attached(returned(office, f"{two} (Fourth Shop, {sue})"))
        finally:
            office.stage.command("admin", "account", "set", "--no-new-contacts")
    got = office.arrived(office.stage.vendor, "beside 2", 2)
    assert {each.recipients for each in got} == {(ORDERS,), (jim,)}
    for each in got:
        assert addresses(Message.parse(each.octets), "Cc") == [jim]
        assert HOME.encode() not in each.octets
    assert jim in {each["address"] for each in office.stage.json("show", shop.slug)["contacts"]}
    assert not [each for each in office.stage.vendor.received if (sue,) == each.recipients]


def test_after_a_rotation_both_aliases_take_mail_and_the_new_one_writes(office: Office) -> None:
    shop = office.fresh()
    new = office.stage.json("rotate", shop.slug)["alias"]
    assert new != shop.alias
    assert office.stage.rcpt(shop.alias)[0] == office.stage.rcpt(new)[0] == 250
    office.from_home(shop.contact(), reply(shop, subject="outward 11"))
    assert addresses(office.vendor("outward 11"), "From") == [new]
    office.stage.command("revoke", shop.alias)
    assert (office.stage.rcpt(shop.alias)[0], office.stage.rcpt(new)[0]) == (550, 250)


def test_a_vendor_who_refuses_gives_the_person_a_note_with_their_own_mail(office: Office) -> None:
    shop = office.fresh()
    office.stage.vendor.answers["RCPT gone@lampshop.example"] = "550 5.1.1 no such person, ask sales"
    reverse = shop.contact(f"gone@{VENDOR}")
    office.from_home(reverse, reply(shop, subject="outward 12", to=reverse))

    def look() -> list[bytes]:
        came = [each.octets for each in tuple(office.stage.home.received)]
        return [octets for octets in came if b"ask sales" in octets and b"outward 12" in octets]

    until(look, "the note")


def test_a_quoted_reverse_alias_becomes_the_contact_and_a_quoted_mailbox_the_alias(office: Office) -> None:
    shop = office.fresh()
    body = (
        "Yes please.\r\n\r\n"
        f"On Monday, Shop <{shop.contact()}> wrote:\r\n"
        f"> To: Anna <{MAILBOX}>\r\n> Do you want it?  Write to {shop.contact()}\r\n"
    )
    office.from_home(shop.contact(), reply(shop, subject="outward 13", body=body))
    text = office.vendor("outward 13").body.decode()
    assert text.startswith("Yes please.\r\n")
    assert f"Write to {ORDERS}" in text
    assert shop.alias in text
    assert HOME not in text
    assert shop.contact() not in text


def test_the_mailbox_in_the_persons_own_words_waits_for_a_yes_by_mail(office: Office) -> None:
    shop = office.fresh(name="Fourth Shop")
    office.from_home(
        shop.contact(), reply(shop, subject="outward 14", body=f"write me at {MAILBOX} instead\r\n")
    )
    notice = returned(office, "Not sent: your mail to Fourth Shop would show your own address (yes or no?)")
    assert attached(notice)["Subject"] == "outward 14"
    assert not [each for each in office.stage.vendor.received if b"outward 14" in each.octets]
    [asked] = headers.addresses(notice["From"].encode())
    assert asked.address is not None
    answer = written(f"From: {MAILBOX}", f"To: {asked.address}", subject="Re: Not sent", body="yes\r\n")
    office.from_home(str(asked.address), answer)
    assert f"write me at {MAILBOX} instead" in office.vendor("outward 14").body.decode()


def test_an_autoreply_to_the_return_path_goes_out_as_the_alias(office: Office) -> None:
    shop = office.fresh()
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="away?"))
    path = office.arrived(office.stage.home, "away?")[0].sender
    raw = written(f"From: {MAILBOX}", f"To: {path}", "Auto-Submitted: auto-replied", subject="outward 15")
    office.from_home(path, raw, sender="")
    received = office.arrived(office.stage.vendor, "outward 15")[0]
    assert received.sender == "", "nothing may answer it"
    assert HOME.encode() not in received.octets
    assert addresses(Message.parse(received.octets), "From") == [shop.alias]
    old = written(f"From: {MAILBOX}", f"To: {path}", "Precedence: auto_reply", subject="outward 16")
    office.from_home(path, old)
    assert office.arrived(office.stage.vendor, "outward 16")[0].sender == "", (
        "nor one that says so in the old way"
    )


def test_two_accounts_of_one_office_may_write_to_each_other() -> None:
    with opened() as stage:
        stage.init()
        stage.start()
        stage.command("admin", "account", "add", "ben", "--mailbox", f"ben@{HOME}")
        ben = stage.json("--account", "ben", "new", "Anna")
        shop = stage.json("--account", "anna", "new", "Ben")
        reverse = stage.command("--account", "anna", "contact", shop["relationship"], ben["alias"])
        raw = written(f"From: {MAILBOX}", f"To: {reverse}", subject="between us")
        stage.send(HOME, MAILBOX, reverse, raw)
        got = stage.home.wait(1, PATIENCE)[0]
    assert got.recipients == (f"ben@{HOME}",)
    assert MAILBOX.encode() not in got.octets


CARDS = ("shipping.name=Anna Beispiel", "shipping.street=Lindenweg 4", "shipping.postcode=8000")


def test_a_card_is_put_in_text_and_html_only_when_granted_and_written_down(office: Office) -> None:
    stage = office.stage
    stage.command("--account", "anna", "card", "set", *CARDS)
    row = stage.json("--account", "anna", "new", "Card Shop")
    reverse = stage.command("--account", "anna", "contact", row["relationship"], ORDERS)

    def ask(subject: str) -> bytes:
        return written(
            f"From: {MAILBOX}",
            f"To: {reverse}",
            "MIME-Version: 1.0",
            'Content-Type: multipart/alternative; boundary="b"',
            subject=subject,
            body="--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHere:\r\n#card shipping\r\nbye\r\n"
            "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
            "<p>Here:</p><div><b>#card</b> shipping</div><p>bye</p>\r\n--b--\r\n",
        )

    office.from_home(reverse, ask("card 1"))
    notice = returned(office, _not_sent(office, "card 1"))
    assert attached(notice)["Subject"] == "card 1"
    assert stage.json("--account", "anna", "disclosures") == []
    [held] = stage.json("--account", "anna", "held", "list")
    stage.command("--account", "anna", "held", "drop", str(held["id"]))
    stage.command("--account", "anna", "grant", row["relationship"], "shipping")
    office.from_home(reverse, ask("card 2"))
    body = office.vendor("card 2").body.decode()
    assert body.count("Lindenweg 4") == 2
    assert '<th scope="row"' in body
    assert "#card" not in body
    rows = stage.json("--account", "anna", "disclosures", row["relationship"])
    assert {each["field"] for each in rows} == {"name", "street", "postcode"}
    assert {each["via"] for each in rows} == {"directive"}
    who = stage.json("--account", "anna", "who-has", "shipping.street")
    assert [each["relationship"] for each in who] == [row["relationship"]]
    stage.command("--account", "anna", "ungrant", row["relationship"], "shipping")


def _not_sent(office: Office, subject: str) -> str:
    """The subject of the notice that carries this mail."""

    def look() -> str:
        for each in tuple(office.stage.home.received):
            said = headers.decode(Message.parse(each.octets).value("Subject") or b"")
            if said.startswith("Not sent:") and f"Subject: {subject}".encode() in each.octets:
                return said
        return ""

    return until(look, f"the notice about {subject}")


def test_no_card_value_stands_in_the_database_once_its_mail_has_left(office: Office) -> None:
    until(lambda: office.stage.json("queue", "list") == [], "the queue to empty")
    assert office.stage.stop() == 0
    files = [path for path in (office.stage.folder / "office").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert b"Lindenweg" not in path.read_bytes(), path.name
    office.stage.start()
