"""vCards and JSContact: out by mail and by command, in from a file, and no bomb goes off."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import vobject
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.errors import OfficeError
from sortingoffice.flows import exchange
from sortingoffice.flows.disclose import Resolved
from sortingoffice.mail import mime, vcard
from sortingoffice.mail.vcard import Property
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=120)
names = st.from_regex(r"[A-Z][A-Z0-9-]{0,10}", fullmatch=True).filter(
    lambda n: n not in ("BEGIN", "END", "VERSION")
)
properties = st.builds(
    Property,
    names,
    st.lists(
        words.map(lambda text: text + "\nmore" if len(text) % 7 == 3 else text), min_size=1, max_size=5
    ).map(tuple),
    st.lists(st.sampled_from(["home", "work", "cell"]), max_size=2, unique=True).map(tuple),
)


@given(st.lists(properties, max_size=6).map(tuple), st.sampled_from(["3.0", "4.0"]))
def test_what_is_written_is_read_again(written: tuple[Property, ...], version: str) -> None:
    octets = vcard.serialize(written, version)
    assert vcard.parse(octets) == (written,)
    assert all(len(line) <= 75 for line in octets.split(b"\r\n"))


def sentence(octets: bytes) -> str:
    """Why it is no vCard; "" if it is one."""
    try:
        vcard.parse(octets)
    except ValueError as error:
        return str(error) or "no sentence"
    return ""


@given(st.binary(max_size=300))
def test_any_octets_are_a_card_or_a_sentence(octets: bytes) -> None:
    for raw in (octets, b"BEGIN:VCARD\r\n" + octets + b"\r\nEND:VCARD\r\n"):
        assert sentence(raw) != "no sentence"


HEAD = b"BEGIN:VCARD\r\nVERSION:3.0\r\n"
BOMBS = {
    "nested": b"BEGIN:VCARD\r\n" * 15_000,
    "many cards": (HEAD + b"END:VCARD\r\n") * 6000,
    "many properties": HEAD + b"TEL:1\r\n" * 19_000 + b"END:VCARD\r\n",
    "semicolons": HEAD + b"N:" + b";" * 900_000 + b"\r\nEND:VCARD\r\n",
    "parameters": HEAD + b"TEL" + b";TYPE=a" * 120_000 + b":1\r\nEND:VCARD\r\n",
    "values of a parameter": HEAD + b"TEL;TYPE=" + b"a," * 400_000 + b":1\r\nEND:VCARD\r\n",
    "no colon": b"a;" * 500_000,
    "folds": HEAD + b"NOTE:" + b"a\r\n " * 250_000 + b"\r\nEND:VCARD\r\n",
    "backslashes": HEAD + b"NOTE:" + b"\\" * 900_000 + b"\r\nEND:VCARD\r\n",
    "quotes": HEAD + b'TEL;X="' + b"a" * 900_000,
    "large": b"a" * 5_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_answered_quickly(name: str) -> None:
    began = time.process_time()
    assert sentence(BOMBS[name]) != "no sentence"
    assert time.process_time() - began < 5


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    desk.set("shipping.phone=+49301234567", "shipping.doorbell=Ring; twice, please")
    desk.grant("shipping")
    return desk


def attached(outcome: object) -> mime.Entity:
    assert isinstance(outcome, Resolved), outcome
    root = mime.parse(outcome.message)
    assert root.content_type == "multipart/mixed"
    return root.children[-1]


def test_a_vcard_is_attached_only_when_asked_for(desk: Desk) -> None:
    outcome = desk.send("Hi\n#card shipping as vcard\nBye\n")
    part = attached(outcome)
    assert (part.content_type, part.filename, part.disposition) == (
        "text/vcard",
        "shipping.vcf",
        "attachment",
    )
    assert isinstance(outcome, Resolved)
    assert mime.parse(outcome.message).children[0].text() == "Hi\r\n(shipping.vcf)\r\nBye\r\n"
    card = vobject.readOne(part.octets().decode())
    assert card.version.value == "3.0"
    assert card.fn.value == "Anna Example"
    assert (card.n.value.given, card.n.value.family) == ("Anna", "Example")
    address = card.adr.value
    assert (address.street, address.city, address.code, address.country) == (
        "Lindenallee 5",
        "Berlin",
        "10115",
        "DE",
    )
    assert card.tel.value == "+49301234567"
    assert card.note.value == "Doorbell: Ring; twice, please"
    rows = desk.disclosures()
    assert {row["form"] for row in rows} == {"vcard"}
    assert len(rows) == 7


def test_the_uid_is_another_for_each_relationship(desk: Desk) -> None:
    other = desk.relate("Other")
    desk.grant("shipping", "other")
    first = attached(desk.ask("#card shipping as vcard4\n")).octets()
    again = attached(desk.ask("#card shipping name as vcard4\n")).octets()
    second = attached(desk.ask("#card shipping as vcard4\n", other)).octets()

    def uid(octets: bytes) -> str:
        [card] = vcard.parse(octets)
        return next(each.text for each in card if each.name == "UID")

    assert uid(first) == uid(again) != uid(second)
    assert b"VERSION:4.0" in first


def test_jscontact_holds_every_value(desk: Desk) -> None:
    part = attached(desk.ask("#card shipping as jscontact\n"))
    assert part.filename == "shipping.json"
    card = json.loads(part.octets())
    assert (card["@type"], card["version"]) == ("Card", "2.0")
    assert card["name"]["full"] == "Anna Example"
    assert {"kind": "postcode", "value": "10115"} in card["addresses"]["a1"]["components"]
    assert card["addresses"]["a1"]["countryCode"] == "DE"
    assert card["phones"]["p1"]["number"] == "+49301234567"
    assert card["notes"]["n1"]["note"] == "Doorbell: Ring; twice, please"


def test_a_file_joins_a_mail_that_has_parts_already(desk: Desk) -> None:
    message = (
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n"
        "Content-Type: text/plain\n\n"
        "#card shipping as vcard\n--b\nContent-Type: application/pdf\n\nPDF\n--b--\nepilogue\n"
    )
    outcome = desk.ask(message)
    assert isinstance(outcome, Resolved)
    root = mime.parse(outcome.message)
    assert [child.content_type for child in root.children] == ["text/plain", "application/pdf", "text/vcard"]
    assert bytes(outcome.message).endswith(b"--b--\r\nepilogue\r\n")
    assert b"--b\r\nContent-Type: application/pdf\r\n\r\nPDF\r\n--b\r\n" in bytes(outcome.message)


def test_a_card_without_a_name_is_named_by_the_alias_and_never_by_the_mailbox(desk: Desk) -> None:
    [card] = vcard.parse(attached(desk.ask("#card shipping city as vcard\n")).octets())
    assert Property("FN", ("lamp.shop1234@sort.example",)) in card


IMPORTED = b"""BEGIN:VCARD
VERSION:3.0
FN:Ben Beispiel
N:Beispiel;Ben;;;
BDAY:1984-02-29
item1.TEL;type=CELL;type=pref:+49 170 1234567
TEL;TYPE=WORK:030 12345
EMAIL;TYPE=INTERNET:Anna@home.example
ADR;TYPE=HOME:;;Lange Stra\xc3\x9fe 1\\, Hof;Berlin;;10115;Germany
NOTE:two\\nlines
PHOTO;ENCODING=b;TYPE=JPEG:AAAA
X-JUNK:1
END:VCARD
""".replace(b"\n", b"\r\n")


def test_a_vcard_becomes_cards_and_what_is_left_out_is_said(desk: Desk) -> None:
    rows, left_out = desk.db.call(exchange.import_vcard, desk.office, desk.account, IMPORTED, actor="test")
    stored = {f"{row['card']}.{row['field']}" for row in rows}
    assert stored == {
        "name.full",
        "name.family",
        "name.given",
        "name.birthday",
        "contact.mobile",
        "contact.note",
        "home.street",
        "home.city",
        "home.postcode",
        "home.country",
    }
    said = "\n".join(left_out)
    assert "PHOTO" in said
    assert "X-JUNK" in said
    assert "contact.work-phone" in said, "a national number"
    assert "contact.email: your mailbox is never given" in said
    assert said.count("contact.work-phone: ") == 1
    again = desk.db.view(exchange.export, desk.office, desk.account, "home", "vcard4")
    assert "ADR;TYPE=home:;;Lange Straße 1\\, Hof;Berlin;;10115;DE".encode() in again


def imported(desk: Desk, *lines: str) -> list[str]:
    """What is left out of a vCard of these lines."""
    octets = "\r\n".join(("BEGIN:VCARD", "VERSION:4.0", "FN:Ben", *lines, "END:VCARD", "")).encode()
    return desk.db.call(exchange.import_vcard, desk.office, desk.account, octets, actor="test")[1]


def home(desk: Desk) -> bytes:
    return desk.db.view(exchange.export, desk.office, desk.account, "home", "vcard4")


def test_a_street_of_two_lines_and_a_birthday_with_a_time_are_taken(desk: Desk) -> None:
    """As Google's and Apple's address books write them."""
    adr = r"ADR;TYPE=home:;;Lange Straße 1\nHinterhaus\n;Berlin;;10115;DE"
    assert imported(desk, adr, "BDAY:19840229T000000Z") == []
    assert r"ADR;TYPE=home:;;Lange Straße 1\, Hinterhaus;Berlin;;10115;DE".encode() in home(desk)


def test_an_address_is_never_mixed_with_the_one_that_was_there(desk: Desk) -> None:
    assert imported(desk, "ADR;TYPE=home:;;Lange Straße 1;Berlin;;10115;DE") == []
    for new in (";;Kurze Gasse 2;Basel;;4051;Helvetien", ";;Kurze Gasse 2;Basel;;;CH"):
        said = "\n".join(imported(desk, f"ADR;TYPE=home:{new}"))
        assert "home: its address would be mixed with the one that is there: remove home." in said
    assert "Lange Straße 1;Berlin;;10115;DE".encode() in home(desk)
    assert imported(desk, "ADR;TYPE=home:;;Kurze Gasse 2;Basel;BS;4051;CH") == []
    assert b"Kurze Gasse 2;Basel;BS;4051;CH" in home(desk)


TWICE = b"""BEGIN:VCARD
VERSION:3.0
FN:Ben Beispiel
N:Beispiel;Ben;Maria;Dr.;
ORG:Lamp Works;Switches
TEL;TYPE=CELL:+49 170 1234567
TEL;TYPE=CELL:+49 171 7654321
TEL;TYPE=CELL:+49 170 1234567
ADR;TYPE=HOME:;;Lange Strasse 1;Berlin;;10115;DE
ADR;TYPE=HOME:7;;Kurze Strasse 2;Basel;BS;4051;CH
ADR;TYPE=WORK:;;;;;;
BDAY;X-APPLE-OMIT-YEAR=1604:1604-02-29
END:VCARD
"""


def test_of_two_addresses_or_numbers_one_is_taken_whole_and_the_other_is_said(desk: Desk) -> None:
    rows, left_out = desk.db.call(exchange.import_vcard, desk.office, desk.account, TWICE, actor="test")
    stored = {f"{row['card']}.{row['field']}" for row in rows}
    assert "contact.mobile" in stored
    assert {each for each in stored if each.startswith("home.")} == {
        *("home.street", "home.city", "home.postcode", "home.country"),
    }
    assert {each.partition(":")[0] for each in left_out} == {
        "the rest of N",
        "the rest of ORG",
        "another TEL (contact.mobile)",
        "another ADR (home)",
        "BDAY",
    }


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_vcard_of_an_old_address_book_keeps_its_letters(codec: str) -> None:
    octets = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Jürgen Groß\r\nEND:VCARD\r\n".encode(codec)
    assert vcard.parse(octets) == ((Property("FN", ("Jürgen Groß",)),),)


@pytest.mark.parametrize("parameters", ["CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE", "QUOTED-PRINTABLE"])
def test_a_quoted_printable_name_is_read(parameters: str) -> None:
    octets = f"BEGIN:VCARD\nVERSION:3.0\nN;{parameters}:Gro=C3=9F;J=C3=BCrgen\nEND:VCARD\n".encode()
    assert vcard.parse(octets) == ((Property("N", ("Groß", "Jürgen")),),)


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "0 cards"),
        (b"hello", "no line of a vCard"),
        (b"FN:x", "BEGIN:VCARD"),
        (b"BEGIN:VCARD\nVERSION:2.1\nEND:VCARD", "version 2.1"),
        (b"BEGIN:VCARD\nVERSION:3.0\nFN:x", "END:VCARD is missing"),
        (b"BEGIN:VCARD\nVERSION:3.0\nX:1\nEND:VCARD", "nothing of this vCard"),
        (b"BEGIN:VCARD\nEND:VCARD\n" * 2, "2 cards"),
        (b"x" * (1 << 21), "larger than 1024 KiB"),
    ],
)
def test_what_is_no_vcard_of_one_person_is_refused(desk: Desk, octets: bytes, said: str) -> None:
    with pytest.raises(OfficeError, match=said):
        desk.db.call(exchange.import_vcard, desk.office, desk.account, octets, actor="test")
