"""Three nodes on one PostgreSQL: they share the spool, and one that dies costs no more than its lease."""

from __future__ import annotations

import shutil
import signal
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from sortingoffice.cli.stage import HOME, MAILBOX, ORDERS, VENDOR, Stage, opened, until
from sortingoffice.mail.message import Message
from sortingoffice.net.sink import HANG, Late
from sortingoffice.store.leases import CUT_SHORT, LEASE
from tests.database import Cluster
from tests.office import written

_MARGIN = 8.0  # seconds on a busy machine, beside the lease


@pytest.fixture
def nodes(postgresql: Cluster, tmp_path: Path) -> Iterator[list[Stage]]:
    """Three, started; the first is the one that was set up."""
    with opened() as first:
        url = postgresql.url(postgresql.new())
        first.processes = 2
        first.configure(top=f'database = "{url}"', limits="connections_per_peer = 200")
        first.publish(VENDOR, "127.0.0.2", policy="none", spf="ip4:127.0.0.1 -all")
        first.init()
        made = [first]
        for n in (2, 3):
            folder = tmp_path / f"node{n}"
            shutil.copytree(first.folder / "office" / "keys", folder / "office" / "keys")
            text = first.config.read_text().replace(f'"127.0.0.1:{first.port}"', '"127.0.0.1:0"')
            made.append(replace(first, folder=folder, daemon=None))
            made[-1].config.write_text(text)
        try:
            for node in made:
                node.start()
            yield made
        finally:
            for node in made[1:]:
                node.stop()


def _kill(node: Stage) -> None:
    assert node.daemon is not None
    node.daemon.send_signal(signal.SIGKILL)
    node.daemon.wait()


def _leases(first: Stage, node: Stage) -> int:
    """How many deliveries that node holds."""
    url = next(line for line in first.config.read_text().splitlines() if line.startswith("database"))
    (volume,) = node.folder.rglob("leases/volume")
    with psycopg.connect(url.split('"')[1]) as connection:
        found = connection.execute(
            "SELECT count(*) FROM delivery WHERE lease_node LIKE %s", (f"{volume.read_text()}:%",)
        ).fetchone()
    return 0 if found is None else int(found[0])


class _Load:
    """One sender to each node, until told; what was answered 250 and when."""

    def __init__(self, nodes: list[Stage], alias: str) -> None:
        self.promised: dict[str, float] = {}
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._send, args=(node, alias)) for node in nodes]
        for thread in self.threads:
            thread.start()

    def _send(self, node: Stage, alias: str) -> None:
        number = 0
        while not self.stopping.is_set():
            try:
                with node.client() as client:
                    while not self.stopping.is_set():
                        number += 1
                        name = f"<{number}.{node.smtp_port}@{VENDOR}>"
                        raw = written(
                            f"From: {ORDERS}", f"To: {alias}", f"Message-ID: {name}", subject="load"
                        )
                        client.sendmail(ORDERS, [alias], raw)
                        self.promised[name] = time.time()
                        time.sleep(0.05)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.1)

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def _arrived(stage: Stage) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for each in tuple(stage.home.received):
        if each.recipients == (MAILBOX,):
            name = (Message.parse(each.octets).value("Message-ID") or b"").decode()
            found.setdefault(name, []).append(each.at)
    return found


@pytest.mark.timeout(240)
def test_one_of_three_nodes_killed_under_load_loses_nothing_and_delays_nothing_beyond_its_lease(
    nodes: list[Stage],
) -> None:
    first, victim, _ = nodes
    alias = first.command("new", "Shop")
    first.home.answers["RCPT"] = Late(0.5, "250 2.1.5 ok")  # killed in the middle, not past the dot
    load = _Load(nodes, alias)
    try:
        until(lambda: len(load.promised) > 40 and _leases(first, victim) > 0, "leases of the victim")
        _kill(victim)
        held = _leases(first, victim)
        time.sleep(2)
    finally:
        load.stop()
    assert held > 0
    patience = LEASE.total_seconds() + _MARGIN
    until(lambda: load.promised.keys() <= _arrived(first).keys(), f"what was promised, at {HOME}", patience)
    arrived = _arrived(first)
    delays = [min(arrived[name]) - at for name, at in load.promised.items()]
    assert (
        LEASE.total_seconds() / 2 < max(delays) < patience
    )  # the dead one's; those of the others don't wait
    assert sum(delay > LEASE.total_seconds() / 2 for delay in delays) <= held
    twice = Counter({name: len(times) - 1 for name, times in arrived.items() if len(times) > 1})
    assert twice.total() <= held  # only what the dead one had in hand
    if twice:
        told = str(first.json("trace", alias, "--most", "1000"))
        assert told.count(CUT_SHORT) >= twice.total()


@pytest.mark.timeout(240)
def test_a_node_that_starts_again_takes_back_its_own_leases_at_once(nodes: list[Stage]) -> None:
    first, *others = nodes
    for node in others:
        node.stop()
    alias = first.command("new", "Shop")
    first.home.answers["."] = [HANG, HANG, HANG]
    for n in range(3):
        first.send(VENDOR, ORDERS, alias, written(f"From: {ORDERS}", f"To: {alias}", subject=f"back {n}"))
    until(lambda: len(first.home.received) == 3, "three attempts past the dot")
    _kill(first)
    assert _leases(first, first) == 3
    first.start()
    started = time.monotonic()
    until(lambda: len(first.home.received) == 6, "the second copies")
    assert time.monotonic() - started < LEASE.total_seconds() / 3
    for row in first.json("trace", alias):
        assert CUT_SHORT in [tried["reply"] for tried in row["deliveries"][0]["attempts"]]
