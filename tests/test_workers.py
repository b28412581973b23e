"""Several worker processes: one office to everybody outside, whichever of them dies."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sortingoffice.cli.stage import MAILBOX, ORDERS, PATIENCE, VENDOR, Stage, until
from sortingoffice.mail.message import Message
from sortingoffice.net.sink import HANG
from sortingoffice.store.leases import CUT_SHORT, LEASE
from tests.office import opened, written


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Set up with two workers, not started."""
    with opened() as made:
        made.processes = 2
        made.configure()
        made.publish(VENDOR, "127.0.0.2", policy="none", spf="ip4:127.0.0.1 -all")
        made.init()
        yield made


def workers_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pid(stage: Stage) -> int:
    assert stage.daemon is not None
    return stage.daemon.pid


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _takers(stage: Stage) -> dict[int, int]:
    """Which worker has the connection from which port of a client's."""
    held: dict[str, int] = {}
    for pid in workers_of(_pid(stage)):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                held[os.readlink(file)] = pid
    here = f":{stage.smtp_port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inside = [line for line in lines if line[1].endswith(here) and line[3] == "01"]
    return {int(line[2].rpartition(":")[2], 16): held.get(f"socket:[{line[9]}]", 0) for line in inside}


def _one_at_each(stage: Stage, stack: ExitStack) -> list[smtplib.SMTP]:
    """Connections to different workers."""
    found: dict[int, smtplib.SMTP] = {}
    for _ in range(50):
        client = stack.enter_context(stage.client())
        assert client.sock is not None
        found.setdefault(_takers(stage)[client.sock.getsockname()[1]], client)
        if len(found) == 2:
            return list(found.values())
    raise AssertionError("50 connections, and one worker has them all")


def _write(stage: Stage, alias: str, subject: str) -> None:
    stage.send(VENDOR, ORDERS, alias, written(f"From: {ORDERS}", f"To: {alias}", subject=subject))


def _subjects(stage: Stage) -> Counter[str]:
    return Counter(
        (Message.parse(each.octets).value("Subject") or b"").decode().strip()
        for each in tuple(stage.home.received)
    )


def test_two_workers_take_connections_at_one_port_and_sigterm_ends_both(stage: Stage) -> None:
    stage.start()
    both = workers_of(_pid(stage))
    assert len(both) == 2
    assert "2 processes" in stage.log
    with ExitStack() as stack:
        inside = [stack.enter_context(stage.client()) for _ in range(20)]
        assert all(client.noop()[0] == 250 for client in inside)
        took = Counter(_takers(stage).values())
        assert set(took) == set(both)
        assert min(took.values()) >= 6, took  # neither has them all, though it may be first to wake
        started = time.monotonic()
        assert stage.stop() == 0, stage.log
        assert time.monotonic() - started < 10
        assert {client.getreply()[0] for client in inside} == {421}
        for client in inside:
            client.close()
    assert all(_gone(pid) for pid in both)


def test_the_number_of_workers_is_that_of_the_cores_unless_the_config_says_otherwise(stage: Stage) -> None:
    stage.config.write_text(stage.config.read_text().replace("count = 2", ""))
    stage.start()
    cores = len(os.sched_getaffinity(0))
    assert len(workers_of(_pid(stage))) == (cores if cores > 1 else 0)


def test_each_worker_stays_on_a_processor_of_its_own_and_so_does_a_successor(stage: Stage) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    stage.config.write_text(stage.config.read_text().replace("count = 2", ""))
    stage.start()
    parent = _pid(stage)

    def spread() -> bool:
        with contextlib.suppress(ProcessLookupError):
            return sorted(list(os.sched_getaffinity(pid)) for pid in workers_of(parent)) == [
                [n] for n in allowed
            ]
        return False

    if len(allowed) > 1:  # else there is no worker
        until(spread, "workers on every processor")
        victim = workers_of(parent)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: _gone(victim) and spread(), "a successor on the same")
    assert os.sched_getaffinity(parent) == set(allowed)


