"""A real Postfix on loopback, with a configuration, a queue and ports of its own.

It hands what it takes to a sink, so that a test sees the octets that arrived at last.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sortingoffice.cli.stage import free_port
from tests.database import skip_or_fail
from tests.servers import Certificate

_PROGRAM = Path("/usr/sbin/postfix")
_SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass
class Postfix:
    """One instance; `port` is where it listens."""

    folder: Path
    port: int

    @property
    def log(self) -> str:
        path = self.folder / "log" / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def configure(self, settings: dict[str, str]) -> None:
        for name in ("config", "queue", "data", "log"):
            (self.folder / name).mkdir(exist_ok=True)
        shutil.chown(self.folder / "data", "postfix")
        main = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self.folder / "config" / "main.cf").write_text(main)
        (self.folder / "config" / "master.cf").write_text(_SERVICES.format(port=self.port))

    def command(self, verb: str) -> None:
        done = subprocess.run(
            [_PROGRAM, "-c", self.folder / "config", verb], capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise RuntimeError(f"postfix {verb}: {done.stderr}\n{self.log}")

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    if connection.recv(4).startswith(b"220"):
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(self.log)
            time.sleep(0.05)


@pytest.fixture
def postfix(certificate: Certificate) -> Iterator[Callable[..., Postfix]]:
    """Start one: `postfix(next_hop=sink.port, smtpd_discard_ehlo_keywords="8bitmime")`."""
    if not _PROGRAM.exists():
        skip_or_fail("Postfix")
    if os.getuid() != 0:
        skip_or_fail("Postfix that root may start")
    running: list[Postfix] = []

    def start(*, next_hop: int, **settings: str) -> Postfix:
        folder = Path(tempfile.mkdtemp(prefix="office-postfix-"))
        folder.chmod(0o755)
        made = Postfix(folder, free_port())
        made.configure(
            {
                "compatibility_level": "3.6",
                "queue_directory": str(folder / "queue"),
                "data_directory": str(folder / "data"),
                "maillog_file": str(folder / "log" / "mail.log"),
                "maillog_file_prefixes": str(folder),
                "myhostname": "mx.home.example",
                "mydestination": "",
                "inet_interfaces": "127.0.0.1",
                "inet_protocols": "ipv4",
                "mynetworks": "127.0.0.0/8",
                "relayhost": f"[127.0.0.1]:{next_hop}",
                "disable_dns_lookups": "yes",
                "smtp_tls_security_level": "none",
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": str(certificate.certificate),
                "smtpd_tls_key_file": str(certificate.key),
                "smtpd_tls_loglevel": "1",
                "message_size_limit": "1000000",
                "mailbox_size_limit": "0",
                **settings,
            }
        )
        running.append(made)
        made.command("start")
        made.wait()
        return made

    yield start
    for made in running:
        made.command("stop")
        shutil.rmtree(made.folder, ignore_errors=True)
