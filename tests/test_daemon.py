"""The daemon from outside: roles, signals, the supervisor, and what it refuses to start with."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from sortingoffice import config as configuration
from sortingoffice import listening
from sortingoffice.alone import alone
from sortingoffice.cli.stage import MAILBOX, OFFICE, ORDERS, PATIENCE, VENDOR, Stage, opened, until
from sortingoffice.net.sink import Late
from tests.office import Office, written


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Set up, not started."""
    with opened() as made:
        made.init()
        yield made


def _certificate(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        found = client.sock.getpeercert(binary_form=True)
    assert found is not None
    return found


def test_sigterm_dismisses_idle_sessions_and_ends_within_ten_seconds(stage: Stage) -> None:
    stage.start()
    client = stage.client()
    client.ehlo()
    started = time.monotonic()
    assert stage.stop() == 0, stage.log
    assert time.monotonic() - started < 10
    assert client.getreply()[0] == 421
    client.close()


def test_sighup_takes_a_renewed_certificate_for_the_next_connection_and_keeps_the_old_ones(
    stage: Stage,
) -> None:
    stage.start()
    before = _certificate(stage.smtp_port)
    inside = stage.client()
    inside.ehlo()
    folder = stage.folder / "office" / "tls"
    shutil.rmtree(folder)
    assert stage.daemon is not None
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in stage.log, "the reload")
    assert _certificate(stage.smtp_port) != before
    assert inside.noop()[0] == 250
    inside.quit()


def test_reloads_stop_no_delivery_and_no_attempt_is_made_twice_for_them(stage: Stage) -> None:
    slow, other = stage.command("new", "Slow"), stage.command("new", "Other")
    stage.start()
    stage.home.answers["."] = Late(5, "250 2.0.0 taken")
    _write(stage, slow, "slow")
    until(lambda: "DATA" in str(stage.home.commands), "the first attempt")
    assert stage.daemon is not None
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: " reloaded" in stage.log, "the reload")
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: stage.log.count(" reloaded") == 2, "the second")
    stage.home.answers.clear()
    _write(stage, other, "other")
    assert b"Subject: other" in stage.home.wait(1, PATIENCE)[0].octets
    stage.home.wait(2, PATIENCE)
    until(lambda: stage.log.count(" attempt message=") == 2, "both outcomes")
    assert [each["attempts"] for each in stage.json("queue", "list", "--state", "delivered")] == [1, 1]
    assert len(stage.home.received) == 2


def _write(stage: Stage, alias: str, subject: str) -> None:
    letter = written(f"From: {ORDERS}", f"To: {alias}", f"Message-ID: <{subject}@{VENDOR}>", subject=subject)
    stage.send(VENDOR, ORDERS, alias, letter)


def test_signals_that_come_together_are_one_reload_or_two_and_the_last_config_holds(stage: Stage) -> None:
    stage.start()
    assert stage.daemon is not None
    text = stage.config.read_text()
    for most in range(20, 0, -1):
        stage.config.write_text(text.replace("[limits]", f"[limits]\nconnections_per_peer = {most}"))
        stage.daemon.send_signal(signal.SIGHUP)
    with stage.client() as inside:
        until(lambda: _refused(stage), "the last config")
        assert inside.noop()[0] == 250


def _refused(stage: Stage) -> bool:
    with contextlib.suppress(smtplib.SMTPConnectError):
        stage.client().close()
        return False
    return True


@pytest.mark.parametrize("processes", [1, 2])
def test_a_sighup_while_the_office_starts_ends_nothing_and_what_changed_holds_once_it_has_started(
    stage: Stage, processes: int
) -> None:
    stage.processes = processes
    stage.configure()
    folder = stage.folder / "office" / "tls"
    folder.mkdir()
    with alone(folder):  # it gets so far as to want a certificate
        starting = threading.Thread(target=stage.start, daemon=True)
        starting.start()
        until(lambda: _listens(stage.port), "the port")
        stage.configure(limits="connections_per_peer = 1")
        assert stage.daemon is not None
        stage.daemon.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            stage.daemon.wait(1)
    starting.join(PATIENCE)
    until(lambda: stage.log.count(" reloaded") == processes, "the reload")
    with stage.client():
        assert _refused(stage)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize("processes", [1, 2])
def test_a_password_file_that_is_no_text_is_refused_at_sighup_without_its_content(
    stage: Stage, processes: int
) -> None:
    stage.processes = processes
    stage.configure()
    stage.start()
    password = stage.folder / "password"
    password.write_bytes(b"p\xe4ssw0rd\n")
    stage.configure(
        delivery=f'smarthost = "127.0.0.3:{stage.port}"\nsmarthost_username = "office"\n'
        f'smarthost_password_file = "{password}"'
    )
    assert stage.daemon is not None
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: "reload-refused" in stage.log, "the refusal")
    assert "not UTF-8" in stage.log
    assert "ssw0rd" not in stage.log
    assert stage.rcpt(f"postmaster@{OFFICE}")[0] == 250
    password.write_text("good", encoding="utf-8")
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: stage.log.count(" reloaded") == processes, "the reload")


def test_a_broken_config_at_sighup_changes_nothing_and_says_so(stage: Stage) -> None:
    stage.start()
    stage.config.write_text(stage.config.read_text() + "\n[smpt]\nlisten = []\n")
    assert stage.daemon is not None
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: "reload-refused" in stage.log, "the refusal")
    assert "smpt" in stage.log
    assert stage.rcpt(f"postmaster@{OFFICE}")[0] == 250