def test_a_worker_killed_under_load_loses_nothing_and_has_a_successor_at_once(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.configure(delivery="concurrency_per_destination = 10")
    stage.start()
    promised: list[str] = []
    stopping = threading.Event()

    def send(sender: int) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            subject = f"load {sender} {number}"
            try:
                _write(stage, alias, subject)
            except (OSError, smtplib.SMTPException):
                continue
            promised.append(subject)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(promised) > 10, "the load")
        for turn in (0, 1):
            victim = sorted(workers_of(_pid(stage)))[turn]
            os.kill(victim, signal.SIGKILL)
            until(lambda old=victim: _gone(old) and len(workers_of(_pid(stage))) == 2, "a successor")  # type: ignore[misc]
            at_least = len(promised) + 10
            until(lambda least=at_least: len(promised) > least, "more load")  # type: ignore[misc]
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    until(lambda: set(promised) <= set(_subjects(stage)), "what was promised", LEASE.total_seconds() / 2)
    assert "Traceback" not in stage.log


def test_a_successor_takes_back_the_leases_of_the_dead_and_not_those_of_its_sibling(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.home.answers["."] = [HANG] * 4
    stage.start()
    _send_to_both(stage, alias, 4)  # each delivers what it took
    until(lambda: len(stage.home.received) == 4, "four attempts past the dot")
    assert list(_leases(stage).values()) == [2, 2]
    name = min(_leases(stage))
    victim = next(pid for pid in workers_of(_pid(stage)) if _locks(pid, name))
    os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    until(lambda: len(stage.home.received) == 6, "the second copies of the dead one's")
    assert time.monotonic() - started < LEASE.total_seconds() / 3
    time.sleep(0.5)
    assert len(stage.home.received) == 6
    assert str(stage.json("trace", alias, "--most", "100")).count(CUT_SHORT) == 2


def _send_to_both(stage: Stage, alias: str, number: int) -> None:
    """By turns over two connections, one at each worker."""
    with ExitStack() as stack:
        clients = _one_at_each(stage, stack)
        for n in range(number):
            client = clients[n % 2]
            client.sendmail(ORDERS, [alias], written(f"From: {ORDERS}", f"To: {alias}", subject=f"n {n}"))


def _leases(stage: Stage) -> dict[str, int]:
    with sqlite3.connect(stage.folder / "office" / "office.db") as connection:
        rows = connection.execute(
            "SELECT lease_node, count(*) FROM delivery WHERE state = 'queued' AND lease_node <> '' GROUP BY 1"
        ).fetchall()
    connection.close()
    return dict(rows)


def _locks(pid: int, name: str) -> bool:
    number = name.rpartition(":")[2]
    files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
    return any(re.search(rf"/leases/{number}$", file) for file in files)


def test_no_worker_outlives_a_parent_that_is_killed_and_the_port_is_free(stage: Stage) -> None:
    stage.start()
    both = workers_of(_pid(stage))
    assert stage.daemon is not None
    stage.daemon.kill()
    stage.daemon.wait()
    until(lambda: all(_gone(pid) for pid in both), "the end of both", 2)
    until(lambda: _free(stage.smtp_port), "the port to be free", 5)


def _free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def test_figures_are_summed_over_the_workers_the_dead_ones_too(stage: Stage) -> None:
    stage.configure(metrics='listen = "127.0.0.1:0"')
    alias = stage.command("new", "Shop")
    stage.start()
    _send_to_both(stage, alias, 6)
    assert _accepted(stage) == 6
    os.kill(workers_of(_pid(stage))[1], signal.SIGKILL)
    until(lambda: stage.log.count("worker-started") == 3, "the successor")
    assert _accepted(stage) == 6
    folders = set(Path("/dev/shm").glob("sortingoffice-*"))
    stage.stop()
    assert set(Path("/dev/shm").glob("sortingoffice-*")) < folders


def _accepted(stage: Stage) -> float:
    endpoint = stage.log.split("listening for metrics on ")[1].split()[0]
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=PATIENCE) as answer:
        page = answer.read().decode()
    return sum(map(float, re.findall(r"^sortingoffice_accepted_total{.*} ([\d.]+)$", page, re.MULTILINE)))


