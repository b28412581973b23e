"""I have moved, and I take it back: who is told what, and what the ledger says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import (
    Direction,
    GrantMode,
    Relationship,
    RelationshipState,
    SpooledMessage,
    Via,
)
from sortingoffice.flows import grants, ledger, notify
from sortingoffice.store import schema
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(db, tmp_path)
    desk.shipping()
    desk.grant("shipping")
    desk.send("#card shipping street city\n")
    desk.later(days=1)
    return desk


def plan(desk: Desk, name: str = "shipping") -> list[dict[str, object]]:
    return [notify.row(step) for step in desk.db.view(notify.plan, desk.office, desk.account, name)]


def send(desk: Desk, name: str = "shipping") -> None:
    desk.db.call(notify.send, desk.office, desk.account, name, actor="test")


def letters(desk: Desk) -> list[str]:
    found = sa.select(schema.message).where(
        schema.message.c.direction == Direction.OUTWARD, schema.message.c.rule != "test"
    )
    rows = desk.db.view(lambda tx: schema.every(SpooledMessage, tx.execute(found.order_by("id"))))
    return [row.raw.decode() for row in rows]


def related(desk: Desk, name: str, given: tuple[str, ...], **changes: object) -> Relationship:
    """Another vendor, who was given fields of shipping in a form."""
    other = desk.relate(name, **changes)
    desk.db.call(
        ledger.disclosed,
        desk.office,
        desk.account,
        other.slug,
        "shipping",
        given,
        via=Via.WEB_FORM,
        actor="test",
    )
    return other


def test_only_who_holds_an_old_value_is_told_and_only_of_what_they_hold(desk: Desk) -> None:
    related(desk, "Never Told", ())
    desk.db.call(lambda tx: tx.execute(schema.card.update().values(kind="postal")))
    assert plan(desk) == []
    desk.later(hours=1)
    desk.set("shipping.street=Elbe 1", "shipping.postcode=20095")
    rows = {row["relationship"]: row for row in plan(desk)}
    assert [each["field"] for each in rows["lamp-shop"]["fields"]] == ["street"]  # type: ignore[attr-defined]
    assert {each["field"] for each in rows["never-told"]["fields"]} == {"street", "postcode"}  # type: ignore[attr-defined]


def test_the_mail_comes_from_the_alias_and_says_old_and_new(desk: Desk) -> None:
    later = desk.now[0] + timedelta(days=30)
    desk.set("shipping.street=Elbe 1", valid_from=later)
    desk.set("shipping.city=Hamburg", valid_from=later)
    assert letters(desk) == []
    send(desk)
    [mail] = letters(desk)
    assert "From: lamp.shop1234@sort.example" in mail
    assert "To: clerk@lamp-shop.example" in mail
    assert "Subject: Change: shipping" in mail
    assert "Street: Lindenallee 5 -> Elbe 1  (from 2026-04-01)" in mail
    assert "City: Berlin -> Hamburg  (from 2026-04-01)" in mail
    assert "home.example" not in mail
    rows = [(r["field"], r["version"], r["via"], r["state"]) for r in desk.disclosures()]
    assert rows == [
        ("street", 1, "directive", "delivered"),
        ("city", 1, "directive", "delivered"),
        ("street", 2, "notice", "queued"),
        ("city", 2, "notice", "queued"),
    ]
    assert plan(desk) == [], "nobody is told twice"
    desk.db.call(lambda tx: tx.execute(schema.delivery.update().values(state="delivered")))
    assert [r["state"] for r in desk.disclosures()] == ["superseded"] * 2 + ["delivered"] * 2


def test_a_bounced_notice_is_planned_again(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg")
    send(desk)
    desk.db.call(
        lambda tx: tx.execute(
            schema.delivery.update().where(schema.delivery.c.state == "queued").values(state="returned")
        )
    )
    assert [row["how"] for row in plan(desk)] == ["mail"]


def test_the_plan_says_who_is_not_written_to_and_why(desk: Desk) -> None:
    related(desk, "Paused", ("city",), state=RelationshipState.MUTED)
    related(desk, "Denied", ("city",))
    desk.grant("shipping", "denied", mode=GrantMode.NEVER)
    form = related(desk, "By Form", ("city",))
    desk.db.call(
        lambda tx: tx.execute(schema.contact.delete().where(schema.contact.c.relationship_id == form.id))
    )
    desk.later(hours=1)
    desk.set("shipping.city=Hamburg")
    hows = {row["relationship"]: row["how"] for row in plan(desk)}
    assert hows == {"lamp-shop": "mail", "paused": "not active", "denied": "denied", "by-form": "letter"}
    send(desk)
    assert len(letters(desk)) == 1


def test_a_withdrawal_names_fields_and_dates_and_no_value(desk: Desk) -> None:
    rows, told = desk.db.call(
        notify.ungrant, desk.office, desk.account, "lamp-shop", "shipping", actor="test"
    )
    assert told
    assert [row["card"] for row in rows] == ["shipping"]
    [mail] = letters(desk)
    assert "Street: on 2026-03-01" in mail
    assert "Lindenallee" not in mail
    assert [row["state"] for row in desk.disclosures()] == ["withdrawn", "withdrawn"]
    desk.later(days=1)
    desk.set("shipping.city=Hamburg")
    assert [row["state"] for row in desk.who_has("shipping")] == ["withdrawn", "withdrawn"]


def test_taking_a_grant_back_cancels_what_is_still_queued(desk: Desk) -> None:
    from sortingoffice.core.model import DeliveryState

    desk.send("#card shipping name\n", DeliveryState.QUEUED)
    assert desk.states() == ["delivered", "queued"]
    desk.db.call(grants.ungrant, desk.office, desk.account, "lamp-shop", "shipping", actor="test")
    assert desk.states() == ["delivered", "dropped"]
    told = desk.notices()[-1].raw
    assert b"Not sent: Lamp Shop may not have shipping any more" in told
    assert b"Name: Anna Example" in told
