"""Databases for tests: SQLite in a file, PostgreSQL in a cluster of the session's own.

Each test gets a database of its own, brought up by `upgrade head` (once per session, then copied).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

from sortingoffice.store import migrations, schema
from sortingoffice.store.database import Database

_TEMPLATE = "office_template"


def programs() -> Path | None:
    """The newest PostgreSQL's folder of programs; None where it is not installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found and (path := shutil.which("initdb")):
        found = [Path(path).resolve().parent]
    return max(found, key=lambda path: [int(n) for n in path.parts if n.isdigit()] or [0], default=None)


@dataclass
class Cluster:
    """A PostgreSQL server on a Unix socket in a folder of its own, without fsync."""

    programs: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=count)
    emptied: list[str] = field(default_factory=list)

    @property
    def _as_whom(self) -> dict[str, object]:
        """PostgreSQL refuses to run as root."""
        if os.getuid() != 0:
            return {}
        return {"user": self.folder.stat().st_uid, "group": self.folder.stat().st_gid, "extra_groups": []}

    def create(self) -> None:
        command = [
            self.programs / "initdb",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--pgdata",
            self.folder / "data",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._as_whom)  # type: ignore[call-overload]

    def start(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "60",
            "shared_buffers": "32MB",
        }
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self._as_whom)  # type: ignore[call-overload]
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.conninfo("postgres")).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """As an administrator's restart does: connections are cut, what is committed stays."""
        if self.process is not None:
            self.process.send_signal(2)  # SIGINT: fast shutdown
            self.process.wait(30)
            self.process = None

    def conninfo(self, database: str) -> str:
        return f"host={self.folder} user=postgres dbname={database}"

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def command(self, sql: str) -> None:
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(sql)

    def new(self, template: str = "template0") -> str:
        """A fresh database's name."""
        name = f"office_{next(self.numbers)}"
        self.command(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def fresh(self) -> str:
        """An up-to-date, empty database: one that was emptied, since making one takes half a second."""
        return self.emptied.pop() if self.emptied else self.new(_TEMPLATE)

    def give_back(self, name: str) -> None:
        with psycopg.connect(self.conninfo(name), autocommit=True) as connection:
            connection.execute(
                "SET session_replication_role = replica"
            )  # past "append only" and foreign keys
            for table in schema.metadata.tables:
                connection.execute(f'DELETE FROM "{table}"')
            versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if versions == [(migrations.REVISIONS[-1],)]:
            self.emptied.append(name)


def skip_or_fail(what: str, why: str = "is not installed") -> None:
    """On a person's machine what is not installed is skipped by name; in CI it is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} {why}, and CI=true")
    pytest.skip(f"{what} {why}")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """The session's PostgreSQL server."""
    found = programs()
    if found is None:
        skip_or_fail("PostgreSQL")
        return
    # Not pytest's folder: a socket's path is short, and another user must get in.
    folder = Path(tempfile.mkdtemp(prefix="office-pg-"))
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    cluster = Cluster(found, folder)
    try:
        cluster.create()
        cluster.start()
        cluster.command(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
        _upgrade(cluster.url(_TEMPLATE))
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "office.sqlite"
    _upgrade(f"sqlite:///{path}")
    return path


def _upgrade(url: str) -> None:
    database = Database(url)
    database.upgrade()
    database.close()


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any schema; parametrise indirectly with "sqlite" or "postgresql"."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.sqlite'}"
    cluster: Cluster = request.getfixturevalue("postgresql")
    return cluster.url(cluster.new())


@pytest.fixture
def sqlite_db(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """An up-to-date SQLite database."""
    path = tmp_path / "office.sqlite"
    shutil.copy(sqlite_template, path)
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def postgresql_db(postgresql: Cluster) -> Iterator[Database]:
    """An up-to-date PostgreSQL database."""
    name = postgresql.fresh()
    database = Database(postgresql.url(name))
    yield database
    database.close()
    postgresql.give_back(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest) -> Database:
    """An up-to-date database, once on SQLite and once on PostgreSQL."""
    database: Database = request.getfixturevalue(f"{request.param}_db")
    return database
