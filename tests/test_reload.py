"""SIGHUP: what a running office takes of its config, what waits for the next start, what is refused."""

from __future__ import annotations

import os
import signal
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sortingoffice.cli.stage import OFFICE, ORDERS, PATIENCE, VENDOR, Stage, Unseen, opened, until
from tests.office import written
from tests.test_workers import workers_of


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Set up, not started."""
    with opened() as made:
        made.init()
        yield made


def _hang_up(stage: Stage) -> None:
    assert stage.daemon is not None
    stage.daemon.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_only_a_start_can_change_stays_as_it_is_and_the_log_says_so(
    stage: Stage, processes: int
) -> None:
    alias = stage.command("new", "Shop")
    stage.processes = processes
    stage.configure()
    stage.start()
    text = stage.config.read_text()
    other = stage.folder / "other.toml"
    other.write_text('data_dir = "elsewhere"\n')
    ran = stage.run(
        "--config", str(other), "init", "--domain", "other.example", "--mailbox", "b@home.example"
    )
    assert ran.status == 0, ran
    changed = text.replace(
        f'hostname = "mx.{OFFICE}"', 'data_dir = "elsewhere"\nhostname = "mx.other.example"'
    )
    changed = changed.replace(
        '[submission]\nlisten = ["127.0.0.1:0"]', '[submission]\nlisten = ["127.0.0.1:1"]'
    )
    changed = changed.replace(f"count = {processes}", "count = 3")
    changed = changed.replace("[limits]", "[limits]\nrecipients = 1")
    stage.config.write_text(changed)
    _hang_up(stage)
    until(lambda: stage.log.count(" reloaded") == processes, "the reload")
    until(lambda: stage.log.count("waits-for-the-next-start") == processes, "what is said of it")
    for key in ("data_dir", "database", "hostname", "submission.listen", "processes.count"):
        assert key in stage.log
    for key in ("smtp.listen", "http.listen", "limits", "submission.tls"):
        assert key not in stage.log.partition("waits-for-the-next-start")[2]
    if processes > 1:
        assert stage.daemon is not None
        os.kill(workers_of(stage.daemon.pid)[0], signal.SIGKILL)
        until(lambda: stage.log.count("worker-started") == 3, "a successor")
    for _ in range(8 if processes > 1 else 1):  # at whichever worker
        with stage.client() as client:
            assert client.ehlo()[1].splitlines()[0].startswith(f"mx.{OFFICE}".encode())
            client.mail(ORDERS)
            assert client.rcpt(alias)[0] == 250
            assert client.rcpt(f"postmaster@{OFFICE}")[0] == 452, "what can be changed has changed"
    letter = written(f"From: {ORDERS}", f"To: {alias}", subject="still here")
    stage.send(VENDOR, ORDERS, alias, letter)
    assert b"still here" in stage.home.wait(1, PATIENCE)[0].octets


def _under_a_passphrase(folder: Path) -> str:
    """A config's lines for a certificate whose key is under one."""
    made = (folder / "closed.crt", folder / "closed.key")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "30", "-subj", f"/CN=mx.{OFFICE}"]
    command += ["-passout", "pass:secret", "-out", str(made[0]), "-keyout", str(made[1])]
    subprocess.run(command, check=True, capture_output=True)
    return f'tls_certificate = "{made[0]}"\ntls_key = "{made[1]}"'


@pytest.mark.parametrize("processes", [1, 2])
def test_a_key_under_a_passphrase_is_refused_and_nobody_is_asked_for_it(stage: Stage, processes: int) -> None:
    stage.processes = processes
    stage.configure()
    stage.start()
    stage.configure(smtp=_under_a_passphrase(stage.folder))
    _hang_up(stage)
    until(lambda: "reload-refused" in stage.log, "the refusal")
    assert "passphrase" in stage.log
    with smtplib.SMTP("127.0.0.1", stage.smtp_port, timeout=PATIENCE) as client:
        context = ssl._create_unverified_context()
        assert client.starttls(context=context)[0] == 220
    stage.stop()
    with pytest.raises(Unseen, match="passphrase"):
        stage.start()
