"""Everything that a person owns, out of one office and into another: nothing is lost on the way."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import stat
import zipfile
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice import config
from sortingoffice.core import evidence, exported, likeness, model, names, notification, writers
from sortingoffice.core.exported import KINDS, LEFT_OUT
from sortingoffice.core.model import DeliveryState, Direction
from sortingoffice.errors import OfficeError
from sortingoffice.flows import accounts as accounts_flow
from sortingoffice.flows import disclose, moving, restoring, sealed, vault
from sortingoffice.flows.office import Office
from sortingoffice.flows.sealed import Seal
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, belongings, relationships, schema
from sortingoffice.store.database import Database, Transaction
from tests.desk import assigned, open_desk
from tests.person import Person, said

_SEAL = Seal("four quiet grey owls")
_KINDS = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def full(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """An office in which there is something of every kind; the tests only look."""
    import shutil

    folder = tmp_path_factory.mktemp("full") / "person"
    shutil.copytree(furnished, folder)
    person = Person(folder)
    person.out("new", "Lamp Shop", "--site", "lampshop.example", "--note", "=2+3")
    person.out("new", "Kaffeerösterei Müller", "--kind", "person", "--max", "7")
    person.out("new", "Books")
    person.out("rotate", "lamp-shop")
    person.out("revoke", "books")
    person.out("pause", "kaffeerosterei-muller")
    person.out("pocket", "2")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.out("admin", "account", "set", "--trigger", "karte")
    person.out("admin", "mailbox", "add", "anna@work.example", "--identity")
    person.out(
        "card", "set", "shipping.city=Berlin", "shipping.street=Lindenallee 5", "phone.mobile=+493012345"
    )
    person.out("card", "set", "shipping.city=Hamburg", "--from", "2036-12-01")
    person.out("card", "set", "bank.iban=DE89370400440532013000", "--sensitivity", "sensitive")
    person.out("card", "set", "old.thing=x", "--type", "text")
    person.out("card", "remove", "old")
    person.out("card", "view", "min=shipping.city,phone.mobile")
    person.out("grant", "lamp-shop", "shipping", "--fields", "city", "--until", "2036-01-01", "--uses", "3")
    person.out("disclosed", "lamp-shop", "phone", "--via", "web-form", "--purpose", "-1+2")
    with person.office() as office:
        office.db.call(_filled, office)
    return person


def _filled(tx: Transaction, office: Office) -> None:
    """What only mail brings about."""
    account = accounts.the_only(tx)
    sealed.set_fields(tx, office, account, assigned(["id.number=C01X00T47"]), _SEAL, actor="test")
    of = relationships.find(tx, account.id, "lamp-shop")
    now = office.clock()
    planted = Message.parse(b"Subject: x\r\n\r\n#karte shipping street\r\n")
    disclose.remember_inbound(tx, office, of, planted, now)
    contact = belongings.of(tx, model.Contact, account.id)[0]
    add = belongings.add
    add(tx, model.Reference(0, of.id, "<a@home.example>", "<b@lampshop.example>", now))
    add(tx, writers.Writer(0, of.id, "vendor", "lampshop.example", "", 3, now, now, "tok", False, None))
    add(tx, names.PrivateName(0, account.id, names.Mark.NAME, "Xaver Quux"))
    kept: dict[str, Any] = {each.name: "" for each in fields(evidence.Evidence)}
    kept |= {"id": 0, "account_id": account.id, "relationship_id": of.id, "at": now, "records": "{}"}
    add(tx, evidence.Evidence(**(kept | {"guesses": 1, "live": 2, "size": 3, "raw": b"\x00\xff octets"})))
    message = add(tx, _message(account.id, of.id, "moved1", now))
    for state in (DeliveryState.DELIVERED, DeliveryState.RETURNED):
        add(tx, _delivery(message, contact.id, state, now))
    version = belongings.of(tx, model.FieldVersion, account.id)[0]
    line = model.Disclosure(
        0, account.id, of.id, contact.id, None, message.id, now, "text", model.Via.DIRECTIVE, ""
    )
    line = add(tx, line)
    keys = vault.open_for(office, account)
    closed = keys.seal(keys.item(line.id, "shipping", "city"), "Berlin")
    add(tx, model.DisclosureItem(0, line.id, "shipping", "city", version.id, closed, b"m" * 16))
    told = notification.Notification(0, account.id, of.id, message.id, "shipping", now, now, None, None)
    add(tx, told)


def _message(account_id: int, relationship_id: int, token: str, now: datetime) -> model.SpooledMessage:
    return model.SpooledMessage(
        id=0,
        token=token,
        direction=Direction.OUTWARD,
        account_id=account_id,
        relationship_id=relationship_id,
        sender="anna@home.example",
        origin="",
        results="",
        fingerprint=None,
        rule="sent_as_alias",
        subject="Lamp",
        bulk=False,
        authenticated=True,
        utf8=False,
        size=3,
        accepted=now,
        raw=b"",
    )


def _delivery(
    message: model.SpooledMessage, contact_id: int, state: DeliveryState, now: datetime
) -> model.Delivery:
    return model.Delivery(
        id=0,
        message_id=message.id,
        account_id=message.account_id,
        relationship_id=message.relationship_id,
        contact_id=contact_id,
        recipient="orders@lampshop.example",
        destination="lampshop.example",
        return_domain="sort.example",
        state=state,
        reason="",
        attempts=1,
        due=now,
        expires=now,
        delay_told=False,
        lease_node="",
        lease_until=None,
        last_reply="250 ok",
        created=now,
        ended=now,
    )


def _another(folder: Path, domain: str = "sort.example") -> Person:
    """A fresh office with keys of its own."""
    answer = said(
        "--config", folder / config.FILE_NAME, "init", "--domain", domain, "--mailbox", "anna@home.example"
    )
    assert answer.status == 0, answer
    return Person(folder)


@pytest.fixture(scope="module")
def file(full: Person, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "everything.json"
    full.out("export", path)
    return path


def _document(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def _exported(person: Person, path: Path) -> dict[str, Any]:
    path.unlink(missing_ok=True)
    person.out("export", path)
    return _document(path)


def _compared(document: dict[str, Any]) -> dict[str, Any]:
    """Without what is the office's own: when it was written, and what it did to itself."""
    events = [each for each in document["events"] if each["actor"] != "init" and each["what"] != "imported"]
    return {**document, "exported": "", "events": events}