def test_sighup_reaches_every_worker_and_those_that_are_born_later(stage: Stage) -> None:
    stage.start()
    text = stage.config.read_text()
    stage.config.write_text(text.replace("[limits]", "[limits]\nconnections_per_peer = 1"))
    os.kill(_pid(stage), signal.SIGHUP)
    until(lambda: stage.log.count(" reloaded") == 2, "both reloads")
    os.kill(workers_of(_pid(stage))[0], signal.SIGKILL)
    until(lambda: stage.log.count("worker-started") == 3, "a successor")
    with stage.client() as inside:
        assert inside.noop()[0] == 250
        for _ in range(8):  # at whichever worker
            with pytest.raises(smtplib.SMTPConnectError) as refused:
                stage.client()
            assert refused.value.smtp_code == 421


def test_limits_of_connections_are_the_offices_and_the_dead_do_not_count(stage: Stage) -> None:
    stage.configure(limits="connections_per_peer = 6")
    stage.start()
    with ExitStack() as stack:
        _one_at_each(stage, stack)
        with contextlib.suppress(smtplib.SMTPConnectError):
            for _ in range(6):
                stack.enter_context(stage.client())
        inside = Counter(_takers(stage).values())
        assert inside.total() - inside[0] == 6
        victim, number = inside.most_common(1)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: stage.log.count("worker-started") == 3, "the successor")
        for _ in range(number):
            stack.enter_context(stage.client())
        with pytest.raises(smtplib.SMTPConnectError):
            stage.client()


def test_a_broken_config_at_sighup_is_refused_once_and_changes_nothing(stage: Stage) -> None:
    stage.start()
    stage.config.write_text(stage.config.read_text() + "\n[smpt]\nlisten = []\n")
    os.kill(_pid(stage), signal.SIGHUP)
    until(lambda: "reload-refused" in stage.log, "the refusal")
    with stage.client() as client:
        assert client.noop()[0] == 250
    assert stage.log.count("reload-refused") == 1


def test_a_passed_socket_is_every_workers(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        stage.smtp_port = passed.getsockname()[1]
        command = f'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=smtp exec "$@" 3<&{passed.fileno()}'
        serve = [sys.executable, "-m", "sortingoffice", "--config", str(stage.config), "serve"]
        with (stage.folder / "log").open("wb") as log:
            stage.daemon = subprocess.Popen(
                ["bash", "-c", command, "bash", *serve], pass_fds=(passed.fileno(),), stderr=log
            )
    until(lambda: "ready as" in stage.log, "the office")
    with ExitStack() as stack:
        assert [client.noop()[0] for client in _one_at_each(stage, stack)] == [250, 250]


def test_a_role_has_workers_too_but_the_pages_need_none(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.start("--role", "smtp")
    assert len(workers_of(_pid(stage))) == 2
    _write(stage, alias, "two roles")
    assert stage.json("queue", "list")[0]["state"] == "queued"
    command = [sys.executable, "-m", "sortingoffice", "--config", str(stage.config), "serve", "--role"]
    queue = subprocess.Popen([*command, "queue"], stderr=subprocess.DEVNULL)
    try:
        assert stage.home.wait(1, PATIENCE)[0].recipients == (MAILBOX,)
        assert len(workers_of(queue.pid)) == 2
    finally:
        queue.terminate()
        assert queue.wait(15) == 0


def test_a_worker_that_cannot_start_is_a_sentence_and_no_office(stage: Stage) -> None:
    (stage.folder / "office" / "leases").write_text("in the way")
    said = stage.run("serve")
    assert said.status == 1
    assert "leases" in said.err
    assert "Traceback" not in said.err


def test_the_supervisor_hears_ready_once_and_alive_from_the_parent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stage.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        ear.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        stage.start()
        heard = [ear.recv(200).decode() for _ in range(4)]
        os.kill(_pid(stage), signal.SIGHUP)
        while not any(each.startswith("RELOADING=1") for each in heard):
            heard.append(ear.recv(200).decode())
        while heard.count("READY=1") < 2:
            heard.append(ear.recv(200).decode())
        assert stage.log.count(" reloaded") == 2  # ready again when all have done it
        stage.stop()
        while "STOPPING=1" not in heard:
            heard.append(ear.recv(200).decode())
        assert {"READY=1", "WATCHDOG=1", "STOPPING=1"} <= set(heard)
        assert heard.count("READY=1") == 2
        assert heard.count("STOPPING=1") == 1
