"""The composition root: what runs in one process, from its start to its last breath.

The only file that knows every concrete class.  A role is a set of parts: the edge (smtp), the
delivering loop and housekeeping (queue), the pages (web).

Promise: READY after every socket accepts; SIGTERM drains within 10 s; SIGHUP re-reads the config
and the certificates, and keeps the old ones where the new can't be read.

Sources: daemon(7), sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sortingoffice import config as configuration
from sortingoffice import log, metrics
from sortingoffice.config import Config
from sortingoffice.core.model import Envelope, Peer
from sortingoffice.edge.hooks import Hooks
from sortingoffice.edge.serve import Edge
from sortingoffice.edge.serve import serve as serve_edge
from sortingoffice.errors import OfficeError
from sortingoffice.flows import deliver, housekeeping, receive, submit
from sortingoffice.flows import office as offices
from sortingoffice.flows.office import Office
from sortingoffice.mail import certificate
from sortingoffice.mail.reply import Reply
from sortingoffice.net import notify
from sortingoffice.net.resolver import Resolver
from sortingoffice.store.database import OutOfReach, Unavailable
from sortingoffice.web import app as web
from sortingoffice.web import measured

ROLES = ("all", "smtp", "queue", "web")
_DRAIN_SECONDS = 8.0  # of the 10 that SIGTERM leaves, for sessions and attempts; the rest is for the database
_FIRST_PASSED_SOCKET = 3  # sd_listen_fds(3)


@dataclass(eq=False, slots=True)
class Daemon:
    """The parts that run, and the office they run for; `office` is another one after a reload."""

    config: Config
    role: str
    office: Office
    node: str
    due: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    edge: Edge | None = None
    pages: web.Server | None = None
    figures: web.Server | None = None
    loops: list[tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=list)

    async def start(self, passed: dict[str, list[socket.socket]]) -> None:
        """Every part of the role; raises `OfficeError` where one can't start."""
        if self.role in ("all", "smtp"):
            self.edge = await serve_edge(
                self.config,
                self._hooks(),
                context=server_context(self.config, self.office),
                smtp_sockets=passed.get("smtp", []),
                submission_sockets=passed.get("submission", []),
            )
        if self.role in ("all", "web") and self.config.http.listen is not None:
            self.pages = await web.serve(lambda: self.office, self.config.http.listen)
        if self.role in ("all", "queue"):
            self._start_loops()
        await self._count()

    def _start_loops(self) -> None:
        for run in (self._deliver, self._keep_house):
            stop = asyncio.Event()
            self.loops.append((asyncio.create_task(run(stop)), stop))

    async def _deliver(self, stop: asyncio.Event) -> None:
        await deliver.run(self.office, self.node, stop, wake=self.due, drain=_DRAIN_SECONDS)

    async def _keep_house(self, stop: asyncio.Event) -> None:
        await housekeeping.run(self.office, stop)

    def _hooks(self) -> Hooks:
        return Hooks(
            rcpt=lambda peer, sender, recipient: receive.rcpt(self.office, peer, sender, recipient),
            data=self._data,
            authenticate=lambda peer, name, password: submit.authenticate(self.office, peer, name, password),
            mail=lambda peer, sender: submit.mail(self.office, peer, sender),
            unavailable=(Unavailable, OutOfReach),
        )

    async def _data(self, peer: Peer, envelope: Envelope, raw: bytes) -> Reply:
        began = time.monotonic()
        try:
            return await receive.data(self.office, peer, envelope, raw)
        finally:
            metrics.answered(time.monotonic() - began)

    async def _count(self) -> None:
        """Serve the figures; a port that another role of this office has is no reason to take no mail."""
        where = self.config.metrics.listen
        if where is None:
            return
        try:
            self.figures = await web.listen(measured.application(lambda: self.office), where, "metrics")
        except OfficeError as error:
            log.event("metrics-not-served", reason=error)

    async def reload(self) -> None:
        """SIGHUP.  What listens where stays; a broken config changes nothing and is logged."""
        notify.reloading()
        try:
            fresh = configuration.load(self.config.path)
            configuration.check_files(fresh)
            context = server_context(fresh, self.office) if self.edge is not None else None
            keys = offices.read_keys(fresh, self.role)
        except OfficeError as error:
            log.event("reload-refused", reason=error)
        else:
            resolver = Resolver(fresh.dns.nameservers, fresh.dns.timeout)
            self.config = fresh
            self.office = replace(self.office, config=fresh, keys=keys, resolver=resolver)
            if self.edge is not None:
                await self.edge.reload(fresh, context)
            await self._stop_loops(_DRAIN_SECONDS)
            if self.role in ("all", "queue"):
                self._start_loops()
            log.event("reloaded")
        notify.ready()

    async def stop(self) -> None:
        """SIGTERM: idle sessions get 421, what is under way is finished or given back."""
        notify.stopping()
        parts = [self._stop_loops(_DRAIN_SECONDS)]
        if self.edge is not None:
            parts.append(self.edge.drain(_DRAIN_SECONDS))
        parts += [each.stop() for each in (self.pages, self.figures) if each is not None]
        await asyncio.gather(*parts)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.office.settled(), 1)
        await asyncio.to_thread(self.office.db.close)

    async def _stop_loops(self, seconds: float) -> None:
        loops, self.loops = self.loops, []
        for _, stop in loops:
            stop.set()
        self.due.set()
        if loops:
            _, late = await asyncio.wait([task for task, _ in loops], timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*(task for task, _ in loops), return_exceptions=True)

    async def watch(self) -> None:
        """Tell the supervisor that the loop turns and the database answers; end when a part has ended."""
        every = notify.watchdog_seconds()
        while not self.stopping.is_set():
            for task, _ in self.loops:
                if task.done() and not self.stopping.is_set():
                    task.result()  # a loop ends only by being told to; its exception ends the process
            if every is not None:
                notify.alive()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), min(1.0, (every or 2.0) / 2))


