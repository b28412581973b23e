"""`init`: an office out of nothing, and nothing twice."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sortingoffice import config
from sortingoffice.cli.stage import Said, until
from sortingoffice.core.records import Record, zone_lines
from sortingoffice.errors import OfficeError
from sortingoffice.flows.office import read_keys, write_private
from sortingoffice.mail.keys import SigningKey
from tests.database import skip_or_fail
from tests.person import DOMAIN, MAILBOX, Person, said, said_outside


def _init(folder: Path, *more: str) -> Said:
    return said("--config", folder / "office.toml", "init", "--domain", DOMAIN, "--mailbox", MAILBOX, *more)


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("office.db")
    }


def test_init_prints_the_records_as_a_zone_file_and_the_rest_elsewhere(tmp_path: Path) -> None:
    answer = _init(tmp_path)
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert f"{DOMAIN}. 3600 IN MX 10 mx.{DOMAIN}." in lines
    assert f'{DOMAIN}. 3600 IN TXT "v=spf1 mx -all"' in lines
    assert f'mx.{DOMAIN}. 3600 IN TXT "v=spf1 a -all"' in lines
    assert f'_dmarc.{DOMAIN}. 3600 IN TXT "v=DMARC1; p=reject"' in lines
    assert sum("._domainkey." in line for line in lines) == 2
    assert all(" 3600 IN " in line for line in lines)
    assert "made  account anna" in answer.err


def test_running_it_twice_changes_nothing_and_says_so(tmp_path: Path) -> None:
    first = _init(tmp_path)
    before = _tree(tmp_path)
    second = _init(tmp_path)
    assert _tree(tmp_path) == before
    assert second.status == 0
    assert second.out == first.out
    assert "nothing has changed" in second.err
    assert "made" not in second.err


def test_a_run_that_stopped_half_way_is_finished_by_the_next(tmp_path: Path) -> None:
    _init(tmp_path)
    shutil.rmtree(tmp_path / "office" / "keys" / "dkim")
    answer = json.loads(_init(tmp_path, "--json").out)
    assert answer["made"] == [f"domain {DOMAIN} with its DKIM keys"]
    selectors = [row["name"].partition(".")[0] for row in answer["records"] if "_domainkey" in row["name"]]
    assert "rsa2" in selectors
    assert "ed2" in selectors


def test_two_who_set_up_the_same_office_at_a_time_set_up_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from sortingoffice.cli.main import main; main()", "--config"]
    options = ["--domain", DOMAIN, "--mailbox", MAILBOX, "--json"]
    both = [
        subprocess.Popen(
            [*command, str(tmp_path / "office.toml"), "init", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    told = [each.communicate(timeout=100) for each in both]
    assert [each.returncode for each in both] == [0, 0, 0], told
    made = [json.loads(out) for out, _ in told]
    assert len({json.dumps(each["records"]) for each in made}) == 1
    assert sorted(each for one in made for each in one["made"] if not each.startswith("domain")) == sorted(
        each for each in made[0]["made"] + made[0]["kept"] if not each.startswith("domain")
    ), "each thing was made by one of them"


@pytest.mark.parametrize("name", ["a b", "a?b", "100%41", "a#b", "a&b=c", "ä"])
def test_whatever_a_folder_is_called_the_database_lies_in_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert _init(folder).status == 0
    assert said("--config", folder / "office.toml", "new", "Shop").status == 0
    assert said("--config", folder / "office.toml", "db", "check").status == 0
    assert said("--config", folder / "office.toml", "backup", folder / "copy").status == 0
    assert [each.name for each in tmp_path.iterdir()] == [name], "nothing lies beside it"
    assert stat.S_IMODE((folder / "office" / "office.db").stat().st_mode) == 0o600
    (folder / "office.toml").write_text(
        f'hostname = "mx.{DOMAIN}"\ndatabase = "sqlite:///office/office.db"\n'
    )
    assert "shop" in said("--config", folder / "office.toml", "list").out


def test_secrets_are_readable_by_their_owner_alone(person: Person) -> None:
    office = person.folder / "office"
    for path in [*office.rglob("*.key"), *office.rglob("*.pem"), office / "office.db"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (office, office / "keys", office / "keys" / "dkim"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_the_keys_are_rsa_2048_and_ed25519_and_match_what_is_published(person: Person) -> None:
    published = {
        row["name"]: row["value"] for row in person.json("admin", "domain", "dns") if "p=" in row["value"]
    }
    for selector, kind in (("rsa1", "rsa"), ("ed1", "ed25519")):
        pem = (person.folder / "office" / "keys" / "dkim" / DOMAIN / f"{selector}.pem").read_bytes()
        key = SigningKey.from_pem(DOMAIN, selector, pem)
        value = published.get(f"{selector}._domainkey.{DOMAIN}", "")
        if "p=" in value and "k=" in value:
            assert value == key.record
            assert f"k={kind};" in value
        if kind == "rsa":
            assert len(base64.b64decode(value.partition("p=")[2])) > 2048 // 8


def test_long_texts_are_split_for_a_zone_file() -> None:
    (line,) = zone_lines([Record("a.example", "TXT", "x" * 300 + '"')])
    assert line == f'a.example. 3600 IN TXT "{"x" * 255}" "{"x" * 45}\\""'


def test_a_config_that_is_there_is_used_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "office.toml"
    text = 'data_dir = "elsewhere"\nhostname = "mail.sort.example"\n'
    path.write_text(text)
    answer = _init(tmp_path)
    assert answer.status == 0
    assert path.read_text() == text
    assert (tmp_path / "elsewhere" / "office.db").exists()
    assert f"{DOMAIN}. 3600 IN MX 10 mail.sort.example." in answer.out


def test_a_smarthost_needs_its_include_and_init_says_so(tmp_path: Path) -> None:
    (tmp_path / "office.toml").write_text(
        'hostname = "mx.sort.example"\n[delivery]\nsmarthost = "smtp.relay.example:587"\n'
    )
    answer = _init(tmp_path)
    assert "smtp.relay.example" in answer.err
    assert "include:" in answer.err
    assert f'{DOMAIN}. 3600 IN TXT "v=spf1 mx ~all"' in answer.out


def test_a_hostname_that_contradicts_the_config_is_refused(tmp_path: Path) -> None:
    assert _init(tmp_path, "--hostname", "mail.sort.example").status == 0
    answer = _init(tmp_path, "--hostname", "other.sort.example")
    assert answer.status == 1
    assert "hostname = mail.sort.example" in answer.err


def test_another_domain_and_another_mailbox_are_added(tmp_path: Path) -> None:
    _init(tmp_path)
    answer = said(
        "--config",
        tmp_path / "office.toml",
        "init",
        "--domain",
        "Second.Example",
        "--mailbox",
        "b@work.example",
    )
    assert answer.status == 0
    assert "kept  account anna" in answer.err
    assert "made  mailbox b@work.example" in answer.err
    listed = said("--config", tmp_path / "office.toml", "admin", "domain", "list", "--json")
    assert [row["domain"] for row in json.loads(listed.out)] == [DOMAIN, "second.example"]


@pytest.mark.parametrize(
    ("domain", "mailbox", "why"),
    [
        ("localhost", MAILBOX, "no domain"),
        ("sort example", MAILBOX, "no domain"),
        (DOMAIN, "anna", "no mail address"),
        (DOMAIN, f"anna@{DOMAIN}", "can't be on"),
        (DOMAIN, "o'brien@home.example", "--account"),
        (DOMAIN, f"{'x' * 64}@home.example", "--account"),
        (f"{'abcdefgh.' * 21}example", MAILBOX, "too long"),
    ],
)
def test_what_can_be_no_office_leaves_nothing_behind(
    tmp_path: Path, domain: str, mailbox: str, why: str
) -> None:
    answer = said("--config", tmp_path / "o.toml", "init", "--domain", domain, "--mailbox", mailbox)
    assert answer.status == 1
    assert why in answer.err
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_a_missing_option_is_wrong_usage(tmp_path: Path) -> None:
    answer = said_outside("init", "--domain", DOMAIN, cwd=tmp_path)
    assert answer.status == 2
    assert "--mailbox" in answer.err


def test_without_any_config_init_writes_one_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    if Path("/etc/sortingoffice/config.toml").exists():
        skip_or_fail("/etc/sortingoffice/config.toml", "is this machine's own")
    answer = said_outside("init", "--domain", DOMAIN, "--mailbox", MAILBOX, cwd=tmp_path)
    assert answer.status == 0, answer
    assert (tmp_path / config.FILE_NAME).exists()
    assert said_outside("list", "--json", cwd=tmp_path).out == "[]\n"


def test_a_lost_key_is_not_replaced_beside_a_database_that_needs_it(tmp_path: Path) -> None:
    _init(tmp_path)
    (tmp_path / "office" / "keys" / "office.key").unlink()
    answer = _init(tmp_path)
    assert answer.status == 1
    assert "put the key back" in answer.err


@pytest.mark.parametrize("empty_url", ["sqlite", "postgresql"], indirect=True)
def test_another_node_gets_no_keys_of_its_own_beside_the_offices_database(
    tmp_path: Path, empty_url: str
) -> None:
    nodes = [tmp_path / "first", tmp_path / "second"]
    for each in nodes:
        each.mkdir()
        (each / "office.toml").write_text(f'hostname = "mx.{DOMAIN}"\ndatabase = "{empty_url}"\n')
    first = _init(nodes[0])
    assert first.status == 0, first
    second = _init(nodes[1])
    assert second.status == 1
    assert "another node" in second.err
    assert not list(nodes[1].rglob("*.key"))
    assert not list(nodes[1].rglob("*.pem"))
    shutil.copytree(nodes[0] / "office" / "keys", nodes[1] / "office" / "keys")
    again = _init(nodes[1])
    assert again.status == 0, again
    assert again.out == first.out, "the same records"
    assert "account anna" not in [line.removeprefix("made  ") for line in again.err.splitlines()]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "office").write_text("a file where the folder should be")
    answer = _init(tmp_path)
    assert answer.status == 1
    assert "data_dir" in answer.err
    assert "Traceback" not in answer.err


# ---- keys, as roles read them


def test_a_key_that_others_can_read_is_refused(person: Person) -> None:
    key = person.folder / "office" / "keys" / "office.key"
    key.chmod(0o640)
    assert f"chmod 600 {key}" in person.refused("list")


def test_a_key_of_the_wrong_length_is_refused(person: Person) -> None:
    key = person.folder / "office" / "keys" / "token.key"
    key.write_bytes(b"short")
    assert "5 octets instead of 32" in person.refused("list")


def test_each_role_holds_the_secrets_it_needs_and_no_others(person: Person) -> None:
    read = config.load(person.config)
    faces_the_world, delivers = read_keys(read, "smtp"), read_keys(read, "queue")
    assert faces_the_world.card is not None
    assert len(faces_the_world.signing) == 0
    assert delivers.card is None
    assert {key.algorithm for key in delivers.signing[DOMAIN]} == {"rsa-sha256", "ed25519-sha256"}
    assert delivers.token == faces_the_world.token


def test_systemds_credentials_come_before_the_files(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "office.key").write_bytes(b"c" * 32)
    keys = person.folder / "office" / "keys"
    shutil.copy(keys / "dkim" / DOMAIN / "ed1.pem", folder / f"dkim_{DOMAIN}_ed1.pem")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    held = read_keys(config.load(person.config), "all")
    assert held.card == b"c" * 32
    assert held.token == (keys / "token.key").read_bytes()
    assert [key.selector for key in held.signing[DOMAIN]] == ["ed1"]


def test_a_broken_signing_key_is_named(person: Person) -> None:
    pem = person.folder / "office" / "keys" / "dkim" / DOMAIN / "ed1.pem"
    pem.write_bytes(b"-----BEGIN NONSENSE-----\n")
    with pytest.raises(OfficeError, match=r"ed1\.pem is no private key"):
        read_keys(config.load(person.config), "queue")


def test_a_new_domain_signs_without_a_restart(person: Person) -> None:
    signing = read_keys(config.load(person.config), "queue").signing
    assert "second.example" not in signing
    person.out("admin", "domain", "add", "second.example")
    assert len(signing["second.example"]) == 2
    assert "second.example" in signing


def test_a_broken_key_that_appears_later_stops_no_signing(person: Person) -> None:
    signing = read_keys(config.load(person.config), "queue").signing
    (person.folder / "office" / "keys" / "dkim" / DOMAIN / "zz.pem").write_bytes(b"nonsense")
    assert len(signing[DOMAIN]) == 2
    with pytest.raises(OfficeError):
        read_keys(config.load(person.config), "queue")


def test_a_secret_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "office.key"
    write_private(path, b"first")
    with pytest.raises(FileExistsError):
        write_private(path, b"second")
    assert path.read_bytes() == b"first"
    assert [each.name for each in path.parent.iterdir()] == ["office.key"]


def test_a_rotation_publishes_first_and_signs_then(person: Person) -> None:
    signing = read_keys(config.load(person.config), "queue").signing

    def states() -> dict[str, str]:
        return {row["selector"]: row["state"] for row in person.json("admin", "key", "list")}

    assert "no next key" in person.refused("admin", "key", "rotate")
    person.out("admin", "key", "new")
    assert states() == {"rsa1": "signing", "ed1": "signing", "rsa2": "next", "ed2": "next"}
    assert {key.selector for key in signing[DOMAIN]} == {"rsa1", "ed1"}
    records = person.json("admin", "domain", "dns")
    assert sum("_domainkey" in row["name"] for row in records) == 4
    person.out("admin", "key", "new")
    assert len(states()) == 4
    person.out("admin", "key", "rotate")
    assert states() == {"rsa1": "retired", "ed1": "retired", "rsa2": "signing", "ed2": "signing"}
    until(lambda: {key.selector for key in signing[DOMAIN]} == {"rsa2", "ed2"}, "the keys to be looked at")


def test_dns_rows_are_whole_and_without_trailing_dots(person: Person) -> None:
    rows = person.json("admin", "domain", "dns", DOMAIN)
    assert {"name": DOMAIN, "type": "MX", "value": f"10 mx.{DOMAIN}"} in rows
    assert all(set(row) == {"name", "type", "value"} for row in rows)
    assert "did you mean sort.example?" in person.refused("admin", "domain", "dns", "sort.exampel")