def test_every_kind_of_row_of_an_account_is_exported_or_left_out_with_a_reason() -> None:
    office_s = {"Domain", "DkimKey", "Reject", "Guesses", "Link", "Kept"}
    for noun in schema.TABLES:
        if noun is model.Account or noun.__name__ in office_s:
            continue
        assert (noun in {kind.noun for kind in KINDS}) != (noun in LEFT_OUT), noun


def test_every_column_that_points_at_another_row_does_so_in_the_export() -> None:
    for kind in KINDS:
        for key in schema.TABLES[kind.noun].foreign_keys:
            name = key.parent.name
            if name == "account_id":
                continue
            target = next(each.name for each in KINDS if schema.TABLES[each.noun] is key.column.table)
            assert exported.REFERENCES[name] == target


def test_the_full_office_has_something_of_every_kind(file: Path) -> None:
    document = _document(file)
    assert [name for name in _KINDS if not document[name]] == []


def test_out_and_in_and_out_again_is_the_same(file: Path, tmp_path: Path) -> None:
    other = _another(tmp_path / "other")
    before = _document(file)
    other.out("import", file, "--yes")
    after = _exported(other, tmp_path / "again.json")
    assert _compared(after) == _compared(before)


def test_what_a_person_sees_is_the_same(full: Person, file: Path, tmp_path: Path) -> None:
    other = _another(tmp_path / "other")
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
    other = _another(tmp_path / "other")
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
        other = _another(tmp_path / expected)
        other.out("import", file, "--yes")
        with other.office() as office:
            account = office.db.view(accounts.the_only)
            (row,) = office.db.view(sealed.show, office, account, "id", _SEAL)
            assert row["value"] == expected
            keys, version = vault.open_for(office, account), office.db.view(sealed.any_version, account)
            assert version is not None
            like = sealed.likeness(keys, keys.version(version.field_id, version.number), version.sealed)
            assert like is not None, "the leak guard knows it here, too"
            assert like.resembles(likeness.of(keys.likeness_key(), ["C01X00T47"]))
            with pytest.raises(OfficeError, match="not the passphrase"):
                office.db.view(sealed.show, office, account, "id", Seal("four quiet grey bats"))
            new = assigned(["id.number=C02X00T48"])
            office.db.call(sealed.set_fields, office, account, new, _SEAL, actor="test")
        file = tmp_path / f"after-{expected}.json"
        other.out("export", file)


