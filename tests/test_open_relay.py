"""No open relay: every sender × recipient × port × AUTH, generated, and nobody's mail reaches a stranger.

What counts is what arrives: the victim's mail server must have seen nothing at the end.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from itertools import product

import pytest

from sortingoffice.cli.stage import MAILBOX, OFFICE, ORDERS, PATIENCE
from sortingoffice.mail import token
from tests.office import Office, opened, written

VICTIM = "victim.example"
FORGED = token.return_path(b"a key of somebody else's", 7)

RECIPIENTS = (
    f"someone@{VICTIM}",
    f"postmaster@{VICTIM}",
    f"someone%{VICTIM}@{OFFICE}",
    f"someone%{VICTIM}@mx.{OFFICE}",
    f"{VICTIM}!someone@{OFFICE}",
    f'"someone@{VICTIM}"@{OFFICE}',
    f'"someone%{VICTIM}"@{OFFICE}',
    f"someone@{VICTIM}@{OFFICE}",
    f"@{OFFICE}:someone@{VICTIM}",
    f"@mx.{OFFICE},@{OFFICE}:someone@{VICTIM}",
    f"someone@{VICTIM}.",
    f"someone@sub.{OFFICE}",
    f"someone@{OFFICE}.{VICTIM}",
    "someone@[127.0.0.2]",
    "someone@[IPv6:::1]",
    "someone@127.0.0.2",
    "someone@localhost",
    f"someone\\@{VICTIM}",
    f"someone@{VICTIM}\t@{OFFICE}",
    f"=?utf-8?q?someone=40victim=2Eexample?=@{OFFICE}",
    f"someone(@{OFFICE})@{VICTIM}",
    f"someone@{VICTIM}>,<x@{OFFICE}",
    f"someone@{VICTIM} ORCPT=rfc822;x@{OFFICE}",
    f"{FORGED}@{OFFICE}",
    f"{FORGED}@{VICTIM}",
    f"{FORGED}=someone={VICTIM}@{OFFICE}",
    f"bounces+someone={VICTIM}@{OFFICE}",
    f"SRS0=abcd=ef={VICTIM}=someone@{OFFICE}",
)
# Behind a front that the config lists, which says that the peer is this machine, or that anna logged in.
PORTS = (
    "smtp",
    "smtp+tls",
    "smtp+xclient",
    "smtp+proxy",
    "submission",
    "submission+tls",
    "submission+guess",
    "submission+xclient",
    "submission+proxy",
)
FRONT = "127.0.0.9"


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with opened() as stage:
        stage.configure(
            smtp=f'xclient_from = ["127.0.0.1"]\nproxy_protocol_from = ["{FRONT}"]',
            limits="unknown_recipients = 100000\nerrors_per_session = 100000\nrecipients = 1000",
        )
        stage.publish(VICTIM, "127.0.0.2")
        stage.init()
        stage.start()
        yield Office(stage)
        assert stage.stop() == 0, stage.log
        assert "Traceback" not in stage.log


class Fronted(smtplib.SMTP):
    """Says first, as a proxy does, that the peer is the office's own machine."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout, self.source_address)
        made.sendall(b"PROXY TCP4 127.0.0.1 127.0.0.1 1000 25\r\n")
        return made


def connected(office: Office, port: str) -> smtplib.SMTP:
    number = office.stage.smtp_port if port.startswith("smtp") else office.stage.submission_port
    if "proxy" in port:
        client: smtplib.SMTP = Fronted("127.0.0.1", number, f"mx.{VICTIM}", PATIENCE, (FRONT, 0))
    else:
        client = smtplib.SMTP("127.0.0.1", number, f"mx.{VICTIM}", timeout=PATIENCE)
    client.ehlo()
    if "xclient" in port:
        assert client.docmd("XCLIENT", f"ADDR=127.0.0.1 HELO=mx.{OFFICE} LOGIN=anna NAME=localhost")[0] == 220
        client.ehlo()
    if "tls" in port or "guess" in port:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client.starttls(context=context)
        client.ehlo()
    if "guess" in port:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("anna", "anna")
    return client


