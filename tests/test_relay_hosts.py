"""Which host is called, and when: in what order, whose turn it is, and who was sent the message already."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from sortingoffice.core.delivery import Outcome
from sortingoffice.flows import putoff
from sortingoffice.net.parcel import PIECE
from sortingoffice.net.relay import Relay, Timeouts
from sortingoffice.net.route import MAX_HOSTS, Host
from tests.relaying import Sinks, far_end, greet, host, parcel
from tests.servers import Sink
from tests.waiting import until

LARGE = b"A: b\r\n\r\n" + (b"x" * 78 + b"\r\n") * 400_000


def nobody(address: str = "127.0.0.1") -> Host:
    """Where a connection is refused."""
    with closing(socket.socket()) as free:
        free.bind((address, 0))
        return Host("localhost", address, free.getsockname()[1])


@contextmanager
def silence() -> Iterator[Host]:
    """Where a connection is neither taken nor refused: the backlog is full."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.2", 0))
        listening.listen(0)
        where = listening.getsockname()
        calls = [socket.socket() for _ in range(4)]
        for each in calls:
            each.setblocking(False)
            each.connect_ex(where)
        time.sleep(0.1)
        yield Host("localhost", *where)
        for each in calls:
            each.close()


# ---- who could not be dialled ----------------------------------------------------------------------------


async def test_a_first_host_that_does_not_answer_costs_its_time_once_and_not_for_each_message(
    sink: Sink,
) -> None:
    relay = Relay("mx.sort.example", timeouts=Timeouts(dial=1.5))
    with silence() as first:
        took = [await relay.attempt([first, host(sink)], parcel()) for _ in range(3)]
        await relay.close()
    assert all(each.reply.accepted for each in took)
    assert took[0].milliseconds >= 1500
    assert max(each.milliseconds for each in took[1:]) < 1500
    assert sink.sessions == 1


