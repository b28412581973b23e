"""New keys for old: nothing is lost half-way, and an old key's end is its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.cli.stage import MAILBOX, until
from sortingoffice.core.model import Account, Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows import accounts as account_flows
from sortingoffice.flows import cards, closing, rotation, sealed
from sortingoffice.flows import office as offices
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import Office, write_private
from sortingoffice.flows.sealed import Seal
from sortingoffice.mail import cipher
from sortingoffice.store import accounts, backup, chain, schema
from tests.desk import Desk, assigned, text, waits
from tests.office import Office as Running
from tests.office import written
from tests.person import Person


class Died(Exception):
    """The process ends here."""


def dying(after: int) -> Callable[[int], bytes]:
    """Randomness that ends with the process."""
    left = [after]

    def random(count: int) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise Died
        return os.urandom(count)

    return random


@pytest.fixture
def desk(desk: Desk) -> Desk:
    return furnished(desk)


@pytest.fixture
def either(either: Desk) -> Desk:
    return furnished(either)


def furnished(desk: Desk) -> Desk:
    desk.shipping()
    desk.grant("shipping")
    desk.send("#card shipping street city\n")
    assert desk.office.keys.card is not None
    write_private(folder(desk) / "office.key", desk.office.keys.card)
    return desk


def folder(desk: Desk) -> Path:
    return offices.key_folder(desk.office.config)


def today(desk: Desk) -> Office:
    """The office as a process that starts now opens it."""
    return replace(
        desk.office, keys=replace(desk.office.keys, card=(folder(desk) / "office.key").read_bytes())
    )


def fresh(desk: Desk) -> Account:
    found = desk.db.view(accounts.by_id, desk.account.id)
    assert found is not None
    return found


def shown(desk: Desk, office: Office) -> list[str]:
    """The street and the city, from the cards."""
    rows = desk.db.view(cards.show, office, fresh(desk), "shipping", reveal=True)
    return [row["value"] for row in rows if row["field"] in ("street", "city")]


def test_both_keys_open_everything_until_the_end_and_then_the_new_one_only(either: Desk) -> None:
    desk = either
    old = desk.office
    assert rotation.rotate_office(old, actor="test") == 1
    new = today(desk)
    assert new.keys.card != old.keys.card
    for office in (old, new):
        assert shown(desk, office) == ["Lindenallee 5", "Berlin"]
    with pytest.raises(OfficeError, match="--finish"):
        rotation.rotate_office(new, actor="test")
    # A process that still has the old key takes somebody in.
    late = desk.db.call(account_flows.add, old, "bert", admin=False, actor="test")
    with pytest.raises(OfficeError, match="restart this process"):
        vaults.open_for(new, late)
    kept = rotation.finish_office(new, actor="test", destroy=False)
    assert kept is not None
    assert kept.read_bytes() == old.keys.card
    assert kept.stat().st_mode & 0o777 == 0o600
    assert shown(desk, new) == ["Lindenallee 5", "Berlin"]
    assert vaults.open_for(new, desk.db.view(accounts.by_name, "bert") or late).data_keys
    with pytest.raises(OfficeError, match="not the one"):
        shown(desk, old)
    with pytest.raises(OfficeError, match="begins one"):
        rotation.finish_office(new, actor="test", destroy=False)
    assert rotation.rotate_office(new, actor="test") == 2, "and again"


@pytest.mark.parametrize("after", range(4))
def test_a_rotation_of_the_office_s_key_that_dies_goes_on(desk: Desk, after: int) -> None:
    for number in range(2):
        desk.db.call(account_flows.add, desk.office, f"more{number}", admin=False, actor="test")
    with pytest.raises(Died):
        rotation.rotate_office(replace(desk.office, random=dying(after)), actor="test")
    assert shown(desk, today(desk)) == ["Lindenallee 5", "Berlin"]
    rotation.rotate_office(desk.office, actor="test")
    new = today(desk)
    rotation.finish_office(new, actor="test", destroy=True)
    assert shown(desk, new) == ["Lindenallee 5", "Berlin"]
    assert sorted(each.name for each in folder(desk).glob("office*")) == ["office.key"]


def test_between_its_two_last_steps_it_goes_on_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(Died()))
        with pytest.raises(Died):
            rotation.rotate_office(desk.office, actor="test")
    assert shown(desk, today(desk)) == ["Lindenallee 5", "Berlin"]
    with pytest.raises(OfficeError, match="begins one"):
        rotation.finish_office(desk.office, actor="test", destroy=False)
    rotation.rotate_office(desk.office, actor="test")
    rotation.finish_office(today(desk), actor="test", destroy=False)
    assert shown(desk, today(desk)) == ["Lindenallee 5", "Berlin"]


def test_a_new_data_key_seals_every_value_and_no_vendor_is_asked_about_again(either: Desk) -> None:
    desk = either
    before = vaults.open_for(desk.office, fresh(desk))
    assert rotation.rotate_account(desk.office, fresh(desk), actor="test") == 5
    after = vaults.open_for(desk.office, fresh(desk))
    assert after.data_keys[0] == before.data_key
    assert len(after.data_keys) == 2
    assert shown(desk, desk.office) == ["Lindenallee 5", "Berlin"]
    rows = desk.db.view(lambda tx: tx.execute(schema.field_version.select()).all())
    assert {cipher.key_id(row.sealed) for row in rows} == {cipher.name_of(after.data_key)}
    desk.account = fresh(desk)
    desk.ungrant("shipping")
    assert text(desk.ask("#card shipping street city\n")) == "Street: Lindenallee 5\nCity: Berlin\n", "held"
    assert waits(desk.ask("#card shipping name\n"))
    assert rotation.rotate_account(desk.office, fresh(desk), actor="test") == 5, "once more"
    assert shown(desk, desk.office) == ["Lindenallee 5", "Berlin"]


def test_a_rotation_of_a_data_key_that_dies_goes_on_with_the_same_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    seen: list[int] = []

    def die(done: int) -> None:
        seen.append(done)
        raise Died

    with pytest.raises(Died):
        rotation.rotate_account(desk.office, fresh(desk), actor="test", watcher=die)
    assert seen == [2]
    desk.account = fresh(desk)
    assert shown(desk, desk.office) == ["Lindenallee 5", "Berlin"]
    desk.set("shipping.city=Hamburg")  # the office runs meanwhile
    assert rotation.rotate_account(desk.office, fresh(desk), actor="test") == 3
    assert shown(desk, desk.office) == ["Lindenallee 5", "Hamburg"]
    assert len(vaults.open_for(desk.office, fresh(desk)).data_keys) == 2


def test_a_sealed_card_stays_under_its_passphrase(desk: Desk) -> None:
    seal = Seal("correct horse battery")
    desk.db.call(
        sealed.set_fields, desk.office, desk.account, assigned(["secret.pin=4711"]), seal, actor="test"
    )
    rotation.rotate_account(desk.office, fresh(desk), actor="test")
    rotation.rotate_office(desk.office, actor="test")
    new = today(desk)
    rotation.finish_office(new, actor="test", destroy=True)
    [row] = desk.db.view(sealed.show, new, fresh(desk), "secret", seal)
    assert row["value"] == "4711"
    assert row["sensitivity"] == Sensitivity.SEALED


def test_the_ledger_and_its_chain_are_not_touched(desk: Desk) -> None:
    desk.db.call(chain.extend, 1000)
    rows = desk.db.view(lambda tx: tx.execute(schema.disclosure_item.select()).all())
    rotation.rotate_account(desk.office, fresh(desk), actor="test")
    rotation.rotate_office(desk.office, actor="test")
    rotation.finish_office(today(desk), actor="test", destroy=True)
    assert desk.db.view(lambda tx: tx.execute(schema.disclosure_item.select()).all()) == rows
    count, wrong = desk.db.view(chain.verify)
    assert (count > 0, wrong) == (True, "")
    keys = vaults.open_for(today(desk), fresh(desk))
    opened = [keys.open(keys.item(row.disclosure_id, row.card, row.field), row.sealed) for row in rows]
    assert opened == ["Lindenallee 5", "Berlin"]


def test_one_does_not_begin_in_the_midst_of_the_other(desk: Desk) -> None:
    rotation.rotate_office(desk.office, actor="test")
    with pytest.raises(OfficeError, match="end that first"):
        rotation.rotate_account(today(desk), fresh(desk), actor="test")
    rotation.finish_office(today(desk), actor="test", destroy=False)
    assert rotation.rotate_account(today(desk), fresh(desk), actor="test") == 5


async def test_the_office_goes_on_while_a_key_is_changed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 1)
    turning = asyncio.create_task(
        asyncio.to_thread(rotation.rotate_account, desk.office, fresh(desk), actor="test")
    )
    number = 0
    while not turning.done() or number < 5:
        number += 1
        values = assigned([f"shipping.city=Town {number}"])
        account = await desk.db.read(accounts.by_id, desk.account.id)
        assert account is not None
        await desk.db.write(cards.set_fields, desk.office, account, values, actor="test")
        assert (await asyncio.to_thread(shown, desk, desk.office))[1] == f"Town {number}"
    await turning
    assert shown(desk, desk.office) == ["Lindenallee 5", f"Town {number}"]


def test_shredding_holds_in_a_backup_once_the_key_of_its_time_is_destroyed(
    tmp_path: Path, desk: Desk
) -> None:
    assert desk.db.path is not None
    old = desk.office
    saved = tmp_path / "backup.db"
    backup.save(desk.db.path, saved)
    desk.db.call(account_flows.add, old, "bert", admin=True, actor="test")
    desk.db.call(closing.remove, old, fresh(desk), actor="test")
    rotation.rotate_office(old, actor="test")
    kept = rotation.finish_office(today(desk), actor="test", destroy=False)
    assert kept is not None
    backup.put_back(saved, desk.db.path)
    # The truth: whoever has the backup and the key of its time reads it.
    assert desk.db.call(rotation.adopt, today(desk)) == (1, ())
    assert shown(desk, today(desk)) == ["Lindenallee 5", "Berlin"]
    assert desk.db.call(rotation.adopt, today(desk)) == (0, ())
    assert rotation.rotate_account(today(desk), fresh(desk), actor="test") == 5
    # Without that key nobody does.
    backup.put_back(saved, desk.db.path)
    kept.unlink()
    assert desk.db.call(rotation.adopt, today(desk)) == (0, ("anna",))
    with pytest.raises(OfficeError, match="not the one"):
        shown(desk, today(desk))


# ---- at the command line ---------------------------------------------------------------------------


def test_keys_are_changed_at_the_command_line(person: Person, tmp_path: Path) -> None:
    person.out("card", "set", "home.city=Berlin")
    person.out("backup", tmp_path / "before")
    assert person.json("admin", "key", "rotate", "--account", "anna") == {
        "account": "anna",
        "values": 1,
        "ledger": 0,
    }
    begun = person.json("admin", "key", "rotate", "--office")
    assert begun == {"accounts": 1, "state": "begun", "kept": None}
    assert "--finish" in person.refused("admin", "key", "rotate", "--office")
    ended = person.json("admin", "key", "rotate", "--office", "--finish")
    assert ended["state"] == "finished"
    assert Path(ended["kept"]).is_file()
    assert person.json("card", "show", "home", "--reveal")[0]["value"] == "Berlin"
    answer = person.says("restore-backup", tmp_path / "before")
    assert "today's key opens them now" in answer.err
    assert person.json("card", "show", "home", "--reveal")[0]["value"] == "Berlin"
    Path(ended["kept"]).unlink()
    assert "No key here opens the cards of anna" in person.says("restore-backup", tmp_path / "before").err
    assert "not the one" in person.refused("card", "show", "home", "--reveal")


@pytest.mark.parametrize(
    "options",
    [
        ("--office", "--account", "anna"),
        ("--office", "--domain", "sort.example"),
        ("--finish",),
        ("--office", "--destroy"),
    ],
)
def test_options_of_a_rotation_that_make_no_sense_are_a_usage_error(
    person: Person, options: tuple[str, ...]
) -> None:
    assert person.says("admin", "key", "rotate", *options).status == 2


# ---- while it runs ---------------------------------------------------------------------------------


def test_the_running_office_sends_cards_before_during_and_after(office: Running) -> None:
    stage = office.stage
    stage.command("card", "set", "home.city=Berlin", "home.street=Lindenweg 4")
    shop = office.fresh()
    stage.command("grant", shop.slug, "home")

    def asked(subject: str, field: str) -> bytes:
        to = shop.contact()
        head = (f"From: {MAILBOX}", f"To: {to}")
        office.from_home(to, written(*head, subject=subject, body=f"#card home {field}\r\n"))
        return office.vendor(subject).body

    assert b"City: Berlin" in asked("before", "city")
    assert stage.json("admin", "key", "rotate", "--office")["state"] == "begun"
    assert b"Street: Lindenweg 4" in asked("during", "street")
    assert stage.daemon is not None
    stage.daemon.send_signal(signal.SIGHUP)
    until(lambda: "reloaded" in stage.log, "the reload")
    assert stage.json("admin", "key", "rotate", "--office", "--finish")["state"] == "finished"
    assert b"City: Berlin" in asked("after", "city")
