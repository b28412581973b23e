"""Listening: sockets from the config or from systemd, sessions on them, and their end.

Promise: `serve` returns when all its sockets accept, or raises `OfficeError` and none does.
`close` stops accepting; `drain` lets what runs end; `reload` changes certificate and limits for
those who come from then on, and loses no connection.

Sources: sd_listen_fds(3); RFC 8314 §3.3; ipv6(7) (IPV6_V6ONLY).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from sortingoffice import log
from sortingoffice.config import Config
from sortingoffice.edge.accepting import Accepting
from sortingoffice.edge.door import LOGINS, ROOM, Door, Room
from sortingoffice.edge.gate import Counts, Gate
from sortingoffice.edge.hooks import Hooks
from sortingoffice.edge.proxy import before_tls
from sortingoffice.edge.session import Session
from sortingoffice.edge.smtp import Smtp
from sortingoffice.edge.submission import Submission
from sortingoffice.errors import OfficeError
from sortingoffice.values import Endpoint

BACKLOG = 1024
_HANDSHAKE_SECONDS = 0.5  # of implicit TLS, once the office shuts down

Kind = Callable[[Door], Session]


@dataclass(eq=False, slots=True)
class _Listener:
    socket: socket.socket
    kind: Kind
    implicit_tls: bool
    accepting: Accepting | None = None


@dataclass(eq=False, slots=True)
class Edge:
    """What `serve` started.

    smtp, submission  the addresses it listens on, with the ports that the system chose
    """

    door: Door
    listeners: list[_Listener] = field(default_factory=list)

    @property
    def smtp(self) -> tuple[Endpoint, ...]:
        return tuple(_endpoint(one.socket) for one in self.listeners if one.kind is Smtp)

    @property
    def submission(self) -> tuple[Endpoint, ...]:
        return tuple(_endpoint(one.socket) for one in self.listeners if one.kind is Submission)

    def _open(self, listener: _Listener) -> None:
        door = self.door

        listener.accepting = Accepting(
            listener.socket,
            lambda: listener.kind(door),
            lambda: door.context if listener.implicit_tls else None,
            lambda connection: before_tls(connection, door.proxies),
            lambda: door.gate.ahead,
        )

    async def reload(self, config: Config, context: ssl.SSLContext | None) -> None:
        """New limits and a new certificate; addresses stay as they are until a restart."""
        door = self.door
        door.limits, door.most, door.context = config.limits, config.smtp.max_message_bytes, context
        door.proxies, door.xclients = config.smtp.proxy_protocol_from, config.smtp.xclient_from
        door.gate.resize(most=config.limits.connections, most_per_peer=config.limits.connections_per_peer)

    def close(self) -> None:
        """Stop accepting; those who are inside go on."""
        for listener in self.listeners:
            if listener.accepting is not None and listener.socket.fileno() >= 0:
                listener.accepting.end()
            listener.socket.close()

    async def drain(self, seconds: float) -> None:
        """Idle sessions get 421 now, the others after what they are at; after `seconds` they are cut."""
        self.close()
        self.door.closing = True
        await self._begun()
        for session in tuple(self.door.sessions):
            session.dismiss()
        running = {session.task: session for session in self.door.sessions if session.task is not None}
        if running:
            _, left = await asyncio.wait(running, timeout=seconds)
            for task in left:
                running[task].cut()
            if left:
                log.event("edge.cut", sessions=len(left))
                await asyncio.wait(left)
        await asyncio.sleep(0)  # a transport that was told to close does so in the loop's next turn
        self.door.threads.shutdown(wait=False)

    async def _begun(self) -> None:
        """Whoever was let in a moment ago is a session now, or its TLS handshake is given up."""
        accepting = [one.accepting for one in self.listeners if one.accepting is not None]
        if beginning := [task for each in accepting for task in each.beginning]:
            _, late = await asyncio.wait(beginning, timeout=_HANDSHAKE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def serve(
    config: Config,
    hooks: Hooks,
    *,
    context: ssl.SSLContext | None,
    smtp_sockets: Iterable[socket.socket] = (),
    submission_sockets: Iterable[socket.socket] = (),
    counts: Counts | None = None,
    processes: int = 1,
) -> Edge:
    """Start both ports.

    context             the server's certificate; None: no TLS, so nobody can submit
    smtp_sockets        already listening; given, the config's addresses are not opened
    submission_sockets  the same for submission
    counts              who is inside, of all processes that listen; None: this is the only one
    processes           how many those are: each has its part of the room and of the logins at once

    Raises `OfficeError` where an address can't be had.
    """
    for name in ("mail.log", "mail.debug"):  # aiosmtpd's: they name addresses
        logging.getLogger(name).disabled = True
    limits = config.limits
    folder = config.data_dir if config.data_dir.is_dir() else None
    door = Door(
        hostname=config.hostname,
        limits=limits,
        most=config.smtp.max_message_bytes,
        hooks=hooks,
        gate=Gate(most=limits.connections, most_per_peer=limits.connections_per_peer, counts=counts),
        context=context,
        proxies=config.smtp.proxy_protocol_from,
        xclients=config.smtp.xclient_from,
        folder=folder,
        room=Room(ROOM // processes, folder / "large" if folder is not None and processes > 1 else None),
        logins=asyncio.Semaphore(max(1, LOGINS // processes)),
    )
    edge = Edge(door)
    try:
        for one in list(smtp_sockets) or opened(config.smtp.listen):
            edge.listeners.append(_Listener(one, Smtp, implicit_tls=False))
        for one in list(submission_sockets) or opened(config.submission.listen):
            edge.listeners.append(_Listener(one, Submission, implicit_tls=config.submission.tls))
        if config.submission.tls and context is None:
            raise OfficeError(
                "submission.tls = true needs a certificate: set smtp.tls_certificate and tls_key"
            )
        for listener in edge.listeners:
            edge._open(listener)
    except BaseException:
        edge.close()
        raise
    return edge


def opened(endpoints: Iterable[Endpoint]) -> list[socket.socket]:
    """Listening sockets for these addresses; raises `OfficeError` and leaves none open."""
    wanted = tuple(endpoints)
    sockets: list[socket.socket] = []
    try:
        for endpoint in wanted:
            sockets.extend(_listen(endpoint, wanted))
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def _listen(endpoint: Endpoint, all_of_them: tuple[Endpoint, ...]) -> list[socket.socket]:
    found: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(
            endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in addresses:
            one = socket.socket(family, kind, protocol)
            found.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # [::] takes IPv4 too, unless that has a listener of its own.
                other = any(e.port == endpoint.port and ":" not in e.host for e in all_of_them)
                one.setsockopt(
                    socket.IPPROTO_IPV6,
                    socket.IPV6_V6ONLY,
                    int(other or address[0] != "::" or not endpoint.host),
                )
            one.bind(address)
            one.listen(BACKLOG)
    except OSError as error:
        for one in found:
            one.close()
        raise OfficeError(f"can't listen on {endpoint}: {_remedy(error)}") from None
    return found


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; stop the program that has it, or change the address in the config"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ports below 1024 need systemd's socket, CAP_NET_BIND_SERVICE or root"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or "the address can't be used"


def _endpoint(one: socket.socket) -> Endpoint:
    with suppress(OSError):
        name = one.getsockname()
        if isinstance(name, tuple):
            return Endpoint(str(name[0]), int(name[1]))
    return Endpoint("", 0)
