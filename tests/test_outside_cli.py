"""What scripts from outside found at the command line."""

from __future__ import annotations

import pytest

from tests.person import MAILBOX, Person


def test_a_live_alias_without_mail_is_traced_as_an_empty_list(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    reverse = person.out("contact", "lamp-shop", "orders@lampshop.example")
    for address in (alias, reverse):
        assert person.json("trace", address) == []
        assert "No mail" in person.says("trace", address).err


def test_another_account_s_alias_without_mail_stays_unknown(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    person.out("admin", "account", "add", "bert")
    assert "nothing is known" in person.says("--account", "bert", "trace", alias).err


def test_a_list_without_a_match_does_not_say_that_there_are_no_relationships(person: Person) -> None:
    person.out("new", "Lamp Shop")
    for option in (("--state", "revoked"), ("--search", "toaster")):
        assert person.says("list", *option).err == "No relationship is like that.\n"


@pytest.mark.parametrize("name", [MAILBOX, f"Anna ({MAILBOX.upper()})"])
def test_a_mailbox_is_no_display_name(person: Person, name: str) -> None:
    person.out("new", "Lamp Shop")
    assert "leave it out" in person.refused("set", "lamp-shop", "--display-name", name)
    assert person.json("show", "lamp-shop")["display_name"] == ""


def test_a_folder_in_a_key_s_place_is_a_sentence(person: Person) -> None:
    key = person.folder / "office" / "keys" / "token.key"
    key.unlink()
    key.mkdir()
    assert f"the key {key} can't be read" in person.refused("list")


@pytest.mark.parametrize(
    "words",
    [
        *("queue show", "queue retry", "queue drop", "queue list --most", "log --most", "rejects --most"),
        *("trace x@y.example --most", "new Toaster --max", "set lamp-shop --max", "held show"),
        "grant lamp-shop shipping --uses",
    ],
)
def test_a_number_beyond_what_a_database_holds_is_a_sentence(person: Person, words: str) -> None:
    person.out("new", "Lamp Shop")
    answer = person.says(*words.split(), "9" * 20)
    assert answer.status == 2
    assert "is not in the range" in answer.err
