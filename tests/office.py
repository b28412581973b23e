"""A whole office on loopback, its mail servers and its DNS: what a stranger on the wire sees."""

from __future__ import annotations

import itertools
import re
import smtplib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from sortingoffice.cli import stage as stages
from sortingoffice.cli.stage import HOME, MAILBOX, ORDERS, VENDOR, Said, Stage, until
from sortingoffice.mail import headers
from sortingoffice.mail.message import Field, Message
from sortingoffice.net.sink import Received, Sink
from tests.person import said

_numbers = itertools.count(1)


def written(*lines: str, body: str | bytes = "hello\r\n", subject: str = "", date: bool = True) -> bytes:
    """A message as a mail program writes it; `lines` are its fields."""
    head = list(lines)
    if subject:
        head.append(f"Subject: {subject}")
    if date:
        head.append(f"Date: {format_datetime(datetime.now(UTC))}")
    octets = body if isinstance(body, bytes) else body.encode()
    return "\r\n".join([*head, "", ""]).encode() + octets


class Near(Stage):
    """A stage whose commands run in this process: a Python for each takes a second."""

    def run(self, *arguments: str, given: str = "") -> Said:
        assert not given
        return said("--config", self.config, *arguments)


def opened() -> AbstractContextManager[Stage]:
    return stages.opened(Near)


@dataclass
class Office:
    """A running stage, and the words that tests use."""

    stage: Stage
    seen: set[int] = field(default_factory=set)

    def fresh(self, *options: str, name: str = "") -> Relationship:
        """A new relationship with a vendor of its own name."""
        name = name or f"Vendor {next(_numbers)}"
        return Relationship(self, self.stage.json("new", name, *options))

    def arrived(self, sink: Sink, subject: str, count: int = 1) -> list[Received]:
        """The messages of that subject, waited for."""

        def look() -> list[Received]:
            found = [each for each in tuple(sink.received) if _subject(each) == subject]
            return found if len(found) >= count else []

        return until(look, f"{count} × {subject!r}")

    def home(self, subject: str) -> Message:
        return Message.parse(self.arrived(self.stage.home, subject)[0].octets)

    def vendor(self, subject: str) -> Message:
        return Message.parse(self.arrived(self.stage.vendor, subject)[0].octets)

    def from_vendor(self, to: str | list[str], message: bytes, sender: str = ORDERS) -> None:
        self.stage.send(VENDOR, sender, to, message)

    def from_home(self, to: str | list[str], message: bytes, sender: str = MAILBOX) -> None:
        self.stage.send(HOME, sender, to, message)

    def alive(self) -> bool:
        with self.stage.client() as client:
            return client.noop()[0] == 250

    def refused(self, to: str, message: bytes, sender: str = ORDERS, domain: str = VENDOR) -> tuple[int, str]:
        """The answer to a message that must not be taken, unsigned."""
        try:
            with self.stage.client(domain) as client:
                client.sendmail(sender, [to], message)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = error.recipients[to]
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            return error.smtp_code, said.decode() if isinstance(said, bytes) else said
        else:
            raise AssertionError("it was taken")
        return code, text.decode()


@dataclass
class Relationship:
    """One relationship of the running office."""

    office: Office
    row: dict[str, str]

    @property
    def alias(self) -> str:
        return self.row["alias"]

    @property
    def slug(self) -> str:
        return self.row["relationship"]

    def contact(self, address: str = ORDERS) -> str:
        """The reverse alias for a vendor's address."""
        return self.office.stage.command("contact", self.slug, address)


def _subject(received: Received) -> str:
    return headers.decode(Message.parse(received.octets).value("Subject") or b"")


def unsigned(octets: bytes) -> bytes:
    """A message with the values of its signatures taken out: they are chance, and may spell a short name."""

    def emptied(each: Field) -> Field:
        if each.name.lower() not in (b"dkim-signature", b"arc-message-signature", b"arc-seal"):
            return each
        left = re.sub(rb"\b(bh?=)[A-Za-z0-9+/=\s]+", rb"\1", each.unfolded)
        return Field(each.name, each.name + b": " + left + b"\r\n")

    return bytes(Message.parse(octets).edit(emptied))


def addresses(message: Message, name: str) -> list[str]:
    """The addresses in a field."""
    return [
        str(mention.address)
        for each in message.all(name)
        for mention in headers.addresses(each.value)
        if mention.address is not None
    ]


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    """An office that is set up and serves, one per file of tests."""
    with opened() as stage:
        stage.init()
        stage.start()
        yield Office(stage)
        assert stage.stop() == 0, stage.log
        assert "Traceback" not in stage.log
