"""Real clients, unmodified, against a running office: Bitwarden's generator, pyaddy, a SimpleLogin client.

.ci/run fetches them; on a person's machine that has none, the tests are skipped by name.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Pages, running
from tests.database import skip_or_fail
from tests.person import Person

_HERE = Path(__file__).parent
_FETCHED = _HERE.parent / ".venv"


@pytest.fixture(scope="module")
def office(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("clients") / "office"
    shutil.copytree(furnished, folder)
    with running(Person(folder)) as made:
        yield made


@pytest.fixture(scope="module")
def token(office: Pages) -> str:
    return office.person.out("admin", "token", "new")


def _site(office: Pages, alias: str) -> str:
    return str(office.person.json("show", alias)["site"])


# ---- Bitwarden -----------------------------------------------------------------------------------


def _bitwarden(*asked: tuple[str, dict[str, str], str | None]) -> list[dict[str, str]]:
    """What its generator makes of each (integration, settings, website)."""
    package, node = _FETCHED / "bitwarden" / "package", shutil.which("node")
    if node is None or not package.is_dir():
        skip_or_fail("node and Bitwarden's client (npm pack @bitwarden/cli, unpacked in .venv/bitwarden)")
    done = subprocess.run(
        [str(node), str(_HERE / "clients" / "bitwarden.cjs"), str(package)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_bitwarden_makes_an_address_for_the_site_of_a_login(office: Pages, token: str) -> None:
    simplelogin = {"token": token, "baseUrl": office.base}
    addy = {**simplelogin, "domain": "sort.example"}
    asked: list[tuple[str, dict[str, str], str | None, str]] = [
        ("SimpleLogin", simplelogin, "shop.example", "shop.example"),
        ("SimpleLogin", simplelogin, "https://www.books.example/x?y=1", "books.example"),
        ("SimpleLogin", simplelogin, "https://port.example:8443/", "port.example"),
        ("SimpleLogin", {**simplelogin, "baseUrl": f"{office.base}/"}, "slash.example", "slash.example"),
        ("SimpleLogin", simplelogin, "androidapp://com.example.shop", ""),
        ("SimpleLogin", simplelogin, "http://192.168.1.1/login.html", ""),
        ("SimpleLogin", simplelogin, None, ""),
        ("AddyIo", addy, "https://lamps.example/a/b", "lamps.example"),
        ("AddyIo", {**addy, "baseUrl": f"{office.base}/"}, "https://desk.example:8443", "desk.example"),
        ("AddyIo", addy, None, ""),
    ]
    made = _bitwarden(*(each[:3] for each in asked))
    for (service, _, website, site), answer in zip(asked, made, strict=True):
        assert list(answer) == ["alias"], (service, website, answer)
        assert _site(office, answer["alias"]) == site, (service, website)
    nameless = office.person.json("show", made[6]["alias"])
    assert nameless["name"] == "New address", "not what the generator says of itself"


def test_bitwarden_shows_a_refusal_once(office: Pages) -> None:
    wrong = {"token": "x" * 48, "baseUrl": office.base, "domain": "sort.example"}
    simplelogin, addy = _bitwarden(("SimpleLogin", wrong, "a.example"), ("AddyIo", wrong, "a.example"))
    for told in (simplelogin["told"], addy["told"]):
        assert told.startswith("Invalid ")
        assert told.count("the token opens nothing here") == 1


# ---- published clients in Python -----------------------------------------------------------------


class _Client:
    """A client that waits for calls."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, *given: Any, **named: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([given, named]) + "\n")
        self._process.stdin.flush()
        outcome = json.loads(self._process.stdout.readline())
        if "error" in outcome:
            raise AssertionError(outcome["error"])
        return outcome["is"]


@contextmanager
def _client(which: str, office: Pages, token: str, folder: Path) -> Iterator[_Client]:
    fetched = _FETCHED / "clients"
    if not (fetched / "pyaddy").is_dir():
        skip_or_fail("pyaddy and proton-workflow-connector (pip install --no-deps --target .venv/clients)")
    shutil.copytree(fetched, folder / "clients")  # pyaddy keeps its key beside its code
    command = [sys.executable, str(_HERE / "clients" / "spoken.py"), which, office.base, token]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(folder / "clients"), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
    ) as process:
        yield _Client(process)


def test_a_simplelogin_client_makes_lists_switches_writes_and_deletes(
    office: Pages, token: str, tmp_path: Path
) -> None:
    with _client("simplelogin", office, token, tmp_path) as call:
        assert call("user_info")["email"] == "anna@home.example"
        made = call("create_random_alias", hostname="proton.example", mode="uuid", note="hello")
        assert _site(office, made["alias"]) == "proton.example"
        suffix = call("get_alias_options", hostname="www.mail.example")["suffixes"][0]["signed_suffix"]
        mailbox = call("list_mailboxes")["mailboxes"][0]["id"]
        chosen = call(
            "create_custom_alias",
            alias_prefix="mail",
            signed_suffix=suffix,
            mailbox_ids=[mailbox],
            hostname="www.mail.example",
            name="Anna L.",
        )
        assert _site(office, chosen["alias"]) == "mail.example"
        assert call("poll_aliases")["cursor_id"] == chosen["id"]
        assert call("toggle_alias", made["id"]) == {"enabled": False}
        off = call("list_aliases", disabled=True)["aliases"]
        assert [each["id"] for each in off] == [made["id"]]
        assert [each["id"] for each in call("list_aliases", query="proton")["aliases"]] == [made["id"]]
        call("update_alias", made["id"], note="for proton", pinned=True, disable_pgp=True)
        kept = call("get_alias", made["id"])
        assert (kept["note"], kept["pinned"]) == ("for proton", True)
        contact = call("create_alias_contact", chosen["id"], contact="Bob <bob@mail.example>")
        assert contact["reverse_alias"].startswith('"Bob" <bob.mail.')
        assert len(call("list_alias_contacts", chosen["id"])["contacts"]) == 1
        call("delete_alias", made["id"])
        assert made["id"] not in [each["id"] for each in call("list_aliases")["aliases"]]
        with pytest.raises(AssertionError, match="SimpleLogin API error 404: there is no such address"):
            call("get_alias", 10**9)


def test_an_addy_client_makes_lists_switches_and_deletes(office: Pages, token: str, tmp_path: Path) -> None:
    with _client("addy", office, token, tmp_path) as call:
        assert call("domain", "all-options")["data"] == ["sort.example"]
        wish = ("--domain", "sort.example", "--description", "pyaddy.example", "--format", "random_words")
        one, two = (call("alias", "new", *wish)["data"] for _ in range(2))
        assert _site(office, one["email"]) == "pyaddy.example"
        assert one["id"] in call("alias", "get-all", "--only-ids")
        assert (
            call("alias", "update", one["id"], "--description", "a desk")["data"]["description"] == "a desk"
        )
        assert "Deactivated" in call("alias", "deactivate", one["id"])
        assert call("alias", "get", one["id"])["data"]["active"] is False
        assert call("alias", "activate", one["id"])["data"]["active"] is True
        assert "Deleted" in call("alias", "delete", one["id"])
        assert call("alias", "restore", one["id"])["data"]["deleted_at"] is None
        both = f"{one['id']},{two['id']}"
        for command, done in (
            ("deactivate", "2 aliases deactivated successfully"),
            ("activate", "2 aliases activated successfully"),
            ("delete", "2 aliases deleted successfully"),
            ("restore", "2 aliases restored successfully"),
        ):
            assert call("bulk", command, both)["message"] == done
        assert call("api", "account-details")["data"]["username"] == "anna"
