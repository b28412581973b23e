"""What a vendor's side gets to see: replies, returns, greetings, timing.  The mailbox is in none of them."""

from __future__ import annotations

import smtplib
import statistics
import time
from contextlib import suppress

import pytest

from sortingoffice.cli.stage import HOME, MAILBOX, ORDERS, VENDOR, until
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from tests.office import Office, written

TOLD = f"550 5.1.1 <{MAILBOX}>: user anna unknown at mx.{HOME}"


@pytest.fixture(autouse=True)
def _authenticated(office: Office) -> None:
    """A vendor without signatures; returns go to authenticated senders only."""
    office.stage.zone.set(VENDOR, "TXT", "v=spf1 ip4:127.0.0.1 -all")


class Curious(smtplib.SMTP):
    """A vendor's client that keeps whatever it is told."""

    def __init__(self, port: int) -> None:
        self.told: list[str] = []
        super().__init__("127.0.0.1", port, f"mx.{VENDOR}", timeout=30)

    def getreply(self) -> tuple[int, bytes]:
        code, text = super().getreply()
        self.told.append(f"{code} {text.decode()}")
        return code, text


def _names_nobody(text: str) -> None:
    for secret in (MAILBOX, HOME, "anna"):
        assert secret not in text.lower(), text


def _decoded(octets: bytes) -> str:
    leaves = mime.parse(Message.parse(octets)).leaves()
    return octets.decode("utf-8", "replace") + "".join(leaf.text() or "" for leaf in leaves)


def test_no_reply_of_a_session_names_the_mailbox(office: Office) -> None:
    live, revoked, muted, locked = (office.fresh(*more) for more in ((), (), (), ("--site", "bank.example")))
    office.stage.command("revoke", revoked.slug)
    office.stage.command("pause", muted.slug)
    office.stage.command("set", locked.slug, "--strangers", "lock")
    with Curious(office.stage.smtp_port) as client:
        client.ehlo()
        for line in ("HELP", "VRFY anna", "EXPN anna", "NOOP", "XYZZY", "VRFY " + MAILBOX):
            client.docmd(line)
        asked = (live.alias, revoked.alias, muted.alias, locked.alias, live.contact(), MAILBOX, f"x@{HOME}")
        for recipient in (*asked, "nobody@sort.example", f"postmaster@{HOME}", "anna@sort.example"):
            client.rset()
            client.mail(ORDERS)
            if client.rcpt(recipient)[0] == 250:
                with suppress(smtplib.SMTPDataError):
                    client.data(written(f"From: {ORDERS}", f"To: {recipient}", subject="curious"))
        told = client.told
    assert any(line.startswith("550") for line in told)
    assert any("queued as" in line for line in told)
    _names_nobody("\n".join(told))


def test_a_return_says_nothing_of_the_mailbox_that_refused(office: Office) -> None:
    shop = office.fresh()
    office.stage.home.answers[f"RCPT {MAILBOX}"] = [TOLD]
    office.stage.zone.set(
        VENDOR, "TXT", "v=spf1 ip4:127.0.0.1 -all"
    )  # a return goes to an authenticated sender
    before = len(office.stage.vendor.received)
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="to be returned"))
    until(lambda: len(office.stage.vendor.received) > before, "the return to the vendor")
    [returned] = office.stage.vendor.received[before:]
    assert returned.sender == ""
    assert shop.alias in _decoded(returned.octets)
    _names_nobody(_decoded(returned.octets))


@pytest.mark.parametrize("body", ["a plain answer\r\n", f"a quote\r\n\r\n> to {MAILBOX}\r\n"])
def test_nothing_of_a_delivery_to_the_vendor_names_the_mailbox(office: Office, body: str) -> None:
    shop = office.fresh()
    subject = f"for your eyes {len(body)}"
    office.from_home(
        shop.contact(),
        written(f"From: Anna <{MAILBOX}>", f"To: {shop.contact()}", subject=subject, body=body),
    )
    [sent] = office.arrived(office.stage.vendor, subject)
    _names_nobody("\n".join((sent.helo, sent.sender, sent.parameters, _decoded(sent.octets))))
    _names_nobody("\n".join(office.stage.vendor.commands))


def test_a_revoked_alias_is_refused_in_the_time_of_one_that_never_was(office: Office) -> None:
    shop = office.fresh()
    office.stage.command("revoke", shop.slug)

    times: dict[str, list[float]] = {shop.alias: [], "never.was1234@sort.example": []}
    for number in range(30):  # in turns: a busy machine is busy for both
        recipient, taken = list(times.items())[number % 2]
        with office.stage.client() as client:
            client.ehlo()
            client.mail(ORDERS)
            for _ in range(8):  # a session takes only so many wrong recipients
                began = time.perf_counter()
                assert client.rcpt(recipient)[0] == 550
                taken.append(time.perf_counter() - began)
    first, second = (statistics.median(each) for each in times.values())
    assert 0.5 < first / second < 2
