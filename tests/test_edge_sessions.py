"""Sessions over a socket: batches, broken clients, proxies, TLS, and what a hook sees of the peer."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from typing import Any

import pytest
import uvloop

from sortingoffice import transaction
from sortingoffice.core.model import Envelope, Peer
from sortingoffice.edge.hooks import Hooks
from sortingoffice.mail.address import Address
from sortingoffice.mail.reply import Reply
from tests.edge import Client, Flows, client, context, running, trusting
from tests.waiting import until

# ---- batches -------------------------------------------------------------------------------------


async def test_ehlo_is_answered_in_one_write() -> None:
    async with running() as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        await peer.send(b"EHLO c\r\n")
        octets = await peer.reader.read(65536)
        assert octets.startswith(b"250-mx.sort.example\r\n")
        assert octets.endswith(b"250 STARTTLS\r\n")


@pytest.mark.parametrize(
    ("called", "known"),
    [
        ("BÜRO-PC".encode(), "B??RO-PC"),
        ("BÜRO-PC".encode("latin-1"), "B?RO-PC"),
        (b"Anna's, upstairs", "Anna's??upstairs"),
        (b'a"b(c)<d>;\\@e', "a?b?c??d????e"),
    ],
)
async def test_no_mail_is_refused_for_what_a_host_calls_itself(called: bytes, known: str) -> None:
    flows = Flows()
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        for verb in (b"HELO ", b"EHLO "):
            await peer.send(verb + called + b"\r\n")
            assert (await peer.reply()).startswith("250")
        await peer.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@sort.example>\r\nDATA\r\n")
        assert [(await peer.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        assert (await peer.say("hi\r\n.")).startswith("250")
    assert flows.peers[0].helo == known


@pytest.mark.parametrize("called", [b"", b" ", b"a" * 256])
async def test_what_is_no_name_at_all_is(called: bytes) -> None:
    async with running() as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        await peer.send(b"EHLO " + called + b"\r\n")
        assert (await peer.reply()).startswith("501")


async def test_pipelined_commands_are_answered_in_one_write() -> None:
    async with running() as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        await peer.say("HELO c")
        await peer.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@sort.example>\r\nDATA\r\n")
        octets = await peer.reader.read(65536)
        assert octets.count(b"\r\n") == 3
        assert octets.startswith(b"250 2.1.0 ")


async def test_octet_by_octet_is_the_same_dialogue() -> None:
    flows = Flows()
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        commands = b"HELO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@sort.example>\r\nDATA\r\n"
        for octet in commands + b".hi\r\n..\r\n.\r\nQUIT\r\n":
            await peer.send(bytes([octet]))
            await asyncio.sleep(0)
        replies = [await peer.reply() for _ in range(6)]
        assert [reply[:3] for reply in replies] == ["250", "250", "250", "354", "250", "221"]
    assert flows.messages[0][1] == b"hi\r\n.\r\n"


async def test_a_recipient_that_is_named_again_is_asked_about_again() -> None:
    class Revoked(Flows):
        async def rcpt(self, peer: Peer, sender: Address | None, recipient: Address) -> Reply:
            reply = await super().rcpt(peer, sender, recipient)
            return reply if len(self.asked) == 1 else Reply(550, "5.1.1", "no such address here")

    async with running(Revoked()) as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        for command in ("HELO c", "MAIL FROM:<a@b.example>", "RCPT TO:<x@sort.example>"):
            assert (await peer.say(command)).startswith("250")
        assert (await peer.say("RCPT TO:<x@sort.example>")).startswith("550 5.1.1")
        assert (await peer.say("DATA")).startswith("5"), "nobody is left"


# ---- clients that leave --------------------------------------------------------------------------


def resetting(peer: Client) -> None:
    """Closing will send RST instead of FIN."""
    one = peer.writer.get_extra_info("socket")
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
async def test_a_client_that_leaves_does_not_cancel_the_commit(reset: bool) -> None:
    flows = Flows(pause=0.2)
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        await peer.begin()
        await peer.send(b"hi\r\n.\r\n")
        await flows.begun.wait()
        if reset:
            resetting(peer)
        peer.writer.transport.abort()
        await until(lambda: flows.messages)
        await until(lambda: not edge.door.sessions)


async def test_half_a_message_is_no_message() -> None:
    flows = Flows()
    async with running(flows) as edge:
        async with client(edge.smtp[0].port) as peer:
            await peer.begin()
            await peer.send(b"hi\r\n.\r")
        await until(lambda: not edge.door.sessions)
    assert flows.messages == []


async def test_a_client_that_says_all_and_half_closes_gets_all_its_replies() -> None:
    flows = Flows(pause=0.05)
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        await peer.send(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@sort.example>\r\nDATA\r\nhi\r\n.\r\n")
        peer.writer.write_eof()
        replies = [(await peer.reply())[:3] for _ in range(7)]
        assert replies == ["220", "250", "250", "250", "354", "250", ""]


async def test_a_client_that_resets_leaves_no_session() -> None:
    async with running() as edge:
        for said in (b"", b"EHLO c\r\n", b"EHLO c\r\nSTARTTLS\r\n", b"NOOP\r\n" * 50):
            peer = await Client.connect(edge.smtp[0].port)
            await peer.send(said)
            resetting(peer)
            await peer.close()
        await until(lambda: not edge.door.sessions)
        assert edge.door.gate.inside == 0


# ---- what a hook sees ----------------------------------------------------------------------------


async def send_one(peer: Client) -> None:
    await peer.begin()
    assert (await peer.say(b"hi\r\n.")).startswith("250")


async def test_the_peer_is_the_connection_and_what_it_called_itself() -> None:
    flows = Flows()
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        await send_one(peer)
        assert flows.peers == [Peer(ip="127.0.0.1", helo="client.example", tls="", esmtp=True)]


async def test_the_peer_is_known_to_use_tls() -> None:
    flows = Flows()
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        await peer.say("EHLO c")
        await peer.say("STARTTLS")
        await peer.starttls()
        await send_one(peer)
    assert flows.peers[0].tls.startswith("TLSv1.3 TLS_")


async def test_implicit_tls_offers_auth_at_once() -> None:
    flows = Flows()
    async with (
        running(flows, submission__tls=True) as edge,
        client(edge.submission[0].port, ssl=trusting(), server_hostname="x") as peer,
    ):
        await peer.reply()
        assert "AUTH PLAIN LOGIN" in await peer.say("EHLO c")
        assert (await peer.say("AUTH PLAIN AGFubmEAY29ycmVjdCBob3JzZQ==")).startswith("235")
        await send_one(peer)
    assert flows.peers[0].account_id == 7


def proxy_v2(ip: str, *, command: int = 1) -> bytes:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    address = socket.inet_pton(family, ip)
    body = address + address + struct.pack("!HH", 1000, 25)
    head = bytes([0x20 | command, 0x21 if family == socket.AF_INET6 else 0x11]) + struct.pack("!H", len(body))
    return b"\r\n\r\n\x00\r\nQUIT\n" + head + body


@pytest.mark.parametrize(
    ("header", "ip"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 25\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1000 25\r\n", "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1000 25\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (proxy_v2("192.0.2.7"), "192.0.2.7"),
        (proxy_v2("2001:db8::7"), "2001:db8::7"),
        (proxy_v2("192.0.2.7", command=0), "127.0.0.1"),
    ],
)
async def test_a_listed_proxy_says_who_the_peer_is(header: bytes, ip: str) -> None:
    flows = Flows()
    listed: dict[str, Any] = {"smtp__proxy_protocol_from": ["127.0.0.0/8"]}
    async with running(flows, **listed) as edge, client(edge.smtp[0].port) as peer:
        await peer.send(header[:9])
        await asyncio.sleep(0.02)
        await peer.send(header[9:])
        await send_one(peer)
    assert flows.peers[0].ip == ip


@pytest.mark.parametrize(
    "header",
    [b"\r\n\r\n\x00\r\nQUIX\n", proxy_v2("192.0.2.7")[:13] + b"\xff" * 3, b"PROXY\r\n", b"PROXY TCP4\r\n"],
)
async def test_a_listed_proxy_with_a_broken_header_is_closed(header: bytes) -> None:
    async with running(smtp__proxy_protocol_from=["127.0.0.0/8"]) as edge, client(edge.smtp[0].port) as peer:
        await peer.send(header + b"\r\n" * 10)
        assert await peer.reply() == ""


BEFORE_TLS: dict[str, Any] = {"smtp__proxy_protocol_from": ["127.0.0.0/8"], "submission__tls": True}


@pytest.mark.parametrize(
    ("header", "ip"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 465\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (proxy_v2("2001:db8::7"), "2001:db8::7"),
    ],
)
async def test_a_listed_proxy_says_who_the_peer_is_before_tls_begins(header: bytes, ip: str) -> None:
    """In one piece, or in two."""
    flows = Flows()
    async with running(flows, **BEFORE_TLS) as edge:
        for pieces in ((header,), (header[:9], header[9:])):
            answer = await asyncio.to_thread(over_tls, edge.submission[0].port, MAIL, *pieces)
            assert answer.endswith(b"221 2.0.0 bye\r\n"), answer
    assert [each.ip for each in flows.peers] == [ip, ip]
    assert all(each.tls for each in flows.peers)


MAIL = (
    b"EHLO c\r\nAUTH PLAIN AGFubmEAY29ycmVjdCBob3JzZQ==\r\nMAIL FROM:<anna@home.example>\r\n"
    b"RCPT TO:<a@sort.example>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n"
)


def over_tls(port: int, within: bytes, *pieces: bytes) -> bytes:
    """All that is answered to these pieces in the clear, and what is said within TLS after them."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        for piece in pieces:
            plain.sendall(piece)
            time.sleep(0.02)
        with trusting().wrap_socket(plain, server_hostname="x") as inside:
            inside.sendall(within)
            answer = b""
            while piece := inside.recv(4096):
                answer += piece
    return answer


