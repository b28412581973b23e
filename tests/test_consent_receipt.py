"""A consent receipt says what the database says, in the fields of ISO/IEC TS 27560, and nothing else."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.core.model import GrantMode, Sensitivity, Via
from sortingoffice.flows import ledger, notify, receipts
from sortingoffice.store.database import Database
from tests.desk import MAILBOX, SHIPPING, Desk, open_desk
from tests.person import Person

SCHEMA = json.loads(
    (Path(__file__).parent.parent / "docs" / "consent-receipt.schema.json").read_text("utf-8")
)
_KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
_KNOWN = {
    "$ref", "type", "const", "enum", "pattern", "minLength", "minItems", "items", "required", "properties",
    "additionalProperties",
}  # fmt: skip


def wrong(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """What a JSON Schema validator would say, for the words that ours is written in."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    assert schema.keys() - {"$schema", "$defs", "title"} <= _KNOWN, "the schema has a word that isn't checked"
    found = []
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _KINDS[kind]) or (kind == "integer" and value is True)):
        return [f"{path} is no {kind}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{path} is not {schema['const']}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path} is {value!r}")
    if isinstance(value, str):
        if "pattern" in schema and re.search(schema["pattern"], value) is None:
            found.append(f"{path} is {value!r}")
        if len(value) < schema.get("minLength", 0):
            found.append(f"{path} is too short")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            found.append(f"{path} has too few")
        for number, each in enumerate(value):
            found += wrong(each, schema.get("items", {}), f"{path}[{number}]")
    if isinstance(value, dict):
        properties = schema["properties"]
        found += [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{path}.{name} is unknown" for name in value.keys() - properties.keys()]
        for name, each in value.items():
            found += wrong(each, properties.get(name, {}), f"{path}.{name}")
    return found


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    return desk


def receipt(desk: Desk, *, values: bool = False, of: str = "lamp-shop") -> dict[str, Any]:
    found = desk.db.view(receipts.receipt, desk.office, desk.account, of, values=values)
    assert wrong(found, SCHEMA) == []
    assert json.loads(json.dumps(found)) == found
    return found


def events(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (each["event_state"], " ".join(each["pii_attribute_ids"]))
        for each in found["consent_record"]["events"]
    ]


def test_the_checker_sees_what_is_wrong(desk: Desk) -> None:
    found = receipt(desk)
    assert wrong({**found, "issued": "yesterday"}, SCHEMA)
    assert wrong({**found, "jurisdiction": "DE"}, SCHEMA)
    assert wrong({each: found[each] for each in found if each != "receipt_id"}, SCHEMA)
    record = found["consent_record"]
    assert wrong({**found, "consent_record": {**record, "events": [{"event_state": "given"}]}}, SCHEMA)


def test_a_relationship_that_was_given_nothing_has_an_empty_record(desk: Desk) -> None:
    found = receipt(desk, of=desk.relate("Other").slug)["consent_record"]
    assert found["events"] == found["disclosures"] == found["pii_processing"]["purposes"] == []
    assert "jurisdiction" not in json.dumps(found), "what isn't known is absent"


def test_the_terms_of_a_grant_stand_beside_what_left_under_it(desk: Desk) -> None:
    desk.grant("shipping", purpose="deliver", terms="https://lamp-shop.example/terms")
    desk.send("#card shipping street\n")
    rows = desk.db.view(ledger.who_has, desk.office, desk.account, "shipping")
    assert [each["terms"] for each in rows] == ["https://lamp-shop.example/terms"]
    [purpose] = receipt(desk)["consent_record"]["pii_processing"]["purposes"]
    assert purpose["privacy_notice"] == "https://lamp-shop.example/terms"


def test_grants_disclosures_and_withdrawals_are_in_it_in_their_order(desk: Desk) -> None:
    desk.grant(
        "shipping", fields=("street", "city"), purpose="deliver the lamp", until=desk.now[0].replace(day=31)
    )
    desk.later(minutes=1)
    desk.send("#card shipping street\n")
    desk.later(minutes=1)
    desk.db.call(
        ledger.disclosed, desk.office, desk.account, "lamp-shop", "shipping", ("postcode",),
        via=Via.WEB_FORM, purpose="", actor="test",
    )  # fmt: skip
    desk.later(minutes=1)
    desk.grant("shipping", mode=GrantMode.NEVER, fields=("country",))
    desk.later(minutes=1)
    desk.db.call(notify.ungrant, desk.office, desk.account, "lamp-shop", "shipping", actor="test")
    found = receipt(desk)
    granted = "shipping.street shipping.city"
    assert events(found) == [
        ("given", granted),
        ("given", "shipping.postcode"),
        ("refused", "shipping.country"),
        ("withdrawn", granted),
        ("withdrawn", "shipping.street"),
    ]
    record = found["consent_record"]
    assert record["events"][0]["validity_duration"] == "P30D"
    by_purpose = {each.get("purpose"): each for each in record["pii_processing"]["purposes"]}
    assert by_purpose["deliver the lamp"]["lawful_basis"] == "consent"
    assert by_purpose["deliver the lamp"]["collection_method"] == ["email"]
    assert by_purpose[None]["collection_method"] == ["web form"]
    assert "lawful_basis" not in by_purpose[None], "why the vendor may keep it nobody said"
    [vendor] = record["party_identification"]
    assert vendor["party_email"] == ["clerk@lamp-shop.example"]
    assert "party_url" not in vendor
    assert "lamp.shop1234@sort.example" in record["pii_processing"]["withdrawal_method"]
    states = {each["pii_attribute_id"]: each["state"] for each in record["disclosures"]}
    assert states == {"shipping.street": "withdrawn", "shipping.postcode": "given"}


def test_a_grant_that_ran_out_or_was_renewed_says_so(desk: Desk) -> None:
    desk.grant("shipping", fields=("city",))
    desk.later(days=1)
    desk.grant("shipping", fields=("city",), until=desk.now[0].replace(day=3))
    assert events(receipt(desk)) == [
        ("given", "shipping.city"),
        ("renewed", "shipping.city"),
        ("given", "shipping.city"),
    ]
    desk.later(days=5)
    last = receipt(desk)["consent_record"]["events"][-1]
    assert last["event_state"] == "expired"
    assert "entity_id" not in last, "nobody did that"


def test_values_are_in_it_only_where_they_are_asked_for_and_the_mailbox_never(desk: Desk) -> None:
    desk.set("secret.born=1984-02-29", sensitivity=Sensitivity.SENSITIVE)
    desk.view("adult", "secret.born:over-18")
    desk.grant("shipping")
    desk.grant("adult")
    desk.db.call(
        ledger.disclosed, desk.office, desk.account, "lamp-shop", "adult", (), via=Via.PAPER, actor="test"
    )
    desk.send("#card shipping\n")
    plain = json.dumps(receipt(desk), ensure_ascii=False)
    values = [each.partition("=")[2] for each in SHIPPING if len(each.partition("=")[2]) > 2]
    for value in [*values, "1984", MAILBOX]:
        assert value not in plain
    full = receipt(desk, values=True)
    written = json.dumps(full, ensure_ascii=False)
    assert all(value in written for value in values)
    assert "1984" not in written, "they were told that it is over 18"
    given = {each["pii_attribute_id"]: each for each in full["consent_record"]["disclosures"]}
    assert given["secret.born:over-18"]["value"] == "yes"
    kinds = [a for p in full["consent_record"]["pii_processing"]["purposes"] for a in p["pii_information"]]
    [adult, *_] = [each for each in kinds if each["pii_attribute_id"] == "secret.born:over-18"]
    assert adult["sensitive_pii_category"] is True
    assert adult["derivation"] == "over-18"


def test_the_person_has_another_identifier_for_each_vendor_and_the_same_each_time(desk: Desk) -> None:
    other = desk.relate("Other").slug
    one, again, two = receipt(desk), receipt(desk), receipt(desk, of=other)
    for name in ("record_id", "pii_principal_id"):
        assert one["consent_record"][name] == again["consent_record"][name] != two["consent_record"][name]
    assert one["receipt_id"] != again["receipt_id"]


def test_what_never_arrived_was_never_given(desk: Desk) -> None:
    from sortingoffice.core.model import DeliveryState

    desk.grant("shipping")
    for state in (DeliveryState.RETURNED, DeliveryState.DROPPED, DeliveryState.QUEUED):
        desk.send("#card shipping city\n", state)
    assert receipt(desk)["consent_record"]["disclosures"] == []


def test_at_the_command_line_it_goes_to_a_file_that_nobody_else_reads(person: Person, tmp_path: Path) -> None:
    person.out("card", "set", "home.city=Berlin")
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("disclosed", "lamp-shop", "home", "--via", "web-form", "--purpose", "delivery")
    found = json.loads(person.out("consent-receipt", "lamp-shop"))
    assert wrong(found, SCHEMA) == []
    [vendor] = found["consent_record"]["party_identification"]
    assert vendor["party_url"] == "https://lampshop.example/"
    assert "Berlin" not in json.dumps(found)
    file = tmp_path / "out" / "receipt.json"
    file.parent.mkdir()
    assert person.json("consent-receipt", "lamp-shop", "--values", "--out", file)["file"] == str(file)
    assert "Berlin" in file.read_text("utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "is there already" in person.refused("consent-receipt", "lamp-shop", "--out", file)
    assert person.refused("consent-receipt", "nobody")