async def test_a_host_that_could_not_be_dialled_is_the_first_again_after_a_while(
    sinks: Sinks, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = nobody(), sinks()
    assert (await relay.attempt([first, host(second)], parcel())).reply.accepted
    back = sinks(port=first.port)
    assert (await relay.attempt([first, host(second)], parcel())).reply.accepted
    assert (len(back.received), len(second.received)) == (0, 2)
    monkeypatch.setattr("sortingoffice.net.relay._MISSED_SECONDS", 0.0)
    for _ in range(2):
        assert (await relay.attempt([first, host(second)], parcel())).reply.accepted
    assert (len(back.received), len(second.received)) == (2, 2)


async def test_a_host_that_could_not_be_dialled_is_tried_before_the_attempt_is_given_up(
    sinks: Sinks, relay: Relay
) -> None:
    first, others = nobody(), [nobody("127.0.0.3"), nobody("127.0.0.4")]
    assert (await relay.attempt([first, *others], parcel())).unreachable
    back = sinks(port=first.port)
    assert (await relay.attempt([first, *others], parcel())).reply.accepted
    assert len(back.received) == 1


async def test_a_host_that_answers_and_turns_us_away_keeps_its_place(sinks: Sinks, relay: Relay) -> None:
    first, second = sinks(answers={"CONNECT": ["421 4.3.2 busy"]}), sinks()
    for _ in range(2):
        assert (await relay.attempt([host(first), host(second)], parcel())).reply.accepted
    assert (len(first.received), len(second.received)) == (1, 1)


async def test_of_hosts_that_could_not_be_dialled_only_so_many_are_remembered(
    sinks: Sinks, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sortingoffice.net.relay._MISSED", 2)
    gone, second = [nobody(f"127.0.0.{n}") for n in range(1, 4)], sinks()
    await relay.attempt(gone, parcel())
    back = sinks(port=gone[0].port)
    assert (await relay.attempt([gone[0], host(second)], parcel())).reply.accepted
    assert len(back.received) == 1, "the oldest was forgotten"


async def test_the_last_address_of_a_destination_is_tried_though_none_before_it_answers(
    sink: Sink, relay: Relay
) -> None:
    gone = [nobody(f"127.0.0.{n}") for n in range(2, 2 + MAX_HOSTS - 1)]
    for _ in range(2):
        assert (await relay.attempt([*gone, host(sink)], parcel())).reply.accepted


# ---- who sends us on -------------------------------------------------------------------------------------


BUSY = {
    "421 to MAIL": {"MAIL": "421 4.3.2 shutting down"},
    "451 to MAIL": {"MAIL": "451 4.3.0 the backend is down"},
    "two codes to MAIL": {"MAIL": "250-2.1.0 ok\r\n550 5.7.1 no"},
    "421 to RCPT": {"RCPT": "421 4.4.2 too long"},
    "421 to DATA": {"DATA": "421 4.3.2 bye"},
}
SPOKEN = pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["piped", "one by one"])


@pytest.mark.parametrize("answers", BUSY.values(), ids=BUSY.keys())
@SPOKEN
async def test_the_next_host_is_asked_where_one_can_do_nothing_for_anybody_now(
    sinks: Sinks, relay: Relay, answers: dict[str, str], extensions: tuple[str, ...]
) -> None:
    first, second = sinks(answers=answers, extensions=extensions), sinks()
    for _ in range(2):
        tried = await relay.attempt([host(first), host(second)], parcel())
        assert tried.reply.accepted
        assert tried.host == str(host(second))
    assert (first.sessions > 0, len(second.received)) == (True, 2)


async def test_a_421_in_the_middle_of_the_message_leads_to_the_next_host(sink: Sink, relay: Relay) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readline()
        writer.write(b"421 4.3.2 shutting down\r\n")
        while await reader.read(65536):
            pass

    async with far_end(serve) as there:
        assert (await relay.attempt([there, host(sink)], parcel(LARGE))).reply.accepted


@pytest.mark.parametrize(
    ("at", "answer"),
    [
        ("RCPT", "451 4.7.1 greylisted"),
        ("DATA", "451 4.3.0 later"),
        (".", "421 4.3.2 bye"),
        (".", "451 4.3.0 no"),
    ],
)
@SPOKEN
async def test_what_is_said_of_the_recipient_or_the_message_sends_it_to_no_other_host(
    sinks: Sinks, relay: Relay, at: str, answer: str, extensions: tuple[str, ...]
) -> None:
    first, second = sinks(answers={at: answer}, extensions=extensions), sinks()
    tried = await relay.attempt([host(first), host(second)], parcel())
    assert str(tried.reply) == answer
    assert second.sessions == 0


@pytest.mark.parametrize("answers", BUSY.values(), ids=BUSY.keys())
@pytest.mark.parametrize("gone", ["before", "after", "none"])
async def test_a_destination_is_in_reach_where_a_host_said_that_it_can_do_nothing_now(
    sinks: Sinks, relay: Relay, answers: dict[str, str], gone: str
) -> None:
    busy = host(sinks(answers=answers))
    hosts = {"before": [nobody(), busy], "after": [busy, nobody()], "none": [busy, busy]}[gone]
    tried = await relay.attempt(hosts, parcel())
    assert tried.outcome is Outcome.LATER
    assert putoff.reached(tried)
    assert tried.host == str(busy), "its words are told, not that another could not be called"


@pytest.mark.parametrize("lacks", ["SMTPUTF8", "SIZE"])
async def test_what_a_later_host_can_never_take_waits_for_the_one_that_is_busy(
    sinks: Sinks, relay: Relay, lacks: str
) -> None:
    busy = sinks(answers={"MAIL": ["421 4.3.2 busy"]})
    lesser = sinks(extensions=() if lacks == "SMTPUTF8" else ("SMTPUTF8", "SIZE 10"))
    mail = parcel("Subject: \u00e4\r\n\r\nx\r\n".encode(), utf8=True)
    tried = await relay.attempt([host(busy), host(lesser)], mail)
    assert str(tried.reply) == "421 4.3.2 busy"
    assert (await relay.attempt([host(busy), host(lesser)], mail)).reply.accepted
    assert (await relay.attempt([nobody(), host(lesser)], mail)).outcome is Outcome.NEVER


# ---- whose turn it is ------------------------------------------------------------------------------------


async def test_whoever_waits_for_a_turn_has_no_connection_open(sink: Sink, relay: Relay) -> None:
    asked, may = [], asyncio.Event()

    async def turn(there: Host) -> None:
        asked.append(there)
        await may.wait()

    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    waiting = asyncio.create_task(relay.attempt([host(sink)], parcel(), turn=turn))
    await until(lambda: asked)
    assert (await relay.attempt([host(sink)], parcel())).reply.accepted
    assert sink.sessions == 1, "the one that is open is there for others"
    may.set()
    assert (await waiting).reply.accepted
    assert asked == [host(sink)]


async def test_who_waited_while_the_host_could_not_be_dialled_has_that_for_an_answer() -> None:
    relay, one = Relay("mx.sort.example", timeouts=Timeouts(dial=0.6)), asyncio.Lock()

    async def turn(there: Host) -> None:
        await one.acquire()

    async def attempt(there: Host) -> bool:
        try:
            return (await relay.attempt([there], parcel(), turn=turn)).unreachable
        finally:
            one.release()

    began = time.monotonic()
    with silence() as there:
        assert all(await asyncio.gather(*(attempt(there) for _ in range(5))))
    assert time.monotonic() - began < 5 * 0.6


# ---- who was sent the message already --------------------------------------------------------------------


# All of it is due 0.6 s and a second after it began; or, where it has hours, each block within 0.6 s.
SLOW = {
    "all of it": (20e6, 0.01, "too slowly"),
    "a block": (1.0, 0.05, "no answer within 0.6 seconds"),
}


@pytest.mark.parametrize(("rate", "rest", "why"), SLOW.values(), ids=SLOW.keys())
async def test_a_message_that_a_host_takes_too_slowly_is_sent_to_no_other_in_this_attempt(
    sinks: Sinks, rate: float, rest: float, why: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        if rate == 1.0:  # what the kernels hold between us is little to it
            connection = writer.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while await reader.read(PIECE if rate > 1 else 4096):  # noqa: ASYNC110  the pace is what is tested
            await asyncio.sleep(rest)

    relay = Relay("mx.sort.example", timeouts=Timeouts(1, 1, 1, 1, block=0.6, final=20, rate=rate))
    other = sinks()
    async with far_end(serve) as there:
        tried = await relay.attempt([there, host(other)], parcel(LARGE))
        await relay.close()
    assert tried.outcome is Outcome.LATER
    assert why in tried.reply.text
    assert not tried.unreachable, "it is there, and takes other mail"
    assert other.sessions == 0