async def test_a_header_within_tls_is_its_clients_and_not_believed() -> None:
    before, within = (b"PROXY TCP4 %s 192.0.2.1 1000 465\r\n" % ip for ip in (b"192.0.2.7", b"203.0.113.5"))
    async with running(**BEFORE_TLS) as edge:
        answer = await asyncio.to_thread(over_tls, edge.submission[0].port, within, before)
        assert answer.startswith(b"220")
        assert b"\r\n554 " in answer


@pytest.mark.parametrize(
    "header", [b"", b"PROXY\r\n", b"\x16\x03\x01" + b"x" * 200, b"PROXY TCP4 " + b"1" * 200]
)
async def test_a_listed_proxy_that_sends_no_header_before_tls_is_closed(header: bytes) -> None:
    def said(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            try:
                plain.sendall(header)
                plain.shutdown(socket.SHUT_WR)
                return plain.recv(100)
            except TimeoutError:
                raise
            except OSError:  # reset, for what it sent was not all read
                return b""

    async with running(**BEFORE_TLS) as edge:
        assert await asyncio.to_thread(said, edge.submission[0].port) == b""
        assert not edge.door.sessions


async def test_a_proxied_peer_is_counted_by_its_own_address() -> None:
    async with running(smtp__proxy_protocol_from=["127.0.0.0/8"], limits__connections_per_peer=1) as edge:
        port = edge.smtp[0].port
        async with client(port) as one, client(port) as two, client(port) as three:
            for peer, ip in ((one, "192.0.2.7"), (two, "192.0.2.8"), (three, "192.0.2.7")):
                await peer.send(f"PROXY TCP4 {ip} 192.0.2.1 1000 25\r\n".encode())
            assert (await one.reply()).startswith("220")
            assert (await two.reply()).startswith("220")
            assert (await three.reply()).startswith("421 4.7.0")


async def test_xclient_from_a_listed_host_changes_the_peer() -> None:
    flows = Flows()
    async with running(flows, smtp__xclient_from=["127.0.0.1"]) as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        assert (await peer.say("XCLIENT ADDR=192.0.2.9 HELO=far.example LOGIN=anna")).startswith("220")
        await send_one(peer)
    assert flows.peers[0] == Peer(ip="192.0.2.9", helo="client.example")


async def test_a_client_behind_a_listed_proxy_may_not_use_the_proxys_xclient() -> None:
    keys: dict[str, Any] = {"smtp__proxy_protocol_from": ["127.0.0.1"], "smtp__xclient_from": ["127.0.0.1"]}
    async with running(**keys) as edge, client(edge.smtp[0].port) as peer:
        await peer.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 25\r\n")
        await peer.reply()
        assert "XCLIENT" not in await peer.say("EHLO c")
        assert (await peer.say("XCLIENT ADDR=192.0.2.9")).startswith("550 5.7.0")


async def test_a_large_message_passes_tls_octet_for_octet() -> None:
    flows = Flows()
    raw = b"".join(b"line %d %s\r\n" % (n, b"x" * (n % 900)) for n in range(20_000))
    async with running(flows, smtp__max_message_bytes=20_000_000) as edge, client(edge.smtp[0].port) as peer:
        await peer.reply()
        await peer.say("EHLO c")
        await peer.say("STARTTLS")
        await peer.starttls()
        await peer.begin()
        assert (await peer.say(raw + b".")).startswith("250")
    assert flows.messages[0][1] == raw


# ---- what goes wrong inside ----------------------------------------------------------------------


class GoneError(Exception):
    """The database is away."""


async def test_a_bug_is_one_logged_line_and_a_missing_database_is_none(caplog: Any) -> None:
    async def rcpt(peer: Peer, sender: Address | None, recipient: Address) -> Reply:
        named.append(f"message={transaction.message()}")
        raise GoneError if recipient.local == "gone" else ZeroDivisionError("a mailbox@home.example")

    named: list[str] = []
    caplog.set_level(logging.INFO)
    flows = Flows()
    hooks = Hooks(rcpt, flows.data, flows.authenticate, flows.mail, unavailable=(GoneError,))
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        edge.door.hooks = hooks
        await peer.reply()
        await peer.say("HELO c")
        await peer.say("MAIL FROM:<a@b.example>")
        assert await peer.say("RCPT TO:<gone@sort.example>") == "451 4.3.0 local error, try again later"
        assert await peer.say("RCPT TO:<x@sort.example>") == "451 4.3.0 local error, try again later"
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "ZeroDivisionError" in errors[0]
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("session.")]
    assert [name in line for name, line in zip(named, lines, strict=True)] == [True, True]
    assert named[0] == named[1] != "message="


