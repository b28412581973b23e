"""I have moved, and I take it back: who is told what, and what the ledger says."""

from __future__ import annotations

import re
from dataclasses import replace
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
from sortingoffice.errors import NotThere
from sortingoffice.flows import grants, ledger, notified, notify
from sortingoffice.mail.message import Message
from sortingoffice.store import schema
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, text


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


def deliver(desk: Desk, state: str = "delivered") -> None:
    """What is queued ends now."""
    table = schema.delivery
    ended = table.update().where(table.c.state == "queued").values(state=state, ended=desk.now[0])
    desk.db.call(lambda tx: tx.execute(ended))


def status(desk: Desk, name: str = "shipping") -> dict[str, str]:
    rows = desk.db.view(notified.status, desk.office, desk.account, name)
    return {row["relationship"]: row["state"] for row in rows}


def answered(desk: Desk, message: str, shop: Relationship | None = None) -> bool:
    """A vendor's mail comes in."""
    parsed = Message.parse(message.replace("\n", "\r\n").encode())
    return desk.db.call(notified.acknowledge, shop or desk.shop, parsed, desk.now[0])


def thread(mail: str) -> str:
    """The Message-ID of a notice."""
    return next(line for line in mail.splitlines() if line.startswith("Message-ID: "))[12:]


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
    deliver(desk)
    assert [r["state"] for r in desk.disclosures()] == ["delivered"] * 4, "the old ones hold until then"
    desk.later(days=31)
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


# ---- what becomes of it ----------------------------------------------------------------------------


