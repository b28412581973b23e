"""Sealed cards: only the person's passphrase opens them, and no mail can carry them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows import cards, sealed
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.sealed import Seal
from sortingoffice.mail import cipher
from sortingoffice.store import schema
from tests.desk import Desk, assigned, refusal

SEAL = Seal("correct horse battery")


def seal(desk: Desk, *assignments: str, by: Seal = SEAL) -> None:
    desk.db.call(sealed.set_fields, desk.office, desk.account, assigned(assignments), by, actor="test")


def revealed(desk: Desk, name: str, by: Seal | None = SEAL) -> dict[str, object]:
    rows = desk.db.view(sealed.show, desk.office, desk.account, name, by)
    return {row["field"]: row["value"] for row in rows}


def test_only_the_passphrase_opens_it(desk: Desk) -> None:
    seal(desk, "id.number=C01X00T47")
    assert revealed(desk, "id") == {"number": "C01X00T47"}
    assert revealed(desk, "id", None) == {"number": None}
    with pytest.raises(OfficeError, match="not the passphrase"):
        revealed(desk, "id", Seal("wrong horse battery"))
    keys = vaults.open_for(desk.office, desk.account)
    [row] = desk.db.view(lambda tx: tx.execute(sa.select(schema.field_version)).all())
    opened = cipher.open_(keys.data_key, keys.version(row.field_id, row.number), row.sealed)
    assert b"C01X00T47" not in opened, "the office's key alone opens nothing"


def test_one_passphrase_for_all_sealed_cards(desk: Desk) -> None:
    seal(desk, "id.number=C01X00T47")
    with pytest.raises(OfficeError, match="not the passphrase"):
        seal(desk, "other.secret=abcdefgh", by=Seal("another passphrase"))
    with pytest.raises(OfficeError, match="at least 8"):
        seal(desk, "other.secret=abcdefgh", by=Seal("short"))
    seal(desk, "id.number=D22Y11U58", "id.until=2030-01-01")
    assert revealed(desk, "id") == {"number": "D22Y11U58", "until": "2030-01-01"}


def test_sealing_a_card_seals_what_it_held_before(desk: Desk) -> None:
    desk.set("id.number=C01X00T47")
    before = desk.db.view(lambda tx: tx.execute(sa.select(schema.field_version.c.mac)).scalar_one())
    desk.later(hours=1)
    seal(desk, "id.number=D22Y11U58")
    keys = vaults.open_for(desk.office, desk.account)
    for row in desk.db.view(lambda tx: tx.execute(sa.select(schema.field_version)).all()):
        opened = cipher.open_(keys.data_key, keys.version(row.field_id, row.number), row.sealed)
        assert b"C01X00T47" not in opened
        assert b"D22Y11U58" not in opened
        assert row.mac != before


def test_no_mail_carries_a_sealed_value(desk: Desk) -> None:
    seal(desk, "id.number=C01X00T47")
    desk.grant("id")
    assert refusal(desk.ask("#card id\n")).startswith("Not sent: card id is sealed")


def test_without_the_passphrase_it_is_not_set(desk: Desk) -> None:
    seal(desk, "id.number=C01X00T47")
    for level in (None, Sensitivity.NORMAL, Sensitivity.SEALED):
        with pytest.raises(OfficeError, match="sealed"):
            desk.set("id.number=x", sensitivity=level)


def test_a_shredded_account_opens_nothing(desk: Desk) -> None:
    from dataclasses import replace

    desk.set("id.number=C01X00T47")
    desk.account = replace(desk.account, wrapped_key=None)
    with pytest.raises(OfficeError, match="shredded"):
        desk.db.view(cards.show, desk.office, desk.account, "id", reveal=True)
