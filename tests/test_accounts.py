"""Accounts, mailboxes and app passwords: who is who, and with what proof."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from sortingoffice.core.model import Direction
from sortingoffice.errors import OfficeError
from sortingoffice.flows import accounts, passwords
from sortingoffice.flows.office import now
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import spool
from tests.person import DOMAIN, MAILBOX, Person


def _mailboxes(person: Person) -> dict[str, dict[str, object]]:
    return {row["address"]: row for row in person.json("admin", "mailbox", "list")}


# ---- accounts


def test_a_second_account_makes_account_necessary(person: Person) -> None:
    person.out("admin", "account", "add", "bert", "--mailbox", "bert@home.example")
    assert [row["name"] for row in person.json("admin", "account", "list")] == ["anna", "bert"]
    told = person.refused("new", "Shop")
    assert "--account" in told
    assert "anna" in told
    assert person.out("--account", "bert", "new", "Shop")
    assert person.json("list", "--account", "bert")[0]["mailbox"] == "bert@home.example"
    assert person.json("list", "--account", "anna") == []


def test_one_account_cannot_see_anothers_relationships(person: Person) -> None:
    person.out("admin", "account", "add", "bert", "--mailbox", "bert@home.example")
    alias = person.out("--account", "anna", "new", "Lamp Shop")
    person.refused("--account", "bert", "show", alias)
    person.refused("--account", "bert", "revoke", "lamp-shop")


def test_a_wrong_account_name_is_suggested(person: Person) -> None:
    assert "did you mean anna?" in person.refused("--account", "ana", "list")


@pytest.mark.parametrize("name", ["", "Ä", "a b", "-a", "a/../b", "x" * 33])
def test_an_account_name_is_plain(person: Person, name: str) -> None:
    assert person.says("admin", "account", "add", "--", name).status == 1


def test_a_suspended_account_can_go_on(person: Person) -> None:
    assert person.json("admin", "account", "suspend", "anna")["state"] == "suspended"
    assert person.json("admin", "account", "suspend", "anna", "--undo")["state"] == "active"


def test_removing_an_account_ends_all_it_owns_and_forgets_its_mailboxes(person: Person) -> None:
    person.out("admin", "account", "add", "bert", "--mailbox", "bert@home.example")
    person.out("--account", "bert", "new", "Shop")
    person.out("--account", "bert", "admin", "password", "new")
    assert "--yes" in person.refused("admin", "account", "remove", "bert")
    assert person.json("admin", "account", "remove", "bert", "--yes")["state"] == "removed"
    assert person.json("--account", "bert", "list")[0]["state"] == "revoked"
    assert person.json("--account", "bert", "admin", "password", "list") == []
    assert person.json("list") == [], "a removed account is no choice any more"
    with closing(sqlite3.connect(person.folder / "office" / "office.db")) as db:
        assert "bert@home.example" not in "\n".join(db.iterdump())
        assert db.execute("SELECT wrapped_key FROM account WHERE name = 'bert'").fetchone() == (None,)


def test_somebody_must_get_the_postmasters_mail(person: Person) -> None:
    assert "postmaster" in person.refused("admin", "account", "remove", "anna", "--yes")


# ---- mailboxes


def test_a_mailbox_that_an_admin_names_counts_as_verified(person: Person) -> None:
    person.out("admin", "mailbox", "add", "Work@Firm.example")
    row = _mailboxes(person)["work@firm.example"]
    assert row["state"] == "verified"
    assert row["preferred"] is False
    assert _mailboxes(person)[MAILBOX]["preferred"] is True


def test_preferred_moves_what_has_no_mailbox_of_its_own(person: Person) -> None:
    person.out("new", "Shop")
    person.out("admin", "mailbox", "add", "work@firm.example", "--preferred")
    assert [row["address"] for row in _mailboxes(person).values() if row["preferred"]] == [
        "work@firm.example"
    ]
    assert person.json("show", "shop")["mailbox"] == "work@firm.example"


def test_a_sending_identity_gets_no_mail(person: Person) -> None:
    person.out("new", "Shop")
    person.out("admin", "mailbox", "add", "me@firm.example", "--identity")
    assert "sending identity only" in person.refused("set", "shop", "--mailbox", "me@firm.example")
    assert person.says("admin", "mailbox", "add", "x@firm.example", "--identity", "--preferred").status == 2


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nobody", "no mail address"),
        (f"anna@{DOMAIN}", "domain of this office"),
        (f"anna@mx.{DOMAIN}", "domain of this office"),
        (MAILBOX.upper(), "already"),
        ("a@b.example\r\nRCPT TO:<c@d.example>", "no mail address"),
    ],
)
def test_an_address_that_can_be_no_mailbox_is_refused(person: Person, address: str, why: str) -> None:
    assert why in person.refused("admin", "mailbox", "add", address)


def test_the_domain_of_a_mailbox_is_not_hosted(person: Person) -> None:
    before = person.json("admin", "domain", "list")
    assert "mailbox of anna" in person.refused("admin", "domain", "add", "Home.Example")
    refused = person.refused("init", "--domain", "home.example", "--mailbox", "anna@other.example")
    assert "mailbox of anna" in refused
    assert person.json("admin", "domain", "list") == before


def _verification(person: Person) -> tuple[str, str]:
    """The address that the last verification mail asks to answer to, and the token in its text."""
    with person.office() as office:
        (waiting,) = [
            each for each in office.db.view(spool.queue) if each.message.direction is Direction.NOTICE
        ]
        message = office.db.view(spool.by_id, waiting.message.id)
    assert message is not None
    sender = re.search(rb"<(\S+)>", Message.parse(message.raw).value("From") or b"")
    token = re.search(rb"--token (\S+)", message.raw)
    assert sender
    assert token
    return sender[1].decode(), token[1].decode()


def test_a_pending_mailbox_is_asked_by_mail_and_verified_by_the_token(person: Person) -> None:
    person.out("admin", "mailbox", "add", "work@firm.example", "--verify")
    assert _mailboxes(person)["work@firm.example"]["state"] == "pending"
    answer_to, token = _verification(person)
    assert accounts.token_of(answer_to.partition("@")[0]) == token
    assert answer_to.endswith(f"@{DOMAIN}")
    assert "no token" in person.refused(
        "admin", "mailbox", "verify", "work@firm.example", "--token", f"2.{'a' * 32}"
    )
    person.out("admin", "mailbox", "verify", "work@firm.example", "--token", token.upper())
    assert _mailboxes(person)["work@firm.example"]["state"] == "verified"
    person.refused("admin", "mailbox", "verify", "work@firm.example", "--token", token)


@pytest.mark.parametrize(
    ("options", "why"), [(["--verify"], "takes no mail yet"), (["--identity"], "a sending identity only")]
)
def test_what_takes_no_mail_is_chosen_for_none(person: Person, options: list[str], why: str) -> None:
    """Else mail would go elsewhere than the person was told, or to where only mail is sent from."""
    person.out("admin", "mailbox", "add", "second@home.example")
    person.out("admin", "mailbox", "add", "usual@home.example", "--preferred")
    person.out("admin", "mailbox", "add", "work@firm.example", *options)
    person.out("new", "Lamp Shop")
    assert why in person.refused("new", "Book Shop", "--mailbox", "work@firm.example")
    assert why in person.refused("set", "lamp-shop", "--mailbox", "work@firm.example")
    with person.office() as office, pytest.raises(OfficeError, match=why):
        office.db.call(
            lambda tx: accounts.prefer_mailbox(
                tx, office, account_rows.the_only(tx), "work@firm.example", actor="test"
            )
        )
    [usual] = [row["address"] for row in _mailboxes(person).values() if row["preferred"]]
    assert usual == person.json("show", "lamp-shop")["mailbox"] == "usual@home.example"


def test_a_token_verifies_the_mailbox_it_was_sent_to_and_no_other(person: Person) -> None:
    person.out("admin", "mailbox", "add", "work@firm.example", "--verify")
    _, token = _verification(person)
    person.refused("admin", "mailbox", "verify", MAILBOX, "--token", token)
    assert _mailboxes(person)["work@firm.example"]["state"] == "pending"


def test_the_answer_shows_what_proof_the_mailbox_carries(person: Person) -> None:
    person.out("admin", "mailbox", "verify", MAILBOX)
    _, token = _verification(person)
    with person.office() as office:
        confirm = {"proof": "dkim", "actor": "smtp 192.0.2.1"}
        assert office.db.call(accounts.confirm, office, token, author="else@home.example", **confirm) is None
        done = office.db.call(accounts.confirm, office, token, author=MAILBOX, **confirm)
    assert done is not None
    assert done.proof == "dkim"
    assert done.dkim_seen is not None
    assert _mailboxes(person)[MAILBOX]["proof"] == "dkim"


def test_a_token_runs_out_after_three_days(person: Person) -> None:
    person.out("admin", "mailbox", "verify", MAILBOX)
    _, token = _verification(person)
    with person.office() as office:
        late = replace(office, clock=lambda: now() + timedelta(days=3, seconds=1))
        told = {"proof": "spf", "author": MAILBOX, "actor": "smtp"}
        assert late.db.call(accounts.confirm, late, token, **told) is None
        assert office.db.call(accounts.confirm, office, token, **told) is not None


@pytest.mark.parametrize(
    "local",
    ["verify", "verify.", "verify.1", "verify.1.short", "verify.x." + "a" * 32, "xverify.1." + "a" * 32],
)
def test_only_a_whole_token_is_a_verification_address(local: str) -> None:
    assert accounts.token_of(local) == ""


# ---- app passwords


def _check(person: Person, name: str, password: str) -> int | None:
    with person.office() as office:

        async def asked() -> int | None:
            return await passwords.check(office, name, password.encode())

        return asyncio.run(asked())


def test_an_app_password_is_printed_alone_and_stored_as_its_hash(person: Person) -> None:
    answer = person.says("admin", "password", "new", "--label", "phone")
    password = answer.out.rstrip("\n")
    assert re.fullmatch(r"(?:[a-z2-7]{5}-){3}[a-z2-7]{5}", password)
    assert answer.err == ""
    octets = b"".join(path.read_bytes() for path in (person.folder / "office").glob("office.db*"))
    assert password.encode() not in octets
    assert b"$argon2id$" in octets


def test_a_password_opens_its_own_account_only(person: Person) -> None:
    person.out("admin", "account", "add", "bert", "--mailbox", "bert@home.example")
    password = person.out("--account", "anna", "admin", "password", "new")
    assert _check(person, "anna", password) == 1
    assert _check(person, "Anna", password.capitalize()) == 1
    assert _check(person, "bert", password) is None
    assert _check(person, "nobody", password) is None
    assert _check(person, "anna", password[:-1]) is None


def test_a_revoked_password_opens_nothing(person: Person) -> None:
    password = person.out("admin", "password", "new", "--label", "phone")
    person.out("admin", "password", "revoke", "phone")
    assert _check(person, "anna", password) is None
    assert person.json("admin", "password", "list") == []
    assert "no app password" in person.refused("admin", "password", "revoke", "phone")


def test_a_suspended_accounts_password_opens_nothing(person: Person) -> None:
    password = person.out("admin", "password", "new")
    person.out("admin", "account", "suspend", "anna")
    assert _check(person, "anna", password) is None


def test_a_use_is_written_down(person: Person) -> None:
    password = person.out("admin", "password", "new", "--label", "phone")
    assert person.json("admin", "password", "list")[0]["last_used"] is None
    assert _check(person, "anna", password) == 1
    assert person.json("admin", "password", "list")[0]["last_used"] is not None


def test_two_passwords_of_one_label_are_told_apart_by_number(person: Person) -> None:
    person.out("admin", "password", "new", "--label", "phone")
    person.out("admin", "password", "new", "--label", "phone")
    assert "give its number" in person.refused("admin", "password", "revoke", "phone")
    person.out("admin", "password", "revoke", "1")
    assert [row["id"] for row in person.json("admin", "password", "list")] == [2]
