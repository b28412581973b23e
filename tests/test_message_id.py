"""One id for one message: whoever reads the log follows it from its first recipient to its last attempt."""

from __future__ import annotations

import re
import smtplib

from sortingoffice.cli.stage import ORDERS, VENDOR, until
from tests.office import Office, written

NEVER = "never.issued.5@sort.example"
AUTHOR = "bob@plain.example"  # whose domain asks for no proof


def lines(office: Office, name: str) -> list[str]:
    """The events of the log that name this message, in their order."""
    said = [line for line in office.stage.log.splitlines() if f"message={name}" in line.split()]
    return [re.sub(r"^\S+ \S+ ", "", line).split()[0] for line in said]


def refused(office: Office, before: int) -> list[str]:
    """The ids in the lines about refused recipients since then."""
    said = office.stage.log[before:]
    return re.findall(r"rcpt-refused message=(\S+)", said)


def queued(client: smtplib.SMTP, message: bytes) -> str:
    code, text = client.data(message)
    assert code == 250, text
    return text.decode().rpartition("queued as ")[2]


def test_a_message_is_followed_from_its_first_recipient_to_its_last_attempt(office: Office) -> None:
    shop = office.fresh()
    message = written(f"From: {AUTHOR}", f"To: {shop.alias}", subject="followed")
    with office.stage.client() as client:
        client.ehlo()
        client.mail(AUTHOR)
        assert [client.rcpt(each)[0] for each in (NEVER, shop.alias)] == [550, 250]
        name = queued(client, message)
    office.arrived(office.stage.home, "followed")
    seen = until(lambda: said if len(said := lines(office, name)) >= 3 else [], "the last line")
    assert seen == ["rcpt-refused", "accept", "attempt"]
    assert office.stage.json("trace", name)[0]["message"] == name


def test_each_transaction_of_a_session_has_an_id_of_its_own(office: Office) -> None:
    shop = office.fresh()
    before = len(office.stage.log)
    names = []
    with office.stage.client() as client:
        client.ehlo()
        for number in range(2):
            client.mail(AUTHOR)
            client.rcpt(NEVER)
            client.rcpt(shop.alias)
            subject = f"of its own {number}"
            names.append(queued(client, written(f"From: {AUTHOR}", f"To: {shop.alias}", subject=subject)))
        client.mail(AUTHOR)
        client.rcpt(NEVER)
        client.rcpt(NEVER)
        client.rset()
        client.mail(AUTHOR)
        client.rcpt(NEVER)
    first, second, third, again, fourth = until(
        lambda: said if len(said := refused(office, before)) == 5 else [], "five refused recipients"
    )
    assert [first, second] == names
    assert third == again
    assert len({first, second, third, fourth}) == 4


def test_content_that_is_refused_on_the_wire_has_the_id_of_its_recipients(office: Office) -> None:
    shop = office.fresh()
    before = len(office.stage.log)
    with office.stage.client() as client:
        client.ehlo()
        client.mail(AUTHOR)
        client.rcpt(NEVER)
        client.rcpt(shop.alias)
        client.docmd("DATA")
        client.send(b"Subject: a\nb\r\n\r\nx\r\n.\r\n")
        assert client.getreply()[0] >= 500
    [name] = refused(office, before)
    assert lines(office, name) == ["rcpt-refused", "content.refused"]


def test_what_became_of_a_copy_is_told_of_that_copy_and_of_no_other(office: Office) -> None:
    bound, other = office.fresh("--site", VENDOR), office.fresh("--site", "bank.example")
    to = [bound.alias, other.alias]
    office.from_vendor(to, written(f"From: {ORDERS}", f"To: {', '.join(to)}", subject="to both"))
    office.arrived(office.stage.home, "to both", 2)
    told = {}
    for each in (bound, other):
        [row] = office.stage.json("trace", each.alias)
        assert {event["relationship"] for event in row["events"]} == {each.slug}
        told[each.slug] = [(event["what"], event["rule"]) for event in row["events"]]
    assert told[bound.slug] == [("accepted", "welcome")]
    assert told[other.slug] == [("evidence kept", "stranger_flagged"), ("accepted", "stranger_flagged")]
