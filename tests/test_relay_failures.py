"""What goes wrong between us and a next hop is temporary, or unknown, and never an exception."""

from __future__ import annotations

import asyncio
import time

import pytest

from sortingoffice.core.delivery import Outcome
from sortingoffice.net.relay import Relay, Timeouts
from tests.relaying import Sinks, far_end, greet, host, parcel
from tests.servers import DROP, HANG, Late, Sink
from tests.waiting import until

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


@pytest.mark.parametrize(
    "endless",
    [b"250-\r\n", b"250-\n", b"250 ok\r\n"],
    ids=["empty lines", "bare LF", "replies nobody asked for"],
)
async def test_a_peer_that_talks_without_an_end_takes_nobodys_time(relay: Relay, endless: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readline()
        while not writer.transport.is_closing():
            writer.write(endless * 10_000)
            await writer.drain()

    began = time.thread_time()
    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.reply.temporary
    assert "no answer within" not in tried.reply.text, "it is cut off long before its time is over"
    assert time.thread_time() - began < 0.4  # 0.6 s, all of its time, where each line moves what follows


async def test_a_message_is_not_taken_before_it_was_sent(relay: Relay) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n250 2.0.0 taken\r\n"):
            await reader.readline()
            writer.write(answer)
        while await reader.read(65536):
            pass

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.outcome is Outcome.LATER
    assert "too early" in tried.reply.text


@pytest.mark.parametrize("answer", ["502 5.5.1 what?", "354 yes?", "451 later", DROP])
@pytest.mark.parametrize("piped", [True, False], ids=["piped", "one by one"])
async def test_a_peer_that_cannot_forget_the_last_message_is_called_anew(
    sinks: Sinks, relay: Relay, answer: str, piped: bool
) -> None:
    answers: dict[str, object] = {"RCPT": ["550 5.1.1 nobody"], "RSET": answer}
    sink = sinks(answers=answers, extensions=("PIPELINING",) if piped else ())
    assert (await relay.attempt([host(sink)], parcel())).outcome is Outcome.NEVER
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert sink.sessions == 2


@pytest.mark.parametrize("size", ["\u00b2", "9" * 5000, "-1", "many"])
async def test_a_size_that_is_no_number_is_none(sinks: Sinks, relay: Relay, size: str) -> None:
    sink = sinks(extensions=(f"SIZE {size}",))
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted


async def test_a_refusal_counts_by_its_first_digit(sinks: Sinks, relay: Relay) -> None:
    tried = await relay.attempt([host(sinks(answers={"RCPT": "571 5.7.1 not wanted"}))], parcel())
    assert tried.outcome is Outcome.NEVER
    assert str(tried.reply) == "571 5.7.1 not wanted"


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
    await until(lambda: any("RCPT" in line for line in sink.commands))
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await until(lambda: sink.open_sessions == 0)
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert sink.sessions == 2


# ---- replies that are not as they should be --------------------------------------------------------------


PLAIN = {
    "a blank line before it": ("\r\n250 2.0.0 ok", "250 2.0.0 ok"),
    "words before it": ("one moment\r\n250 2.0.0 ok", "250 2.0.0 ok"),
    "words inside it": ("250-2.0.0 hello\r\nthank you\r\n250 2.0.0 ok", "250 2.0.0 hello thank you ok"),
    "a blank line inside it": ("250-2.0.0 hello\r\n\r\n250 2.0.0 ok", "250 2.0.0 hello  ok"),
    "words behind it": ("250 2.0.0 ok\r\nthank you", "250 2.0.0 ok"),
    "a tab": ("250\tok", "250 ok"),
    "two codes of one kind": ("250-hello\r\n251 ok", "251 hello ok"),
    "a refusal with words before it": ("sorry\r\n550 5.7.1 no", "550 5.7.1 no"),
    "a refusal with words inside it": ("550-5.7.1 no\r\nat all\r\n550 5.7.1 !", "550 5.7.1 no at all !"),
    "two codes of a refusal": ("550-no\r\n554 5.7.1 no", "554 no 5.7.1 no"),
    "a delay with words before it": ("\r\n\r\n452 4.3.1 full", "452 4.3.1 full"),
}


@pytest.mark.parametrize(("answer", "reply"), PLAIN.values(), ids=PLAIN.keys())
async def test_a_reply_to_the_message_that_is_plain_in_whole_counts(
    sinks: Sinks, relay: Relay, answer: str, reply: str
) -> None:
    """To miss it is a second copy at each retry."""
    sink = sinks(answers={".": [answer]})
    tried = await relay.attempt([host(sink)], parcel())
    assert str(tried.reply) == reply
    assert tried.outcome is not Outcome.UNKNOWN
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted


@pytest.mark.parametrize(
    "answer", ["\r\n", "ok", "250ok", " 250 ok", "2500 ok", "250-ok", "25 ok", "thanks 250 ok"]
)
async def test_what_is_no_reply_is_never_a_yes(sinks: Sinks, relay: Relay, answer: str) -> None:
    sink = sinks(answers={".": answer})
    tried = await relay.attempt([host(sink)], parcel())
    assert tried.outcome is Outcome.UNKNOWN
    assert "only something that is no SMTP reply" in tried.reply.text


async def test_words_without_an_end_after_the_message_are_cut_off(relay: Relay) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readuntil(b"\r\n.\r\n")
        while not writer.transport.is_closing():
            writer.write(b"and then\r\n" * 1000)
            await writer.drain()

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.outcome is Outcome.UNKNOWN
    assert "doesn't end" in tried.reply.text


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("answer", ["550-no\r\n250 yes", "250-yes\r\n550 no", "250-a\r\n451-b\r\n250 c"])
@pytest.mark.parametrize("piped", [True, False], ids=["piped", "one by one"])
async def test_a_peer_that_says_yes_and_no_has_said_later(
    sinks: Sinks, relay: Relay, at: str, answer: str, piped: bool
) -> None:
    sink = sinks(answers={at: [answer]}, extensions=("PIPELINING",) if piped else ())
    tried = await relay.attempt([host(sink)], parcel())
    assert (tried.reply.code, tried.reply.status) == (451, "4.5.0")
    assert (tried.outcome, tried.unreachable) == (Outcome.LATER, False)
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert sink.sessions == 2, "nobody knows what that one waits for"


async def test_a_refusal_is_told_where_what_follows_it_makes_no_sense(relay: Relay) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, "PIPELINING")
        for _ in range(3):
            await reader.readline()
        writer.write(b"250 ok\r\n354 hm\r\n354 go\r\n")
        await reader.read()

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert str(tried.reply) == "451 4.5.0 the peer answered 354 out of order"
    assert not tried.unreachable