def senders(office: Office) -> tuple[str, ...]:
    shop = office.fresh()
    strangers = ("", f"spammer@{VICTIM}", "spammer@nowhere.invalid")
    return (*strangers, MAILBOX, shop.alias, shop.contact(), f"postmaster@{OFFICE}", f"someone@mx.{OFFICE}")


def test_no_stranger_gets_a_recipient_elsewhere_accepted_on_any_port(office: Office) -> None:
    named = senders(office)
    tried = 0
    for port in PORTS:
        client = connected(office, port)
        for sender, recipient in product(named, RECIPIENTS):
            client.docmd("RSET")
            client.docmd("MAIL", f"FROM:<{sender}>")
            code, text = client.docmd("RCPT", f"TO:<{recipient}>")
            assert 500 <= code < 600, (port, sender, recipient, code, text)
            tried += 1
        client.close()
    assert tried == len(PORTS) * 8 * len(RECIPIENTS) == 2016
    arrived_nowhere(office)


def test_a_recipient_of_ours_opens_no_way_for_one_elsewhere_beside_it(office: Office) -> None:
    shop = office.fresh()
    for port, sender in product(("smtp", "smtp+tls", "smtp+xclient", "smtp+proxy"), senders(office)):
        client = connected(office, port)
        client.docmd("MAIL", f"FROM:<{sender}>")
        assert client.docmd("RCPT", f"TO:<{shop.alias}>")[0] == 250
        for recipient in RECIPIENTS:
            assert client.docmd("RCPT", f"TO:<{recipient}>")[0] >= 500
        mail = written(f"From: spammer@{VICTIM}", f"To: someone@{VICTIM}", f"Cc: other@{VICTIM}", subject="x")
        client.data(mail)
        client.close()
    arrived_nowhere(office)


def test_a_return_path_of_ours_leads_to_nobody_elsewhere(office: Office) -> None:
    """Whoever has seen one may write to it; what is no bounce of the mailbox goes nowhere."""
    shop = office.fresh()
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="has a path"))
    path = office.arrived(office.stage.home, "has a path")[0].sender
    assert path.endswith(f"@{OFFICE}")
    for port in ("smtp", "smtp+xclient", "smtp+proxy"):
        for sender in ("", f"spammer@{VICTIM}", MAILBOX):
            client = connected(office, port)
            client.docmd("MAIL", f"FROM:<{sender}>")
            assert client.docmd("RCPT", f"TO:<{path}>")[0] == 250
            assert client.docmd("RCPT", f"TO:<someone@{VICTIM}>")[0] == 550
            mail = written(f"From: spammer@{VICTIM}", f"To: someone@{VICTIM}, {path}", subject="by the path")
            client.data(mail)
            client.close()
    arrived_nowhere(office)


def test_even_a_person_reaches_only_contacts_and_only_as_an_alias(office: Office) -> None:
    """AUTH is no licence: what goes elsewhere goes as the alias of one relationship, or comes back."""
    password = office.stage.command("admin", "password", "new")
    shop = office.fresh()
    for sender in (MAILBOX, f"spammer@{VICTIM}", ""):
        for author in (MAILBOX, f"spammer@{VICTIM}", f"postmaster@{OFFICE}"):
            client = connected(office, "submission+tls")
            client.login("anna", password)
            client.docmd("MAIL", f"FROM:<{sender}>")
            client.docmd("RCPT", f"TO:<someone@{VICTIM}>")
            client.data(written(f"From: {author}", f"To: someone@{VICTIM}", subject="relayed?"))
            client.close()
    arrived_nowhere(office)
    with connected(office, "submission+tls") as client:
        client.login("anna", password)
        client.sendmail(shop.alias, ORDERS, written(f"From: {shop.alias}", subject="as the alias"))
    received = office.arrived(office.stage.vendor, "as the alias")[0]
    assert MAILBOX.encode() not in received.octets


def arrived_nowhere(office: Office) -> None:
    """Nothing waits for the victim, and nothing came to it."""
    waiting = [row["to"] for row in office.stage.json("queue", "list")]
    assert [to for to in waiting if VICTIM in to] == []
    received = tuple(office.stage.vendor.received)
    assert [to for each in received for to in each.recipients if VICTIM in to] == []
