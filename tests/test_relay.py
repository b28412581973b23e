"""The relay against real far ends on loopback: sinks, and servers that misbehave octet by octet."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sortingoffice.core.delivery import Outcome
from sortingoffice.net.relay import Parcel, Relay
from sortingoffice.net.route import Host
from tests.relaying import MESSAGE, Sinks, far_end, greet, host, parcel
from tests.servers import DROP, Sink
from tests.test_edge_hostile import EVIL, ILLEGAL
from tests.waiting import until

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


async def test_a_connection_is_not_kept_for_ever(
    sink: Sink, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sortingoffice.net.relay._TRANSACTIONS", 2)
    for _ in range(5):
        assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert (sink.sessions, len(sink.received)) == (3, 5)


async def test_an_idle_connection_is_closed_politely_after_a_while(
    sink: Sink, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sortingoffice.net.relay._IDLE_SECONDS", 0.2)
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    await until(lambda: sink.open_sessions == 0)
    assert sink.commands[-1] == "(1) QUIT"


async def test_a_kept_connection_that_died_costs_nothing(sink: Sink, relay: Relay) -> None:
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    sink.answers["MAIL rp1@sort.example"] = [DROP]
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    sink.answers["MAIL rp1@sort.example"] = ["421 4.3.2 closing"]
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert len(sink.received) == 3


@pytest.mark.parametrize(
    "unasked", ["421 4.4.2 idle for too long", "250 2.1.0 ok\r\n250 ok\r\n354 go", "250-half", "hello"]
)
async def test_an_idle_connection_that_said_something_unasked_is_not_used(relay: Relay, unasked: str) -> None:
    calls, mails = 0, 0
    taken, said = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls, mails
        calls += 1
        await greet(reader, writer, "PIPELINING")
        for _ in range(3):
            await reader.readline()
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await taken.wait()
        writer.write(unasked.encode() + b"\r\n")
        said.set()
        mails += (await reader.readline()).startswith(b"MAIL")

    async with far_end(serve) as there:
        assert (await relay.attempt([there], parcel())).reply.accepted
        taken.set()
        await said.wait()
        await asyncio.sleep(0.1)
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


@pytest.mark.parametrize("answer", ["500 5.5.1 what?", "550 no", "220 here I am"])
async def test_helo_is_said_to_who_refuses_ehlo_in_whatever_way(
    sinks: Sinks, relay: Relay, answer: str
) -> None:
    assert (await relay.attempt([host(sinks(answers={"EHLO": answer}))], parcel())).reply.accepted


@pytest.mark.parametrize("answer", ["421 4.3.2 too busy", "451 4.3.2 overloaded", "999 what?"])
async def test_a_host_that_cannot_answer_ehlo_now_is_not_taken_for_one_that_does_not_know_it(
    sinks: Sinks, relay: Relay, answer: str
) -> None:
    """After HELO a mail that needs SMTPUTF8 would be returned for good."""
    first, second = sinks(answers={"EHLO": answer}), sinks()
    mail = parcel("Subject: \u00e4\r\n\r\nx\r\n".encode(), utf8=True)
    tried = await relay.attempt([host(first)], mail)
    assert (tried.outcome, tried.unreachable) == (Outcome.LATER, True)
    assert (await relay.attempt([host(first), host(second)], mail)).reply.accepted
    assert not any("HELO" in line for line in first.commands)


async def test_a_return_for_want_of_smtputf8_says_what_needs_it(sinks: Sinks, relay: Relay) -> None:
    unable = host(sinks(extensions=("PIPELINING",)))
    header = await relay.attempt([unable], parcel("Subject: \u00e4\r\n\r\nx\r\n".encode(), utf8=True))
    path = await relay.attempt([unable], parcel(recipient="\u00e4nna@home.example"))
    assert "header" in header.reply.text
    assert "address" not in header.reply.text
    assert "addresses" in path.reply.text
