"""What a vendor's side gets to see: replies, returns, greetings, timing.  The mailbox is in none of them."""

from __future__ import annotations

import re
import smtplib
import statistics
import time
from contextlib import suppress
from typing import Any

import pytest

from sortingoffice.cli.stage import HOME, MAILBOX, ORDERS, VENDOR, until
from sortingoffice.flows import office as flows
from sortingoffice.flows import target
from sortingoffice.mail import mime
from sortingoffice.mail.address import Address
from sortingoffice.mail.message import Message
from sortingoffice.store.database import Transaction
from tests.office import Office, unsigned, written
from tests.person import DOMAIN, Person

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
    return unsigned(octets).decode("utf-8", "replace") + "".join(leaf.text() or "" for leaf in leaves)


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


def test_a_revoked_alias_is_looked_up_as_often_as_one_that_never_was(person: Person) -> None:
    revoked = person.json("new", "Shop")["alias"]
    person.out("revoke", "shop")
    both = [Address(local, DOMAIN) for local in (revoked.partition("@")[0], "never.was1234")]
    with person.office("all") as office:
        lookups = [office.db.view(_lookups, office, each) for each in both]
    assert lookups[0] == lookups[1]


def _lookups(tx: Transaction, office: flows.Office, recipient: Address) -> list[str]:
    """The statements that the answer to one RCPT takes, without their values."""
    statements: list[str] = []
    driver: Any = tx.connection.dbapi_connection
    driver.set_trace_callback(statements.append)
    target.find(tx, office, recipient)
    driver.set_trace_callback(None)
    return [re.sub(r"'[^']*'", "?", each) for each in statements]


def test_a_revoked_alias_is_refused_in_the_time_of_one_that_never_was(office: Office) -> None:
    shop, live = office.fresh(), office.fresh()
    office.stage.command("revoke", shop.slug)
    ratios = []
    for number in range(30):
        # One right after the other, in turns first: whatever the machine does meanwhile, it does to both.
        pair = [shop.alias, "never.was1234@sort.example"]
        with office.stage.client() as client:
            client.ehlo()
            client.mail(ORDERS)
            assert client.rcpt(live.alias)[0] == 250  # who asks for nothing that exists is kept waiting
            for turn in range(4):  # a session takes only so many wrong recipients
                times = {each: _seconds(client, each) for each in pair[:: 1 if (number + turn) % 2 else -1]}
                ratios.append(times[pair[0]] / times[pair[1]])
    assert 0.7 < statistics.median(ratios) < 1.4


def _seconds(client: smtplib.SMTP, recipient: str) -> float:
    began = time.perf_counter()
    assert client.rcpt(recipient)[0] == 550
    return time.perf_counter() - began