def test_the_edge_and_the_queue_run_as_two_processes_and_each_does_what_it_has_the_keys_for(
    stage: Stage,
) -> None:
    alias = stage.command("new", "Shop")
    stage.command("contact", "shop", ORDERS)
    stage.command("card", "set", "home.city=Berlin")
    stage.command("disclosed", "shop", "home", "--via", "paper")
    stage.command("card", "set", "home.city=Hamburg")
    stage.command("card", "notify", "home", "--patience", "1s")
    queue = subprocess.Popen(
        [sys.executable, "-m", "sortingoffice", "--config", str(stage.config), "serve", "--role", "queue"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert b"Hamburg" in stage.vendor.wait(1, PATIENCE)[0].octets
        time.sleep(1)
        stage.start("--role", "smtp")  # its first round finds that they are silent
        again = stage.vendor.wait(2, PATIENCE)[1]
        assert again.recipients == (ORDERS,)
        assert b"Hamburg" in again.octets
        stage.send(VENDOR, ORDERS, alias, written(f"From: {ORDERS}", f"To: {alias}", subject="two processes"))
        assert stage.home.wait(1, PATIENCE)[0].recipients == (MAILBOX,)
    finally:
        queue.terminate()
        assert queue.wait(15) == 0


def test_a_port_in_use_is_named(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = stage.config.read_text().replace(
            f'listen = ["127.0.0.1:{stage.port}"]', f'listen = ["127.0.0.1:{port}"]'
        )
        stage.config.write_text(text)
        said = stage.run("serve")
    assert said.status == 1
    assert f"127.0.0.1:{port}" in said.err
    assert "in use" in said.err
    assert "Traceback" not in said.err


def test_a_port_that_a_dying_office_still_has_is_waited_for(stage: Stage) -> None:
    config = configuration.load(stage.config)
    dying = socket.create_server((config.smtp.listen[0].host, config.smtp.listen[0].port))
    end = threading.Timer(0.1, dying.close)
    end.start()
    listening.opened(config, "smtp").close()
    end.join()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(stage: Stage) -> None:
    path = next((stage.folder / "office").glob("*.db"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_future'")
    connection.close()
    for command in (("serve",), ("list",)):
        said = stage.run(*command)
        assert said.status == 1
        assert "newer version" in said.err
        assert "Traceback" not in said.err


def test_a_key_file_that_others_can_read_is_refused(stage: Stage) -> None:
    (stage.folder / "office" / "keys" / "office.key").chmod(0o644)
    said = stage.run("serve")
    assert said.status == 1
    assert "chmod 600" in said.err


def test_a_low_limit_of_open_files_keeps_nobody_out_where_it_may_be_raised(stage: Stage) -> None:
    stage.configure(limits="connections_per_peer = 200")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as end:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
        end.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        stage.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        idle = [end.enter_context(stage.client()) for _ in range(150)]
        assert {each.noop()[0] for each in idle} == {250}


def test_the_supervisor_hears_ready_alive_and_stopping(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stage.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        ear.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        stage.start()
        heard = {ear.recv(200).decode() for _ in range(4)}
        assert {"READY=1", "WATCHDOG=1"} <= heard
        stage.stop()
        while "STOPPING=1" not in heard:
            heard.add(ear.recv(200).decode())


def test_a_listening_socket_can_be_handed_over(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        port = passed.getsockname()[1]
        command = f'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=smtp exec "$@" 3<&{passed.fileno()}'
        serve = [sys.executable, "-m", "sortingoffice", "--config", str(stage.config), "serve"]
        daemon = subprocess.Popen(
            ["bash", "-c", command, "bash", *serve], pass_fds=(passed.fileno(),), stderr=subprocess.PIPE
        )
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            assert client.noop()[0] == 250
    finally:
        daemon.terminate()
        assert daemon.wait(15) == 0
        assert daemon.stderr is not None
        daemon.stderr.close()


def test_an_office_without_pages_loads_nothing_that_only_they_need() -> None:
    code = (
        "import sys\nimport sortingoffice.daemon\n"
        "web = ('starlette', 'uvicorn', 'pydantic', 'jinja2', 'webauthn', 'sortingoffice.web')\n"
        "print([name for name in web if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_health_and_readiness_are_told_over_http(stage: Stage) -> None:
    stage.configure(http='listen = "127.0.0.1:0"')
    text = stage.config.read_text().replace('listen = ""\n', "")
    stage.config.write_text(text)
    stage.start()
    endpoint = stage.log.split("listening for http on ")[1].split()[0]
    for path in ("healthz", "readyz"):
        with urllib.request.urlopen(f"http://{endpoint}/{path}", timeout=PATIENCE) as answer:
            assert (answer.status, answer.read()) == (200, b"ok\n")


def test_an_exception_in_a_session_is_a_451_and_one_logged_line(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.start()
    path = next((stage.folder / "office").glob("*.db"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE relationship SET strangers = 'corrupt'")
    connection.close()
    office = Office(stage)
    code, text = office.refused(alias, written(f"From: {ORDERS}", f"To: {alias}", subject="boom"))
    assert code == 451
    assert "corrupt" not in text
    assert len([line for line in stage.log.splitlines() if "corrupt" in line]) == 1, stage.log
    assert office.alive()


def test_no_mailbox_address_stands_in_the_log(stage: Stage) -> None:
    alias = stage.command("new", "Shop")
    stage.start()
    stage.home.answers["RCPT"] = [f"451 4.2.0 <{MAILBOX}> is over quota"]
    stage.send(VENDOR, ORDERS, alias, written(f"From: {ORDERS}", f"To: {alias}", subject="quiet"))
    stage.home.wait(1, PATIENCE)
    stage.stop()
    assert "attempt" in stage.log
    assert MAILBOX not in stage.log
