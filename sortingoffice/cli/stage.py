"""A stage for the office, on this machine's loopback: a vendor's and a mailbox's mail server, a DNS
zone, DKIM on both sides, a temporary directory, and the office as a process of its own.

`demo` plays on it, and so do the tests: what they see is what a stranger on the wire sees.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sortingoffice.frozen import dataclass
from sortingoffice.mail import dkim, keys
from sortingoffice.net.sink import Sink
from sortingoffice.net.zone import ZoneServer

VENDOR = "lampshop.example"
HOME = "home.example"
OFFICE = "sort.example"
MAILBOX = f"anna@{HOME}"
ORDERS = f"orders@{VENDOR}"
PATIENCE = 30.0  # seconds that anything may take

_T = TypeVar("_T")


class Unseen(Exception):
    """Something did not happen as promised; str() says what."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command of ours answered."""

    status: int
    out: str
    err: str


@dataclass(slots=True)
class Stage:
    """The set.

    domain, mailbox, host  the office's, its first account's, and where it listens
    port  the one on which both mail servers listen, the vendor's at 127.0.0.2, the mailbox's at 127.0.0.3
    retry how long the office waits before it tries again
    processes  of the office; each costs time to start
    keys  what each domain's own mail server signs with
    """

    folder: Path
    zone: ZoneServer
    vendor: Sink
    home: Sink
    port: int
    retry: str = "1s"
    processes: int = 1
    keys: dict[str, keys.SigningKey] = field(default_factory=dict)
    domain: str = OFFICE
    mailbox: str = MAILBOX
    host: str = "127.0.0.1"
    smtp_port: int = 0
    submission_port: int = 0
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "sortingoffice.toml"

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, *arguments: str, given: str = "") -> Said:
        """A command of ours, as a process."""
        done = subprocess.run(
            [sys.executable, "-m", "sortingoffice", "--config", str(self.config), *arguments],
            capture_output=True,
            text=True,
            input=given,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str) -> str:
        """Its standard output; raises `Unseen` where it is refused."""
        said = self.run(*arguments)
        if said.status:
            raise Unseen(f"`sortingoffice {' '.join(arguments)}` said: {said.err.strip()}")
        return said.out.strip()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json"))

    def configure(self, **sections: str) -> None:
        """Write the config; `sections` are TOML lines that are added to a section (`top` to none)."""
        lines = {
            "top": f'hostname = "mx.{self.domain}"',
            "smtp": f'listen = ["{self.host}:{self.port}"]',  # where our own MX record leads, too
            "submission": f'listen = ["{self.host}:0"]',
            "http": 'listen = ""',
            "processes": f"count = {self.processes}",
            "delivery": f'port = {self.port}\nretry = ["{self.retry}"]',
            "dns": f'nameservers = ["{self.zone.endpoint[0]}:{self.zone.endpoint[1]}"]',
            "limits": "",
        }
        for name, more in sections.items():
            lines[name] = f"{lines.get(name, '')}\n{more}"
        text = lines.pop("top") + "\n" + "".join(f"[{name}]\n{body}\n" for name, body in lines.items())
        self.config.write_text(text)

    def init(self) -> str:
        """Set the office up and publish its DNS records; what `init` printed."""
        hostname = f"mx.{self.domain}"
        said = self.command(
            "init", "--domain", self.domain, "--mailbox", self.mailbox, "--hostname", hostname
        )
        for row in self.json("admin", "domain", "dns", self.domain):
            self.zone.set(row["name"].rstrip("."), row["type"], row["value"])
        self.zone.set(hostname, "A", self.host)
        return said

    def start(self, *arguments: str) -> None:
        """Run `serve`; returns when it is ready."""
        with (self.folder / "log").open("wb") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "sortingoffice", "--config", str(self.config), "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=os.environ,
            )
        until(self._ready, "the office to start")
        for kind in ("smtp", "submission"):
            found = re.search(rf"listening for {kind} on {re.escape(self.host)}:(\d+)", self.log)
            setattr(self, f"{kind}_port", int(found[1]) if found else 0)

    def _ready(self) -> bool:
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise Unseen(f"the office did not start: {self.log.strip()}")
        return "ready as" in self.log

    def stop(self) -> int:
        """SIGTERM, as a service supervisor would; the exit status."""
        if self.daemon is None:
            return 0
        if self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)
            try:
                self.daemon.wait(15)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        return self.daemon.returncode

    def send(self, domain: str, sender: str, recipient: str | list[str], message: bytes) -> None:
        """Deliver to the office as the domain's own mail server would: signed by it."""
        with self.client(domain) as client:
            client.sendmail(sender, recipient, self.signed(domain, message))

    def signed(self, domain: str, message: bytes) -> bytes:
        """The message with the domain's signature on top."""
        fields = dkim.sign(message, [self.keys[domain]], datetime.now(UTC))
        return b"".join(each.raw for each in fields) + message

    def client(self, domain: str = VENDOR) -> smtplib.SMTP:
        """A connection to the office's port 25, as the domain's mail server."""
        return smtplib.SMTP(self.host, self.smtp_port, f"mx.{domain}", timeout=PATIENCE)

    def rcpt(self, recipient: str, sender: str = ORDERS) -> tuple[int, str]:
        """What RCPT is answered now."""
        with self.client() as client:
            client.ehlo_or_helo_if_needed()
            client.mail(sender)
            code, text = client.rcpt(recipient)
            return code, text.decode()

    def publish(self, domain: str, address: str, *, policy: str = "reject", spf: str = "-all") -> None:
        """A domain with a mail server, SPF, DKIM and a DMARC policy."""
        pem, public = keys.generate_ed25519()
        self.zone.set(domain, "MX", f"10 mx.{domain}.")
        self.zone.set(f"mx.{domain}", "A", address)
        self.zone.set(domain, "TXT", f"v=spf1 {spf}")
        self.zone.set(f"mail._domainkey.{domain}", "TXT", f"v=DKIM1; k=ed25519; p={public}")
        self.zone.set(f"_dmarc.{domain}", "TXT", f"v=DMARC1; p={policy}")
        self.keys[domain] = keys.SigningKey.from_pem(domain, "mail", pem)


@contextmanager
def opened(kind: type[Stage] = Stage) -> Iterator[Stage]:
    """The set, with the office configured but neither set up nor started; it is taken down at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sortingoffice-")))
        zone = stack.enter_context(ZoneServer())
        vendor, home = Sink(), Sink()
        port = free_port("127.0.0.1", "127.0.0.2", "127.0.0.3")  # one for all, as MX hosts have
        vendor.start_in_thread("127.0.0.2", port)
        home.start_in_thread("127.0.0.3", port)
        stack.callback(vendor.stop)
        stack.callback(home.stop)
        stage = kind(folder, zone, vendor, home, port)
        stage.publish(VENDOR, "127.0.0.2")
        stage.publish(HOME, "127.0.0.3")
        stage.configure()
        try:
            yield stage
        finally:
            stage.stop()


def free_port(*hosts: str) -> int:
    """A TCP port that is free now on each of these addresses of this machine.

    It lies below those that the system hands out to clients, so that no connection takes it meanwhile.
    """
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with ExitStack() as open_now, suppress(OSError):
            for host in hosts or ("127.0.0.1",):
                open_now.enter_context(socket.create_server((host, port)))
            return port
    raise Unseen("a hundred ports were all taken")


def until(look: Callable[[], _T], what: str, patience: float = PATIENCE) -> _T:
    """The first true answer of `look`; raises `Unseen` where none comes."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise Unseen(f"waited {patience:.0f} s for {what}")
