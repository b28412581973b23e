"""Clients that others wrote: swaks, openssl, the standard library and aiosmtplib against the edge."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import pytest

from sortingoffice.edge.serve import Edge
from tests.database import skip_or_fail
from tests.edge import Flows, running, trusting


def program(name: str) -> str:
    """Where the program is; absent, the test is skipped by name, and in CI it fails."""
    found = shutil.which(name)
    if found is None:
        skip_or_fail(name)
    return found or ""


async def run(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(stdin), 30)
    return process.returncode or 0, out.decode("utf-8", "replace")


PROXY = (
    "--proxy-source 192.0.2.9 --proxy-source-port 1000 --proxy-dest 192.0.2.1 --proxy-dest-port 25".split()
)
SWAKS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "plain": ("smtp", [], {}),
    "helo": ("smtp", ["--protocol", "SMTP"], {}),
    "pipelined": ("smtp", ["--pipeline"], {}),
    "starttls": ("smtp", ["--tls"], {}),
    "starttls-and-pipelined": ("smtp", ["--tls", "--pipeline"], {}),
    "xclient": ("smtp", ["--xclient-addr", "192.0.2.9"], {"smtp__xclient_from": ["127.0.0.1"]}),
    "proxy-1": (
        "smtp",
        ["--proxy-version", "1", "--proxy-family", "TCP4", *PROXY],
        {"smtp__proxy_protocol_from": ["127.0.0.1"]},
    ),
    "proxy-2": (
        "smtp",
        ["--proxy-version", "2", "--proxy-family", "AF_INET", *PROXY],
        {"smtp__proxy_protocol_from": ["127.0.0.1"]},
    ),
    "auth-plain": ("submission", ["--tls", "--auth", "PLAIN"], {}),
    "auth-login": ("submission", ["--tls", "--auth", "LOGIN"], {}),
    "auth-over-implicit-tls": (
        "submission",
        ["--tls-on-connect", "--auth", "PLAIN"],
        {"submission__tls": True},
    ),
}


@pytest.mark.parametrize("way", SWAKS)
async def test_swaks_delivers(way: str) -> None:
    swaks = program("swaks")
    port, options, keys = SWAKS[way]
    if port == "submission":
        options = [*options, "--auth-user", "anna", "--auth-password", "correct horse"]
    flows = Flows()
    async with running(flows, **keys) as edge:
        status, said = await run(
            swaks,
            *("--server", "127.0.0.1", "--port", str(getattr(edge, port)[0].port), "--timeout", "10"),
            *("--from", "a@b.example", "--to", "x@sort.example,y@sort.example", "--helo", "client.example"),
            *("--body", "first\n.second\n..third", *options),
        )
    assert status == 0, said
    envelope, raw = flows.messages[0]
    assert [str(one) for one in envelope.recipients] == ["x@sort.example", "y@sort.example"]
    assert b"\r\n.second\r\n..third\r\n" in raw
    assert flows.peers[0].account_id == (7 if port == "submission" else None)
    assert flows.peers[0].ip == ("192.0.2.9" if "192.0.2.9" in options else "127.0.0.1")


async def test_swaks_with_a_wrong_password_delivers_nothing() -> None:
    swaks = program("swaks")
    flows = Flows()
    async with running(flows) as edge:
        status, said = await run(
            swaks,
            *("--server", "127.0.0.1", "--port", str(edge.submission[0].port), "--to", "x@sort.example"),
            *("--tls", "--auth", "PLAIN", "--auth-user", "anna", "--auth-password", "wrong"),
        )
    assert status == 28, said
    assert flows.messages == []


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_begins_tls(version: str) -> None:
    openssl = program("openssl")
    async with running() as edge:
        where = f"127.0.0.1:{edge.smtp[0].port}"
        status, said = await run(
            openssl,
            *("s_client", "-connect", where, "-starttls", "smtp", "-crlf", "-quiet", version),
            stdin=b"EHLO c\nQUIT\n",
        )
    assert status == 0, said
    assert "250 ENHANCEDSTATUSCODES" in said
    assert "221 2.0.0 bye" in said


async def test_openssl_finds_no_tls_of_yesterday() -> None:
    openssl = program("openssl")
    async with running() as edge:
        where = f"127.0.0.1:{edge.smtp[0].port}"
        status, _ = await run(
            openssl,
            *("s_client", "-connect", where, "-starttls", "smtp", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
            stdin=b"QUIT\n",
        )
    assert status != 0


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.example", "x@sort.example", "hello"
    message.set_content("first\n.second\n" + "x" * 100_000 + "\n", cte="8bit")
    return message


async def on_a_thread(edge: Edge, job: Callable[[Edge], None]) -> None:
    await asyncio.to_thread(job, edge)


async def test_the_standard_library_submits() -> None:
    def job(edge: Edge) -> None:
        with smtplib.SMTP("127.0.0.1", edge.submission[0].port, timeout=10) as one:
            one.starttls(context=trusting())
            one.login("anna", "correct horse")
            one.send_message(letter())
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                one.sendmail("a@b.example", ["nobody@sort.example"], b"x")
            one.sendmail("a@b.example", ["x@sort.example"], b"again")

    flows = Flows()
    async with running(flows) as edge:
        await on_a_thread(edge, job)
    assert [len(raw) > 100_000 for _, raw in flows.messages] == [True, False]


async def test_aiosmtplib_sends_with_utf8_and_without_a_sender() -> None:
    flows = Flows()
    async with running(flows) as edge:
        one = aiosmtplib.SMTP(hostname="127.0.0.1", port=edge.smtp[0].port, tls_context=trusting())
        async with one:
            await one.sendmail(
                "ä@b.example",
                ["ö@sort.example"],
                "Subject: ü\r\n\r\n".encode(),
                mail_options=["SMTPUTF8"],
            )
            await one.execute_command(b"MAIL", b"FROM:<>")
            await one.rcpt("x@sort.example")
            await one.data(b"returned\r\n")
    assert [str(envelope.sender) for envelope, _ in flows.messages] == ["ä@b.example", "None"]
    assert flows.messages[0][0].utf8
