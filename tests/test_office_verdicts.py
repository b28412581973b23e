"""Inward over the wire: which mail an address takes in what state, and what the others are answered."""

from __future__ import annotations

import smtplib

import pytest

from sortingoffice.cli.stage import HOME, OFFICE, ORDERS, VENDOR
from tests.office import Office, written


def test_a_forged_vendor_with_a_reject_policy_is_refused(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    code, text = office.refused(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="no"))
    assert (code, text[:5]) == (550, "5.7.1")
    assert HOME not in text


def test_a_time_out_of_dns_is_answered_for_now_only(office: Office) -> None:
    shop = office.fresh()
    office.stage.zone.set("_dmarc.broken.example", "TXT", "SERVFAIL")
    office.stage.zone.set("_dmarc.sub.broken.example", "TXT", "SERVFAIL")
    code, _ = office.refused(
        shop.alias,
        written("From: a@broken.example", f"To: {shop.alias}", subject="no"),
        sender="a@broken.example",
    )
    assert code == 451


def test_a_revoke_holds_from_the_next_rcpt_on_and_restore_undoes_it(office: Office) -> None:
    shop = office.fresh()
    assert office.stage.rcpt(shop.alias)[0] == 250
    office.stage.command("revoke", shop.slug)
    assert office.stage.rcpt(shop.alias) == office.stage.rcpt(f"never.issued.7@{OFFICE}")
    assert office.stage.rcpt(shop.alias)[0] == 550
    office.stage.command("restore", shop.slug)
    assert office.stage.rcpt(shop.alias)[0] == 250


def test_a_revoke_in_the_middle_of_a_session_holds(office: Office) -> None:
    shop = office.fresh()
    with office.stage.client() as client:
        client.ehlo_or_helo_if_needed()
        client.mail(ORDERS)
        assert client.rcpt(shop.alias)[0] == 250
        office.stage.command("revoke", shop.slug)
        code, _ = client.data(written(f"From: {ORDERS}", f"To: {shop.alias}", subject="too late"))
        assert code == 550


def test_a_clerks_spelling_still_arrives(office: Office) -> None:
    shop = office.fresh()
    local, _, domain = shop.alias.partition("@")
    spelled = f"{local.replace('.', '-').upper()}@{domain}"
    office.from_vendor(spelled, written(f"From: {ORDERS}", f"To: {spelled}", subject="inward 6"))
    office.home("inward 6")


def test_muted_mail_is_accepted_held_listed_and_released_by_resume(office: Office) -> None:
    shop = office.fresh()
    office.stage.command("pause", shop.slug)
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="inward 7"))
    held = [row for row in office.stage.json("held", "list") if row["relationship"] == shop.slug]
    assert [(row["reason"], row["subject"]) for row in held] == [("muted", "inward 7")]
    office.stage.command("resume", shop.slug)
    office.home("inward 7")
    assert not [row for row in office.stage.json("held", "list") if row["relationship"] == shop.slug]


def test_a_stranger_is_held_or_locked_out_by_the_relationships_setting(office: Office) -> None:
    office.stage.publish("stranger.example", "127.0.0.2")
    shop = office.fresh("--site", VENDOR)
    raw = written("From: x@stranger.example", f"To: {shop.alias}", subject="inward 8")
    office.stage.send("stranger.example", "x@stranger.example", shop.alias, raw)
    office.home("inward 8")
    office.stage.command("set", shop.slug, "--strangers", "hold")
    raw = written("From: x@stranger.example", f"To: {shop.alias}", subject="inward 9")
    office.stage.send("stranger.example", "x@stranger.example", shop.alias, raw)
    held = [row for row in office.stage.json("held", "list") if row["relationship"] == shop.slug]
    assert [row["subject"] for row in held] == ["inward 9"]
    office.stage.command("set", shop.slug, "--strangers", "lock")
    raw = written("From: x@stranger.example", f"To: {shop.alias}", subject="inward 10")
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        office.stage.send("stranger.example", "x@stranger.example", shop.alias, raw)
    assert refusal.value.smtp_code == 550


def test_once_and_max_end_a_relationship_by_themselves(office: Office) -> None:
    shop = office.fresh("--once")
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="inward 11"))
    office.home("inward 11")
    assert office.stage.rcpt(shop.alias)[0] == 550


def test_postmaster_reaches_the_admin_also_without_a_domain(office: Office) -> None:
    for number, to in enumerate(
        (f"Postmaster@{OFFICE}", f"abuse@{OFFICE}", "postmaster", f"postmaster@mx.{OFFICE}")
    ):
        office.from_vendor(to, written(f"From: {ORDERS}", f"To: {to}", subject=f"inward 12 {number}"))
        office.home(f"inward 12 {number}")


def test_postmaster_is_reached_even_when_its_relationship_was_revoked(office: Office) -> None:
    to = f"postmaster@{OFFICE}"
    office.from_vendor(to, written(f"From: {ORDERS}", f"To: {to}", subject="inward 12a"))
    office.home("inward 12a")
    office.stage.command("revoke", "postmaster")
    office.from_vendor(to, written(f"From: {ORDERS}", f"To: {to}", subject="inward 12b"))
    office.home("inward 12b")


def test_a_mailing_that_comes_back_is_stopped(office: Office) -> None:
    shop = office.fresh()
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="inward 13"))
    forwarded = office.arrived(office.stage.home, "inward 13")[0].octets
    code, text = office.refused(shop.alias, forwarded, sender="list@elsewhere.example")
    assert (code, text[:5]) == (554, "5.4.6")


def test_an_alias_in_a_pocket_binds_to_the_first_who_writes(office: Office) -> None:
    row = office.stage.json("pocket", "1")[0]
    assert row["state"] == "unbound"
    office.from_vendor(row["alias"], written(f"From: {ORDERS}", f"To: {row['alias']}", subject="inward 14"))
    office.home("inward 14")
    shown = office.stage.json("show", row["relationship"])
    assert (shown["state"], shown["bindings"]) == ("active", [VENDOR])
