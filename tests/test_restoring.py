"""Everything that a person owns, out of one office and into another: nothing is lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.core import likeness, model
from sortingoffice.core.model import DeliveryState
from sortingoffice.errors import OfficeError
from sortingoffice.flows import accounts as accounts_flow
from sortingoffice.flows import moving, restoring, sealed, vault
from sortingoffice.flows.office import Office
from sortingoffice.flows.sealed import Seal
from sortingoffice.store import accounts, belongings, relationships
from sortingoffice.store.database import Database, Transaction
from tests.belonging import SEAL, another, delivery, letter, parsed
from tests.desk import assigned, open_desk
from tests.person import Person


def _exported(person: Person, path: Path) -> dict[str, Any]:
    path.unlink(missing_ok=True)
    person.out("export", path)
    return parsed(path)


def _compared(document: dict[str, Any]) -> dict[str, Any]:
    """Without what is the office's own: when it was written, and what it did to itself."""
    events = [each for each in document["events"] if each["actor"] != "init" and each["what"] != "imported"]
    return {**document, "exported": "", "events": events}


def test_out_and_in_and_out_again_is_the_same(file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other")
    before = parsed(file)
    other.out("import", file, "--yes")
    after = _exported(other, tmp_path / "again.json")
    assert _compared(after) == _compared(before)


def test_what_a_person_sees_is_the_same(full: Person, file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other")
    other.out("import", file, "--yes")
    for command in (
        ("list",),
        ("show", "lamp-shop"),
        ("card", "list"),
        ("card", "show", "shipping", "--reveal"),
        ("who-has", "phone"),
        ("disclosures",),
    ):
        assert other.json(*command) == full.json(*command), command
    assert other.json("log", "verify")["holds"]


def test_what_a_vendor_holds_and_has_planted_is_recognised_under_other_keys(
    file: Path, tmp_path: Path
) -> None:
    other = another(tmp_path / "other")
    other.out("import", file, "--yes")
    to = other.json("show", "lamp-shop")["contacts"][0]["reverse_alias"]
    mail = tmp_path / "mail"

    def told(text: str) -> dict[str, Any]:
        mail.write_text(text)
        found = other.json("explain", "--from", "anna@home.example", "--to", to, "--reply", mail)
        assert isinstance(found, dict)
        return found

    assert told("#karte shipping street\n")["rule"] == "not_the_vendors_line"
    phone = told("#karte phone\n")
    assert phone["decision"] == "accept", phone


def test_a_sealed_card_stays_sealed_and_opens_with_its_passphrase_only(file: Path, tmp_path: Path) -> None:
    assert "C01X00T47" not in file.read_text()
    for expected in ("C01X00T47", "C02X00T48"):  # what was moved is moved again
        other = another(tmp_path / expected)
        other.out("import", file, "--yes")
        with other.office() as office:
            account = office.db.view(accounts.the_only)
            (row,) = office.db.view(sealed.show, office, account, "id", SEAL)
            assert row["value"] == expected
            keys, version = vault.open_for(office, account), office.db.view(sealed.any_version, account)
            assert version is not None
            like = sealed.likeness(keys, keys.version(version.field_id, version.number), version.sealed)
            assert like is not None, "the leak guard knows it here, too"
            assert like.resembles(likeness.of(keys.likeness_key(), ["C01X00T47"]))
            with pytest.raises(OfficeError, match="not the passphrase"):
                office.db.view(sealed.show, office, account, "id", Seal("four quiet grey bats"))
            new = assigned(["id.number=C02X00T48"])
            office.db.call(sealed.set_fields, office, account, new, SEAL, actor="test")
        file = tmp_path / f"after-{expected}.json"
        other.out("export", file)


def test_a_dry_run_shows_the_plan_and_makes_nothing(file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other")
    before = _exported(other, tmp_path / "before.json")
    planned = other.json("import", file, "--dry-run")
    assert {"what": "make", "kind": "relationship", "name": "books"}.items() <= next(
        row.items() for row in planned if row["name"] == "books"
    )
    assert {row["what"] for row in planned} <= {"make", "there"}
    assert {**_exported(other, tmp_path / "after.json"), "exported": ""} == {**before, "exported": ""}
    assert "--dry-run" in other.refused("import", file)
    assert other.json("import", file, "--yes") == planned


def test_a_second_import_changes_nothing(file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other")
    other.out("import", file, "--yes")
    other.out("card", "set", "shipping.city=Bonn")
    before = _exported(other, tmp_path / "before.json")
    again = other.json("import", file, "--yes")
    assert {row["what"] for row in again} == {"there"}
    assert {**_exported(other, tmp_path / "after.json"), "exported": ""} == {**before, "exported": ""}


def test_into_the_office_it_came_from_nothing_is_made(full: Person, file: Path, tmp_path: Path) -> None:
    assert {row["what"] for row in full.json("import", file, "--yes")} == {"there"}
    assert _compared(_exported(full, tmp_path / "again.json")) == _compared(parsed(file))


def test_what_was_lost_meanwhile_comes_back(file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other")
    other.out("import", file, "--yes")
    other.out("card", "remove", "phone")
    rows = other.json("import", file, "--yes")
    assert next((row["kind"], row["name"]) for row in rows if row["what"] == "make") == ("card", "phone")
    assert other.json("card", "show", "phone", "--reveal")[0]["value"] == "+493012345"


def test_on_another_domain_addresses_are_fresh_and_the_old_ones_known(file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other", "mail.example")
    old = {row["slug"]: row for row in parsed(file)["relationships"]}
    rows = other.json("import", file, "--yes")
    made = {row["name"]: row for row in rows if row["kind"] == "relationship"}
    assert set(made) == set(old)
    for row in made.values():
        assert row["address"].endswith("@mail.example")
        assert "sort.example, whose domain is not hosted here" in row["why"]
    shop = other.json("show", "lamp-shop")
    assert shop["alias"] == made["lamp-shop"]["address"]
    assert len(shop["older_aliases"]) == 2
    assert shop["contacts"][0]["reverse_alias"].endswith("@mail.example")
    assert {row["what"] for row in other.json("import", file, "--yes")} == {"there"}


def test_what_somebody_else_has_here_is_a_conflict_and_stays_theirs(file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other")
    alias = next(row["address"] for row in parsed(file)["aliases"] if row["relationship"] == 3)
    other.out("admin", "account", "add", "eve", "--mailbox", "eve@home.example")
    other.out("new", "Mine", "--account", "eve", "--local", alias.partition("@")[0])
    rows = other.json("import", file, "--yes", "--account", "anna")
    (conflict,) = [row for row in rows if row["what"] == "conflict"]
    assert (conflict["name"], conflict["why"]) == ("books", f"{alias} is taken here")
    assert other.json("show", alias, "--account", "eve")["name"] == "Mine"
    assert len(other.json("list", "--account", "anna")) == 4


def test_a_file_can_not_take_the_office_s_own_names(file: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.json"
    document = parsed(file)
    document["aliases"][0]["address"] = "postmaster@sort.example"
    changed.write_text(json.dumps(document))
    other = another(tmp_path / "other")
    (conflict,) = [row for row in other.json("import", changed, "--yes") if row["what"] == "conflict"]
    assert conflict["why"] == "postmaster@sort.example is a name of the office's own"


def test_an_account_with_cards_of_its_own_is_not_mixed_up(file: Path, tmp_path: Path) -> None:
    other = another(tmp_path / "other")
    other.out("card", "set", "name.full=Eve")
    assert "import into a new account" in other.refused("import", file, "--yes")
    assert other.json("list") == []


def test_on_either_database_another_account_gets_all_of_it(db: Database, tmp_path: Path) -> None:
    desk = open_desk(db, tmp_path)
    desk.shipping()
    desk.grant("shipping")
    desk.send("#card shipping\n")
    desk.receive("#card shipping city\n")
    document = db.view(moving.everything, desk.office, desk.account)
    text = json.dumps(document).replace("@sort.example", "@old.example")
    add = accounts_flow.add_with_mailbox
    eve = db.call(add, desk.office, "eve", "eve@home.example", admin=False, actor="test")
    told = db.call(restoring.carry_out, desk.office, eve, json.loads(text), actor="test")
    assert {row["what"] for row in told} == {"make"}
    eve = replace(eve, wrapped_key=db.view(_wrapped_key, "eve"))
    again = db.view(moving.everything, desk.office, eve)
    for name in ("cards", "fields", "versions", "grants", "disclosures", "items", "planted", "deliveries"):
        assert again[name] == document[name], name
        assert document[name], name


def test_mail_that_was_on_its_way_counts_as_arrived_and_held_mail_as_not_sent(tmp_path: Path) -> None:
    first = another(tmp_path / "first")
    first.out("new", "Lamp Shop")
    first.out("contact", "lamp-shop", "orders@lampshop.example")
    first.out("card", "set", "shipping.city=Berlin")
    with first.office() as office:
        for state in (DeliveryState.QUEUED, DeliveryState.HELD):
            office.db.call(_waiting, office, state)
    assert first.says("export", tmp_path / "a.json").status == 0
    second = another(tmp_path / "second")
    second.out("import", tmp_path / "a.json", "--yes")
    assert [row["state"] for row in second.json("disclosures")] == ["delivered", "dropped"]
    assert second.json("queue", "list") == []


def _waiting(tx: Transaction, office: Office, state: DeliveryState) -> None:
    account = accounts.the_only(tx)
    of = relationships.find(tx, account.id, "lamp-shop")
    now = office.clock() - timedelta(minutes=1)
    contact = belongings.of(tx, model.Contact, account.id)[0]
    message = belongings.add(tx, letter(account.id, of.id, f"waits-{state}", now))
    belongings.add(tx, replace(delivery(message, contact.id, state, now), ended=None))
    line = belongings.add(
        tx,
        model.Disclosure(
            0, account.id, of.id, contact.id, None, message.id, now, "text", model.Via.DIRECTIVE, ""
        ),
    )
    keys = vault.open_for(office, account)
    closed = keys.seal(keys.item(line.id, "shipping", "city"), "Berlin")
    belongings.add(tx, model.DisclosureItem(0, line.id, "shipping", "city", None, closed, b"m" * 16))


def _wrapped_key(tx: Transaction, name: str) -> bytes | None:
    found = accounts.by_name(tx, name)
    assert found is not None
    return found.wrapped_key
