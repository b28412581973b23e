"""A person and their relationships, through the command line, on a real database."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice.core import naming
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import relationships
from sortingoffice.flows.office import now
from tests.person import DOMAIN, MAILBOX, Person

STABLE = {"relationship", "name", "alias", "state", "site", "bindings", "created", "contacts"}


def test_new_prints_the_alias_alone(person: Person) -> None:
    answer = person.says("new", "Lamp Shop", "--site", "lampshop.example")
    assert answer.status == 0
    assert re.fullmatch(rf"[a-z]{{4,7}}\.[a-z]{{4,7}}\d{{4}}@{DOMAIN}\n", answer.out)
    assert answer.err == ""


def test_the_event_issued_stands_in_the_log_with_the_alias(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    assert f"issued {alias}" in person.events("lamp-shop")


def test_a_second_relationship_of_the_same_name_is_another_one(person: Person) -> None:
    first = person.json("new", "Lamp Shop")
    second = person.json("new", "Lamp Shop")
    third = person.json("new", "lamp  shop!")
    assert [each["relationship"] for each in (first, second, third)] == [
        "lamp-shop",
        "lamp-shop-2",
        "lamp-shop-3",
    ]
    assert len({each["alias"] for each in (first, second, third)}) == 3


def test_new_show_and_list_have_the_keys_that_do_not_change(person: Person) -> None:
    made = person.json("new", "Lamp Shop", "--site", "https://www.lampshop.example/basket")
    shown = person.json("show", "lamp-shop")
    (row,) = person.json("list")
    assert set(made) >= STABLE
    assert {**made, "writers": []} == shown
    assert made == row
    assert made["site"] == "lampshop.example"
    assert made["bindings"] == ["lampshop.example"]
    assert made["state"] == "active"
    assert datetime.fromisoformat(made["created"]).tzinfo is not None


def test_a_label_begins_the_alias_and_a_local_part_is_taken_as_it_is(person: Person) -> None:
    assert person.out("new", "Shop", "--label", "shop").startswith("shop.")
    assert person.out("new", "Chosen", "--local", "my.shop") == f"my.shop@{DOMAIN}"


@pytest.mark.parametrize(
    ("local", "why"),
    [
        ("MY-shop", "issued before"),
        ("postmaster", "reserved"),
        ("ab.use", "reserved"),
        ("yes.abc", "reserved"),
        ("verify-me", "reserved"),
        ("NEW.york", "reserved"),
        ("pocket_money", "reserved"),
        ("rp" + "a" * 26, "reserved"),
        ("a b", "no local part"),
        ("é", "no local part"),
        ("x" * 65, "no local part"),
    ],
)
def test_a_local_part_that_cannot_be_is_refused(person: Person, local: str, why: str) -> None:
    person.out("new", "Chosen", "--local", "my.shop")
    assert why in person.refused("new", "Other", "--local", local)


def test_a_label_is_none_of_the_offices_own_beginnings(person: Person) -> None:
    assert "begins addresses of the office itself" in person.refused("new", "Shop", "--label", "yes")
    assert person.out("new", "Shop", "--label", "newsagent").startswith("newsagent.")


def test_an_alias_is_never_issued_again_after_its_revocation(person: Person) -> None:
    person.out("new", "Chosen", "--local", "my.shop")
    person.out("revoke", "chosen")
    assert "issued before" in person.refused("new", "Other", "--local", "myshop")


def test_a_public_mailbox_provider_is_a_site_but_binds_nobody(person: Person) -> None:
    made = person.json("new", "Jim", "--site", "gmail.com", "--kind", "person")
    assert made["site"] == "gmail.com"
    assert made["bindings"] == []


def test_a_subdomain_binds_the_organisation(person: Person) -> None:
    assert person.json("new", "Shop", "--site", "shop.lamps.co.uk")["bindings"] == ["lamps.co.uk"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--site", "no site"), "no site"),
        (("--site", "http://192.0.2.1:8080/"), "is no site"),
        (("--site", DOMAIN), "domain of this office"),
        (("--until", "2020-01-01"), "lies in the past"),
        (("--mailbox", "else@home.example"), "has no mailbox"),
        (("--domain", "sort.exmaple"), f"did you mean {DOMAIN}?"),
        (("--note", "a\nb"), "control character"),
        (("--note", "x" * 1001), "1000 are the most"),
    ],
)
def test_a_wish_that_cannot_be_is_one_clear_sentence(
    person: Person, options: tuple[str, ...], why: str
) -> None:
    assert why in person.refused("new", "Shop", *options)
    assert person.json("list") == []


@pytest.mark.parametrize("name", ["", "   ", "a\x1b[2Jb", "a\r\nBcc: x@y.example", "a\u202eb", "x" * 201])
def test_a_name_that_could_break_a_header_is_refused(person: Person, name: str) -> None:
    person.refused("new", name)


def test_once_and_until_limit_a_relationship(person: Person) -> None:
    once = person.json("new", "Once", "--once", "--until", "14d")
    assert once["max"] == 1
    left = datetime.fromisoformat(once["until"]) - datetime.now(UTC)
    assert timedelta(days=13, hours=23) < left <= timedelta(days=14)


def test_wrong_usage_is_status_2(person: Person) -> None:
    for arguments in (
        ("new",),
        ("new", "a", "--once", "--max", "3"),
        ("new", "a", "--until", "soon"),
        ("new", "a", "--kind", "enemy"),
        ("set", "a"),
        ("list", "--state", "gone"),
        ("frobnicate",),
        ("list", "--frobnicate"),
    ):
        answer = person.says(*arguments)
        assert answer.status == 2, arguments
        assert answer.out == ""
        assert "Traceback" not in answer.err


def test_what_went_into_the_vendors_form_counts_as_disclosed(person: Person) -> None:
    person.out("card", "set", "name.first=Anna", "shipping.city=Berlin", "shipping.phone=+493012345678")
    person.out("new", "Lamp Shop", "--gave", "name, shipping.city")
    rows = person.json("disclosures", "lamp-shop")
    assert [(row["card"], row["field"], row["via"]) for row in rows] == [
        ("name", "first", "web-form"),
        ("shipping", "city", "web-form"),
    ]


def test_a_card_that_is_not_there_issues_no_alias(person: Person) -> None:
    person.out("card", "set", "name.first=Anna")
    person.refused("new", "Lamp Shop", "--gave", "name,shiping")
    assert person.json("list") == []
    assert person.json("disclosures") == []


# ---- finding


def test_a_relationship_is_found_by_slug_alias_or_part_of_its_name(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    person.out("new", "Book Shop")
    local, _, domain = alias.partition("@")
    spelled = f"{local.replace('.', '-').upper()}@{domain}"
    for text in ("lamp-shop", "Lamp-Shop", alias, spelled, "lamp", "AMP SHO"):
        assert person.json("show", text)["relationship"] == "lamp-shop", text


def test_an_ambiguous_name_says_between_what(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("new", "Book Shop")
    told = person.refused("revoke", "shop")
    assert "book-shop" in told
    assert "lamp-shop" in told
    assert {each["state"] for each in person.json("list")} == {"active"}


def test_a_near_miss_is_suggested(person: Person) -> None:
    person.out("new", "Lamp Shop")
    assert "did you mean lamp-shop?" in person.refused("revoke", "lamp-shpo")
    assert "did you mean lamp?" in person.refused("show", "lmp")
    assert "sortingoffice list" in person.refused("show", "zzzzzzzz")


def test_an_unknown_alias_is_not_there(person: Person) -> None:
    person.refused("revoke", f"never.issued0000@{DOMAIN}")


def test_list_filters_by_state_and_text(person: Person) -> None:
    person.out("new", "Lamp Shop", "--note", "for the kitchen")
    person.out("new", "Book Shop")
    person.out("revoke", "book")
    assert [each["relationship"] for each in person.json("list", "--state", "revoked")] == ["book-shop"]
    assert [each["relationship"] for each in person.json("list", "--search", "KITCHEN")] == ["lamp-shop"]
    assert person.json("list", "--search", "nothing") == []


# ---- states


def test_pause_resume_revoke_and_restore_lead_through_the_states(person: Person) -> None:
    person.out("new", "Lamp Shop")
    for command, state in (
        ("pause", "muted"),
        ("resume", "active"),
        ("revoke", "revoked"),
        ("restore", "active"),
    ):
        assert person.json(command, "lamp-shop")["state"] == state
    assert [each.split()[0] for each in person.events("lamp-shop")] == [
        "issued",
        "paused",
        "resumed",
        "revoked",
        "restored",
    ]


def test_doing_it_twice_says_so_and_writes_nothing(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("revoke", "lamp-shop")
    told = person.events("lamp-shop")
    again = person.says("revoke", "lamp-shop")
    assert again.status == 0
    assert "was revoked already" in again.err
    assert person.events("lamp-shop") == told


def test_revoke_properly_closes_for_45_days(person: Person) -> None:
    person.out("new", "Lamp Shop")
    closing = person.json("revoke", "lamp-shop", "--properly")
    assert closing["state"] == "closing"
    left = datetime.fromisoformat(closing["closing_until"]) - datetime.now(UTC)
    assert timedelta(days=44) < left <= timedelta(days=45)
    assert person.json("restore", "lamp-shop")["closing_until"] is None


def test_a_revoked_relationship_cannot_be_paused(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("revoke", "lamp-shop")
    assert "`restore` it first" in person.refused("pause", "lamp-shop")


def test_resume_lets_go_what_the_pause_held_and_nothing_else(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("pause", "lamp-shop")
    muted = person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    doubtful = person.spooled("lamp-shop", DeliveryState.HELD, reason="dmarc_quarantine")
    assert "1 held message let go" in person.says("resume", "lamp-shop").err
    assert person.delivery(muted).state is DeliveryState.QUEUED
    assert person.delivery(doubtful).state is DeliveryState.HELD


def test_revoking_cancels_what_the_person_wrote_and_keeps_what_they_were_promised(person: Person) -> None:
    person.out("new", "Lamp Shop")
    outward = person.spooled("lamp-shop", DeliveryState.QUEUED, outward=True)
    inward = person.spooled("lamp-shop", DeliveryState.QUEUED)
    person.out("revoke", "lamp-shop")
    assert person.delivery(outward).state is DeliveryState.DROPPED
    assert person.delivery(inward).state is DeliveryState.QUEUED


def _days_later(person: Person, days: int) -> int:
    with person.office() as office:
        later = replace(office, clock=lambda: now() + timedelta(days=days))
        return later.db.call(relationships.keep_time, later)


def test_a_pause_ends_at_its_time_and_lets_its_mail_go(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("pause", "lamp-shop", "--until", "14d")
    muted = person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    assert _days_later(person, 13) == 0
    assert person.json("show", "lamp-shop")["state"] == "muted"
    assert _days_later(person, 15) == 1
    assert _days_later(person, 15) == 0
    assert person.json("show", "lamp-shop")["state"] == "active"
    assert person.delivery(muted).state is DeliveryState.QUEUED


def test_a_closing_ends_in_a_revocation(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("revoke", "lamp-shop", "--properly")
    assert _days_later(person, 44) == 0
    assert _days_later(person, 46) == 1
    assert person.json("show", "lamp-shop")["state"] == "revoked"
    assert person.events("lamp-shop")[-1] == "revoked"


# ---- aliases


def test_rotate_prints_the_new_alias_and_keeps_the_old_one_flagged(person: Person) -> None:
    old = person.out("new", "Lamp Shop")
    new = person.out("rotate", "lamp-shop")
    shown = person.json("show", "lamp-shop")
    assert new != old
    assert shown["alias"] == new
    assert shown["older_aliases"] == [{"alias": old, "state": "rotated"}]
    assert f"issued {new}" in person.events("lamp-shop")


def test_revoking_an_older_alias_revokes_it_alone(person: Person) -> None:
    old = person.out("new", "Lamp Shop")
    new = person.out("rotate", "lamp-shop")
    assert old in person.says("revoke", old).err
    shown = person.json("show", "lamp-shop")
    assert shown["state"] == "active"
    assert shown["older_aliases"] == [{"alias": old, "state": "revoked"}]
    person.out("restore", old)
    assert person.json("show", "lamp-shop")["older_aliases"] == [{"alias": old, "state": "rotated"}]
    person.out("revoke", new)
    assert person.json("show", "lamp-shop")["state"] == "revoked"


def test_pocket_issues_unbound_aliases_one_a_line(person: Person) -> None:
    aliases = person.out("pocket").splitlines()
    assert len(set(aliases)) == 10
    assert {each["state"] for each in person.json("list")} == {"unbound"}
    assert len(person.json("pocket", "3")) == 3


def test_a_relationship_is_pinned_and_let_go_again(person: Person) -> None:
    person.out("new", "Lamp Shop")
    assert person.json("show", "lamp-shop")["pinned"] is False
    assert person.json("set", "lamp-shop", "--pinned")["pinned"] is True
    assert person.json("set", "lamp-shop", "--note", "kitchen")["pinned"] is True
    assert person.json("set", "lamp-shop", "--not-pinned")["pinned"] is False


def test_naming_the_vendor_of_a_pocket_alias_binds_it(person: Person) -> None:
    (made,) = person.json("pocket", "1")
    changed = person.json("set", made["alias"], "--name", "Lamp Shop", "--site", "lampshop.example")
    assert changed["state"] == "active"
    assert changed["name"] == "Lamp Shop"
    assert changed["bindings"] == ["lampshop.example"]


# ---- contacts


def test_contact_prints_the_reverse_alias_alone_and_the_same_one_again(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    answer = person.says("contact", "lamp-shop", "Support@LampShop.example")
    reverse = answer.out.rstrip("\n")
    assert answer.err == ""
    assert reverse.endswith(alias[alias.index("@") :])
    assert len(reverse.partition("@")[0]) <= 64
    assert "support@lampshop.example" not in reverse
    assert person.out("contact", "lamp-shop", "<support@lampshop.example>") == reverse
    (contact,) = person.json("show", "lamp-shop")["contacts"]
    assert contact["address"] == "Support@lampshop.example"
    assert contact["reverse_alias"] == reverse


def test_one_contact_of_two_relationships_has_two_reverse_aliases(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("new", "Lamp Shop")
    first = person.out("contact", "lamp-shop", "jim@lampshop.example")
    second = person.out("contact", "lamp-shop-2", "jim@lampshop.example")
    assert naming.canonical(first) != naming.canonical(second)


@pytest.mark.parametrize(
    "address", ["jim", "jim@", "@x", "a b@x.example", "jim@x.example\r\nBcc: y@z.example"]
)
def test_a_contact_that_is_no_address_is_refused(person: Person, address: str) -> None:
    person.out("new", "Lamp Shop")
    assert "no mail address" in person.refused("contact", "lamp-shop", address)


def test_whether_another_account_has_a_mailbox_is_not_told_by_making_it_a_contact(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("admin", "account", "add", "ben", "--mailbox", "ben@ben.example")
    for address in ("ben@ben.example", "nobody@ben.example"):
        assert person.out("--account", "anna", "contact", "lamp-shop", address)


def test_the_persons_own_mailbox_is_no_contact(person: Person) -> None:
    person.out("new", "Lamp Shop")
    assert "mailbox of this office" in person.refused("contact", "lamp-shop", MAILBOX.upper())


# ---- settings


def test_set_changes_what_it_names_and_nothing_else(person: Person) -> None:
    before = person.json("new", "Lamp Shop", "--site", "lampshop.example")
    after = person.json(
        "set", "lamp-shop", "--strangers", "lock", "--max", "3", "--until", "2099-12-01", "--note", "kitchen"
    )
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"strangers", "max", "until", "note"}
    assert after["until"].startswith("2099-12-0")
    assert "changed strangers" not in person.events("lamp-shop")[-2:]
    lifted = person.json("set", "lamp-shop", "--max", "0", "--until", "never")
    assert lifted["max"] is None
    assert lifted["until"] is None


def test_setting_what_is_so_already_writes_nothing(person: Person) -> None:
    person.out("new", "Lamp Shop", "--note", "kitchen")
    told = person.events("lamp-shop")
    assert "is so already" in person.says("set", "lamp-shop", "--note", "kitchen").err
    assert person.events("lamp-shop") == told


def test_another_site_binds_in_place_of_the_old_one(person: Person) -> None:
    person.out("new", "Shop", "--site", "old.example")
    person.out("allow", "shop", "helper.example")
    changed = person.json("set", "shop", "--site", "new.example")
    assert sorted(changed["bindings"]) == ["helper.example", "new.example"]


def test_a_mailbox_of_ones_own_per_relationship_and_back(person: Person) -> None:
    person.out("new", "Shop")
    person.out("admin", "mailbox", "add", "work@firm.example")
    assert person.json("set", "shop", "--mailbox", "work@firm.example")["mailbox"] == "work@firm.example"
    assert person.json("set", "shop", "--mailbox", "")["mailbox"] == MAILBOX
    assert "did you mean work@firm.example?" in person.refused(
        "set", "shop", "--mailbox", "wrok@firm.example"
    )


def test_allow_and_refuse_judge_the_organisation_or_the_address(person: Person) -> None:
    person.out("new", "Shop")
    assert person.json("allow", "shop", "news@mail.helper.example")["bindings"] == ["helper.example"]
    assert person.json("refuse", "shop", "helper.example")["refused"] == ["helper.example"]
    assert person.json("allow", "shop", "jim@gmail.com")["bindings"] == ["jim@gmail.com"]
    assert "everybody's" in person.refused("refuse", "shop", "gmail.com")
    assert "no sender" in person.refused("allow", "shop", "nobody")
