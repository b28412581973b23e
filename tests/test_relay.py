"""The relay against real far ends on loopback: sinks, and servers that misbehave octet by octet."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from sortingoffice.core.delivery import Outcome, Tried
from sortingoffice.net import tls
from sortingoffice.net.conversing import Conversing
from sortingoffice.net.relay import Login, Parcel, Relay, Timeouts
from sortingoffice.net.route import Host
from tests.servers import DROP, HANG, Certificate, Late, Sink
from tests.test_edge_hostile import EVIL, ILLEGAL

MESSAGE = b"From: a@shop.example\r\nSubject: x\r\n\r\nHello\r\n"
QUICK = Timeouts(dial=0.6, greeting=0.6, command=0.6, data=0.6, block=0.6, final=0.6)

Sinks = Callable[..., Sink]


def parcel(octets: bytes = MESSAGE, recipient: str = "anna@home.example", utf8: bool = False) -> Parcel:
    return Parcel("rp1@sort.example", recipient, octets, utf8)


def host(sink: Sink, name: str = "localhost", address: str = "127.0.0.1") -> Host:
    return Host(name, address, sink.port)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    made = Relay("mx.sort.example", timeouts=QUICK)
    yield made
    await made.close()


@asynccontextmanager
async def far_end(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Host]:
    """A server whose every octet the test writes."""

    server = Conversing(serve)
    try:
        yield Host("localhost", "127.0.0.1", await server.listen("127.0.0.1", 0))
    finally:
        await server.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *extensions: str) -> None:
    writer.write(b"220 x ESMTP\r\n")
    await reader.readline()
    lines = ["x", *extensions]
    last = len(lines) - 1
    writer.write("".join(f"250{' ' if i == last else '-'}{x}\r\n" for i, x in enumerate(lines)).encode())


# ---- what arrives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("extensions", [("PIPELINING", "8BITMIME", "SIZE 1000000"), ()], ids=["all", "none"])
@pytest.mark.parametrize(
    "octets",
    [
        MESSAGE,
        b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\nb.\r\n.\r\n",
        b".starts: with a dot\r\n\r\n",
        b"Subject: long\r\n\r\n" + b"x" * 5000 + b"\r\n",
        b"Subject: eight\r\n\r\n\xe4\xf6\xfc\r\n",
        b"Subject: big\r\n\r\n" + b".\r\nline\r\n" * 40_000,
        b"\r\n",
    ],
    ids=["plain", "dots", "first dot", "long line", "8bit", "big", "empty"],
)
async def test_the_octets_arrive_as_they_are(
    sinks: Sinks, relay: Relay, octets: bytes, extensions: tuple[str, ...]
) -> None:
    sink = sinks(extensions=extensions)
    tried = await relay.attempt([host(sink)], parcel(octets))
    assert tried.outcome is Outcome.TAKEN
    assert sink.received[0].octets == octets
    assert sink.received[0].sender == "rp1@sort.example"
    assert sink.received[0].recipients == ("anna@home.example",)
    assert sink.received[0].helo == "mx.sort.example"


async def test_the_last_line_gets_its_end_and_no_bare_line_end_leaves(sink: Sink, relay: Relay) -> None:
    await relay.attempt([host(sink)], parcel(b"A: b\n\none\rtwo\n.\nend"))
    assert sink.received[0].octets == b"A: b\r\n\r\none\r\ntwo\r\n.\r\nend\r\n"


@pytest.mark.parametrize("end", ILLEGAL, ids=repr)
async def test_no_illegal_end_leaves_for_a_next_hop_that_would_take_it(
    sink: Sink, relay: Relay, end: bytes
) -> None:
    """What stands in the spool, however it came there, is one message for whoever reads it."""
    await relay.attempt([host(sink)], parcel(b"Subject: x\r\n\r\nhi" + end + EVIL))
    (received,) = sink.received
    assert b"evil" in received.octets
    assert received.octets.count(b"\r") == received.octets.count(b"\n") == received.octets.count(b"\r\n")
    assert sum("MAIL" in line for line in sink.commands) == 1


async def test_the_null_sender_is_an_empty_path(sink: Sink, relay: Relay) -> None:
    await relay.attempt([host(sink)], Parcel("", "anna@home.example", MESSAGE))
    assert "MAIL FROM:<> " in next(line for line in sink.commands if "MAIL" in line)


async def test_size_and_8bitmime_are_said_where_they_are_offered(sinks: Sinks, relay: Relay) -> None:
    octets = b"Subject: x\r\n\r\n\xe4\r\n"
    offers, plain = sinks(), sinks(extensions=())
    await relay.attempt([host(offers)], parcel(octets))
    await relay.attempt([host(plain)], parcel(octets))
    assert offers.received[0].parameters == f"SIZE={len(octets)} BODY=8BITMIME"
    assert plain.received[0].parameters == ""


async def test_a_message_that_is_too_large_for_the_next_hop_is_not_tried(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(extensions=("SIZE 10",))
    tried = await relay.attempt([host(sink)], parcel())
    assert (tried.reply.code, tried.reply.status) == (552, "5.3.4")
    assert not any("MAIL" in line for line in sink.commands)


async def test_smtputf8_is_asked_for_only_where_it_is_needed(sinks: Sinks, relay: Relay) -> None:
    able, unable = sinks(), sinks(extensions=("PIPELINING",))
    assert (await relay.attempt([host(able)], parcel(recipient="änna@home.example"))).reply.accepted
    assert "SMTPUTF8" in able.received[0].parameters
    # Declared by the sender, but nothing in it needs it.
    assert (await relay.attempt([host(unable)], parcel(utf8=True))).reply.accepted
    header = b"Subject: \xc3\xa4\r\n\r\nx\r\n"
    for needy in (parcel(recipient="änna@home.example"), parcel(header, utf8=True)):
        refused = await relay.attempt([host(unable)], needy)
        assert (refused.reply.code, refused.reply.status) == (550, "5.6.7")
    assert len(unable.received) == 1


async def test_raw_octets_in_a_header_are_nothing_new(sinks: Sinks, relay: Relay) -> None:
    """Accepted without SMTPUTF8, as old programs send them, they need none further on."""
    sink = sinks(extensions=("PIPELINING", "8BITMIME"))
    assert (await relay.attempt([host(sink)], parcel(b"Subject: \xe4\r\n\r\nx\r\n"))).reply.accepted


@pytest.mark.parametrize(
    "path", ["a@b.example> SIZE=1", "a@b.example SIZE=1", "a\r\nRSET@b.example", "<a@b>"]
)
async def test_only_what_our_parser_takes_becomes_a_path(sink: Sink, relay: Relay, path: str) -> None:
    tried = await relay.attempt([host(sink)], parcel(recipient=path))
    assert (tried.reply.code, tried.reply.status) == (553, "5.1.3")
    assert not sink.received


# ---- pipelining ----------------------------------------------------------------------------------


async def test_the_envelope_goes_in_one_write_where_pipelining_is_offered(relay: Relay) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, "PIPELINING")
        # Not a word until all three are here: who waits for the first reply waits for ever.
        seen.extend([await reader.readline() for _ in range(3)])
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 2.0.0 taken\r\n")
        await reader.readline()

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.reply.code == 250
    assert [line[:4] for line in seen] == [b"MAIL", b"RCPT", b"DATA"]


async def test_nothing_goes_ahead_where_pipelining_is_not_offered(relay: Relay) -> None:
    early: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readline()
        with suppress(TimeoutError):
            early.append(await asyncio.wait_for(reader.read(1), 0.2))
        writer.write(b"550 5.7.1 no\r\n")
        await reader.readline()

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.reply.code == 550
    assert early == []


async def test_an_empty_message_ends_a_data_that_was_taken_for_nobody(relay: Relay) -> None:
    rest: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, "PIPELINING")
        for _ in range(3):
            await reader.readline()
        writer.write(b"250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n")
        rest.append(await reader.readline())
        writer.write(b"554 5.5.1 no recipients\r\n")
        rest.append(await reader.readline())

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
        assert str(tried.reply) == "550 5.1.1 nobody"
        await relay.close()
    assert rest == [b".\r\n", b"QUIT\r\n"]


async def test_a_refused_recipient_leaves_the_connection_fit_for_the_next(sink: Sink, relay: Relay) -> None:
    sink.answers["RCPT bob@home.example"] = "550 5.1.1 nobody"
    refused = await relay.attempt([host(sink)], parcel(recipient="bob@home.example"))
    taken = await relay.attempt([host(sink)], parcel())
    assert (refused.outcome, taken.outcome) == (Outcome.NEVER, Outcome.TAKEN)
    assert sink.sessions == 1
    assert "(1) RSET" in sink.commands  # a second MAIL in one transaction is a 503 elsewhere


# ---- connections ---------------------------------------------------------------------------------


async def test_connections_are_used_again(sink: Sink, relay: Relay) -> None:
    for _ in range(5):
        assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert (sink.sessions, len(sink.received)) == (1, 5)


async def test_a_kept_connection_that_died_costs_nothing(sink: Sink, relay: Relay) -> None:
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    sink.answers["MAIL rp1@sort.example"] = [DROP]
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    sink.answers["MAIL rp1@sort.example"] = ["421 4.3.2 closing"]
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert len(sink.received) == 3


@pytest.mark.parametrize("unasked", ["421 4.4.2 idle for too long", "250 2.1.0 ok\r\n250 ok\r\n354 go"])
async def test_an_idle_connection_that_said_something_unasked_is_not_used(relay: Relay, unasked: str) -> None:
    calls, mails = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls, mails
        calls += 1
        await greet(reader, writer, "PIPELINING")
        for _ in range(3):
            await reader.readline()
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await asyncio.sleep(0.05)
        writer.write(unasked.encode() + b"\r\n")
        mails += (await reader.readline()).startswith(b"MAIL")

    async with far_end(serve) as there:
        assert (await relay.attempt([there], parcel())).reply.accepted
        await asyncio.sleep(0.15)
        assert (await relay.attempt([there], parcel())).reply.accepted
    assert (calls, mails) == (2, 0)


async def test_the_next_host_is_tried_where_one_cannot_be_talked_to(sinks: Sinks, relay: Relay) -> None:
    good = sinks()
    bad = [
        Host("closed.example", "127.0.0.1", 1),
        host(sinks(answers={"CONNECT": "554 5.7.1 go away"})),
        host(sinks(answers={"CONNECT": DROP})),
        host(sinks(answers={"EHLO": "421 4.3.2 busy"})),
    ]
    tried = await relay.attempt([*bad, host(good)], parcel())
    assert tried.reply.accepted
    assert tried.host == f"localhost [127.0.0.1]:{good.port}"


async def test_a_recipient_that_is_refused_is_not_asked_for_elsewhere(sinks: Sinks, relay: Relay) -> None:
    first, second = sinks(answers={"RCPT": "550 5.1.1 nobody"}), sinks()
    tried = await relay.attempt([host(first), host(second)], parcel())
    assert tried.outcome is Outcome.NEVER
    assert second.sessions == 0


async def test_ipv6_is_spoken(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(host="::1")
    tried = await relay.attempt([Host("localhost", "::1", sink.port)], parcel())
    assert tried.reply.accepted


async def test_helo_is_said_to_who_knows_no_ehlo(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(answers={"EHLO": "502 5.5.1 what?"})
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert sink.received[0].parameters == ""


# ---- what is temporary, and what is unknown ---------------------------------------------------------

BEFORE = {
    "refused at the greeting": {"CONNECT": "554 5.7.1 no"},
    "dropped at the greeting": {"CONNECT": DROP},
    "hangs at the greeting": {"CONNECT": HANG},
    "hangs at EHLO": {"EHLO": HANG},
    "hangs at MAIL": {"MAIL": HANG},
    "hangs at RCPT": {"RCPT": HANG},
    "drops at DATA": {"DATA": DROP},
    "hangs at DATA": {"DATA": HANG},
    "greylisted": {"RCPT": "451 4.7.1 later"},
    "421 at MAIL": {"MAIL": "421 4.3.2 too busy"},
    "temporary at the dot": {".": "452 4.3.1 full"},
    "garbage": {"MAIL": "hello there"},
    "a greeting that is none": {"CONNECT": "nonsense"},
    "data refused by 250": {"DATA": "250 yes?"},
    "354 for a recipient": {"RCPT": "354 yes?"},
    "354 at the dot": {".": "354 more"},
    "codes that are none": {"RCPT": "999 x"},
}


@pytest.mark.parametrize("answers", BEFORE.values(), ids=BEFORE.keys())
@pytest.mark.parametrize("piped", [True, False], ids=["piped", "one by one"])
async def test_what_goes_wrong_on_the_way_is_temporary(
    sinks: Sinks, relay: Relay, answers: dict[str, str], piped: bool
) -> None:
    sink = sinks(answers=answers, extensions=("PIPELINING",) if piped else ())
    tried = await relay.attempt([host(sink)], parcel())
    assert tried.reply.temporary, tried
    assert tried.outcome is Outcome.LATER


@pytest.mark.parametrize("answer", [DROP, HANG], ids=["dropped", "hangs"])
async def test_lost_after_the_dot_is_unknown_not_failed(sinks: Sinks, relay: Relay, answer: str) -> None:
    sink = sinks(answers={".": answer})
    other = sinks()
    tried = await relay.attempt([host(sink), host(other)], parcel())
    assert tried.outcome is Outcome.UNKNOWN
    assert tried.reply.temporary
    assert other.sessions == 0  # a second host would make a second copy at once
    assert len(sink.received) == 1


async def test_the_reply_to_the_dot_has_a_time_of_its_own(sinks: Sinks) -> None:
    relay = Relay("mx.sort.example", timeouts=Timeouts(1, 1, 1, 1, 1, final=5))
    sink = sinks(answers={".": Late(1.5, "250 2.0.0 slow but sure")})
    tried = await relay.attempt([host(sink)], parcel())
    await relay.close()
    assert str(tried.reply) == "250 2.0.0 slow but sure"


async def test_a_refusal_in_the_middle_of_the_message_is_heard(relay: Relay) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readline()
        writer.write(b"552 5.3.4 too much\r\n")
        while await reader.read(65536):
            pass

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel(b"A: b\r\n\r\n" + b"x" * 78 * 100_000))
    assert str(tried.reply) == "552 5.3.4 too much"


async def test_a_peer_that_reads_nothing_is_given_up_before_the_dot(relay: Relay) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await asyncio.sleep(3)

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel(b"A: b\r\n\r\n" + b"x" * 20_000_000 + b"\r\n"))
    assert tried.outcome is Outcome.LATER
    assert tried.unreachable


async def test_a_reply_without_an_end_is_cut_off(relay: Relay) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readline()
        while not writer.transport.is_closing():
            writer.write(b"250-more\r\n" * 1000)
            await writer.drain()

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.reply.temporary
    assert "end" in tried.reply.text


async def test_a_large_message_leaves_the_loop_to_others(sink: Sink, relay: Relay) -> None:
    longest, last = 0.0, 0.0

    async def watch() -> None:
        nonlocal longest, last
        last = time.thread_time()  # what this loop did, whatever else the machine did
        while True:
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()

    watching = asyncio.create_task(watch())
    large = b"A: b\r\n\r\n" + (b"y" * 76 + b"\r\n") * 330_000
    assert (await relay.attempt([host(sink)], parcel(large))).reply.accepted
    watching.cancel()
    assert longest < 0.4  # one write of all of it: 0.85 s and more
    assert sink.received[0].octets == large


async def test_a_cancelled_attempt_leaves_no_connection_behind(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(answers={"RCPT": [HANG]})
    attempt = asyncio.create_task(relay.attempt([host(sink)], parcel()))
    await asyncio.sleep(0.2)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await asyncio.sleep(0.2)
    assert sink.open_sessions == 0
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert sink.sessions == 2


# ---- TLS and AUTH -----------------------------------------------------------------------------------


def trusting(certificate: Certificate) -> tls.Contexts:
    return tls.Contexts(str(certificate.certificate))


async def test_tls_is_used_where_it_is_offered_and_not_verified(
    sinks: Sinks, relay: Relay, certificate: Certificate
) -> None:
    sink = sinks(tls=certificate.server())
    tried = await relay.attempt([host(sink, name="another.example")], parcel())
    assert tried.tls.startswith("TLSv1.3")
    assert sink.received[0].tls == tried.tls


@pytest.mark.parametrize(
    "answer", ["454 4.7.0 not now", "220 go", DROP], ids=["refused", "broken", "dropped"]
)
async def test_opportunistic_tls_that_fails_falls_back_to_plain_text(
    sinks: Sinks, relay: Relay, answer: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, "STARTTLS")
        if (await reader.readline()).startswith(b"STARTTLS"):
            if answer != DROP:
                writer.write(answer.encode() + b"\r\nthis is no TLS\r\n")
                await asyncio.sleep(0.05)
            return
        writer.write(b"250 ok\r\n")
        for reply in (b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.readline()

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.reply.accepted
    assert tried.tls == ""


async def test_required_tls_never_sends_without_a_good_certificate(
    sinks: Sinks, certificate: Certificate
) -> None:
    relay = Relay("mx.sort.example", timeouts=QUICK, contexts=trusting(certificate))
    stranger = Relay("mx.sort.example", timeouts=QUICK)
    secure, plain = sinks(tls=certificate.server()), sinks()
    required = tls.Policy.REQUIRED
    good = await relay.attempt([host(secure)], parcel(), policy=required)
    wrong_name = await relay.attempt([host(secure, name="evil.example")], parcel(), policy=required)
    unknown = await stranger.attempt([host(secure)], parcel(), policy=required)
    without = await relay.attempt([host(plain)], parcel(), policy=required)
    await relay.close()
    await stranger.close()
    assert good.reply.accepted
    assert all(tried.reply.temporary for tried in (wrong_name, unknown, without))
    assert (len(secure.received), len(plain.received)) == (1, 0)


async def test_policies_do_not_share_connections(sinks: Sinks, certificate: Certificate) -> None:
    relay = Relay("mx.sort.example", timeouts=QUICK, contexts=trusting(certificate))
    sink = sinks(tls=certificate.server())
    await relay.attempt([host(sink)], parcel(), policy=tls.Policy.OPPORTUNISTIC)
    await relay.attempt([host(sink)], parcel(), policy=tls.Policy.REQUIRED)
    await relay.close()
    assert sink.sessions == 2


async def test_the_smarthost_is_given_name_and_password(
    sinks: Sinks, relay: Relay, certificate: Certificate
) -> None:
    sink = sinks(tls=certificate.server(), users={"office": "secret"})
    login = Login("office", "secret")
    assert (await relay.attempt([host(sink)], parcel(), login=login)).reply.accepted
    assert sink.received[0].username == "office"


async def test_a_wrong_password_is_the_offices_fault_and_temporary(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(users={"office": "secret"})
    tried = await relay.attempt([host(sink)], parcel(), login=Login("office", "wrong"))
    assert tried.reply.temporary
    assert "535" in tried.reply.text
    assert "wrong" not in tried.reply.text


async def test_the_password_is_not_sent_in_the_clear(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(users={"office": "secret"}, host="127.0.0.2")
    abroad = Host("smart.example", "127.0.0.2", sink.port)
    # 127.0.0.2 is as local as 127.0.0.1; what is asked is the rule, so it is put where it applies.
    assert abroad.local
    tried = await relay.attempt(
        [_Abroad(abroad.name, abroad.address, abroad.port)], parcel(), login=Login("o", "s")
    )
    assert tried.reply.temporary
    assert not any("AUTH" in line for line in sink.commands)


class _Abroad(Host):
    local = False


async def test_tls_from_the_first_octet_is_spoken_on_port_465(
    sinks: Sinks, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sinks(tls=certificate.server(), implicit_tls=True)
    monkeypatch.setattr(tls, "SUBMISSIONS", sink.port)  # we may not bind 465 here
    relay = Relay("mx.sort.example", timeouts=QUICK, contexts=trusting(certificate))
    tried = await relay.attempt([host(sink)], parcel(), policy=tls.Policy.REQUIRED)
    await relay.close()
    assert tried.reply.accepted
    assert sink.received[0].tls.startswith("TLSv1.3")


async def test_nothing_injected_before_tls_is_believed(relay: Relay, certificate: Certificate) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, "STARTTLS")
        if not (await reader.readline()).startswith(b"STARTTLS"):
            return
        writer.write(b"220 go\r\n250-evil\r\n250 SIZE 1\r\n")
        await writer.start_tls(certificate.server())
        await reader.readline()
        writer.write(b"250 x\r\n")
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.readline()

    async with far_end(serve) as there:
        tried: Tried = await relay.attempt([there], parcel())

    assert tried.reply.code != 552


def test_the_two_contexts_are_what_their_names_say() -> None:
    both = tls.Contexts()
    assert (both.verified.verify_mode, both.verified.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert both.unverified.verify_mode == ssl.CERT_NONE