def test_a_dry_run_shows_the_plan_and_makes_nothing(file: Path, tmp_path: Path) -> None:
    other = _another(tmp_path / "other")
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
    other = _another(tmp_path / "other")
    other.out("import", file, "--yes")
    other.out("card", "set", "shipping.city=Bonn")
    before = _exported(other, tmp_path / "before.json")
    again = other.json("import", file, "--yes")
    assert {row["what"] for row in again} == {"there"}
    assert {**_exported(other, tmp_path / "after.json"), "exported": ""} == {**before, "exported": ""}


def test_into_the_office_it_came_from_nothing_is_made(full: Person, file: Path, tmp_path: Path) -> None:
    assert {row["what"] for row in full.json("import", file, "--yes")} == {"there"}
    assert _compared(_exported(full, tmp_path / "again.json")) == _compared(_document(file))


def test_what_was_lost_meanwhile_comes_back(file: Path, tmp_path: Path) -> None:
    other = _another(tmp_path / "other")
    other.out("import", file, "--yes")
    other.out("card", "remove", "phone")
    rows = other.json("import", file, "--yes")
    assert next((row["kind"], row["name"]) for row in rows if row["what"] == "make") == ("card", "phone")
    assert other.json("card", "show", "phone", "--reveal")[0]["value"] == "+493012345"


def test_on_another_domain_addresses_are_fresh_and_the_old_ones_known(file: Path, tmp_path: Path) -> None:
    other = _another(tmp_path / "other", "mail.example")
    old = {row["slug"]: row for row in _document(file)["relationships"]}
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
    other = _another(tmp_path / "other")
    alias = next(row["address"] for row in _document(file)["aliases"] if row["relationship"] == 3)
    other.out("admin", "account", "add", "eve", "--mailbox", "eve@home.example")
    other.out("new", "Mine", "--account", "eve", "--local", alias.partition("@")[0])
    rows = other.json("import", file, "--yes", "--account", "anna")
    (conflict,) = [row for row in rows if row["what"] == "conflict"]
    assert (conflict["name"], conflict["why"]) == ("books", f"{alias} is taken here")
    assert other.json("show", alias, "--account", "eve")["name"] == "Mine"
    assert len(other.json("list", "--account", "anna")) == 4


