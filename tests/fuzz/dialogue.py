"""A session of port 25 whose peer says any octets: no socket, the real session."""

from __future__ import annotations

import asyncio
from typing import Any

from sortingoffice.edge.door import Door
from sortingoffice.edge.gate import Gate
from sortingoffice.edge.smtp import Smtp
from tests.edge import Flows, config


class _Wire(asyncio.Transport):
    """The network's far end: it takes everything, and remembers it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1000)})
        self.said = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.said += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def spoken(octets: bytes) -> None:
    """Every line of ours is a reply; a message reaches the flow only as a whole, by one end of its own."""
    asyncio.run(_spoken(octets))


async def _spoken(octets: bytes) -> None:
    made = config(smtp__xclient_from=["127.0.0.1"])
    flows = Flows()
    gate = Gate(most=10, most_per_peer=10)
    door = Door(made.hostname, made.limits, 60_000, flows.hooks, gate, xclients=made.smtp.xclient_from)
    wire, session = _Wire(), Smtp(door)
    session.connection_made(wire)
    for at in range(0, len(octets), 1000):
        session.data_received(octets[at : at + 1000])
        await asyncio.sleep(0)
    session.eof_received()
    assert session.task is not None
    await asyncio.wait_for(session.task, 30)
    door.threads.shutdown()
    for line in wire.said.split(b"\r\n")[:-1]:
        assert line[:3].isdigit(), line
        assert line[3:4] in (b" ", b"-"), line
        assert line.decode("ascii").isprintable(), line
    assert wire.said.endswith(b"\r\n"), wire.said[-80:]
    assert gate.inside == 0
    for _, raw in flows.messages:
        assert b"\r\n.\r\n" not in b"\r\n" + raw.replace(b"\r\n..", b"\r\n"), "one end, one message"
