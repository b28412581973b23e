"""Moving in from another office and out of this one; the desk's small commands."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sortingoffice.cli import clipboard, moving
from sortingoffice.cli.main import sortingoffice as front
from tests.person import Person, said_outside

_EXPORTS = Path(__file__).parent / "exports"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("simplelogin.csv", ["new", "keep", "close", "skip", "skip", "skip"]),
        ("simplelogin.json", ["new", "close"]),
        ("addy.csv", ["new", "close", "skip"]),
        ("relay.json", ["new", "skip"]),
        ("fastmail.json", ["new", "skip"]),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    person: Person, name: str, what: list[str]
) -> None:
    rows = person.json("import", _EXPORTS / name, "--dry-run")
    assert [row["what"] for row in rows] == what
    assert all(row["why"] for row in rows if row["what"] == "skip")
    assert person.json("list") == []


def test_addresses_of_a_hosted_domain_stay_and_others_get_a_fresh_one(person: Person) -> None:
    rows = {row["address"]: row for row in person.json("import", _EXPORTS / "simplelogin.csv", "--yes")}
    kept = person.json("show", rows["lamps@sort.example"]["alias"])
    assert (kept["alias"], kept["site"], kept["state"]) == (
        "lamps@sort.example",
        "lampshop.example",
        "active",
    )
    assert person.json("show", "spam@sort.example")["state"] == "revoked"
    fresh = person.json("show", rows["ebay@old.example"]["alias"])
    assert fresh["alias"].endswith("@sort.example")
    assert fresh["note"] == "Used on eBay (was ebay@old.example)"
    assert len(person.json("list")) == 3


def test_of_two_that_are_one_address_here_the_first_is_kept_and_the_rest_is_moved(
    person: Person, tmp_path: Path
) -> None:
    file = tmp_path / "export.csv"
    rows = ("shop.one@sort.example,One,true", "shop-one@sort.example,Two,true", "shop@old.example,Three,true")
    file.write_text("\n".join(("alias,note,enabled", *rows)), encoding="utf-8")
    planned = person.json("import", file, "--dry-run")
    assert [row["what"] for row in planned] == ["keep", "skip", "new"]
    assert "dots and dashes" in planned[1]["why"]
    done = person.json("import", file, "--yes")
    assert [row["what"] for row in done] == ["keep", "skip", "new"]
    assert person.json("show", "one")["alias"] == "shop.one@sort.example"
    again = person.json("import", file, "--yes")
    assert {row["what"] for row in again} == {"skip"}


@pytest.mark.parametrize("name", sorted(each.name for each in _EXPORTS.iterdir()))
def test_a_second_import_of_the_same_file_does_nothing(person: Person, name: str) -> None:
    person.json("import", _EXPORTS / name, "--yes")
    before = person.json("list")
    again = person.json("import", _EXPORTS / name, "--yes")
    assert {row["what"] for row in again} == {"skip"}
    assert person.json("list") == before


def test_the_site_that_the_other_office_knew_is_bound(person: Person) -> None:
    person.json("import", _EXPORTS / "fastmail.json", "--yes")
    person.json("import", _EXPORTS / "relay.json", "--yes")
    assert [each["bindings"] for each in person.json("list")] == [["garden.example"], ["wine.example"]]


@pytest.mark.parametrize("divider", [";", "\t"], ids=["semicolon", "tab"])
def test_an_export_that_a_spreadsheet_wrote_anew_is_read(
    person: Person, tmp_path: Path, divider: str
) -> None:
    lines = ["alias,note,enabled", 'a@sort.example,"two, lines\r\nhere",True', "b@sort.example,,False"]
    table = tmp_path / "table.csv"
    with table.open("w", encoding="utf-8-sig", newline="") as out:
        csv.writer(out, delimiter=divider).writerows(csv.reader(io.StringIO("\r\n".join(lines), newline="")))
    rows = person.json("import", table, "--dry-run")
    assert [(row["address"], row["what"], row["note"]) for row in rows] == [
        ("a@sort.example", "keep", "two, lines here"),
        ("b@sort.example", "close", ""),
    ]


def test_without_a_terminal_an_import_wants_a_yes(person: Person) -> None:
    assert "--dry-run" in person.refused("import", _EXPORTS / "simplelogin.csv")
    assert person.json("list") == []


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[1]",
        b"a,b\n1,2\n",
        b"[" * 100_000,
        b'{"sortingoffice": 1}',
        b'{"data": 3}',
        b"alias,name,state,relationship\r\na@sort.example,A,revoked,a\r\n",
    ],
    ids=["empty", "no text", "half", "numbers", "other csv", "nested", "our own", "no list", "our table"],
)
def test_what_is_nobody_s_export_is_refused_with_a_sentence(
    person: Person, tmp_path: Path, octets: bytes
) -> None:
    file = tmp_path / "export"
    file.write_bytes(octets)
    person.refused("import", file, "--yes")
    assert person.json("list") == []


def test_a_file_without_end_is_nobody_s_export(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_MOST", 1 << 20)
    assert "larger than 1 MiB" in person.refused("import", "/dev/zero", "--yes")


def test_an_export_is_readable_by_its_owner_alone_and_complete(person: Person, tmp_path: Path) -> None:
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("card", "set", "shipping.city=Berlin")
    table, document = tmp_path / "a.csv", tmp_path / "a.json"
    person.out("export", table)
    person.out("export", document)
    for file in (table, document):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (row,) = csv.DictReader(io.StringIO(table.read_text()))
    assert (row["name"], row["site"], row["state"]) == ("Lamp Shop", "lampshop.example", "active")
    found = json.loads(document.read_text())
    assert found["aliases"][0]["address"] == row["alias"]
    assert [each["value"] for each in found["versions"]] == ["Berlin"]
    assert "is there already" in person.refused("export", table)


@pytest.mark.parametrize("command", [("export",), ("consent-receipt", "lamp-shop", "--out")])
def test_no_folder_is_made_for_what_a_person_takes_along(
    person: Person, tmp_path: Path, command: tuple[str, ...]
) -> None:
    person.out("new", "Lamp Shop")
    stick = tmp_path / "stick"
    assert "is not there" in person.refused(*command, stick / "all.json")
    assert not stick.exists()


# ---- the desk ------------------------------------------------------------------------------------


def test_an_address_is_shown_as_a_qr_code(person: Person, tmp_path: Path) -> None:
    person.out("new", "Lamp Shop")
    assert "▄" in person.out("qr", "lamp-shop") or "█" in person.out("qr", "lamp-shop")
    person.out("qr", "lamp-shop", "--svg", tmp_path / "a.svg")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(person: Person, shell: str) -> None:
    assert "_SORTINGOFFICE_COMPLETE" in person.out("completion", shell)


def _offered(person: Person, *words: str) -> list[str]:
    """What a bash is told for the last of these words."""
    line = ["sortingoffice", "--config", str(person.config), *words]
    told = {"COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    answer = said_outside(env={**os.environ, **told, "_SORTINGOFFICE_COMPLETE": "bash_complete"})
    assert answer.err == ""
    return [each.removeprefix("plain,") for each in answer.out.split()]


def test_a_shell_completes_commands_relationships_and_cards(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("new", "Lamp Repair")
    person.out("card", "set", "shipping.city=Berlin")
    person.out("card", "view", "min=shipping.city")
    assert _offered(person, "resto") == ["restore", "restore-backup"]
    assert _offered(person, "show", "lamp") == ["lamp-shop", "lamp-repair"]
    assert _offered(person, "grant", "lamp-shop", "") == ["min", "shipping"]
    assert _offered(person, "admin", "account", "set", "--tr") == ["--trigger"]
    assert _offered(Person(person.folder / "nowhere"), "show", "la") == []


def test_the_manual_names_every_command_and_option_and_is_sound_roff(person: Person) -> None:
    page = person.out("man")
    for words, command in _commands(front, click.Context(front), ""):
        assert f".SS {_roff(words)} " in page, words
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden and param.help:
                assert _roff(param.opts[0]) in page, (words, param.opts)
    lines = page.splitlines()
    assert not [line for line in lines if line.startswith("'")]
    assert all(
        line.split()[0] in (".TH", ".SH", ".SS", ".TP", ".PP", ".B") for line in lines if line[:1] == "."
    )
    for name in ("SORTINGOFFICE_CONFIG", "NO_COLOR", "/etc/sortingoffice/config.toml"):
        assert name in page


def _roff(text: str) -> str:
    return text.replace("-", r"\-")


def _commands(command: click.Command, ctx: click.Context, words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its words."""
    group = command if isinstance(command, click.Group) else None
    if words and (group is None or group.invoke_without_command):
        yield words, command
    if group is not None:
        for name in group.list_commands(ctx):
            inner = group.get_command(ctx, name)
            assert inner is not None
            yield from _commands(inner, ctx, f"{words} {name}".strip())


def test_a_program_that_reads_our_output_gets_no_clipboard(person: Person) -> None:
    assert clipboard.offer("x") is False
    assert person.says("new", "Lamp Shop").err == ""


def test_the_clipboard_gets_the_address_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, copied = tmp_path / "xclip", tmp_path / "copied"
    program.write_text(f'#!/bin/sh\ncat > "{copied}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert clipboard.copy("lunar.otter4821@sort.example")
    assert copied.read_text() == "lunar.otter4821@sort.example"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert not clipboard.copy("x")