def test_a_file_can_not_take_the_office_s_own_names(file: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.json"
    document = _document(file)
    document["aliases"][0]["address"] = "postmaster@sort.example"
    changed.write_text(json.dumps(document))
    other = _another(tmp_path / "other")
    (conflict,) = [row for row in other.json("import", changed, "--yes") if row["what"] == "conflict"]
    assert conflict["why"] == "postmaster@sort.example is a name of the office's own"


def test_an_account_with_cards_of_its_own_is_not_mixed_up(file: Path, tmp_path: Path) -> None:
    other = _another(tmp_path / "other")
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


# ---- under a passphrase, and as CSV --------------------------------------------------------------


def test_under_a_passphrase_nothing_can_be_read_and_all_comes_back(full: Person, tmp_path: Path) -> None:
    phrase, locked = tmp_path / "phrase", tmp_path / "locked.json"
    phrase.write_text("correct horse battery\n")
    full.out("export", locked, "--passphrase-file", phrase)
    assert stat.S_IMODE(locked.stat().st_mode) == 0o600
    assert "Berlin" not in locked.read_text()
    assert "lampshop" not in locked.read_text()
    other = _another(tmp_path / "other")
    assert "at a terminal" in other.refused("import", locked, "--yes")
    wrong = tmp_path / "wrong"
    wrong.write_text("correct horse batteries\n")
    assert "not the passphrase" in other.refused("import", locked, "--yes", "--passphrase-file", wrong)
    other.out("import", locked, "--yes", "--passphrase-file", phrase)
    assert other.json("card", "show", "phone", "--reveal")[0]["value"] == "+493012345"
    assert "longer than any" in other.refused("import", locked, "--yes", "--passphrase-file", "/dev/zero")


@pytest.mark.parametrize("held", ["short\n", "", "\nthe passphrase, a line too low\n"])
def test_where_a_passphrase_was_wanted_no_open_export_is_written(
    full: Person, tmp_path: Path, held: str
) -> None:
    phrase, file = tmp_path / "phrase", tmp_path / "b.json"
    phrase.write_text(held)
    assert "at least 8" in full.refused("export", file, "--passphrase-file", phrase)
    assert not file.exists()


def test_an_export_warns_of_what_it_holds(full: Person, tmp_path: Path) -> None:
    answer = full.says("export", tmp_path / "a.json")
    assert "card values stand in it" in answer.err
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o600


def test_as_csv_there_is_a_table_for_each_list_and_no_cell_is_a_formula(
    full: Person, file: Path, tmp_path: Path
) -> None:
    full.out("export", tmp_path / "a.zip")
    document = _document(file)
    with zipfile.ZipFile(tmp_path / "a.zip") as folder:
        assert {name.removesuffix(".csv") for name in folder.namelist()} == set(_KINDS)
        for name in _KINDS:
            text = folder.read(f"{name}.csv").decode()
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            assert len(rows) == len(document[name])
            for row, told in zip(rows, document[name], strict=True):
                assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())
                for key, value in told.items():
                    assert row[key].removeprefix("'") == ("" if value is None else str(value)), (name, key)


@given(st.text() | st.sampled_from(["=1+1", "'=1", "-2", "''", "@x", "\t=1"]))
def test_a_cell_is_never_a_formula_and_can_be_read_back(text: str) -> None:
    cell = moving.cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == text


# ---- a file that somebody changed ----------------------------------------------------------------


def _broken(file: Path, change: Any) -> bytes:
    document = _document(file)
    change(document)
    return json.dumps(document).encode()


def _set(name: str, column: str, value: Any, at: int = 0) -> Any:
    return lambda document: document[name][at].update({column: value})


