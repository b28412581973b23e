"""The front door of the command line: options, exits, data and sentences apart."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from sortingoffice.cli.main import COMMANDS, main
from sortingoffice.cli.stage import Said
from sortingoffice.core.model import DeliveryState
from tests.database import skip_or_fail
from tests.person import DOMAIN, Person, said, said_outside


def test_every_command_of_the_list_can_be_entered_and_helps() -> None:
    for name in COMMANDS:
        answer = said(name, "--help")
        assert answer.status == 0, name
        assert answer.out.startswith("Usage: sortingoffice "), name


def test_help_lists_every_command() -> None:
    told = said("--help").out
    for name, room in COMMANDS.items():
        assert re.search(rf"^  {re.escape(name)}\s", told, re.MULTILINE), name
        assert room.line.split()[0] in told


def test_a_command_that_is_nearly_right_is_suggested() -> None:
    answer = said("revok", "shop")
    assert answer.status == 2
    assert "Did you mean revoke?" in answer.err
    assert "Did you mean" not in said("frobnicate").err


def test_help_imports_no_database() -> None:
    code = (
        "import sys\nfrom sortingoffice.cli.main import main\n"
        "try:\n main(['--help'])\nfinally:\n print('sqlalchemy' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


def test_new_imports_no_network_and_no_server() -> None:
    code = (
        "import sys\nfrom sortingoffice.cli import relationship\n"
        "far = ('dns', 'aiosmtplib', 'aiosmtpd', 'dkim', 'rich', 'alembic', 'uvloop', 'psycopg',"
        " 'phonenumbers')\n"
        "print([name for name in far if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_shared_options_stand_before_or_after_the_command(person: Person) -> None:
    person.out("new", "Shop")
    before = said("--config", person.config, "--account", "anna", "--json", "list")
    after = said("list", "--config", person.config, "--account", "anna", "--json")
    between = said("admin", "--config", person.config, "domain", "--json", "list")
    assert before == after
    assert json.loads(before.out)[0]["relationship"] == "shop"
    assert json.loads(between.out)[0]["domain"] == DOMAIN


def test_the_config_may_be_named_by_the_environment(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORTINGOFFICE_CONFIG", str(person.config))
    assert said("list", "--json").out == "[]\n"


def test_without_a_config_the_next_step_is_said(tmp_path: Path) -> None:
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    env.pop("SORTINGOFFICE_CONFIG", None)
    answer = said_outside("list", cwd=tmp_path, env=env)
    assert (answer.status, answer.out) == (1, "")
    assert "sortingoffice init" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC", "America/New_York"])
def test_the_last_day_of_the_calendar_breaks_no_command(person: Person, zone: str) -> None:
    def at_home(*arguments: str) -> Said:
        return said_outside("--config", str(person.config), *arguments, env={**os.environ, "TZ": zone})

    person.out("new", "Lamp Shop")
    for last in ("9999-12-31", "9999-12-31T23:59:59+00:00"):
        changed = at_home("set", "lamp-shop", "--until", last)
        assert "Traceback" not in changed.err, changed
        shown = at_home("show", "lamp-shop")
        assert shown.status == 0, shown
    assert "9999-12-31" in shown.out


def test_a_config_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    answer = said("--config", tmp_path / "none.toml", "list")
    assert answer.status == 1
    assert "no such config file" in answer.err


def test_a_broken_config_is_a_sentence(person: Person) -> None:
    person.config.write_text("hostnam = 'x'")
    assert "did you mean hostname?" in person.refused("list")


def test_an_office_without_a_database_is_a_sentence(person: Person) -> None:
    for path in (person.folder / "office").glob("office.db*"):
        path.unlink()
    assert "sortingoffice init" in person.refused("list")
    assert not (person.folder / "office" / "office.db").exists()


def test_a_database_that_is_none_is_a_sentence(person: Person) -> None:
    for path in (person.folder / "office").glob("office.db*"):
        path.unlink()
    (person.folder / "office" / "office.db").write_bytes(b"this is no database " * 300)
    person.refused("list")


def test_a_database_of_a_newer_version_is_a_sentence(person: Person) -> None:
    with closing(sqlite3.connect(person.folder / "office" / "office.db")) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.commit()
    assert "newer version" in person.refused("new", "Shop")


def test_a_command_waits_for_another_writer(person: Person) -> None:
    lock = sqlite3.connect(person.folder / "office" / "office.db", check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")

    def let_go() -> None:
        time.sleep(0.7)
        lock.rollback()
        lock.close()

    thread = threading.Thread(target=let_go)
    thread.start()
    assert person.out("new", "Shop").endswith(DOMAIN)
    thread.join()


def test_two_at_once_get_two_aliases(person: Person) -> None:
    code = "from sortingoffice.cli.main import main; main()"
    command = [sys.executable, "-c", code, "--config", str(person.config), "new", "Shop"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    aliases = [each.communicate(timeout=60)[0].strip() for each in running]
    assert all(each.returncode == 0 for each in running)
    assert len(set(aliases)) == 4
    assert {row["relationship"] for row in person.json("list")} == {"shop", "shop-2", "shop-3", "shop-4"}


def test_an_empty_list_is_an_empty_array_and_0(person: Person) -> None:
    for arguments in (("list",), ("held", "list"), ("admin", "password", "list")):
        answer = person.says(*arguments, "--json")
        assert (answer.status, json.loads(answer.out)) == (0, [])
        assert person.says(*arguments).out == ""


def test_a_reader_that_goes_away_is_no_traceback(person: Person) -> None:
    person.out("pocket", "30")
    code = "from sortingoffice.cli.main import main; main()"
    done = subprocess.run(
        f"{sys.executable} -c '{code}' --config {person.config} list | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("RELATIONSHIP")


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert said("--version").out.strip() == f"sortingoffice, version {version('sortingoffice')}"


# ---- held


def test_held_mail_is_listed_shown_released_and_dropped(person: Person) -> None:
    person.out("new", "Lamp Shop")
    first = person.spooled("lamp-shop", DeliveryState.HELD, reason="stranger_held")
    second = person.spooled("lamp-shop", DeliveryState.HELD, reason="dmarc_quarantine")
    rows = person.json("held", "list")
    assert [row["id"] for row in rows] == [second, first]
    assert rows[1]["relationship"] == "lamp-shop"
    assert rows[1]["reason"] == "stranger_held"
    assert rows[1]["subject"] == "Your lamp"
    assert "\x1b" not in person.out("held", "show", first)
    assert "hello" in person.out("held", "show", first)
    person.out("held", "release", first)
    person.out("held", "drop", second)
    assert person.delivery(first).state is DeliveryState.QUEUED
    assert person.delivery(second).state is DeliveryState.DROPPED
    assert person.json("held", "list") == []
    assert person.events("lamp-shop")[-2:] == ["released", "dropped"]
    assert "no held mail" in person.refused("held", "release", first)


def test_anothers_held_mail_is_not_there(person: Person) -> None:
    person.out("new", "Lamp Shop")
    number = person.spooled("lamp-shop", DeliveryState.HELD, reason="stranger_held")
    person.out("admin", "account", "add", "bert", "--mailbox", "bert@home.example")
    assert "no held mail" in person.refused("--account", "bert", "held", "show", number)


# ---- explain


def test_explain_names_the_rule(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    told = person.json("explain", "--from", "orders@lampshop.example", "--to", f"never.was0000@{DOMAIN}")
    assert told["decision"] == "refuse"
    assert told["rule"] == "unknown_address"
    assert told["reply"].startswith("550 5.1.1 ")
    person.out("revoke", "lamp-shop")
    revoked = person.json("explain", "--from", "<>", "--to", alias)
    assert revoked["reply"] == told["reply"]
    assert revoked["rule"] == "revoked_relationship"


@pytest.mark.parametrize(
    ("sender", "recipient", "more"),
    [("x", "a@b.example", ()), ("a@b.example", "x", ()), ("a@b.example", "a@b.example", ("--peer", "here"))],
)
def test_explain_wants_addresses(person: Person, sender: str, recipient: str, more: tuple[str, ...]) -> None:
    person.refused("explain", "--from", sender, "--to", recipient, *more)


@pytest.mark.parametrize("command", ["log", "disclosures", "strangers"])
@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_not_everything(person: Person, command: str, name: str) -> None:
    answer = person.says(command, name)
    assert (answer.status, answer.out) == (2, "")
    assert "it is empty" in answer.err


def test_a_name_of_any_length_is_said_back_on_a_line(person: Person) -> None:
    assert len(person.refused("show", "x\n" * 5000)) < 200


def test_what_a_qr_code_holds_is_told_to_a_program(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    assert person.json("qr", "lamp-shop") == {"alias": alias, "content": f"mailto:{alias}"}


@pytest.mark.parametrize(
    "arguments",
    [["show", "\udcff"], ["--account", "\udcff", "list"], ["trace", "\udcff"], ["new", "caf\udce9"]],
)
def test_octets_that_are_no_text_are_refused_in_a_sentence(person: Person, arguments: list[str]) -> None:
    assert "no text in UTF-8" in person.refused(*arguments)


class _Full(io.RawIOBase):
    """A disk without room."""

    def writable(self) -> bool:
        return True

    def write(self, octets: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def _printed(
    person: Person, monkeypatch: pytest.MonkeyPatch, end: io.TextIOBase | None, *arguments: str
) -> int:
    """The exit status of a command whose standard output is `end`."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", end)
        with pytest.raises(SystemExit) as left:
            main(["--config", str(person.config), *arguments])
        if end is None:
            sys.stdout.close()
    return int(left.value.code or 0)