async def test_a_hook_that_times_out_or_loses_a_connection_is_not_the_peer_leaving() -> None:
    raised: list[type[Exception]] = [TimeoutError, ConnectionResetError, OSError]

    async def data(peer: Peer, envelope: Envelope, raw: bytes) -> Reply:
        raise raised.pop()

    flows = Flows()
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        edge.door.hooks = Hooks(flows.rcpt, data, flows.authenticate, flows.mail)
        for _ in range(3):
            await peer.begin()
            assert (await peer.say(b"hi\r\n.")).startswith("451 4.3.0")


async def test_no_address_is_logged_above_debug(caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    async with running(limits__errors_per_session=3) as edge, client(edge.smtp[0].port) as peer:
        await peer.begin("x@sort.example")
        await peer.say(b"hi\nthere\r\n.")
        await peer.say("MAIL FROM:<anna@home.example> FOO=1")
        await peer.say("VRFY anna@home.example")
        await peer.say("MAIL FROM:<anna@home.example")
        await peer.say("RCPT TO:<anna@home.example>")
    assert caplog.records
    assert "@" not in caplog.text.replace("<", "").replace("test_", "")


# ---- the other event loop ------------------------------------------------------------------------


def test_all_of_it_runs_on_uvloop_too() -> None:
    async def dialogue() -> list[Peer]:
        flows = Flows()
        async with running(flows, submission__tls=True) as edge:
            async with client(edge.smtp[0].port) as peer:
                await peer.reply()
                await peer.say("EHLO c")
                await peer.say("STARTTLS")
                await peer.starttls()
                await peer.begin()
                assert (await peer.say(b"x\r\n" * 50_000 + b".")).startswith("250")
                assert (await peer.say("QUIT")).startswith("221")
                assert await peer.reply() == ""
            async with client(edge.submission[0].port, ssl=trusting(), server_hostname="x") as peer:
                await peer.reply()
                assert "AUTH" in await peer.say("EHLO c")
                assert (await peer.say("AUTH PLAIN AGFubmEAY29ycmVjdCBob3JzZQ==")).startswith("235")
            async with client(edge.smtp[0].port) as peer:
                await peer.send(b"HELO c\r\nNOOP\r\n")
                peer.writer.write_eof()
                assert [(await peer.reply())[:3] for _ in range(4)] == ["220", "250", "250", ""]
        return flows.peers

    context()
    assert uvloop.run(dialogue())[0].tls.startswith("TLSv1.3")