def test_a_notice_is_planned_sent_silent_and_acknowledged(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg")
    assert status(desk) == {"lamp-shop": "planned"}
    send(desk)
    assert status(desk) == {"lamp-shop": "planned"}, "still in the queue"
    deliver(desk)
    assert status(desk) == {"lamp-shop": "sent"}
    desk.later(days=13)
    assert status(desk) == {"lamp-shop": "sent"}
    desk.later(days=2)
    assert status(desk) == {"lamp-shop": "silent"}
    assert answered(desk, f"In-Reply-To: {thread(letters(desk)[0])}\n\nDone.\n")
    assert status(desk) == {"lamp-shop": "acknowledged"}
    [row] = desk.db.view(notified.status, desk.office, desk.account, "shipping")
    assert row["acknowledged"] == desk.now[0]
    assert row["sent"] < row["acknowledged"]
    assert not answered(desk, f"In-Reply-To: {thread(letters(desk)[0])}\n\nOnce more.\n")


def test_only_a_person_s_answer_in_the_thread_of_that_vendor_counts(desk: Desk) -> None:
    other = related(desk, "Other", ("city",))
    desk.later(hours=1)
    desk.set("shipping.city=Hamburg")
    send(desk)
    deliver(desk)
    first = thread(letters(desk)[0])
    for automatic in (
        "Auto-Submitted: auto-replied",
        "Precedence: auto_reply",
        "X-Autoreply: yes",
        "Content-Type: multipart/report; report-type=disposition-notification",
    ):
        assert not answered(desk, f"{automatic}\nIn-Reply-To: {first}\n\nAway.\n")
    assert not answered(desk, "Subject: Re: Change: shipping\n\nNo thread.\n")
    assert not answered(desk, f"References: {first}\n\nAnother vendor's.\n", other)
    assert not answered(desk, "References: " + " ".join(f"<{n}@x.example>" for n in range(3000)) + "\n\nx\n")
    assert set(status(desk).values()) == {"sent"}
    assert answered(desk, f"Auto-Submitted: no\nReferences: <x@y.example>\n {first}\n\nDone.\n")
    assert status(desk) == {"lamp-shop": "acknowledged", "other": "sent"}


def test_a_bounce_is_told_as_one_and_the_next_run_tells_them_again(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg")
    send(desk)
    deliver(desk, "returned")
    assert status(desk) == {"lamp-shop": "bounced"}
    [row] = desk.db.view(notified.status, desk.office, desk.account, "shipping")
    assert row["bounced"] == desk.now[0]
    send(desk)
    assert len(letters(desk)) == 2
    deliver(desk)
    assert status(desk) == {"lamp-shop": "sent"}


def test_a_silent_vendor_is_asked_again_by_the_clock_once(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg")
    send(desk)
    deliver(desk)

    def clock() -> int:
        return desk.db.call(notified.ask_again, desk.office)

    assert clock() == 0
    desk.later(days=15)
    assert clock() == 1
    assert clock() == 0
    mail = letters(desk)[1]
    assert "on 2026-03-02 I wrote to you about a change, and have had no answer yet." in mail
    assert "City: Berlin -> Hamburg" in mail
    deliver(desk)
    assert status(desk) == {"lamp-shop": "sent"}
    desk.later(days=15)
    assert clock() == 0
    assert status(desk) == {"lamp-shop": "silent"}
    again = desk.db.call(notified.again, desk.office, desk.account, "shipping", actor="test")
    assert [step.to.slug for step in again] == ["lamp-shop"]
    assert len(letters(desk)) == 3
    deliver(desk)
    # An answer to the first mail answers them all.
    assert answered(desk, f"In-Reply-To: {thread(letters(desk)[0])}\n\nDone.\n")
    desk.later(days=30)
    assert status(desk) == {"lamp-shop": "acknowledged"}
    assert clock() == 0
    assert desk.db.call(notified.again, desk.office, desk.account, "shipping", actor="test") == []


def test_nobody_is_asked_again_where_the_setting_says_so_or_nothing_of_it_holds(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg")
    send(desk)
    deliver(desk)
    desk.later(days=15)
    cards = replace(desk.office.config.cards, ask_again=False)
    quiet = replace(desk.office, config=replace(desk.office.config, cards=cards))
    assert desk.db.call(notified.ask_again, quiet) == 0
    without = replace(desk.office, keys=replace(desk.office.keys, card=None))
    assert desk.db.call(notified.ask_again, without) == 0, "a role without the card key leaves it"
    desk.set("shipping.city=Bremen")
    assert desk.db.call(notified.ask_again, desk.office) == 0, "Hamburg is no news any more"
    assert status(desk) == {"lamp-shop": "planned"}


def test_patience_is_the_person_s(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg")
    desk.db.call(notify.send, desk.office, desk.account, "shipping", patience=timedelta(days=2), actor="test")
    deliver(desk)
    desk.later(days=3)
    assert status(desk) == {"lamp-shop": "silent"}


def test_a_run_that_was_cut_short_goes_on_and_nobody_gets_two(desk: Desk) -> None:
    others = [related(desk, f"Vendor {n}", ("city",)) for n in range(3)]
    desk.later(hours=1)
    desk.set("shipping.city=Hamburg")
    desk.db.call(notify.send, desk.office, desk.account, "shipping", only=others[1].id, actor="test")
    assert len(letters(desk)) == 1
    for _ in range(2):
        for step in desk.db.view(notify.plan, desk.office, desk.account, "shipping"):
            for _ in range(2):
                desk.db.call(
                    notify.send, desk.office, desk.account, "shipping", only=step.to.id, actor="test"
                )
    assert len(letters(desk)) == 4


# ---- from a day in the future on -------------------------------------------------------------------


def test_what_holds_from_a_day_on_leaves_as_current_only_then(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg", valid_from=desk.now[0] + timedelta(days=30))
    send(desk)
    deliver(desk)
    assert text(desk.send("#card shipping city\n")) == "City: Berlin\n"
    assert plan(desk) == [], "they were told, and got what holds until then"
    assert [r["state"] for r in desk.who_has("city")] == ["delivered"] * 3
    desk.later(days=31)
    assert [r["state"] for r in desk.who_has("city")] == ["superseded", "delivered", "superseded"]
    assert text(desk.ask("#card shipping city\n")) == "City: Hamburg\n", "no news to them"
    assert plan(desk) == []


def test_a_move_that_is_called_off_is_told_as_a_change_of_what_they_were_told(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg", valid_from=desk.now[0] + timedelta(days=30))
    send(desk)
    deliver(desk)
    desk.later(days=1)
    desk.set("shipping.city=Munich")
    send(desk)
    assert "City: Hamburg -> Munich\r\n" in letters(desk)[1]
    deliver(desk)
    desk.later(days=60)
    assert [r["state"] for r in desk.who_has("city")] == ["superseded", "superseded", "delivered"]
    assert plan(desk) == []


# ---- on paper --------------------------------------------------------------------------------------


def papers(desk: Desk, relationship: str) -> dict[str, str]:
    return dict(desk.db.view(notified.papers, desk.office, desk.account, "shipping", relationship))


def test_a_letter_holds_the_change_escaped_and_loads_nothing(desk: Desk) -> None:
    desk.send("#card shipping name\n")
    desk.set("shipping.street=<script src=https://evil.example/x>&\"'", "shipping.city=Hamburg")
    page = papers(desk, "all")["lamp-shop"]
    assert "&lt;script src=https://evil.example/x&gt;&amp;&quot;&#x27;" in page
    assert "<script" not in page
    assert "<td>Berlin</td><td>Hamburg</td>" in page
    assert "lamp.shop1234@sort.example" in page
    assert "Anna Example" in page, "the name that they have"
    assert "home.example" not in page
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=[\"']|url\(|@import", page)


def test_a_vendor_that_was_told_by_mail_can_have_it_on_paper_too(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg")
    send(desk)
    deliver(desk)
    assert papers(desk, "all") == {}
    assert "<td>Berlin</td><td>Hamburg</td>" in papers(desk, "lamp-shop")["lamp-shop"]
    other = desk.relate("Other")
    with pytest.raises(NotThere, match="holds no old value"):
        papers(desk, other.slug)


def test_a_sensitive_value_goes_by_no_notice_but_on_paper(desk: Desk) -> None:
    desk.db.call(lambda tx: tx.execute(schema.card.update().values(sensitivity="sensitive")))
    desk.set("shipping.city=Hamburg")
    assert [row["how"] for row in plan(desk)] == ["sensitive"]
    send(desk)
    assert letters(desk) == []
    assert "Hamburg" in papers(desk, "all")["lamp-shop"]
