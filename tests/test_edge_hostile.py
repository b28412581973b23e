"""Hostile octets over a socket: smuggling in every framing, and chance."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.edge import Client, Flows, client, running

# Twelve ends that some server has taken for CR LF . CR LF, and two with a NUL.
ILLEGAL = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n\n.\r\n",
    b"\r\r.\r\n",
    b"\r\n.\r\r\n",
    b"\n\r.\n\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
]
EVIL = b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<x@sort.example>\r\nDATA\r\nevil\r\n"


async def send_framed(peer: Client, octets: bytes, framing: str) -> None:
    dot = octets.index(b".")
    pieces = {
        "at once": [octets],
        "before the dot": [octets[:dot], octets[dot:]],
        "after the dot": [octets[: dot + 1], octets[dot + 1 :]],
        "octet by octet": [octets[at : at + 1] for at in range(len(octets))],
    }[framing]
    for piece in pieces:
        await peer.send(piece)
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("framing", ["at once", "before the dot", "after the dot", "octet by octet"])
@pytest.mark.parametrize("large", [False, True], ids=["kept", "thrown away"])
async def test_no_illegal_end_smuggles_a_message(framing: str, large: bool) -> None:
    flows = Flows()
    async with running(flows, limits__commands_per_session=10_000) as edge:
        if large:
            edge.door.most = 8
        async with client(edge.smtp[0].port) as peer:
            await peer.reply()
            await peer.say("HELO c")
            for end in ILLEGAL:
                await peer.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<x@sort.example>\r\nDATA\r\n")
                replies = [(await peer.reply())[:3] for _ in range(3)]
                assert replies == ["250", "250", "354"]
                await send_framed(peer, b"Subject: x\r\n\r\nhi" + end + EVIL + b".\r\n", framing)
                assert (await peer.reply()).startswith("554 5.6.0 "), end
                assert (await peer.say("NOOP")).startswith("250 2.0.0"), end
    assert flows.messages == []
    assert all(str(sender) != "evil@b.example" for sender, _ in flows.asked)


PIECES = st.lists(
    st.sampled_from(
        [
            b"EHLO c\r\n",
            b"HELO c\r\n",
            b"MAIL FROM:<a@b.example>\r\n",
            b"MAIL FROM:<> SMTPUTF8\r\n",
            b"RCPT TO:<x@sort.example>\r\n",
            b"RCPT TO:<nobody@sort.example>\r\n",
            b"DATA\r\n",
            b"hi\r\n",
            b".\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"VRFY x\r\n",
            b"XCLIENT ADDR=192.0.2.1 HELO=x\r\n",
            b"XCLIENT ADDR=\xff\r\n",
            b"AUTH PLAIN\r\n",
            b"QUIT\r\n",
            b"MAIL FROM:",
            b"RCPT TO:<",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b" ",
            b">",
            b"\xc3\xa4",
            b"\xff",
            b"x" * 3000,
        ]
    )
    | st.binary(max_size=6),
    max_size=25,
)
REPLY = re.compile(rb"(?:[2-5]\d\d-[ -~]*\r\n)*[2-5]\d\d [ -~]*\r\n")


class Errors(logging.Handler):
    """What was logged as a bug."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@settings(max_examples=150, deadline=None)
@given(PIECES, st.booleans())
@example([b"EHLO c\r\n", b"XCLIENT ADDR=192.0.2.1 HELO=\xc4\x80\r\n"], False)
def test_whatever_is_said_every_answer_is_a_reply_and_nothing_breaks(pieces: list[bytes], cut: bool) -> None:
    async def session() -> bytes:
        flows = Flows()
        async with running(flows, smtp__xclient_from=["127.0.0.1"]) as edge:
            edge.door.most = 4000
            async with client(edge.smtp[0].port) as peer:
                # Who goes on after QUIT in a later segment may be reset, and is no client.
                for piece in [p for p in pieces if p != b"QUIT\r\n"] if cut else [b"".join(pieces)]:
                    await peer.send(piece)
                    await asyncio.sleep(0)
                peer.writer.write_eof()
                answer = await asyncio.wait_for(peer.reader.read(), 10)
            assert flows.messages == [] or b"354" in answer
        return answer

    errors = Errors()
    logging.getLogger("sortingoffice").addHandler(errors)
    try:
        answer = asyncio.run(session())
    finally:
        logging.getLogger("sortingoffice").removeHandler(errors)
    assert errors.lines == []
    assert re.fullmatch(rb"(?:" + REPLY.pattern + rb")+", answer)
    assert answer.startswith(b"220 ")
