"""The relay with Postfix as its next hop: what a real server takes, refuses and passes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from sortingoffice.net import tls
from sortingoffice.net.relay import Parcel, Relay
from sortingoffice.net.route import Host
from tests.postfix import Postfix
from tests.postfix import postfix as postfix  # a fixture
from tests.servers import Certificate, Sink

Start = Callable[..., Postfix]
BODIES = {
    "plain": b"Hello\r\n",
    "dots": b".\r\n..\r\n.a\r\nb.\r\n.\r\n",
    "eight bit": "Grüße\r\n".encode("latin-1"),
    "no blank line at the end": b"x",
    "many": b"x" * 76 + b"\r\n" * 5000,
}


@pytest.fixture
async def relay(certificate: Certificate) -> AsyncIterator[Relay]:
    made = Relay("mx.sort.example", contexts=tls.Contexts(str(certificate.certificate)))
    yield made
    await made.close()


def parcel(body: bytes, recipient: str = "anna@home.example", utf8: bool = False) -> Parcel:
    head = (
        b"From: <a@shop.example>\r\nDate: Sun, 01 Mar 2026 12:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\n"
    )
    return Parcel("rp1@sort.example", recipient, head + b"MIME-Version: 1.0\r\n\r\n" + body, utf8)


async def test_it_takes_what_we_bring_over_verified_tls_and_one_connection(
    postfix: Start, sink: Sink, relay: Relay
) -> None:
    server = postfix(next_hop=sink.port)
    there = Host("mx.home.example", "127.0.0.1", server.port)
    for body in BODIES.values():
        tried = await relay.attempt([there], parcel(body), policy=tls.Policy.REQUIRED)
        assert tried.reply.code == 250, (tried, server.log)
        assert tried.tls.startswith("TLSv1.3")
    arrived = {message.octets.partition(b"\r\n\r\n")[2] for message in sink.wait(len(BODIES), 30)}
    assert arrived == {body.removesuffix(b"\r\n") + b"\r\n" for body in BODIES.values()}
    assert server.log.count("Anonymous TLS connection established") == 1
    assert server.log.count(" connect from") - server.log.count("lost connection after CONNECT") <= 2


async def test_it_is_told_the_size_and_refuses_for_it(postfix: Start, sink: Sink, relay: Relay) -> None:
    server = postfix(next_hop=sink.port)
    there = Host("mx.home.example", "127.0.0.1", server.port)
    tried = await relay.attempt([there], parcel(b"x" * 2_000_000))
    assert (tried.reply.code, tried.reply.status) == (552, "5.3.4")
    assert (await relay.attempt([there], parcel(b"small\r\n"))).reply.accepted


async def test_its_refusals_are_ours(postfix: Start, sink: Sink, relay: Relay) -> None:
    server = postfix(
        next_hop=sink.port,
        smtpd_recipient_restrictions="reject_unlisted_recipient, reject",
        smtpd_relay_restrictions="",
    )
    there = Host("mx.home.example", "127.0.0.1", server.port)
    for _ in range(3):
        tried = await relay.attempt([there], parcel(b"x\r\n"))
        assert (tried.reply.code, tried.reply.status) == (554, "5.7.1"), tried


async def test_greylisting_by_it_is_temporary(postfix: Start, sink: Sink, relay: Relay) -> None:
    server = postfix(next_hop=sink.port, smtpd_recipient_restrictions="defer", smtpd_relay_restrictions="")
    there = Host("mx.home.example", "127.0.0.1", server.port)
    tried = await relay.attempt([there], parcel(b"x\r\n"))
    assert tried.reply.temporary, tried


async def test_internationalised_mail_passes_where_it_is_allowed(
    postfix: Start, sinks: Callable[..., Sink], relay: Relay
) -> None:
    sink = sinks()
    able = postfix(next_hop=sink.port, smtputf8_enable="yes")
    unable = postfix(next_hop=sink.port, smtputf8_enable="no")
    mail = parcel(b"x\r\n", recipient="änna@home.example", utf8=True)
    good = await relay.attempt([Host("mx.home.example", "127.0.0.1", able.port)], mail)
    bad = await relay.attempt([Host("mx.home.example", "127.0.0.1", unable.port)], mail)
    assert good.reply.accepted, good
    assert (bad.reply.code, bad.reply.status) == (550, "5.6.7")
    assert sink.wait(1, 30)[0].recipients == ("änna@home.example",)


async def test_it_speaks_one_by_one_where_it_offers_no_pipelining(
    postfix: Start, sink: Sink, relay: Relay
) -> None:
    server = postfix(next_hop=sink.port, smtpd_discard_ehlo_keywords="pipelining, 8bitmime, size, starttls")
    there = Host("mx.home.example", "127.0.0.1", server.port)
    for body in BODIES.values():
        assert (await relay.attempt([there], parcel(body))).reply.accepted
    assert len(sink.wait(len(BODIES), 30)) == len(BODIES)
