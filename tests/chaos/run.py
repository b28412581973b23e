"""One run: the set, the load, the trouble, the reckoning."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sortingoffice import config as configuration
from sortingoffice.cli.stage import ORDERS, VENDOR, Stage, opened
from sortingoffice.core.model import DeliveryState, Mailbox, MailboxState
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.flows import issue
from sortingoffice.flows import office as offices
from sortingoffice.store import accounts, spool
from sortingoffice.store.database import Database, OutOfReach, Transaction, Unavailable
from tests.chaos.offices import Nursery
from tests.chaos.peers import MANNERS, Peer, Taken
from tests.chaos.reckoning import Result, reckon, so_far
from tests.chaos.senders import Senders, Target
from tests.chaos.trouble import STEADY_RATE, Kills, Trouble
from tests.database import Cluster, programs

_SPF = "ip4:127.0.0.1 -all"
_SETTLES = 120.0
_DISK = 300 << 20  # octets that are free for trouble
_ROOM = 8 << 10  # octets that a message leaves behind: rows, attempts, log lines
_RELATIONSHIPS = 6  # per next hop
_TELLS = 30.0  # seconds
_AHEAD = 5  # of the office, in nice(2)'s degrees


@dataclass(frozen=True, slots=True)
class Plan:
    """kills, messages  both are reached, whichever takes longer, but for `seconds`
    rate     messages a second
    at_random  share of the kills that are at no failpoint
    steady   kills, besides and between, of an office under a steady 50 messages a second, to next hops
             with good manners: what duplicates are counted by
    database "sqlite" or "postgresql"
    """

    kills: int
    messages: int
    rate: float
    sessions: int
    database: str
    seed: int
    at_random: float = 0.5
    steady: int = 0
    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Report:
    plan: Plan
    result: Result
    kills: Kills
    seconds: float
    messages: int
    tries: int
    other: dict[str, int]
    received: int
    small_disk: bool
    finished: bool


Tell = Callable[[Report], None]


def run(plan: Plan, watcher: Watcher = unwatched, tell: Tell = lambda _: None) -> Report:
    """SIGTERM and SIGINT end the trouble before its time; what was reached is looked up all the same.

    tell  is told now and then what was reached
    """
    with ExitStack() as stack:
        small_disk = plan.database == "sqlite" and stack.enter_context(
            small_temporary_disk(_DISK + _ROOM * plan.messages)
        )
        cluster = stack.enter_context(_cluster()) if plan.database == "postgresql" else None
        stage = stack.enter_context(opened())
        stage.vendor.stop()  # theirs are replaced by ours
        stage.home.stop()
        targets = _set_up(stage, cluster)
        return asyncio.run(_run(plan, stage, targets, cluster, watcher, tell, small_disk=bool(small_disk)))


@contextmanager
def small_temporary_disk(octets: int = _DISK) -> Iterator[bool]:
    """A file system that can be filled up, where we may mount one; whether we could."""
    folder = tempfile.mkdtemp(prefix="office-disk-")
    before = tempfile.tempdir
    command = ["mount", "-t", "tmpfs", "-o", f"size={octets}", "tmpfs", folder]
    mounted = os.getuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        if mounted:
            tempfile.tempdir = folder
        yield mounted
    finally:
        tempfile.tempdir = before
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=False)
        with suppress(OSError):
            Path(folder).rmdir()


@contextmanager
def _cluster() -> Iterator[Cluster]:
    found = programs()
    if found is None:
        raise SystemExit("PostgreSQL is not installed: --database sqlite does without")
    folder = Path(tempfile.mkdtemp(prefix="office-pg-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    cluster = Cluster(found, folder)
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _set_up(stage: Stage, cluster: Cluster | None) -> list[Target]:
    database = f'\ndatabase = "{cluster.url(cluster.new())}"' if cluster else ""
    stage.configure(
        top=database,
        limits="account_messages_per_hour = 10000000\nconnections_per_peer = 200\n"
        "commands_per_session = 1000000",
    )
    for at, domain in enumerate((*MANNERS, VENDOR), 2):
        stage.publish(domain, f"127.0.0.{at}", policy="none", spf=_SPF)
    stage.init()
    config = configuration.load(stage.config)
    office = offices.open(config, "all")
    try:
        return office.db.call(_issue, office)
    finally:
        office.db.close()


def _issue(tx: Transaction, office: offices.Office) -> list[Target]:
    """Relationships with a mailbox at each next hop, and a contact of each."""
    account = accounts.the_only(tx)
    assert account is not None
    [first] = accounts.mailboxes(tx, account.id)
    targets: list[Target] = []
    for domain in MANNERS:
        address = first.address.partition("@")[0] + f"@{domain}"
        if address != first.address:
            accounts.add_mailbox(tx, _mailbox(first, address))
        for n in range(_RELATIONSHIPS):
            wish = issue.Wish(f"{domain} {n}", mailbox=address)
            made = issue.issue(tx, office, account, wish, actor="chaos")
            of, contact = issue.contact(
                tx, office, account, made["relationship"], f"c{n}.{ORDERS}", actor="chaos"
            )
            targets.append(Target(made["alias"], of.id, outward=False))
            targets.append(Target(contact.reverse_alias, of.id, outward=True))
    return targets


def _mailbox(like: Mailbox, address: str) -> Mailbox:
    return replace(like, id=0, address=address, preferred=False, state=MailboxState.VERIFIED)


@dataclass(slots=True)
class _Set:
    """What a run consists of, while it runs."""

    plan: Plan
    stage: Stage
    taken: Taken
    senders: Senders
    trouble: Trouble
    database: Database
    began: float
    small_disk: bool
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def over(self) -> bool:
        """Told to stop, or out of time."""
        return self.stopping.is_set() or time.monotonic() > self.began + self.plan.seconds

    def report(self, result: Result, *, finished: bool) -> Report:
        promises = self.senders.promises
        return Report(
            self.plan,
            result,
            self.trouble.kills,
            time.monotonic() - self.began,
            promises.messages,
            promises.tries,
            promises.other,
            self.taken.number,
            self.small_disk,
            finished,
        )


async def _run(
    plan: Plan,
    stage: Stage,
    targets: list[Target],
    cluster: Cluster | None,
    watcher: Watcher,
    tell: Tell,
    *,
    small_disk: bool,
) -> Report:
    async with _opened(plan, stage, targets, cluster, small_disk=small_disk) as of:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, of.stopping.set)
        sending = asyncio.create_task(of.senders.run(plan.sessions))
        telling = asyncio.create_task(_tell_so_far(of, tell))
        try:
            await of.trouble.until(plan.kills, plan.messages, plan.steady, of.over, watcher)
            await of.trouble.last()
            of.senders.stop()
            await sending
            await _settled(of.database)
            await of.trouble.ended()
        finally:
            of.senders.stop()
            sending.cancel()
            telling.cancel()
            await asyncio.gather(sending, telling, return_exceptions=True)
        kills, log = of.trouble.kills, stage.folder / "log"
        result = reckon(of.database, _key(stage), of.senders.promises, of.taken, kills, log)
        return of.report(result, finished=True)


@asynccontextmanager
async def _opened(
    plan: Plan, stage: Stage, targets: list[Target], cluster: Cluster | None, *, small_disk: bool
) -> AsyncIterator[_Set]:
    """Next hops that listen, senders that are ready, and a nursery."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    taken = Taken()
    peers: list[Peer] = []
    senders = Senders(targets, stage.port, rate=plan.rate, seed=plan.seed)
    database = Database(configuration.load(stage.config).database)
    nursery = Nursery(stage.config, stage.folder / "log", stage.port)
    trouble = Trouble(
        stage,
        nursery,
        senders,
        peers,
        partial(_keeps_up, database),
        cluster=cluster,
        small_disk=small_disk,
        at_random=plan.at_random,
        seed=plan.seed,
    )
    try:
        for at, domain in enumerate((*MANNERS, VENDOR), 2):
            peers.append(Peer(domain, taken, plan.seed + at))
            await peers[-1].start(f"127.0.0.{at}", stage.port)
        await nursery.open()
        with suppress(OSError):  # peers stand for other machines, which our load doesn't slow down
            os.nice(-_AHEAD)
        yield _Set(plan, stage, taken, senders, trouble, database, time.monotonic(), small_disk)
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        await nursery.close()
        for peer in peers:
            await peer.close()
        database.close()