_CHANGES = {
    "another version": lambda d: d.update(sortingoffice=3),
    "no key": lambda d: d.pop("key"),
    "a short key": lambda d: d.update(key=base64.b64encode(b"x").decode()),
    "a list that is none": lambda d: d.update(cards={}),
    "a row that is none": lambda d: d["cards"].append(3),
    "a column too many": _set("cards", "evil", 1),
    "a column too few": lambda d: d["cards"][0].pop("kind"),
    "a time without a zone": _set("cards", "created", "2026-01-01T00:00:00"),
    "an unknown word": _set("relationships", "state", "wonderful"),
    "a number that points nowhere": _set("fields", "card", 99),
    "a boolean for a number": _set("relationships", "received", True),
    "a huge number": _set("relationships", "received", 1 << 80),
    "a control character": _set("relationships", "note", "\x1b[2J"),
    "half a character": _set("relationships", "note", "\ud800"),
    "a line break in a name": _set("relationships", "name", "Lamp\r\nBcc: x"),
    "a slug with blanks": _set("relationships", "slug", "lamp shop"),
    "an address that is none": _set("aliases", "address", "no address"),
    "a contact that is none": _set("contacts", "written", "x y"),
    "a card's name": _set("cards", "name", "Two Words"),
    "a value of another type": lambda d: next(
        each for each in d["versions"] if each.get("value", "").startswith("+49")
    ).update(value="not a phone"),
    "a value with a line break": _set("versions", "value", "Berlin\r\nBcc: x"),
    "a sealed value that is none": lambda d: next(each for each in d["versions"] if "closed" in each).update(
        closed="####"
    ),
    "a sealed value from nowhere": lambda d: next(each for each in d["versions"] if "closed" in each).update(
        closed=base64.b64encode(b"x" * 80).decode()
    ),
    "members that are none": _set("views", "members", "{"),
    "an account that is none": lambda d: d.update(account=[]),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Nothing is ever made in it."""
    return _another(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("change", _CHANGES)
def test_a_file_that_was_changed_is_refused_with_a_sentence_and_nothing_is_made(
    empty: Person, file: Path, tmp_path: Path, change: str
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes(_broken(file, _CHANGES[change]))
    empty.refused("import", broken, "--yes")
    assert empty.json("list") == []
    assert empty.json("card", "list") == []


@given(st.data())
def test_whatever_a_row_holds_it_is_read_or_named_unreadable(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    value = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers(), max_size=2)
    names = [each.name.removesuffix("_id") for each in fields(kind.noun)]
    row = data.draw(st.dictionaries(st.sampled_from(names), value) | value)
    with contextlib.suppress(exported.Unreadable):
        exported.noun(kind, row, "here", lambda _name, number: number)


def test_mail_that_was_on_its_way_counts_as_arrived_and_held_mail_as_not_sent(tmp_path: Path) -> None:
    first = _another(tmp_path / "first")
    first.out("new", "Lamp Shop")
    first.out("contact", "lamp-shop", "orders@lampshop.example")
    first.out("card", "set", "shipping.city=Berlin")
    with first.office() as office:
        for state in (DeliveryState.QUEUED, DeliveryState.HELD):
            office.db.call(_waiting, office, state)
    assert first.says("export", tmp_path / "a.json").status == 0
    second = _another(tmp_path / "second")
    second.out("import", tmp_path / "a.json", "--yes")
    assert [row["state"] for row in second.json("disclosures")] == ["delivered", "dropped"]
    assert second.json("queue", "list") == []


def _waiting(tx: Transaction, office: Office, state: DeliveryState) -> None:
    account = accounts.the_only(tx)
    of = relationships.find(tx, account.id, "lamp-shop")
    now = office.clock() - timedelta(minutes=1)
    contact = belongings.of(tx, model.Contact, account.id)[0]
    message = belongings.add(tx, _message(account.id, of.id, f"waits-{state}", now))
    belongings.add(tx, replace(_delivery(message, contact.id, state, now), ended=None))
    line = belongings.add(
        tx,
        model.Disclosure(
            0, account.id, of.id, contact.id, None, message.id, now, "text", model.Via.DIRECTIVE, ""
        ),
    )
    keys = vault.open_for(office, account)
    closed = keys.seal(keys.item(line.id, "shipping", "city"), "Berlin")
    belongings.add(tx, model.DisclosureItem(0, line.id, "shipping", "city", None, closed, b"m" * 16))


def test_the_document_is_documented_list_by_list() -> None:
    text = (Path(__file__).parents[1] / "docs" / "export.md").read_text()
    told = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert told == {*_KINDS, "sortingoffice", "exported", "account", "key"}
    assert f"version of this shape: {exported.VERSION}" in text


def _wrapped_key(tx: Transaction, name: str) -> bytes | None:
    found = accounts.by_name(tx, name)
    assert found is not None
    return found.wrapped_key
