"""`demo`: the main job for real, on this machine's loopback, in a temporary directory.

A vendor's and a mailbox's mail server, a DNS zone, DKIM on both sides, and the office itself as
its own process; the commands are the ones that a person would type.  Every step is checked
where it arrives: the exit status is 0 only if all were seen to happen.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from datetime import UTC, datetime
from email.utils import format_datetime

import click

from sortingoffice.cli.stage import (
    HOME,
    MAILBOX,
    OFFICE,
    ORDERS,
    PATIENCE,
    VENDOR,
    Stage,
    Unseen,
    opened,
    until,
)
from sortingoffice.mail import headers
from sortingoffice.mail.message import Message
from sortingoffice.net.sink import Received, Sink

_SHOWN = ("From", "To", "Reply-To", "Subject", "Message-ID", "In-Reply-To", "Authentication-Results")


# ---- the steps ---------------------------------------------------------------------------------------


def _open_office(stage: Stage) -> None:
    _say(1, f"Anna sets her office up for {OFFICE}, and pastes the DNS records.")
    click.echo(click.style(f"  $ sortingoffice init --domain {OFFICE} --mailbox {MAILBOX}", bold=True))
    click.echo(_indented(stage.init()))
    stage.start()
    click.echo(f"    the office listens on 127.0.0.1:{stage.smtp_port}")


def _first_mail(stage: Stage) -> str:
    _say(2, "At the Lamp Shop's signup she gives an address that only the Lamp Shop gets.")
    alias = _typed(stage, "new", "Lamp Shop", "--site", VENDOR)
    _check(alias.endswith(f"@{OFFICE}"), "the alias stands alone on standard output")
    _say(3, "The Lamp Shop writes to it; the mail arrives in Anna's own mailbox.")
    written = _message(
        f'From: "Lamp Shop" <{ORDERS}>',
        f"To: {alias}",
        f"Reply-To: support@{VENDOR}",
        "Subject: Your lamp is ready",
        f"Message-ID: <ready.1@{VENDOR}>",
        body="Dear Anna,\r\nwhere shall we send it?\r\n",
    )
    stage.send(VENDOR, ORDERS, alias, written)
    got = stage.home.wait(1, PATIENCE)[0]
    _before_and_after(written, got)
    message = Message.parse(got.octets)
    _check(got.recipients == (MAILBOX,), "it was delivered to the mailbox")
    _check(Message.parse(written).body == message.body, "the body is octet for octet the vendor's")
    _check(b"dkim=pass" in (message.value("Authentication-Results") or b""), "the vendor's DKIM passed")
    _check(got.sender.startswith("rp") and got.sender.endswith(OFFICE), "the return path is ours (VERP)")
    _check(message.first("DKIM-Signature") is not None, f"{OFFICE} signed it")
    return alias


def _answer(stage: Stage, alias: str) -> str:
    _say(4, "Anna keeps a card with her shipping address, and lets the Lamp Shop have it.")
    _typed(
        stage,
        "card",
        "set",
        "shipping.name=Anna Beispiel",
        "shipping.street=Lindenweg 4",
        "shipping.town=8000 Zürich",
    )
    _typed(stage, "grant", "lamp-shop", "shipping", "--purpose", "delivery")
    _say(5, "She answers from her usual mail app; one line asks for the card.")
    asked = Message.parse(stage.home.wait(1)[0].octets)
    reverse = _addresses(asked, "Reply-To")[0]
    written = _message(
        f"From: Anna <{MAILBOX}>",
        f"To: {reverse}",
        "Subject: Re: Your lamp is ready",
        f"Message-ID: <answer.1@{HOME}>",
        f"In-Reply-To: <ready.1@{VENDOR}>",
        "User-Agent: Pocket Mail 1.2",
        body="Please send it here:\r\n\r\n#card shipping\r\n\r\nAnna\r\n\r\n"
        f"On Monday {reverse} wrote:\r\n> Dear Anna,\r\n> where shall we send it?\r\n",
    )
    stage.vendor.answers["RCPT"] = ["451 4.7.1 greylisted, try again"]
    stage.send(HOME, MAILBOX, reverse, written)
    _say(6, "The Lamp Shop's server greylists; the office keeps the mail and tries again.")
    queue = until(lambda: [row for row in stage.json("queue", "list") if row["attempts"]], "a second attempt")
    click.echo(f"    queue: attempts {queue[0]['attempts']}, last reply {queue[0]['last_reply']}")
    got = stage.vendor.wait(1, PATIENCE)[0]
    _before_and_after(written, got)
    click.echo(_indented(Message.parse(got.octets).body.decode()))
    _check(MAILBOX.encode() not in got.octets and HOME.encode() not in got.octets, "no trace of the mailbox")
    _check(_addresses(Message.parse(got.octets), "From") == [alias], "the vendor sees the alias")
    _check("Lindenweg 4" in got.octets.decode(), "the card's values stand where the line stood")
    _check(b"#card" not in got.octets, "and the line is gone")
    return reverse


def _ledger(stage: Stage) -> None:
    _say(7, "Who has her street now?")
    _typed(stage, "who-has", "shipping.street")
    held = stage.json("disclosures", "lamp-shop")
    fields = {row["field"] for row in held}
    _check({"name", "street", "town"} <= fields, "the ledger names every field that left")
    until(lambda: stage.json("disclosures", "lamp-shop")[0]["state"] == "delivered", "the ledger's state")


def _verified(stage: Stage) -> None:
    _say(8, "The office asks her mailbox what proof its mail carries; she answers the mail.")
    _typed(stage, "admin", "mailbox", "verify", MAILBOX)
    asked = _arrived(stage.home, b"verify.")
    found = re.search(rb"verify\.[0-9]+\.[a-z2-7]+@[a-z.]+", asked.octets)
    _check(found, "the question came to the mailbox")
    to = found[0].decode() if found else ""
    stage.send(HOME, MAILBOX, to, _message(f"From: {MAILBOX}", f"To: {to}", "Subject: Re", body="yes\r\n"))
    until(lambda: stage.json("admin", "mailbox", "list")[0]["proof"] == "dkim", "the mailbox's proof")
    _check(True, "its mail is signed: replies from it are accepted")


def _submitted(stage: Stage, alias: str) -> None:
    _say(9, "From a new laptop she writes first, as the alias, with an app password.")
    password = _typed(stage, "admin", "password", "new", "--label", "laptop")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the demo's certificate is its own
    written = _message(f"From: {alias}", f"To: sales@{VENDOR}", "Subject: A question", body="Hello?\r\n")
    with smtplib.SMTP("127.0.0.1", stage.submission_port, timeout=PATIENCE) as client:
        client.starttls(context=context)
        client.login("anna", password)
        client.sendmail(alias, [f"sales@{VENDOR}"], written)
    got = _arrived(stage.vendor, b"Subject: A question")
    _check(got.recipients == (f"sales@{VENDOR}",), "a new contact got it")
    _check(HOME.encode() not in got.octets, "without a trace of the mailbox")


def _undeliverable(stage: Stage) -> None:
    _say(10, "Somebody there has left: the Lamp Shop's server refuses for good, and Anna is told.")
    stage.vendor.answers[f"RCPT gone@{VENDOR}"] = "550 5.1.1 has left the company"
    reverse = _typed(stage, "contact", "lamp-shop", f"gone@{VENDOR}")
    written = _message(f"From: {MAILBOX}", f"To: {reverse}", "Subject: Are you there?", body="Hello?\r\n")
    stage.send(HOME, MAILBOX, reverse, written)
    note = _arrived(stage.home, b"has left the company")
    _check(b"Subject: Are you there?" in note.octets, "with the remote's words and her own mail")
    _check(note.sender == "", "and nothing answers the note")


def _paused(stage: Stage, alias: str) -> None:
    _say(11, "On holiday she pauses the Lamp Shop; nothing is lost.")
    _typed(stage, "pause", "lamp-shop")
    written = _message(f"From: {ORDERS}", f"To: {alias}", "Subject: While you were away", body="Hi\r\n")
    stage.send(VENDOR, ORDERS, alias, written)
    _typed(stage, "held", "list")
    _check(len(stage.json("held", "list")) == 1, "it is held, and listed")
    _typed(stage, "resume", "lamp-shop")
    _arrived(stage.home, b"Subject: While you were away")
    _check(True, "and arrives when she resumes")


def _revoke(stage: Stage, alias: str, reverse: str) -> None:
    _say(12, "The Lamp Shop begins to spam.  One command, and the address is dead.")
    _check(stage.rcpt(alias)[0] == 250, "before: 250")
    _typed(stage, "revoke", "lamp-shop")
    code, text = stage.rcpt(alias)
    click.echo(f"    RCPT TO:<{alias}> → {code} {text}")
    never = stage.rcpt(f"never.issued1@{OFFICE}")
    _check((code, text) == never and code == 550, "it answers like an address that never existed")
    _check(stage.rcpt(reverse)[0] == 550, "and its reverse alias is dead with it")
    _check(stage.json("queue", "list") == [], "nothing waits in the queue")
    _typed(stage, "restore", "lamp-shop")
    _check(stage.rcpt(alias)[0] == 250, "restore undoes it")
    _typed(stage, "revoke", "lamp-shop")
    _typed(stage, "log", "lamp-shop")


# ---- looking and saying ------------------------------------------------------------------------------


def _message(*lines: str, body: str) -> bytes:
    dated = (*lines, f"Date: {format_datetime(datetime.now(UTC))}", "MIME-Version: 1.0")
    return "\r\n".join([*dated, "Content-Type: text/plain; charset=utf-8", "", body]).encode()


def _arrived(server: Sink, words: bytes) -> Received:
    """The first message there that has these octets, waited for."""

    def look() -> list[Received]:
        return [each for each in tuple(server.received) if words in each.octets]

    return until(look, f"a mail with {words.decode()!r}")[0]


def _addresses(message: Message, name: str) -> list[str]:
    field = message.first(name)
    found = headers.addresses(field.value) if field is not None else ()
    return [str(each.address) for each in found if each.address is not None]


def _before_and_after(written: bytes, got: Received) -> None:
    for title, octets in (("as it was sent", written), ("as it arrived", got.octets)):
        click.echo(click.style(f"    {title}:", dim=True))
        message = Message.parse(octets)
        for name in _SHOWN:
            if (value := message.value(name)) is not None:
                click.echo(f"      {name}: {' '.join(value.decode(errors='replace').split())}")


def _indented(text: str) -> str:
    return "\n".join(f"      | {line}" for line in text.splitlines())


def _quoted(arguments: tuple[str, ...]) -> str:
    return " ".join(f'"{each}"' if " " in each else each for each in arguments)


def _typed(stage: Stage, *arguments: str) -> str:
    """Run a command as Anna types it, and show what it prints."""
    click.echo(click.style(f"  $ sortingoffice {_quoted(arguments)}", bold=True))
    out = stage.command(*arguments)
    for line in out.splitlines():
        click.echo(f"    {line}")
    return out


def _say(number: int, sentence: str) -> None:
    click.echo()
    click.echo(click.style(f"{number}. {sentence}", fg="cyan", bold=True))


def _check(seen: object, sentence: str) -> None:
    if not seen:
        raise Unseen(sentence)
    click.echo(click.style("  ✓ ", fg="green") + sentence)


@click.command()
@click.pass_context
def demo(context: click.Context) -> None:
    """Show the whole job on this machine, with mail servers of its own; exits 0 if every step was seen."""
    try:
        with opened() as stage:
            stage.retry = "6s"  # long enough to look at the queue meanwhile
            stage.configure()
            try:
                _open_office(stage)
                alias = _first_mail(stage)
                reverse = _answer(stage, alias)
                _ledger(stage)
                _verified(stage)
                _submitted(stage, alias)
                _undeliverable(stage)
                _paused(stage, alias)
                _revoke(stage, alias, reverse)
            except Exception:
                click.echo(stage.log, err=True)
                raise
    except (Unseen, TimeoutError, OSError, smtplib.SMTPException) as error:
        click.echo(click.style("  ✗ ", fg="red") + f"not seen: {error}", err=True)
        context.exit(1)
    click.echo(click.style("\nEvery step was seen to happen.", fg="green", bold=True))


commands = [demo]
