"""`log` and `trace`: what happened, told from the database alone."""

from __future__ import annotations

from sortingoffice.core.model import Attempt, DeliveryState
from sortingoffice.flows.office import Office, now
from sortingoffice.store import accounts, events, spool
from sortingoffice.store.database import Transaction
from tests.person import MAILBOX, Person
from tests.test_store_spool import message, to


def _tried(tx: Transaction, office: Office, number: int) -> str:
    """An attempt at a delivery; the message's public id."""
    delivery = spool.delivery_by_id(tx, number)
    assert delivery is not None
    attempt = Attempt(0, number, now(), "mx.home.example (192.0.2.7)", "TLSv1.3", "450 4.2.1 busy\x1b[2J", 31)
    spool.settle(tx, delivery, attempt, DeliveryState.QUEUED, "", now(), "450 4.2.1 busy", now())
    stored = spool.by_id(tx, delivery.message_id)
    assert stored is not None
    events.add(
        tx,
        at=now(),
        actor="smtp 192.0.2.1",
        what="accepted",
        rule="vendor",
        message=stored.token,
        account_id=stored.account_id,
        relationship_id=stored.relationship_id,
    )
    return stored.token


def spooled(person: Person) -> tuple[int, str]:
    number = person.spooled("lamp-shop", DeliveryState.QUEUED)
    with person.office() as office:
        return number, office.db.call(_tried, office, number)


def test_the_log_tells_what_happened_in_a_relationship(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    person.out("new", "Other")
    person.out("revoke", "lamp-shop")
    rows = person.json("log", "lamp-shop")
    assert [row["what"] for row in rows] == ["issued", "revoked"]
    assert rows[0]["relationship"] == "lamp-shop"
    assert rows[0]["detail"] == alias
    assert person.json("log", "lamp-shop", "--most", "1") == rows[-1:]


def test_the_log_of_the_office_has_everything_and_of_an_account_its_own(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.out("admin", "account", "add", "bert")
    office = [row["what"] for row in person.json("log")]
    assert {"issued", "account added", "domain added"} <= set(office)
    assert "issued" not in [row["what"] for row in person.json("--account", "bert", "log")]


def test_the_log_is_a_table_for_a_person(person: Person) -> None:
    person.out("new", "Lamp Shop")
    lines = person.out("log", "lamp-shop").splitlines()
    assert lines[0].split() == ["AT", "WHAT", "RULE", "RELATIONSHIP", "MESSAGE", "ACTOR", "DETAIL"]
    assert "issued" in lines[1]


def test_the_log_of_a_relationship_that_is_not_there_is_refused(person: Person) -> None:
    assert "nothere" in person.refused("log", "nothere")


def test_a_trace_tells_the_way_of_a_message(person: Person) -> None:
    person.out("new", "Lamp Shop")
    number, token = spooled(person)
    (row,) = person.json("trace", token)
    assert (row["message"], row["relationship"], row["direction"]) == (token, "lamp-shop", "inward")
    (delivery,) = row["deliveries"]
    assert (delivery["id"], delivery["to"], delivery["state"]) == (number, MAILBOX, "queued")
    assert [tried["reply"] for tried in delivery["attempts"]] == ["450 4.2.1 busy\x1b[2J"]
    assert [(event["what"], event["rule"]) for event in row["events"]] == [("accepted", "vendor")]
    assert person.json("trace", token.upper()) == [row]


def test_a_trace_for_a_person_shows_the_attempts_and_moves_no_cursor(person: Person) -> None:
    person.out("new", "Lamp Shop")
    number, token = spooled(person)
    shown = person.out("trace", token)
    assert f"{MAILBOX}: queued" in shown
    assert "mx.home.example (192.0.2.7)  TLSv1.3  31 ms  450 4.2.1 busy" in shown
    assert f"[{number}]" in shown
    assert "\x1b" not in shown


def test_an_address_is_traced_by_whatever_it_is(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    reverse = person.out("contact", "lamp-shop", "orders@lampshop.example")
    _, token = spooled(person)
    for text in (alias, alias.upper(), reverse, MAILBOX, "Orders@LampShop.example"):
        assert [row["message"] for row in person.json("trace", text)] == [token], text


def test_a_refused_message_is_traced_by_its_event(person: Person) -> None:
    with person.office() as office:
        office.db.call(
            events.add, at=now(), actor="smtp 192.0.2.1", what="refused", rule="dmarc_reject", message="abcd"
        )
    (row,) = person.json("trace", "abcd")
    assert row["message"] == "abcd"
    assert [event["rule"] for event in row["events"]] == ["dmarc_reject"]
    assert "not accepted" in person.out("trace", "abcd")


def test_what_nobody_knows_is_refused(person: Person) -> None:
    for text in ("nothing", "nobody@nowhere.example", "@", "a@b@c"):
        assert "nothing is known" in person.refused("trace", text)


def test_another_account_s_mail_is_not_traced(person: Person) -> None:
    person.out("new", "Lamp Shop")
    _, token = spooled(person)
    person.out("admin", "account", "add", "bert")
    assert "nothing is known" in person.says("--account", "bert", "trace", token).err
    assert "nothing is known" in person.says("--account", "bert", "trace", MAILBOX).err


def test_of_a_mail_to_two_accounts_each_sees_what_happened_to_its_own(person: Person) -> None:
    alias = person.out("new", "Lamp Shop")
    _, token = spooled(person)
    person.out("admin", "account", "add", "bert")
    with person.office() as office:
        bert = office.db.view(accounts.by_name, "bert")
        assert bert is not None
        office.db.call(
            events.add, at=now(), actor="smtp", what="refused", rule="no", message=token, account_id=bert.id
        )
    for text in (token, alias):
        (row,) = person.json("--account", "anna", "trace", text)
        assert [event["rule"] for event in row["events"]] == ["vendor"], text


def test_an_address_with_much_mail_shows_the_latest(person: Person) -> None:
    with person.office() as office:
        for n in range(5):
            office.db.call(spool.put, message(subject=f"s{n}"), (to("far.example"),))
    rows = person.json("trace", "a@far.example", "--most", "2")
    assert [row["subject"] for row in rows] == ["s3", "s4"]
