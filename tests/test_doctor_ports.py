"""`doctor` at the ports of an office: those that systemd passes, and those behind a proxy."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.cli.stage import Stage, free_port, opened, until
from sortingoffice.net import probe
from sortingoffice.values import Endpoint, Network
from tests.database import skip_or_fail
from tests.edge import context, running

HOST = "mx.sort.example"

# ---- ports that systemd passes ---------------------------------------------------------------------------

# What `systemctl show` of systemd 252 said of the units in systemd/.
SHOWN = """\
Listen=127.0.0.1:{submission} (Stream)
Listen=/run/other (Datagram)
FileDescriptorName=submission
Id=sortingoffice-submission.socket
Triggers={service}
ActiveState={sockets}
SubState=running

Listen=127.0.0.1:{smtp} (Stream)
Listen={other}:{smtp} (Stream)
FileDescriptorName=smtp
Id=sortingoffice-smtp.socket
Triggers={service}
ActiveState={sockets}
SubState=running

ExecStart={{ path=/opt/x ; argv[]=/opt/x --config {config} serve --role all ; ignore_errors=no ; pid=28 }}
Id={service}
Triggers=
ActiveState={state}
SubState=running
"""


class Machine:
    """An office that was given its ports, on a machine whose `systemctl` says so."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self._folder = stage, folder
        self.smtp, self.submission = free_port("127.0.0.1", "127.0.0.2"), free_port()
        self.tell()

    def tell(self, **changes: Any) -> None:
        facts: dict[str, Any] = {
            "smtp": self.smtp,
            "other": "127.0.0.2",
            "submission": self.submission,
            "config": self.stage.config,
            "service": "sortingoffice.service",
            "sockets": "active",
            "state": "active",
        }
        (self._folder / "shown").write_text(SHOWN.format(**facts | changes))
        program = self._folder / "systemctl"
        program.write_text(f'#!/bin/sh\n[ "$1 $2" = "show --all" ] && cat {self._folder}/shown\n')
        program.chmod(0o755)

    def serve(self) -> None:
        """Run the office as systemd does: the sockets are open, and their numbers are in the environment."""
        addresses = (("127.0.0.1", self.smtp), ("127.0.0.2", self.smtp), ("127.0.0.1", self.submission))
        held = [socket.create_server(each) for each in addresses]
        numbers = [each.fileno() for each in held]
        apart = " ".join(f"{high}<&{number}" for high, number in zip((91, 92, 93), numbers, strict=True))
        environment = "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=smtp:smtp:submission"
        command = f'exec {apart}; {environment} exec "$@" 3<&91 4<&92 5<&93 91<&- 92<&- 93<&-'
        office = [sys.executable, "-m", "sortingoffice", "--config", str(self.stage.config), "serve"]
        with (self.stage.folder / "log").open("wb") as log:
            self.stage.daemon = subprocess.Popen(
                ["bash", "-c", command, "bash", *office], pass_fds=numbers, stderr=log
            )
        for each in held:
            each.close()
        until(self.stage._ready, "the office to start")

    def examined(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit status, and what is said of the ports."""
        said = self.stage.run("doctor", "--json")
        kinds = ("smtp", "submission")
        rows = [row for row in json.loads(said.out) if row["check"].split()[0] in kinds]
        return said.status, {row["check"]: row for row in rows}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with opened() as stage:
        stage.init()
        yield stage


@pytest.fixture
def machine(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    stage.configure()
    text = stage.config.read_text()
    stage.config.write_text(text.replace('listen = ["127.0.0.1:0"]', f'listen = ["127.0.0.1:{free_port()}"]'))
    yield Machine(stage, tmp_path)
    assert stage.stop() == 0, stage.log


def test_ports_that_systemd_passes_are_looked_at_instead_of_the_configs(machine: Machine) -> None:
    machine.serve()
    status, found = machine.examined()
    assert {check: row["health"] for check, row in found.items()} == {
        f"smtp 127.0.0.1:{machine.smtp}": "ok",
        f"smtp 127.0.0.2:{machine.smtp}": "ok",
        f"submission 127.0.0.1:{machine.submission}": "ok",
    }
    assert {row["said"] for row in found.values()} == {f"220 {HOST} ESMTP"}
    machine.tell(service="sortingoffice@smtp.service")
    assert machine.examined() == (status, found)


def test_an_office_that_is_dead_behind_systemds_ports_fails_and_is_not_started(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.smtp)) as held:  # systemd's; whoever connects starts it
        held.setblocking(False)
        machine.tell(state="failed")
        status, found = machine.examined()
        with pytest.raises(BlockingIOError):
            held.accept()
    assert status == 1
    row = found[f"smtp 127.0.0.1:{machine.smtp}"]
    assert (row["health"], row["said"]) == (
        "failed",
        "sortingoffice-smtp.socket holds the port, but sortingoffice.service is failed",
    )
    assert "systemctl restart sortingoffice.service" in row["remedy"]


def test_an_office_that_hangs_behind_systemds_ports_fails(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.smtp)):
        status, found = machine.examined()
    row = found[f"smtp 127.0.0.1:{machine.smtp}"]
    assert (status, row["health"], row["said"]) == (1, "failed", "no answer within 5 s")
    assert "journalctl -u sortingoffice.service" in row["remedy"]


@pytest.mark.parametrize(
    "changes", [{"config": "/etc/another.toml"}, {"sockets": "inactive"}], ids=["another's", "stopped"]
)
def test_ports_that_systemd_holds_for_another_office_or_not_at_all_are_not_looked_at(
    machine: Machine, changes: dict[str, str]
) -> None:
    machine.tell(**changes)
    status, found = machine.examined()
    assert status == 1
    row = found[f"smtp 127.0.0.1:{machine.stage.port}"]
    assert row["health"] == "failed"
    assert row["remedy"].startswith("run `sortingoffice serve`")
    assert f"smtp 127.0.0.1:{machine.smtp}" not in found


def test_a_config_that_is_named_by_a_link_is_the_same(machine: Machine, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(machine.stage.config)
    machine.tell(config=link, other="[::]")
    found = probe.passed(machine.stage.config)
    assert [(each.kind, each.listen) for each in found] == [
        ("submission", (Endpoint("127.0.0.1", machine.submission),)),
        ("smtp", (Endpoint("127.0.0.1", machine.smtp), Endpoint("::", machine.smtp))),
    ]


@pytest.mark.parametrize("script", ["exit 1", "echo; echo; echo =; echo Id=x.socket", "printf '\\377=\\377'"])
def test_a_systemctl_that_says_nothing_sound_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert probe.passed(tmp_path / "config.toml") == ()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert probe.passed(tmp_path / "config.toml") == ()


def test_without_ipv6_a_port_of_ipv6_is_a_warning(machine: Machine, tmp_path: Path) -> None:
    """`[::]:25` can be listened at all the same, and stands in the units and in the config's example."""
    if shutil.which("unshare") is None:
        skip_or_fail("unshare")
    text = machine.stage.config.read_text()
    machine.stage.config.write_text(
        text.replace(f'listen = ["127.0.0.1:{machine.stage.port}"]', 'listen = ["[::]:2525"]').replace(
            "[dns]\n",
            "[dns]\ntimeout = 0.1\n",  # nobody answers there
        )
    )
    machine.tell(sockets="inactive")
    switch = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
    office = [sys.executable, "-m", "sortingoffice", "--config", str(machine.stage.config)]
    apart = f'echo 1 > {switch} && exec "$@"'
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", apart, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        skip_or_fail("a network without IPv6", "can't be made")
    done = subprocess.run(
        [*command, *office, "doctor", "--json"], capture_output=True, text=True, check=False
    )
    row = next(row for row in json.loads(done.stdout) if row["check"] == "smtp [::]:2525")
    assert (row["health"], row["said"]) == ("warning", "IPv6 is off here, so it can't be called")
    assert row["remedy"]


# ---- ports behind a proxy --------------------------------------------------------------------------------

HEADER = b"PROXY UNKNOWN\r\n"
LISTED: dict[str, Any] = {"smtp__proxy_protocol_from": ["127.0.0.0/8"]}


def networks(*named: str) -> tuple[Network, ...]:
    return tuple(ip_network(each) for each in named)


@pytest.mark.parametrize("kind", ["smtp", "submission"])
async def test_an_office_that_wants_to_know_its_proxys_client_is_told_that_it_is_unknown(kind: str) -> None:
    async with running(**LISTED) as edge:
        at = getattr(edge, kind)[0]
        for listed in (networks("127.0.0.1"), networks("10.0.0.0/8", "::1", "127.0.0.0/8")):
            seen = await probe.mail_server(at, HOST, implicit_tls=False, proxies=listed)
            assert (seen.problem, seen.greeting) == ("", f"220 {HOST} ESMTP")
            assert seen.chain
            assert seen.certificate


async def test_an_office_behind_a_proxy_elsewhere_is_called_without_its_header() -> None:
    async with running(smtp__proxy_protocol_from=["192.0.2.0/24"]) as edge:
        seen = await probe.mail_server(
            edge.smtp[0], HOST, implicit_tls=False, proxies=networks("192.0.2.0/24")
        )
        assert (seen.problem, seen.greeting) == ("", f"220 {HOST} ESMTP")
        assert seen.chain  # it was not hung up on


def secured(held: socket.socket, heard: list[bytes]) -> None:
    """Take two connections, each with the header first, TLS after it, and then a greeting."""
    tls = context()
    for _ in range(2):
        taken, _ = held.accept()
        taken.settimeout(10)
        heard.append(taken.recv(len(HEADER), socket.MSG_WAITALL))
        with suppress(OSError), tls.wrap_socket(taken, server_side=True) as talk:  # the first trusts nobody
            talk.sendall(f"220 {HOST} ESMTP\r\n".encode())
            heard.append(talk.recv(1000))


async def test_the_header_comes_before_tls_where_tls_begins_at_once() -> None:
    """As haproxy and nginx send it, whatever comes after it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as held:
        held.settimeout(10)
        far_end = asyncio.create_task(asyncio.to_thread(secured, held, heard))
        at = Endpoint("127.0.0.1", held.getsockname()[1])
        seen = await probe.mail_server(at, HOST, implicit_tls=True, proxies=networks("127.0.0.1"))
        await far_end
    assert heard == [HEADER, HEADER, b"EHLO doctor.invalid\r\n"]
    assert (seen.problem, seen.greeting) == ("", f"220 {HOST} ESMTP")
    assert seen.chain
    assert seen.certificate


def test_doctor_looks_at_an_office_behind_a_proxy_on_its_own_machine() -> None:
    with opened() as stage:
        stage.configure(smtp='proxy_protocol_from = ["127.0.0.1"]')
        stage.init()
        stage.start()
        said = stage.run("doctor", "--json")
        found = {row["check"]: row for row in json.loads(said.out)}
        assert found[f"smtp 127.0.0.1:{stage.port}"]["said"] == f"220 {HOST} ESMTP"
        assert found[f"tls 127.0.0.1:{stage.port}"]["health"] == "warning"  # nobody vouches for it
        assert said.status == 0
        assert stage.stop() == 0, stage.log
