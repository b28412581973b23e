"""Our office, as it is run: `init`, `serve`, SQLite; verifying, rewriting, signing twice, sealing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sortingoffice import config as configuration
from sortingoffice.cli.stage import free_port
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store.database import Database
from tests.bench import residents
from tests.bench.letters import HOME, HOSTNAME, OFFICE
from tests.bench.system import System, listens, started, stopped

NAME = "sorting office"
_PROOFS = (
    rb"^MAIL FROM:<rp",
    rb"dkim=pass",
    rb"spf=pass",
    rb"dmarc=pass",
    rb"(?s)DKIM-Signature: [^\n]*a=rsa-sha256.*d=sort\.example",
)
_SEAL = rb"ARC-Seal:"
# After date and time: events of ours that name a failure, and what is no event at all.
_COMPLAINT = re.compile(r"\S+ \S+ \S*(bug|failed|late|unavailable)\b|Traceback")
_CONFIG = """\
hostname = "{hostname}"
data_dir = "data"
database = "{database}"
[smtp]
listen = ["127.0.0.1:{port}"]
[submission]
listen = []
[http]
listen = ""
[processes]
count = {processes}
[delivery]
port = {sink}
[dns]
nameservers = ["{zone}"]
[limits]
connections_per_peer = 200
"""


@dataclass(frozen=True, slots=True)
class Premises:
    """Where an office lives before it is started.

    variant    passed to `tests.bench.variant`: what differs from the office as it is; "" for nothing
    processes  as in the config; 0 for one for each core
    """

    folder: Path
    zone: ZoneServer
    sink: int
    aliases: int
    database: str = ""
    variant: str = ""
    processes: int = 0

    @property
    def config(self) -> Path:
        return self.folder / "sortingoffice.toml"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sortingoffice", "--config", str(self.config), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise SystemExit(f"sortingoffice {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def configure(self, port: int) -> None:
        self.config.write_text(
            _CONFIG.format(
                hostname=HOSTNAME,
                database=self.database,
                port=port,
                sink=self.sink,
                processes=self.processes,
                zone=f"{self.zone.endpoint[0]}:{self.zone.endpoint[1]}",
            )
        )

    def open_database(self) -> Database:
        return Database(configuration.load(self.config).database)

    def prepare(self) -> None:
        """Config, database, keys, DNS records, residents."""
        self.folder.mkdir()
        self.configure(free_port())
        self.command("init", "--domain", OFFICE, "--mailbox", f"anna@{HOME}", "--hostname", HOSTNAME)
        for row in json.loads(self.command("admin", "domain", "dns", OFFICE, "--json")):
            self.zone.set(row["name"].rstrip("."), row["type"], row["value"])
        self.zone.set(HOSTNAME, "A", "127.0.0.1")
        db = self.open_database()
        try:
            residents.settle(db, self.aliases)
        finally:
            db.close()

    @property
    def program(self) -> list[str]:
        start = [sys.executable, "-m"]
        start += ["tests.bench.variant", self.variant] if self.variant else ["sortingoffice"]
        return [*start, "--config", str(self.config), "serve"]

    def wrong(self) -> str:
        text = self.log.read_text(errors="replace")
        return "\n".join(line for line in text.splitlines() if _COMPLAINT.match(line))


@contextmanager
def running(premises: Premises, name: str = NAME, *, prepared: bool = False) -> Iterator[System]:
    """The office while it runs, prepared before or now; what it did stays in its folder."""
    if not prepared:
        premises.prepare()
    port = free_port()
    premises.configure(port)
    process = started(premises.program, premises.log)
    try:
        listens(port, premises.log, speaks=b"220")
        proofs = _PROOFS if "unsealed" in premises.variant else (*_PROOFS, _SEAL)
        yield System(name, port, lambda: [process.pid], proofs, wrong=premises.wrong)
    finally:
        stopped(process)
