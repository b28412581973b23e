"""What is wrong with this office: DNS, ports, certificates, clock, database, queue, files.

Reads only, and works while the daemon is down; each thing that is looked at is a `Finding` with a
remedy.  Nothing is stored and nobody is told but who asked.
"""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial

from sortingoffice.core import diagnosis
from sortingoffice.core.diagnosis import Addresses, Finding, failed, ok, warning
from sortingoffice.core.model import DeliveryState, Domain
from sortingoffice.core.records import Record, dkim_record, records
from sortingoffice.errors import OfficeError
from sortingoffice.flows import domains
from sortingoffice.flows.office import Office, key_folder
from sortingoffice.mail import certificate
from sortingoffice.net import probe
from sortingoffice.store import backup, events, leases, spool
from sortingoffice.store import domains as rows
from sortingoffice.store.database import Transaction
from sortingoffice.values import Endpoint

LATE = timedelta(hours=1)  # a delivery that was due this long ago waits for a daemon that isn't there
ENDING = timedelta(days=14)  # of a certificate
_LITTLE, _NO_ROOM = 2**30, 100 * 2**20  # octets of free disk
_SKEW = timedelta(minutes=5)
_AT_ONCE = 10  # domains whose records are looked up together

Look = Callable[[], Awaitable[tuple[Finding, ...]]]


async def examine(office: Office) -> AsyncIterator[Finding]:
    """Every finding, the quick ones first."""
    for finding in (*files(office), *database(office), *queue(office), *clock(office)):
        yield finding
    for asked in (_ports(office), _names(office)):
        async for finding in asked:
            yield finding


# ---- this machine ----------------------------------------------------------------------------------------


def files(office: Office) -> Iterator[Finding]:
    """Modes of what holds secrets, and room on the disk."""
    config = office.config
    private = [p for p in sorted(key_folder(config).rglob("*")) if p.is_file()]
    private += [p for p in (config.delivery.smarthost_password_file, config.smtp.tls_key) if p is not None]
    private += [p for p in (config.database_file,) if p is not None]
    for folder in (config.data_dir, key_folder(config)):
        private += [folder] if folder.exists() else []
    public = [p for p in (config.smtp.tls_certificate,) if p is not None]
    wrong = 0
    for path in (*private, *public):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            wrong += 1
            yield failed(f"file {path}", error.strerror or "can't be read", "put it back, or mend its path")
            continue
        others = 0o007 if path in (config.data_dir, config.database_file) else 0o077
        if path not in public and mode & others:
            wrong += 1
            yield failed(f"file {path}", f"mode {mode:04o}: others can read it", f"chmod go-rwx {path}")
    if not wrong:
        yield ok("files", f"{len(private)} are this account's alone")
    free = shutil.disk_usage(config.data_dir if config.data_dir.exists() else config.data_dir.parent).free
    said = f"{free // 2**20} MiB free"
    if free < _LITTLE:
        judge = failed if free < _NO_ROOM else warning
        yield judge("disk", said, f"make room where {config.data_dir} lies: mail is answered 452 without")
    else:
        yield ok("disk", said)


def database(office: Office) -> Iterator[Finding]:
    try:
        office.db.check()
    except OfficeError as error:
        yield failed("database", str(error), "`sortingoffice db upgrade`, or restore a backup")
        return
    path = office.config.database_file
    wrong = backup.problems(path) if path is not None else ()
    if wrong:
        yield failed(
            "database", f"damaged: {wrong[0]}", "stop the office, then `sortingoffice restore-backup FILE`"
        )
    else:
        yield ok("database", f"sound, revision {office.db.revision()}")


