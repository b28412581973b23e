"""The composition root: what runs in one process, from its start to its last breath.

The only file that knows every concrete class.  A role is a set of parts: the edge (smtp), the
delivering loop (queue), the pages (web); the first two keep house, each with the keys that it has.  Where
there are several processes, each takes mail and delivers; what is done once (housekeeping, pages, figures)
is done in the first.

Promise: READY after every socket accepts; SIGTERM drains within 10 s; SIGHUP re-reads the config
and the certificates, keeps the old ones where the new can't be read, and stops no delivery.

Sources: daemon(7), sd_notify(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sortingoffice import config as configuration
from sortingoffice import leases, listening, log, metrics, processors
from sortingoffice.alone import alone
from sortingoffice.config import Config
from sortingoffice.core.model import Envelope, Peer
from sortingoffice.edge.gate import Counts
from sortingoffice.edge.hooks import Hooks
from sortingoffice.edge.serve import Edge
from sortingoffice.edge.serve import serve as serve_edge
from sortingoffice.errors import OfficeError
from sortingoffice.flows import deliver, housekeeping, rcpt, receive, submit
from sortingoffice.flows import office as offices
from sortingoffice.flows.attempt import Attempts
from sortingoffice.flows.office import Office
from sortingoffice.listening import Listening
from sortingoffice.mail import certificate
from sortingoffice.mail.reply import Reply
from sortingoffice.net.resolver import Resolver
from sortingoffice.store.database import OutOfReach, Unavailable
from sortingoffice.store.taken import Taken
from sortingoffice.values import Endpoint
from sortingoffice.workers import Alone, Crew, Seat

if TYPE_CHECKING:
    from sortingoffice.web.app import Server

_M_MMAP_THRESHOLD = -3  # mallopt(3)
_DRAIN_SECONDS = 8.0  # of the 10 that SIGTERM leaves, for sessions and attempts; the rest is for the database


@dataclass(eq=False, slots=True)
class Daemon:
    """The parts that run, and the office they run for; `office` is another one after a reload."""

    config: Config
    role: str
    office: Office
    seat: Seat
    due: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    lease: leases.Name | None = None
    attempts: Attempts | None = None
    edge: Edge | None = None
    pages: Server | None = None
    figures: Server | None = None
    loops: list[tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=list)
    _reloading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _reload_waits: bool = False

    async def start(self, at: Listening, counts: Counts) -> None:
        """Every part of the role; raises `OfficeError` where one can't start."""
        if self.role in ("all", "smtp"):
            self.edge = await serve_edge(
                self.config,
                self._hooks(),
                context=server_context(self.config, self.office),
                smtp_sockets=at.smtp,
                submission_sockets=at.submission,
                counts=counts,
                processes=self.seat.processes,
            )
        if self.role in ("all", "queue"):
            self.lease = leases.take(self.config.data_dir)
            self.attempts = Attempts(self.office)
        self._start_loops()
        if self.seat.number == 0 and (at.http or at.metrics):
            await self._start_web(at)

    async def _start_web(self, at: Listening) -> None:
        from sortingoffice.web import app, measured

        if at.http is not None:
            self.pages = await app.serve(lambda: self.office, at.http)
        if at.metrics is not None:
            self.figures = await app.listen(measured.application(lambda: self.office), at.metrics)

    def _start_loops(self) -> None:
        parts = [self._deliver] if self.lease is not None else []
        if self.seat.number == 0 and self.role != "web":
            parts.append(self._keep_house)
        for run in parts:
            stop = asyncio.Event()
            self.loops.append((asyncio.create_task(run(stop)), stop))

    async def _deliver(self, stop: asyncio.Event) -> None:
        assert self.lease is not None
        taken = Taken(self.lease.lock)
        await deliver.run(
            self._attempts, str(self.lease), stop, wake=self.due, drain=_DRAIN_SECONDS, taken=taken
        )

    def _attempts(self) -> Attempts:
        assert self.attempts is not None
        return self.attempts

    async def _keep_house(self, stop: asyncio.Event) -> None:
        await housekeeping.run(lambda: self.office, stop, self.role)

    def _hooks(self) -> Hooks:
        return Hooks(
            rcpt=lambda peer, sender, recipient: rcpt.answer(self.office, peer, sender, recipient),
            data=self._data,
            authenticate=lambda peer, name, password: submit.authenticate(self.office, peer, name, password),
            mail=lambda peer, sender: submit.mail(self.office, peer, sender),
            unavailable=(Unavailable, OutOfReach),
        )

    async def _data(self, peer: Peer, envelope: Envelope, raw: bytes) -> Reply:
        began = time.monotonic()
        answer = receive.data(self.office, peer, envelope, raw)
        del raw  # it lets go of it in time
        try:
            return await answer
        finally:
            metrics.answered(time.monotonic() - began)

    async def reload(self) -> None:
        """SIGHUP.  What listens where stays; a broken config changes nothing and is logged.

        One at a time; who comes while another waits for its turn is served by that one.
        """
        if self._reload_waits:
            return
        self._reload_waits = True
        async with self._reloading:
            self._reload_waits = False
            self.seat.reloading()
            try:
                await self._reload()
            except OfficeError as error:
                log.event("reload-refused", reason=error)
            except Exception as error:
                log.bug("reload-failed", error)
            self.seat.reloaded()

    async def _reload(self) -> None:
        """Everything is read before anything is changed.  No loop is stopped: each asks for what is current,
        and an attempt that is under way ends as it began."""
        fresh, waiting = configuration.reloaded(self.config, configuration.load(self.config.path))
        configuration.check_files(fresh)
        context = server_context(fresh, self.office) if self.edge is not None else None
        keys = offices.read_keys(fresh, self.role)
        resolver = Resolver(fresh.dns.nameservers, fresh.dns.timeout)
        office = replace(self.office, config=_part(fresh, self.seat.processes), keys=keys, resolver=resolver)
        attempts = Attempts(office) if self.attempts is not None else None
        self.config, self.office, self.attempts = fresh, office, attempts
        if self.edge is not None:
            await self.edge.reload(fresh, context)
        self.due.set()
        log.event("reloaded")
        if waiting:
            log.event("waits-for-the-next-start", keys=", ".join(waiting))

    async def stop(self) -> None:
        """SIGTERM: idle sessions get 421, what is under way is finished or given back."""
        self.seat.stopping()
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
        """Tell whoever watches that the loop turns; end when a part has ended, or nobody is there to hear."""
        while not self.stopping.is_set():
            for task, _ in self.loops:
                if task.done() and not self.stopping.is_set():
                    task.result()  # a loop ends only by being told to; its exception ends the process
            if not self.seat.alive():
                log.event("parent-gone")
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), self.seat.beat())


