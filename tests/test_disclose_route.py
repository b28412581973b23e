"""Sensitive values leave over verified TLS, or after the person's word: which routes count as known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sortingoffice.core.model import Sensitivity
from sortingoffice.mail.mtasts import Kept
from sortingoffice.store import policies, schema
from sortingoffice.store.database import Database
from sortingoffice.values import Endpoint
from tests.desk import Desk, open_desk, text, waits

SHOP = "lamp-shop.example"
IBAN = "DE89370400440532013000"


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.set(f"bank.iban={IBAN}", sensitivity=Sensitivity.SENSITIVE)
    desk.grant("bank")
    return desk


def keep(
    desk: Desk, *, mode: str = "enforce", domain: str = SHOP, age: timedelta = timedelta(days=14)
) -> None:
    """A policy that a delivery has fetched."""
    written = f"version: STSv1\r\nmode: {mode}\r\nmx: mx.{domain}\r\nmax_age: 1209600\r\n".encode()
    now = desk.now[0]
    desk.db.call(policies.keep, Kept(0, domain, "1", written, now, now + age))


def held(desk: Desk, body: str = "#card bank\n") -> bool:
    outcome = desk.ask(body)
    if getattr(outcome, "waiting", None) is None:
        return False
    assert waits(outcome) == "bank.iban is sensitive, and the way to Lamp Shop is not known to be encrypted"
    return True


def through(desk: Desk, smarthost_tls: str) -> None:
    """All mail goes through a smarthost."""
    delivery = replace(
        desk.office.config.delivery, smarthost=Endpoint("relay.example", 587), smarthost_tls=smarthost_tls
    )
    desk.office = replace(desk.office, config=replace(desk.office.config, delivery=delivery))


def test_an_enforced_policy_is_a_known_way(desk: Desk) -> None:
    assert held(desk)
    keep(desk)
    assert text(desk.ask("#card bank\n")) == f"IBAN: {IBAN}\n"


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_a_policy_that_enforces_nothing_is_none(desk: Desk, mode: str) -> None:
    keep(desk, mode=mode)
    assert held(desk)


def test_a_policy_that_may_run_out_while_the_mail_waits_promises_nothing(desk: Desk) -> None:
    keep(desk, age=timedelta(days=6))
    assert not held(desk)
    desk.later(days=2)
    assert held(desk)


def test_every_recipient_s_domain_must_have_one(desk: Desk) -> None:
    keep(desk, domain="other.example")
    assert held(desk)
    keep(desk)
    address = f"boss@{SHOP}.example"
    boss = replace(desk.clerk, id=0, address=address, written=address, reverse_canonical="boss@r.example")
    stored = desk.db.call(schema.insert, boss)
    clerk, desk.clerk = desk.clerk, stored
    assert held(desk)
    desk.clerk = clerk
    assert not held(desk)


@pytest.mark.parametrize(("tls", "waiting"), [("required", False), ("opportunistic", True), ("none", True)])
def test_through_a_smarthost_only_its_own_proof_counts(desk: Desk, tls: str, waiting: bool) -> None:
    keep(desk)  # which the smarthost may keep to or not
    through(desk, tls)
    assert held(desk) is waiting


def test_the_question_says_what_is_known_of_the_way(desk: Desk) -> None:
    desk.set("home.city=Berlin")
    desk.send("#card home\n")
    assert b"no mail has gone there yet" in desk.notices()[-1].raw
    keep(desk)
    desk.send("#card home\n")
    assert b"The way to lamp-shop.example: over verified TLS." in desk.notices()[-1].raw


def test_a_granted_sensitive_value_that_is_typed_needs_the_known_way_too(desk: Desk) -> None:
    outcome = desk.ask(f"My account: {IBAN}\n")
    assert [each.label for each in outcome.withheld] == ["bank.iban"]  # type: ignore[union-attr]
    keep(desk)
    outcome = desk.ask(f"My account: {IBAN}\n")
    assert outcome.withheld == ()  # type: ignore[union-attr]
    assert [each.named for each in outcome.typed] == ["bank.iban"]  # type: ignore[union-attr]
