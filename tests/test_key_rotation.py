"""A rotation of a domain's signing keys: cut short wherever, and run again, it ends as one that wasn't."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sortingoffice import failpoint, log
from sortingoffice.cli.stage import until
from sortingoffice.core.model import Direction, Domain
from sortingoffice.errors import OfficeError
from sortingoffice.flows import domains, signing
from sortingoffice.flows import office as offices
from sortingoffice.flows.office import SigningKeys
from sortingoffice.mail import arc, asking, dkim
from sortingoffice.mail.asking import Answer, Outcome, Question
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.keys import SigningKey
from sortingoffice.mail.message import Message
from sortingoffice.store import schema
from sortingoffice.store.database import Database
from tests import spooled
from tests.person import DOMAIN, Person, said_outside
from tests.spooled import NOW, Spooled

STEPS = 5  # two keys begin to sign, two files go, the rows say so
TURNED = {"rsa1": "retired", "ed1": "retired", "rsa2": "signing", "ed2": "signing"}


@dataclass
class Hosted:
    """A domain with its keys, and an office that sends from it."""

    spooled: Spooled
    domain: Domain
    monkeypatch: pytest.MonkeyPatch

    @property
    def db(self) -> Database:
        return self.spooled.db

    @property
    def folder(self) -> Path:
        return offices.key_folder(self.spooled.office.config) / "dkim" / self.domain.name

    def new(self) -> None:
        domains.make_keys(self.spooled.office, self.domain, actor="test", waiting=True)

    def rotate(self) -> None:
        domains.rotate(self.spooled.office, self.domain, actor="test")

    def cut(self, after: int) -> None:
        """A rotation that ends after so many steps."""
        with self.monkeypatch.context() as patch:
            patch.setattr(failpoint, "at", failpoint.armed(failpoint.parse(f"rotation-step=raise@{after}")))
            with pytest.raises(failpoint.Failed):
                self.rotate()

    @property
    def states(self) -> dict[str, str]:
        found = self.db.view(domains.published, self.spooled.office, self.domain)
        return {each.key.selector: each.state for each in found}

    @property
    def files(self) -> set[str]:
        return {each.name for each in self.folder.iterdir()}

    def match(self) -> None:
        """Each key that signs is the one that its record shows."""
        found = self.db.view(domains.published, self.spooled.office, self.domain)
        for each in (each.key for each in found if each.state == "signing"):
            pem = (self.folder / f"{each.selector}.pem").read_bytes()
            assert SigningKey.from_pem(self.domain.name, each.selector, pem).public == each.public

    @property
    def retirings(self) -> list[str]:
        """The lines of the log, without what is behind the selector."""
        lines = self.db.view(lambda tx: tx.execute(schema.event.select()).all())
        return [each.detail.partition(".")[0] for each in lines if each.what == "key retired"]

    def sent(self) -> tuple[set[str], str]:
        """The selectors whose signatures hold on a message sent now, and that of the seal."""
        keys = SigningKeys(self.folder.parent, None)
        keys.read()
        office = replace(self.spooled.office, keys=replace(self.spooled.office.keys, signing=keys))
        octets = signing.signed(office, *self.spooled.letter(Direction.INWARD))
        zone = {each.name: each.value.encode() for each in self.db.view(domains.dns, office, self.domain)}

        def answer(question: Question) -> Answer:
            record = zone.get(question.name)
            return Answer(Outcome.NO_NAME) if record is None else Answer(Outcome.FOUND, (record,))

        results = asking.run(dkim.verify(octets, NOW), answer)
        assert all(each.passed for each in results), results
        assert asking.run(arc.validate(octets), answer).result is Result.PASS
        seal = Message.parse(octets).value("ARC-Seal") or b""
        return {each.selector for each in results}, seal.partition(b" s=")[2].partition(b";")[0].decode()


@pytest.fixture
def on_sqlite(sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosted:
    return hosted(sqlite_db, tmp_path, monkeypatch)


@pytest.fixture
def on_either(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosted:
    return hosted(db, tmp_path, monkeypatch)


def hosted(db: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hosted:
    made = spooled.make(db, folder)
    offices.key_folder(made.office.config).mkdir(parents=True, exist_ok=True)
    domain, _ = domains.add(made.office, "sort.example", actor="test")
    found = Hosted(made, domain, monkeypatch)
    found.new()
    return found


def has_ended(at: Hosted) -> None:
    assert at.states == TURNED
    assert at.files == {"rsa2.pem", "ed2.pem"}
    assert sorted(at.retirings) == ["ed1", "rsa1"], "each once"
    assert at.sent() == ({"rsa2", "ed2"}, "rsa2")
    with pytest.raises(OfficeError, match="has no next key"):
        at.rotate()


def test_an_uncut_rotation_has_as_many_steps_as_are_cut_here(on_either: Hosted) -> None:
    passed: list[str] = []
    with on_either.monkeypatch.context() as patch:
        patch.setattr(failpoint, "at", passed.append)
        on_either.rotate()
    assert passed == ["rotation-step"] * STEPS
    has_ended(on_either)


@pytest.mark.parametrize("after", range(1, STEPS + 1))
def test_a_rotation_cut_at_any_step_ends_as_an_uncut_one_when_it_is_run_again(
    on_either: Hosted, after: int
) -> None:
    on_either.cut(after)
    if after < STEPS:
        on_either.rotate()
    has_ended(on_either)


@pytest.mark.parametrize("after", range(1, STEPS + 1))
def test_where_a_rotation_is_cut_each_algorithm_signs_and_nothing_retired_does(
    on_sqlite: Hosted, after: int
) -> None:
    on_sqlite.cut(after)
    signs, seals = on_sqlite.sent()  # with the records that the office asks for at this moment
    assert {each.rstrip("12") for each in signs} == {"rsa", "ed"}
    assert seals in signs
    assert {on_sqlite.states[each] for each in signs} == {"signing"}


@pytest.mark.parametrize("after", range(1, STEPS))
def test_what_goes_on_may_be_cut_short_too(on_sqlite: Hosted, after: int) -> None:
    for each in (after, 1, 2):
        on_sqlite.cut(each)
    on_sqlite.rotate()
    has_ended(on_sqlite)


@pytest.mark.parametrize(
    ("after", "last"), [(1, {"rsa3", "ed2"}), *((after, {"rsa3", "ed3"}) for after in range(2, STEPS + 1))]
)
def test_after_a_cut_a_whole_further_rotation_leaves_the_newest_keys_alone(
    on_either: Hosted, after: int, last: set[str]
) -> None:
    on_either.cut(after)
    on_either.new()
    on_either.rotate()
    assert on_either.files == {f"{each}.pem" for each in last}
    assert {each for each, state in on_either.states.items() if state != "retired"} == last
    assert on_either.sent() == (last, "rsa3")


def test_a_next_key_whose_file_is_lost_takes_no_key_away(on_sqlite: Hosted) -> None:
    (on_sqlite.folder / "ed2.pem.next").unlink()
    on_sqlite.rotate()
    assert on_sqlite.states == {"rsa1": "retired", "ed1": "signing", "rsa2": "signing", "ed2": "missing"}
    assert on_sqlite.sent() == ({"rsa2", "ed1"}, "rsa2")
    on_sqlite.new()
    on_sqlite.rotate()
    assert on_sqlite.files == {"rsa3.pem", "ed3.pem"}
    assert on_sqlite.sent() == ({"rsa3", "ed3"}, "rsa3")


@pytest.mark.parametrize("name", ["rsa1.pem", "rsa1.pem.next"])
def test_a_retired_key_that_was_put_back_goes_at_the_next_run(on_sqlite: Hosted, name: str) -> None:
    old = (on_sqlite.folder / "rsa1.pem").read_bytes()
    on_sqlite.rotate()
    offices.write_private(on_sqlite.folder / name, old)
    on_sqlite.rotate()
    has_ended(on_sqlite)


def test_a_retired_key_stays_where_no_other_of_its_algorithm_could_sign(on_sqlite: Hosted) -> None:
    old = (on_sqlite.folder / "rsa1.pem").read_bytes()
    on_sqlite.rotate()
    (on_sqlite.folder / "rsa2.pem").unlink()
    offices.write_private(on_sqlite.folder / "rsa1.pem", old)
    with pytest.raises(OfficeError, match="has no next key"):
        on_sqlite.rotate()
    assert on_sqlite.files == {"rsa1.pem", "ed2.pem"}, "a rotation destroys nothing that it can't replace"


# ---- at the command line ---------------------------------------------------------------------------


def _states(person: Person) -> dict[str, str]:
    return {row["selector"]: row["state"] for row in person.json("admin", "key", "list")}


def _armed(setting: str) -> dict[str, str]:
    return {**os.environ, failpoint.VARIABLE: setting}


def _keys(person: Person) -> Path:
    return person.folder / "office" / "keys" / "dkim" / DOMAIN


@pytest.mark.parametrize("after", range(1, STEPS + 1))
def test_a_rotation_that_is_killed_goes_on_at_the_command_line(person: Person, after: int) -> None:
    person.out("admin", "key", "new")
    killed = said_outside(
        "--config", person.config, "admin", "key", "rotate", env=_armed(f"rotation-step=kill@{after}")
    )
    assert killed.status == -signal.SIGKILL
    if after < STEPS:
        person.out("admin", "key", "rotate")
    assert "no next key" in person.refused("admin", "key", "rotate")
    assert _states(person) == TURNED
    assert {each.name for each in _keys(person).iterdir()} == {"rsa2.pem", "ed2.pem"}


def test_two_rotations_at_a_time_are_one(person: Person) -> None:
    person.out("admin", "key", "new")
    command = [sys.executable, "-c", "from sortingoffice.cli.main import main; main()"]
    first = subprocess.Popen(
        [*command, "--config", str(person.config), "admin", "key", "rotate"],
        env=_armed("rotation-step=sleep:3@1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: (_keys(person) / "rsa2.pem").exists(), "the first step of the first")
    person.out("admin", "key", "rotate")
    assert first.poll() is None, "it stands between two of its steps"
    told = first.communicate(timeout=60)
    assert first.returncode == 0, told
    assert _states(person) == TURNED
    retired = [each for each in person.events() if each.startswith("key retired")]
    assert len(retired) == 2, "each was retired once"


def test_of_several_who_make_keys_at_a_time_one_makes_them_and_they_match_what_is_published(
    on_sqlite: Hosted,
) -> None:
    on_sqlite.rotate()
    asked = threading.Barrier(4)

    def make() -> bool:
        asked.wait()
        return domains.make_keys(on_sqlite.spooled.office, on_sqlite.domain, actor="test", waiting=True)

    with ThreadPoolExecutor(4) as several:
        made = [each.result() for each in [several.submit(make) for _ in range(4)]]
    assert sorted(made) == [False, False, False, True]
    on_sqlite.rotate()
    assert on_sqlite.files == {"rsa3.pem", "ed3.pem"}
    on_sqlite.match()


def test_a_key_that_a_backup_of_an_earlier_day_knows_nothing_of_is_never_replaced(person: Person) -> None:
    person.out("backup", person.folder / "earlier")
    person.out("admin", "key", "new")
    person.out("admin", "key", "rotate")
    signing = {each.name: each.read_bytes() for each in _keys(person).iterdir()}
    person.out("restore-backup", person.folder / "earlier", "--yes")
    person.out("admin", "key", "new")
    assert _states(person) == {
        "rsa1": "missing",
        "ed1": "missing",
        "rsa2": "signing",
        "ed2": "signing",
        "rsa3": "next",
        "ed3": "next",
    }
    assert {name: (_keys(person) / name).read_bytes() for name in signing} == signing
    published = {row["name"]: row["value"] for row in person.json("admin", "domain", "dns")}
    for name, pem in signing.items():
        selector = name.removesuffix(".pem")
        key = SigningKey.from_pem(DOMAIN, selector, pem)
        assert published[f"{selector}._domainkey.{DOMAIN}"] == key.record


def test_a_run_of_init_that_stopped_before_its_keys_were_known_goes_on_with_them(on_sqlite: Hosted) -> None:
    on_sqlite.db.call(lambda tx: tx.execute(schema.dkim_key.delete()))
    domains.make_keys(on_sqlite.spooled.office, on_sqlite.domain, actor="test")
    assert on_sqlite.states == {"rsa1": "signing", "ed1": "signing", "rsa2": "next", "ed2": "next"}
    on_sqlite.match()


def test_keys_that_systemd_hands_over_sign_until_a_restart_and_the_commands_say_so(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = tmp_path / "credentials"
    handed.mkdir()
    for each in _keys(person).iterdir():
        shutil.copy(each, handed / f"dkim_{DOMAIN}_{each.name}")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    keys = SigningKeys(_keys(person).parent, handed)
    keys.read()
    person.out("admin", "key", "new")
    restart = "systemctl restart sortingoffice"
    assert restart in person.says("admin", "key", "rotate").err
    assert restart in person.says("admin", "domain", "add", "second.example").err
    keys._looked = 0.0  # a second has passed
    assert {each.selector for each in keys[DOMAIN]} == {"rsa1", "ed1"}


# ---- what a running office makes of it -------------------------------------------------------------


@pytest.fixture
def running(on_sqlite: Hosted) -> Callable[[], set[str]]:
    """The selectors of a process that has read its keys, and looks for others."""
    keys = SigningKeys(on_sqlite.folder.parent, None)
    keys.read()

    def selectors() -> set[str]:
        keys._looked = 0.0  # a second has passed
        return {each.selector for each in keys[on_sqlite.domain.name]}

    return selectors


def test_a_key_that_goes_in_the_moment_in_which_another_came_signs_no_more(
    on_sqlite: Hosted, running: Callable[[], set[str]]
) -> None:
    (on_sqlite.folder / "rsa2.pem.next").rename(on_sqlite.folder / "rsa2.pem")
    assert running() == {"rsa1", "ed1", "rsa2"}
    before = on_sqlite.folder.stat()
    (on_sqlite.folder / "rsa1.pem").unlink()
    os.utime(on_sqlite.folder, ns=(before.st_atime_ns, before.st_mtime_ns))  # the clock has coarse steps
    assert running() == {"ed1", "rsa2"}


@pytest.mark.parametrize("what", ["the domain's folder", "the folder of all"])
def test_keys_that_are_all_gone_go_on_signing_until_there_are_others(
    on_sqlite: Hosted, running: Callable[[], set[str]], capsys: pytest.CaptureFixture[str], what: str
) -> None:
    log.start()
    folder = on_sqlite.folder if what == "the domain's folder" else on_sqlite.folder.parent
    aside = on_sqlite.folder.parent.with_name("aside")
    folder.rename(aside)
    assert running() == running() == {"rsa1", "ed1"}
    assert capsys.readouterr().err.count("signing-keys-unreadable") == 1
    aside.rename(folder)
    (on_sqlite.folder / "rsa1.pem").unlink()
    assert running() == {"ed1"}


def test_a_key_that_goes_while_the_keys_are_read_signs_no_more(
    on_sqlite: Hosted, running: Callable[[], set[str]]
) -> None:
    slow = on_sqlite.folder / "zz.pem"  # the last to be read, and it waits for its octets
    os.mkfifo(slow, 0o600)

    def meanwhile() -> None:
        with slow.open("wb") as octets:
            slow.unlink()
            (on_sqlite.folder / "rsa1.pem").unlink()
            octets.write(b"no key")

    thread = threading.Thread(target=meanwhile)
    thread.start()
    assert running() == {"rsa1", "ed1"}, "what was read goes on where something can't be"
    thread.join()
    assert running() == {"ed1"}
