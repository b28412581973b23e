"""A person at a terminal: an office of their own in a folder, and the command line."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sortingoffice import config
from sortingoffice.cli import main
from sortingoffice.cli.stage import Said
from sortingoffice.core.model import Delivery, DeliveryState, Direction, Event, SpooledMessage
from sortingoffice.flows import office as offices
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts, events, relationships, spool
from sortingoffice.store.database import Transaction
from tests.spooled import looked_through

DOMAIN = "sort.example"
MAILBOX = "anna@home.example"


def said(*arguments: object) -> Said:
    """Run the command line in this process, through its front door."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main.main([str(each) for each in arguments])
    status = ended.value.code
    assert isinstance(status, int)
    return Said(status, out.getvalue(), err.getvalue())


def said_outside(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, by: Sequence[str] = ()
) -> Said:
    """The same in a process of its own, started by a program such as setpriv."""
    command = [
        *by,
        sys.executable,
        "-c",
        "from sortingoffice.cli.main import main; main()",
        *map(str, arguments),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Person:
    """Somebody with an office in `folder`."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / config.FILE_NAME

    def says(self, *arguments: object) -> Said:
        return said("--config", self.config, *arguments)

    def out(self, *arguments: object) -> str:
        """What a command that must succeed prints, without its last line break."""
        answer = self.says(*arguments)
        assert answer.status == 0, answer
        return answer.out.rstrip("\n")

    def json(self, *arguments: object) -> Any:
        return json.loads(self.out(*arguments, "--json"))

    def refused(self, *arguments: object) -> str:
        """The one sentence with which a command refuses."""
        answer = self.says(*arguments)
        assert answer.status == 1, answer
        assert answer.out == ""
        sentence = answer.err.rstrip("\n")
        assert sentence
        assert "\n" not in sentence
        assert "Traceback" not in sentence
        return sentence

    @contextmanager
    def office(self, role: str = "cli") -> Iterator[Office]:
        opened = offices.open(config.load(self.config), role)
        try:
            yield opened
        finally:
            opened.db.close()

    def damage(self, table: str) -> None:
        """Make a table unreadable, as a failing disk does: the first page of it is other octets."""
        path = config.load(self.config).database.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as live:
            live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            [(size,)] = live.execute("PRAGMA page_size")
            [(page,)] = live.execute(
                "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
            )
        with open(path, "r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)

    def spooled(self, slug: str, state: DeliveryState, *, reason: str = "", outward: bool = False) -> int:
        """Put a message of a relationship into the spool; the number of its delivery."""
        with self.office() as office:
            return office.db.call(_spooled, office, slug, state, reason, outward)

    def delivery(self, number: int) -> Delivery:
        with self.office() as office:
            found = office.db.view(spool.delivery_by_id, number)
        assert found is not None
        return found

    def events(self, slug: str = "") -> list[str]:
        """What happened, oldest first, as "what detail"."""
        with self.office() as office:
            told = office.db.view(_events, slug)
        return [f"{each.what} {each.detail}".strip() for each in told]


def _spooled(
    tx: Transaction, office: Office, slug: str, state: DeliveryState, reason: str, outward: bool
) -> int:
    of = relationships.find(tx, accounts.the_only(tx).id, slug)
    now = office.clock()
    message = SpooledMessage(
        id=0,
        token=office.random(8).hex(),
        direction=Direction.OUTWARD if outward else Direction.INWARD,
        account_id=of.account_id,
        relationship_id=of.id,
        sender="orders@lampshop.example",
        origin="",
        results="",
        fingerprint=None,
        rule="",
        subject="Your lamp",
        bulk=False,
        authenticated=True,
        utf8=False,
        size=9,
        accepted=now,
        raw=b"Subject: Your lamp\r\n\r\n\x1b[2Jhello\r\n",
    )
    delivery = Delivery(
        id=0,
        message_id=0,
        account_id=of.account_id,
        relationship_id=of.id,
        contact_id=None,
        recipient=MAILBOX,
        destination="home.example",
        return_domain=DOMAIN,
        state=state,
        reason=reason,
        attempts=0,
        due=now,
        expires=now + timedelta(days=5),
        delay_told=False,
        lease_node="",
        lease_until=None,
        last_reply="",
        created=now,
        ended=None,
    )
    stored = spool.put(tx, message, (delivery,), looked_through(message))
    return spool.deliveries(tx, stored.id)[0].id


def _events(tx: Transaction, slug: str) -> tuple[Event, ...]:
    if not slug:
        return events.every(tx)
    return events.of_relationship(tx, relationships.find(tx, accounts.the_only(tx).id, slug).id)


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an office as `init` leaves it; tests copy it."""
    folder = tmp_path_factory.mktemp("furnished")
    answer = said("--config", folder / config.FILE_NAME, "init", "--domain", DOMAIN, "--mailbox", MAILBOX)
    assert answer.status == 0, answer
    return folder


@pytest.fixture
def person(furnished: Path, tmp_path: Path) -> Person:
    folder = tmp_path / "person"
    shutil.copytree(furnished, folder)
    return Person(folder)