async def _tell_so_far(of: _Set, tell: Tell) -> None:
    """Now and then, so that a run which is broken off has said what it saw."""
    while True:
        await asyncio.sleep(_TELLS)
        kept = frozenset(of.senders.promises.kept)
        several = {path: list(times) for path, times in of.taken.by_path.items() if len(times) > 1}
        with suppress(Unavailable, OutOfReach):
            result = await asyncio.to_thread(
                so_far, of.database, _key(of.stage), kept, several, of.trouble.kills
            )
            tell(of.report(result, finished=False))


def _key(stage: Stage) -> bytes:
    """What return paths are signed with."""
    return offices.read_keys(configuration.load(stage.config), "all").token


async def _keeps_up(database: Database) -> bool:
    """Whether hardly anything waits."""
    with suppress(Unavailable):
        number, _ = (await database.read(spool.census)).get(DeliveryState.QUEUED, (0, None))
        return number < STEADY_RATE / 2
    return False


async def _settled(database: Database) -> None:
    """The queue is empty, or has had its time; then what is left is told."""
    end = time.monotonic() + _SETTLES
    while time.monotonic() < end:
        with suppress(Unavailable):
            if DeliveryState.QUEUED not in await database.read(spool.census):
                return
        await asyncio.sleep(0.2)
    for each in await database.read(spool.queue, state=DeliveryState.QUEUED):
        left = each.delivery
        print(
            f"still queued: {left.id} to {left.destination}, {left.attempts} attempts, due {left.due:%T},"
            f" leased to {left.lease_node or 'nobody'}, {left.last_reply}"
        )
