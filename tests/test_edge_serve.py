"""Listening, reloading and ending."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice.edge.gate import Counts
from sortingoffice.edge.serve import opened, serve
from sortingoffice.errors import OfficeError
from sortingoffice.mail import certificate
from sortingoffice.values import Endpoint
from tests.edge import Flows, client, config, context, running, trusting


def ports(sockets: list[socket.socket]) -> list[int]:
    return [one.getsockname()[1] for one in sockets]


def test_a_port_in_use_is_a_sentence_that_names_it() -> None:
    with closing(opened([Endpoint("127.0.0.1", 0)])[0]) as one:
        port = one.getsockname()[1]
        with pytest.raises(OfficeError, match=rf"can't listen on 127\.0\.0\.1:{port}: the port is in use"):
            opened([Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", port)])


def test_an_address_that_is_not_ours_is_a_sentence() -> None:
    with pytest.raises(OfficeError, match="no such address"):
        opened([Endpoint("192.0.2.1", 0)])


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_one_socket_takes_both_ip_versions() -> None:
    flows = Flows()
    async with running(flows, smtp__listen=["[::]:0"]) as edge:
        for host in ("127.0.0.1", "::1"):
            async with client(edge.smtp[0].port, host=host) as peer:
                await peer.begin()
                await peer.say(b"hi\r\n.")
    assert [peer.ip for peer in flows.peers] == ["127.0.0.1", "::1"]


async def test_sockets_from_systemd_are_used_instead_of_the_configs() -> None:
    given = opened([Endpoint("127.0.0.1", 0)])[0]
    port = given.getsockname()[1]
    edge = await serve(
        config(smtp__listen=["192.0.2.1:25"]), Flows().hooks, context=None, smtp_sockets=[given]
    )
    assert [endpoint.port for endpoint in edge.smtp] == [port]
    async with client(port) as peer:
        assert (await peer.reply()).startswith("220")
        assert "STARTTLS" not in await peer.say("EHLO c")
        assert (await peer.say("STARTTLS")).startswith("502")
    await edge.drain(1)


async def test_of_two_processes_the_one_with_more_inside_lets_the_other_go_first() -> None:
    with closing(opened([Endpoint("127.0.0.1", 0)])[0]) as given:
        port, counts = ports([given])[0], Counts(2)
        edges = [
            await serve(
                config(smtp__listen=[]),
                Flows().hooks,
                context=None,
                smtp_sockets=[given.dup()],
                counts=counts.of(number),
                processes=2,
            )
            for number in (0, 1)
        ]
        async with AsyncExitStack() as stack:
            for _ in range(10):
                peer = await stack.enter_async_context(client(port))
                assert (await peer.reply()).startswith("220")
            assert [len(edge.door.sessions) for edge in edges] == [5, 5]
        for edge in edges:
            await edge.drain(1)


async def test_implicit_tls_without_a_certificate_is_refused_at_the_start() -> None:
    with pytest.raises(OfficeError, match="needs a certificate"):
        await serve(config(submission__tls=True), Flows().hooks, context=None)


# ---- reload --------------------------------------------------------------------------------------


async def subject(port: int, *, starttls: bool) -> str:
    """The name in the certificate that is shown."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=None if starttls else trusting(), server_hostname=None if starttls else "x"
    )
    if starttls:
        writer.write(b"EHLO c\r\nSTARTTLS\r\n")
        await asyncio.sleep(0.1)
        await writer._reader.read(4096)  # type: ignore[attr-defined]
        await writer.start_tls(trusting(), server_hostname="x")
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate.names(ssl.DER_cert_to_PEM_cert(shown).encode())[0]


async def test_a_reload_shows_the_new_certificate_and_keeps_who_is_inside() -> None:
    flows = Flows()
    async with running(flows, submission__tls=True) as edge, client(edge.smtp[0].port) as inside:
        port, secure = edge.smtp[0].port, edge.submission[0].port
        await inside.begin()
        assert await subject(port, starttls=True) == "mx.sort.example"
        assert await subject(secure, starttls=False) == "mx.sort.example"
        await edge.reload(config(submission__tls=True, limits__recipients=1), context("new.sort.example"))
        assert await subject(port, starttls=True) == "new.sort.example"
        assert await subject(secure, starttls=False) == "new.sort.example"
        assert edge.door.limits.recipients == 1
        assert (await inside.say(b"hi\r\n.")).startswith("250")


def test_a_certificate_names_its_host_and_ends_in_a_year() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    chain, key = certificate.self_signed("mx.sort.example", now)
    assert certificate.names(chain) == ("mx.sort.example",)
    assert certificate.expires(chain) == now + timedelta(days=365)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    long = "a" * 60 + ".sort.example"
    assert certificate.names(certificate.self_signed(long, now)[0]) == (long,)
    with pytest.raises(ValueError, match="A-labels"):
        certificate.self_signed("", now)


# ---- the end -------------------------------------------------------------------------------------


async def test_at_the_end_the_idle_are_told_and_the_busy_may_finish() -> None:
    flows = Flows(pause=0.1)
    async with running(flows) as edge:
        port = edge.smtp[0].port
        async with (
            client(port) as idle,
            client(port) as done,
            client(port) as sending,
            client(port) as waiting,
        ):
            await idle.reply()
            await done.begin()
            assert (await done.say(b"hi\r\n.")).startswith("250")
            flows.begun.clear()
            await sending.begin()
            await waiting.begin()
            await waiting.send(b"hi\r\n.\r\n")
            await flows.begun.wait()
            draining = asyncio.create_task(edge.drain(5))
            assert (await idle.reply()).startswith("421 4.3.2")
            assert (await done.reply()).startswith("421 4.3.2")
            assert (await waiting.reply()).startswith("250")
            assert (await waiting.reply()).startswith("421 4.3.2")
            assert (await sending.say(b"hi\r\n.")).startswith("250")
            assert (await sending.reply()).startswith("421 4.3.2")
            await draining
            with pytest.raises(OSError):  # noqa: PT011 - refused
                await asyncio.open_connection("127.0.0.1", port)
    assert len(flows.messages) == 3


async def test_at_the_end_nobody_holds_the_office_up() -> None:
    flows = Flows(pause=60)
    async with running(flows) as edge, client(edge.smtp[0].port) as peer, client(edge.smtp[0].port) as other:
        await peer.begin()
        await other.begin()
        await other.send(b"hi\r\n.\r\n")
        await flows.begun.wait()
        async with asyncio.timeout(20):
            await edge.drain(0.1)
        assert not edge.door.sessions
    assert flows.messages == []