def queue(office: Office) -> Iterator[Finding]:
    """Whether what is due is being tried."""
    waiting = office.db.view(spool.census)
    due = office.db.view(leases.next_due)
    number, _ = waiting.get(DeliveryState.QUEUED, (0, None))
    if due is not None and office.clock() - due > LATE:
        late = int((office.clock() - due).total_seconds() // 60)
        remedy = (
            "run `sortingoffice serve` (role queue); if it runs, see its log and `sortingoffice queue list`"
        )
        yield failed("queue", f"{number} wait, the first is due since {late} minutes", remedy)
    else:
        yield ok("queue", f"{number} wait")
    held = waiting.get(DeliveryState.HELD)
    if held is not None and office.clock() - held[1] > timedelta(days=7):
        yield warning(
            "held",
            f"{held[0]}, the oldest of {held[1]:%Y-%m-%d}",
            "`sortingoffice held list`, then release or drop",
        )


def clock(office: Office) -> Iterator[Finding]:
    latest = office.db.view(_latest)
    if latest is not None and latest - office.clock() > _SKEW:
        yield failed(
            "clock", "the log holds events of the future", "set the clock; DKIM signatures carry its time"
        )
        return
    synchronised = probe.clock_synchronised()
    if synchronised is None:
        yield warning(
            "clock",
            "the kernel does not say whether it is synchronised",
            "see that a time server is followed",
        )
    elif not synchronised:
        yield warning("clock", "it follows no time server", "install chrony, or enable systemd-timesyncd")
    else:
        yield ok("clock", "synchronised")


def _latest(tx: Transaction) -> datetime | None:
    found = events.every(tx, None, 1)
    return found[-1].at if found else None


# ---- ports and certificates ------------------------------------------------------------------------------


async def _ports(office: Office) -> AsyncIterator[Finding]:
    config = office.config
    passed = await asyncio.to_thread(probe.passed, config.path)
    kinds = (
        ("smtp", config.smtp.listen, False),
        ("submission", config.submission.listen, config.submission.tls),
    )
    for kind, listen, implicit in kinds:
        for at, by in _doors(kind, listen, passed):
            async for finding in _door(office, kind, at, by, implicit_tls=implicit):
                yield finding
    if config.http.listen is not None and config.http.listen.port:
        at = config.http.listen
        why = await probe.open_port(at)
        yield failed(f"http {at}", why, "run `sortingoffice serve`") if why else ok(f"http {at}", "answers")


def _doors(
    kind: str, listen: Iterable[Endpoint], passed: Iterable[probe.Passed]
) -> list[tuple[Endpoint, probe.Passed | None]]:
    """Where the office listens, and what holds the port: systemd's are used instead of the config's."""
    held = [(at, each) for each in passed if each.kind == kind for at in each.listen]
    return [*held] or [(at, None) for at in listen]


async def _door(
    office: Office, kind: str, at: Endpoint, by: probe.Passed | None, *, implicit_tls: bool
) -> AsyncIterator[Finding]:
    config, check = office.config, f"{kind} {at}"
    if at.port == 0:
        yield warning(check, "a port of the system's choice can't be looked at", "name a port in the config")
        return
    remedy = "run `sortingoffice serve`, and see that nothing else has the port"
    if by is not None:
        remedy = f"`systemctl restart {by.service}`; its log: `journalctl -u {by.service}`"
        if not by.served:  # a connection would start it: mail may, `doctor` must not
            yield failed(check, f"{by.unit} holds the port, but {by.service} is {by.state}", remedy)
            return
    proxies = config.smtp.proxy_protocol_from
    seen = await probe.mail_server(at, config.hostname, implicit_tls=implicit_tls, proxies=proxies)
    if seen.no_ipv6:
        yield warning(
            check, "IPv6 is off here, so it can't be called", "switch IPv6 on, or listen on IPv4 alone"
        )
    elif seen.problem:
        yield failed(check, seen.problem, remedy)
    else:
        yield ok(check, seen.greeting[:80])
        for finding in _certificate(office, f"tls {at}", kind, seen):
            yield finding


def _certificate(office: Office, check: str, kind: str, seen: probe.Seen) -> Iterator[Finding]:
    if seen.chain is None or not seen.certificate:
        yield failed(check, "no STARTTLS", "set smtp.tls_certificate and smtp.tls_key")
        return
    ends = certificate.expires(seen.certificate)
    left = ends - office.clock()
    renew = "renew it, then `systemctl reload sortingoffice` (or SIGHUP)"
    if left < timedelta(0):
        yield failed(check, f"ended {ends:%Y-%m-%d}", renew)
    elif left < ENDING:
        yield warning(check, f"ends {ends:%Y-%m-%d}, in {left.days} days", renew)
    elif seen.chain and kind == "submission":
        remedy = f"set smtp.tls_certificate to one for {office.config.hostname} that mail programs trust"
        yield failed(check, f"mail programs will not trust it: {seen.chain}", remedy)
    elif seen.chain:
        remedy = "enough between mail servers; MTA-STS and submission want one of a public authority"
        yield warning(check, f"not verified: {seen.chain}", remedy)
    else:
        yield ok(check, f"verified, until {ends:%Y-%m-%d}")


# ---- DNS -------------------------------------------------------------------------------------------------


async def _names(office: Office) -> AsyncIterator[Finding]:
    """A name server that answers nothing costs its time-out a few times, and not once for each record."""
    config, resolver = office.config, office.resolver
    relay = config.delivery.smarthost
    hosted = await office.db.read(rows.every)
    if not hosted:
        yield failed("domains", "the office hosts none", "`sortingoffice admin domain add DOMAIN`")
    senders = await resolver.run(diagnosis.addresses(config.hostname if relay is None else relay.host))
    looks: list[Look] = [partial(resolver.run, diagnosis.host(config.hostname, direct=relay is None))]
    if config.hostname not in [each.name for each in hosted] and relay is None:
        looks.append(partial(_spf, office, config.hostname, senders, helo=True))
    looks += [partial(_domain, office, each, senders) for each in hosted]
    for start in range(0, len(looks), _AT_ONCE):
        for found in await asyncio.gather(*(look() for look in looks[start : start + _AT_ONCE])):
            for finding in found:
                yield finding


async def _spf(office: Office, domain: str, senders: Addresses, *, helo: bool = False) -> tuple[Finding, ...]:
    relay = office.config.delivery.smarthost
    program = diagnosis.sender_policy(
        domain,
        office.config.hostname,
        senders.found,
        helo=helo,
        untold=senders.untold,
        smarthost="" if relay is None else relay.host,
    )
    return await office.resolver.run(program)


async def _domain(office: Office, domain: Domain, senders: Addresses) -> tuple[Finding, ...]:
    run = office.resolver.run
    unread: tuple[Finding, ...] = ()
    signing: list[tuple[Record, str]] = []
    try:
        published = await office.db.read(domains.published, office, domain)
        signing = [(dkim_record(domain.name, each.key), each.state) for each in published]
    except OfficeError as error:
        unread = (failed(f"keys {domain.name}", str(error), "look again as the owner of the keys"),)
    mx, senders_policy, keys, policy, transport = await asyncio.gather(
        run(diagnosis.mx(domain.name, office.config.hostname)),
        _spf(office, domain.name, senders),
        asyncio.gather(*(run(diagnosis.key(*each)) for each in signing if each[1] != "retired")),
        run(diagnosis.policy(_dmarc(office, domain.name))),
        _transport(office, domain.name),
    )
    return (mx, *senders_policy, *unread, *keys, policy, transport)


def _dmarc(office: Office, domain: str) -> Record:
    made = records(domain, office.config.hostname, (), smarthost=office.config.delivery.smarthost is not None)
    return next(each for each in made if each.name.startswith("_dmarc."))


async def _transport(office: Office, domain: str) -> Finding:
    finding, _ = await office.resolver.run(diagnosis.transport(domain))
    if finding is not None:
        return finding
    host = f"mta-sts.{domain}"
    its = await office.resolver.run(diagnosis.addresses(host))
    if not its.found and its.untold:
        return diagnosis.unknown(f"mta-sts {domain}")
    text, why = None, f"{host} has no address"
    if its.found:
        text, why = await probe.page(host, its.found[0], "/.well-known/mta-sts.txt")
    told = diagnosis.transport_policy(domain, office.config.hostname, text, why)
    return told if text is not None else diagnosis.but_for(its.untold, told)  # it may be at another address


def everything(office: Office) -> tuple[Finding, ...]:
    """`examine`, for who has no loop."""

    async def run() -> tuple[Finding, ...]:
        return tuple([each async for each in examine(office)])

    return asyncio.run(run())