def test_output_that_cannot_be_written_is_a_sentence(
    person: Person, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person.out("new", "\N{GRINNING FACE}")
    with io.TextIOWrapper(_Full(), encoding="utf-8", write_through=True) as full:  # type: ignore[type-var]
        assert _printed(person, monkeypatch, full, "list") == 1
    assert capsys.readouterr().err == "the output can't be written: No space left on device\n"
    assert _printed(person, monkeypatch, None, "list") == 0, "a closed end is nobody's mistake"


@pytest.mark.parametrize("words", ["list", "admin domain dns", "list --json", "man"])
def test_a_process_whose_output_cannot_be_written_ends_with_1_and_one_sentence(
    person: Person, words: str
) -> None:
    if not Path("/dev/full").exists():
        skip_or_fail("/dev/full", "is not there")
    command = [sys.executable, "-c", "from sortingoffice.cli.main import main; main()", "--config"]
    person.out("new", "Shop")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, str(person.config), *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "the output can't be written: No space left on device\n")


@pytest.mark.parametrize("words", ["card set", "card import -", "admin account remove anna"])
def test_where_nothing_can_be_typed_a_command_says_so(
    person: Person, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """A service or a script closed its standard input."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", None)
        answer = person.says(*words.split())
        if sys.stdin is not None:
            sys.stdin.close()
    assert answer.status in (1, 2)
    assert answer.err


def test_a_narrow_charset_gets_what_it_can_write(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    person.out("new", "\N{GRINNING FACE}")
    for arguments in (("list", "--json"), ("list",)):
        with io.TextIOWrapper(io.BytesIO(), encoding="latin-1") as narrow:
            assert _printed(person, monkeypatch, narrow, *arguments) == 0
            narrow.seek(0)
            told = narrow.read()
        if "--json" in arguments:
            assert json.loads(told)[0]["name"] == "\N{GRINNING FACE}"
        else:
            assert "\\U0001f600" in told


@pytest.mark.parametrize("words", ["card import", "explain --reply", "import", "new --kind"])
def test_what_click_says_back_steers_no_terminal(person: Person, words: str) -> None:
    """A script hands over the name of a file that a vendor sent."""
    answer = person.says(*words.split(), "\x1b]0;x\x07\u202egpj")
    assert answer.status == 2
    assert answer.err.startswith("Usage: sortingoffice")
    assert answer.err.count("\n") > 2
    assert not set(answer.err) & set("\x1b\x07\u202e")


def test_a_database_s_url_with_half_a_bracket_is_a_sentence(person: Person) -> None:
    text = person.config.read_text()
    person.config.write_text(f'database = "postgresql://[::1/office"\n{text}')
    assert "database is not a URL" in person.refused("list")


def test_a_password_with_an_at_sign_is_not_taken_for_the_host_and_shown(person: Person) -> None:
    text = person.config.read_text()
    person.config.write_text(f'database = "postgresql://anna:s3cr@etpw@127.0.0.1/office"\n{text}')
    told = person.refused("list")
    assert "%40" in told
    assert "etpw" not in told


@pytest.mark.parametrize("words", ["backup", "restore-backup --yes", "export", "init --config"])
def test_a_file_s_name_that_is_too_long_is_a_sentence(person: Person, words: str) -> None:
    more = ("--domain", "sort.example", "--mailbox", "a@home.example") if words.startswith("init") else ()
    assert "longer than" in person.refused(*words.split(), f"{'x' * 300}.json", *more)
