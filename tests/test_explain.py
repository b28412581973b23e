"""`explain --reply`: a mail of the person's, rule by rule, as a dry run of what would really be done."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.core import cards
from sortingoffice.flows import disclose
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, relationships
from sortingoffice.store.database import Transaction
from tests.person import MAILBOX, Person
from tests.screen import drawn

_ALL = [*cards.STEPS, "leak_guard"]


@pytest.fixture
def anna(person: Person) -> Person:
    person.out("new", "Lamp Shop")
    person.out("new", "Books")
    person.out("card", "set", "shipping.city=Berlin", "shipping.street=Lindenallee 5")
    person.out("card", "set", "bank.iban=DE89370400440532013000", "--sensitivity", "sensitive")
    person.out("grant", "lamp-shop", "shipping", "--mode", "auto")
    return person


def _reverse(person: Person, slug: str = "lamp-shop") -> str:
    return person.out("contact", slug, f"clerk@{slug}.example")


def _told(person: Person, body: str, *fields: str, to: str = "") -> dict[str, Any]:
    """What `explain --reply` says of a mail."""
    head = [f"From: Anna <{MAILBOX}>", f"To: {to or _reverse(person)}", *(fields or ("Subject: lamp",))]
    file = person.folder / "mail.eml"
    file.write_text("\n".join([*head, "Content-Type: text/plain; charset=utf-8", "", body]))
    found = person.json("explain", "--reply", file)
    assert isinstance(found, dict)
    return found


def _results(found: dict[str, Any]) -> dict[str, str]:
    assert [each["rule"] for each in found["rules"]] == _ALL
    return {each["rule"]: each["result"] for each in found["rules"]}


def test_the_eleven_steps_have_names() -> None:
    assert len(cards.STEPS) == 11
    assert cards.STEPS[0] == "sender_is_the_person"
    assert cards.STEPS[-1] == "nothing_remains"


def test_a_card_that_may_go_has_every_rule_ok(anna: Person) -> None:
    found = _told(anna, "Here:\n\n#card shipping\n")
    assert (found["decision"], found["rule"]) == ("accept", "sent_as_alias")
    assert found["reply"].startswith("250")
    assert set(_results(found).values()) == {"ok"}


def _planted(tx: Transaction, person: Person, office: Any, line: str) -> None:
    of = relationships.find(tx, accounts.the_only(tx).id, "lamp-shop")
    disclose.remember_inbound(tx, office, of, Message.parse(f"Subject: x\r\n\r\n{line}\r\n".encode()), _now())


def _now() -> datetime:
    return datetime.now(UTC)


_REFUSALS = {
    "readable": ("#card shiping nonsense! as ever\n", ()),
    "exactly_once": ("#card shipping\n\n#card shipping\n", ()),
    "not_the_vendors_line": ("#card shipping street\n", ("planted",)),
    "known_card": ("#card garden\n", ()),
    "every_field_has_a_value": ("#card shipping phone\n", ()),
    "permitted": ("#card shipping\n", ("deny",)),
    "new_information_needs_a_yes": ("#card bank\n", ()),
}


@pytest.mark.parametrize("rule", _REFUSALS)
def test_the_rule_that_says_no_is_named_and_those_after_it_are_not_come_to(anna: Person, rule: str) -> None:
    body, before = _REFUSALS[rule]
    if "planted" in before:
        with anna.office() as office:
            office.db.call(_planted, anna, office, "#card shipping street")
    if "deny" in before:
        anna.out("grant", "lamp-shop", "shipping", "--mode", "never")
    found = _told(anna, body)
    results = list(_results(found).values())
    at = _ALL.index(rule)
    assert (found["decision"], found["rule"]) == ("refuse", rule)
    assert found["told"].startswith("Not sent: ")
    assert results[at] == "no"
    assert found["rules"][at]["said"] in found["told"]
    assert set(results[:at]) == {"ok"}
    assert set(results[at + 1 :]) == {"skipped"}


def test_what_waits_for_a_yes_names_each_rule_that_asks(anna: Person) -> None:
    anna.out("grant", "lamp-shop", "bank", "--mode", "ask")
    found = _told(anna, "#card bank\n")
    results = _results(found)
    assert (found["decision"], found["rule"]) == ("hold", "new_information_needs_a_yes")
    assert results["new_information_needs_a_yes"] == "ask"
    assert results["sensitive_needs_verified_tls"] == "ask"
    assert results["nothing_remains"] == "ok"
    assert anna.json("held", "list") == []


def test_two_relationships_are_refused_by_the_fifth_rule(anna: Person) -> None:
    found = _told(anna, "#card shipping\n", f"Cc: {_reverse(anna, 'books')}")
    results = _results(found)
    assert found["decision"] == "refuse"
    assert results["one_relationship"] == "no"
    assert results["sender_is_the_person"] == "ok"
    assert results["known_card"] == "skipped"


def test_somebody_else_s_from_is_no_person_of_ours(anna: Person) -> None:
    answer = anna.json(
        *("explain", "--from", "eve@other.example", "--to", _reverse(anna)),
        *("--message", _text(anna, "#card shipping\n")),
    )
    assert answer["decision"] == "refuse"
    assert _results(answer)["sender_is_the_person"] == "no"


def _text(person: Person, text: str) -> Path:
    file = person.folder / "text"
    file.write_text(text)
    return file


def test_a_bare_text_will_do_where_the_two_are_named(anna: Person) -> None:
    file = _text(anna, "#card shipping\n")
    found = anna.json("explain", "--from", MAILBOX, "--to", _reverse(anna), "--message", file)
    assert (found["decision"], found["rule"]) == ("accept", "sent_as_alias")
    assert "--from and --to" in anna.refused("explain", "--reply", file)


def test_an_ordinary_mail_asks_for_nothing(anna: Person) -> None:
    found = _told(anna, "Thank you!\n")
    results = _results(found)
    assert found["decision"] == "accept"
    assert results["sender_is_the_person"] == results["one_relationship"] == results["leak_guard"] == "ok"
    assert results["known_card"] == "skipped"


def test_what_the_leak_guard_would_hold_is_said(anna: Person) -> None:
    disguised = base64.b64encode(MAILBOX.encode()).decode()
    found = _told(anna, f"#card shipping\n\nMail me at {disguised}\n")
    results = _results(found)
    assert (found["decision"], found["rule"]) == ("hold", "leak_guard")
    assert results["leak_guard"] == "ask"
    assert results["nothing_remains"] == "ok"
    assert found["told"]


def test_nothing_is_stored_whatever_the_answer(anna: Person) -> None:
    to = _reverse(anna)
    before = _tables(anna)
    for body in ("#card shipping\n", "#card bank\n", "#card garden\n", "hello\n"):
        _told(anna, body, to=to)
    assert _tables(anna) == before


def _tables(person: Person) -> str:
    with closing(sqlite3.connect(person.folder / "office" / "office.db")) as db:
        return hashlib.sha256("\n".join(db.iterdump()).encode()).hexdigest()


def test_a_mail_that_was_sent_already_is_explained_all_the_same(anna: Person) -> None:
    for _ in range(2):
        found = _told(anna, "#card shipping\n", "Message-ID: <1@home.example>")
        assert found["rule"] == "sent_as_alias"


def test_a_revoked_relationship_is_refused_before_any_card(anna: Person) -> None:
    to = _reverse(anna)
    anna.out("revoke", "lamp-shop")
    found = _told(anna, "#card shipping\n", to=to)
    assert found["decision"] == "refuse"
    assert "accept" not in found["reply"]


def test_a_mail_to_nobody_here_is_a_sentence(anna: Person) -> None:
    file = anna.folder / "mail.eml"
    file.write_text(f"From: {MAILBOX}\nTo: somebody@other.example\n\nhello\n")
    assert "--to" in anna.refused("explain", "--reply", file)


@pytest.mark.parametrize("octets", [b"", b"\x00\xff" * 500, b"From: x\n" * 3000, b"To: <" + b"a" * 90_000])
def test_a_file_that_is_no_mail_is_a_sentence(anna: Person, octets: bytes) -> None:
    file = anna.folder / "mail.eml"
    file.write_bytes(octets)
    anna.refused("explain", "--reply", file)


def test_a_person_sees_a_table_of_the_rules(anna: Person) -> None:
    to, file = _reverse(anna), _text(anna, "#card garden\n")
    seen = drawn(anna, "explain", "--from", MAILBOX, "--to", to, "--reply", file, width=90)
    assert "\x1b[1;31mno" in seen.raw
    assert "known_card" in seen.text
    assert 'Not sent: unknown card "garden"' in " ".join(seen.text.split())


def test_without_a_mail_the_two_ends_are_needed(anna: Person) -> None:
    assert anna.says("explain").status == 2
    assert anna.says("explain", "--from", MAILBOX).status == 2
    assert json.loads(anna.out("explain", "--from", "a@b.example", "--to", "x@sort.example", "--json"))


def test_the_document_names_the_rules_in_their_order() -> None:
    text = (Path(__file__).parents[1] / "docs" / "cards.md").read_text()
    table = text.partition("| rule | says no where |")[2].partition("\n\n")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(cards.STEPS)
    assert "`leak_guard`" in text


def test_a_null_sender_is_explained_as_a_stranger_whom_nothing_proves(anna: Person) -> None:
    alias = anna.json("show", "lamp-shop")["alias"]
    assert anna.json("explain", "--from", "<>", "--to", alias)["rule"] == "stranger_flagged"
    anna.out("set", "lamp-shop", "--strangers", "hold")
    assert anna.json("explain", "--from", "<>", "--to", alias)["rule"] == "stranger_held"