async def run(config: Config, role: str, announce: Callable[[Daemon], None]) -> None:
    """Run a role until SIGTERM or SIGINT; raises `OfficeError` where it can't start.

    announce  called once, when every socket accepts
    """
    configuration.check_files(config)
    due = asyncio.Event()
    office = replace(offices.open(config, role), wake=due.set)
    daemon = Daemon(config, role, office, node_name(config), due)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stopping.set)
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(daemon.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    try:
        await daemon.start(passed_sockets())
        announce(daemon)
        notify.ready()
        await daemon.watch()
    finally:
        await daemon.stop()


def node_name(config: Config) -> str:
    """Whose leases are ours after a restart: this host, this data directory."""
    return f"{socket.gethostname()}:{config.data_dir}"


def server_context(config: Config, office: Office) -> ssl.SSLContext:
    """TLS for those who connect: the configured certificate, or a self-signed one made once."""
    certificate_file, key_file = config.smtp.tls_certificate, config.smtp.tls_key
    if certificate_file is None or key_file is None:
        certificate_file, key_file = _self_signed(config, office)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise OfficeError(
            f"{certificate_file} and {key_file} are no certificate and its key ({error}): "
            "set smtp.tls_certificate and smtp.tls_key to a pair that belongs together"
        ) from None
    return context


def _self_signed(config: Config, office: Office) -> tuple[Path, Path]:
    folder = config.data_dir / "tls"
    pair = (folder / f"{config.hostname}.crt", folder / f"{config.hostname}.key")
    if not all(path.exists() for path in pair) or _old(pair[0], office):
        for path in pair:
            path.unlink(missing_ok=True)
        public, private = certificate.self_signed(config.hostname, office.clock())
        offices.write_private(pair[1], private)
        offices.write_private(pair[0], public)
    return pair


def _old(path: Path, office: Office) -> bool:
    """Past its half-life."""
    age = office.clock().timestamp() - path.stat().st_mtime
    return age > certificate.LIFE.total_seconds() / 2


def passed_sockets() -> dict[str, list[socket.socket]]:
    """Listening sockets from systemd, by name: FileDescriptorName=smtp or submission.

    An unnamed one is taken for smtp.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[socket.socket]] = {}
    for at in range(count):
        name = names[at] if at < len(names) else ""
        kind = "submission" if "submission" in name else "smtp"
        passed = socket.socket(fileno=_FIRST_PASSED_SOCKET + at)
        passed.setblocking(False)
        found.setdefault(kind, []).append(passed)
    return found


def main(config: Config, role: str, announce: Callable[[Daemon], None]) -> None:
    """Run on uvloop where it is installed."""
    log.start(debug=bool(os.environ.get("SORTINGOFFICE_DEBUG")))
    if sys.platform == "win32":
        raise OfficeError("the daemon needs a POSIX system")
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(config, role, announce))