async def run(config: Config, role: str, seat: Seat, at: Listening, counts: Counts) -> None:
    """One process of the office, until SIGTERM or SIGINT; raises `OfficeError` where it can't start."""
    due = asyncio.Event()
    office = replace(offices.open(_part(config, seat.processes), role), wake=due.set, peers=counts.peers)
    daemon = Daemon(config, role, office, seat, due)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stopping.set)
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(daemon.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    try:
        await daemon.start(at, counts)
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one may have come while it started
        seat.ready()
        await daemon.watch()
    finally:
        await daemon.stop()


def _part(config: Config, processes: int) -> Config:
    """One process's part of what the whole office may do at once."""
    whole = config.delivery.concurrency_per_destination
    delivery = replace(config.delivery, concurrency_per_destination=max(1, whole // processes))
    return replace(config, delivery=delivery)


def server_context(config: Config, office: Office) -> ssl.SSLContext:
    """TLS for those who connect: the configured certificate, or a self-signed one made once."""
    certificate_file, key_file = config.smtp.tls_certificate, config.smtp.tls_key
    if certificate_file is None or key_file is None:
        certificate_file, key_file = _self_signed(config, office)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate_file, key_file, password=_nobody_to_ask)
    except (OSError, ssl.SSLError) as error:
        raise OfficeError(
            f"{certificate_file} and {key_file} are no certificate and its key ({error}): "
            "set smtp.tls_certificate and smtp.tls_key to a pair that belongs together"
        ) from None
    return context


def _nobody_to_ask() -> str:
    """OpenSSL itself would ask at the terminal, and wait."""
    raise OfficeError(
        "smtp.tls_key is under a passphrase, and nobody is there to be asked: "
        "store the key without one (openssl pkey), readable by the office alone"
    )


def _self_signed(config: Config, office: Office) -> tuple[Path, Path]:
    """Of several processes that want one at a time, one makes it; the last one stays until then."""
    folder = config.data_dir / "tls"
    pair = (folder / f"{config.hostname}.crt", folder / f"{config.hostname}.key")
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    with alone(folder):
        if not _good(pair, office):
            fresh = tuple(path.with_name(path.name + ".next") for path in pair)
            for path, octets in zip(
                fresh, certificate.self_signed(config.hostname, office.clock()), strict=True
            ):
                path.unlink(missing_ok=True)
                offices.write_private(path, octets)
            for path, new in zip(pair, fresh, strict=True):
                new.replace(path)
    return pair


def _good(pair: tuple[Path, Path], office: Office) -> bool:
    """Whether it is one: a certificate and its key, and not past its half-life."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair)
        age = office.clock().timestamp() - pair[0].stat().st_mtime
    except OSError:  # and ssl.SSLError, which is one
        return False
    return age < certificate.LIFE.total_seconds() / 2


def main(config: Config, role: str, announce: Callable[[list[tuple[str, Endpoint]], int], None]) -> None:
    """Serve until SIGTERM, in one process or several.

    announce  called once, when every socket accepts: what listens where, and the number of processes
    """
    log.start(debug=bool(os.environ.get("SORTINGOFFICE_DEBUG")))
    if sys.platform == "win32":
        raise OfficeError("the daemon needs a POSIX system")
    configuration.check_files(config)
    _many_files()
    at = listening.opened(config, role)
    processes = _processes(config, role)
    try:
        if at.http or at.metrics:  # while there is one process; an office without them needs 15 MB less
            import_module("sortingoffice.web.app")
        if processes > 1:
            _several(config, role, at, processes, lambda: announce(at.told(), processes))
        else:
            _loop(config, role, Alone(lambda: announce(at.told(), 1)), at, Counts(1))
    finally:
        at.close()


def _processes(config: Config, role: str) -> int:
    """How many; the pages need no more than one."""
    if role == "web":
        return 1
    return config.processes.count or len(processors.ALLOWED)


def _many_files() -> None:
    """As many as the system lets us have open: each session is one, and the usual 1,024 are for who calls
    select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # beyond what the kernel has
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _steady_memory() -> None:
    """Octets of large messages go back to the system as soon as they are free: glibc would raise its
    threshold to their size, and keep them (mallopt(3), measured: 50 MB of 310)."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**17)


def _loop(config: Config, role: str, seat: Seat, at: Listening, counts: Counts) -> None:
    import uvloop

    _steady_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(initializer=processors.anywhere))
        runner.run(run(config, role, seat, at, counts))


def _several(config: Config, role: str, at: Listening, processes: int, announce: Callable[[], None]) -> None:
    """Check everything once, while there is one process; then fork."""
    import uvloop as uvloop  # so that the workers find it, and what follows, in memory that they share

    office = offices.open(config, role)
    office.db.close()
    if role in ("all", "smtp"):
        server_context(config, office)
    folder = metrics.share() if at.metrics is not None else None
    counts = Counts(processes)
    current = [config]

    def reload() -> bool:
        try:
            fresh, _ = configuration.reloaded(config, configuration.load(config.path))
            configuration.check_files(fresh)
            if role in ("all", "smtp"):
                server_context(fresh, office)  # once, here: the workers find it made
        except OfficeError as error:
            log.event("reload-refused", reason=error)
            return False
        current[0] = fresh  # for those who will be born
        return True

    def work(seat: Seat) -> None:
        processors.stay(seat.number, seat.processes)
        _loop(current[0], role, seat, at, counts.of(seat.number))

    try:
        Crew(processes, work, counts.forget, reload, at.close).run(announce)
    finally:
        if folder is not None:
            metrics.forget(folder)
