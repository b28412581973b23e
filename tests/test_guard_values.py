"""What the leak guard finds of private names and of the cards' values, however they are written.

Promise: a name, a number or a day is found as people write it, and what only looks like one is no finding.
"""

from __future__ import annotations

import time
import zlib

import pytest

from sortingoffice.core import guard, outward, secrets
from sortingoffice.core.model import FieldType, Sensitivity
from sortingoffice.core.secrets import Kind, Secret
from sortingoffice.core.wallet import Value
from sortingoffice.mail.message import Message
from tests import leaks
from tests.test_guard import FACTS, MORE_PLACES, gated


def values(*texts: str) -> tuple[Secret, ...]:
    return tuple(Secret(Kind.VALUE, text, f"card.{number}") for number, text in enumerate(texts))


def card(name: str, key: str, kind: FieldType, text: str) -> Secret:
    found = secrets.card_value(Value(name, key, kind, Sensitivity.SENSITIVE, text))
    assert found is not None
    return found


PRIVATE = (
    Secret(Kind.NAME, "Anna Privatova", "your name"),
    card("phone", "mobile", FieldType.PHONE, "+491701234567"),
    Secret(Kind.VALUE, "DE89370400440532013000", "bank.iban"),
    Secret(Kind.VALUE, "Hauptstraße 12", "home.street"),
    card("name", "born", FieldType.DATE, "1980-02-01"),
    Secret(Kind.VALUE, "12345", "home.postcode"),
    card("home", "second", FieldType.LINE, "Königsgäßchen 7"),
    card("web", "page", FieldType.URL, "https://privatova.example/anna"),
)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Regards, Anna Privatova", "your name"),
        ("Privatova, Anna", "your name"),
        ("ANNA  PRIVATOVÁ", "your name"),
        ("call +49 170 1234567", "phone.mobile"),
        ("call 0170/123 45 67", "phone.mobile"),
        ("call 0049-170-1234567", "phone.mobile"),
        ("IBAN DE89 3704 0044 0532 0130 00", "bank.iban"),
        ("iban: de89-3704-0044-0532-0130-00.", "bank.iban"),
        ("I live in Hauptstrasse 12.", "home.street"),
        ("HAUPTSTRAẞE 12", "home.street"),
        ("https://x.example/?s=Hauptstra%C3%9Fe%2012", "home.street"),
        ("born 01.02.1980", "name.born"),
        ("born on 1 February 1980", "name.born"),
        ("né le 1 février 1980", "name.born"),
        ("02/01/1980", "name.born"),
        ("+49 (0)170 1234567", "phone.mobile"),
        ("اتصل بي ٠١٧٠ ١٢٣٤٥٦٧", "phone.mobile"),
        ("फ़ोन +४९ १७० १२३४५६७", "phone.mobile"),
        ('{"born": "1980-02-01T00:00:00Z"}', "name.born"),
        ("Koenigsgaesschen 7", "home.second"),
        ("see privatova.example/anna", "web.page"),
    ],
)
@pytest.mark.parametrize("transfer", ["8bit", "base64", "quoted-printable"])
def test_private_names_and_card_values_are_found(text: str, label: str, transfer: str) -> None:
    _, found = gated(leaks.alone(leaks.text_part("plain", f"Hello,\n{text}\n", "utf-8", transfer)), PRIVATE)
    assert {each.what for each in found} == {label}


@pytest.mark.parametrize(
    "text",
    [
        "postcode 12345",
        "call +49 170 12345678",
        "Joanna Privatova-Smith",
        "Hauptstraße 123",
        "DE8937040044053201300099",
    ],
)
def test_short_values_and_longer_words_are_no_finding(text: str) -> None:
    _, found = gated(leaks.alone(leaks.text_part("plain", f"Hello,\n{text}\n", "utf-8", "8bit")), PRIVATE[1:])
    assert not found


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("CurriculumAnnaPrivatova.pdf", True),
        ("AnnaPrivatovaCurriculum.pdf", True),
        ("curriculumAnna.pdf", True),
        ("JoAnna and DiAnna", False),
        ("Annabel, SusAnna, PRIVATOVANNA", False),
        ("Annas and annaPrivat", False),
    ],
)
def test_capitals_part_a_name_from_the_words_around_it(text: str, held: bool) -> None:
    sought = tuple(Secret(Kind.NAME, name, "your name") for name in ("Anna", "Privatova"))
    _, found = gated(leaks.alone(leaks.text_part("plain", f"Hello,\n{text}\n", "utf-8", "8bit")), sought)
    assert bool(found) == held


def test_numbers_of_a_picture_or_a_drawing_are_no_card_value() -> None:
    drawing = " ".join(f"0.{number:06d} {number:06d}1 l" for number in range(0, 999_999, 7)).encode()
    others = values("123456", "654321", "abcdef")
    _, found = gated(leaks.attached("application/pdf", b"%PDF-1.4\0\xff" + zlib.compress(drawing)), others)
    assert not found
    _, found = gated(leaks.attached("application/pdf", b"%PDF-1.4\0\xff (customer 123456) "), others)
    assert [each.what for each in found] == ["card.0"]


BORN = card("me", "born", FieldType.DATE, "1980-03-04")


@pytest.mark.parametrize(
    "written",
    [
        "4.3.1980",
        "4.3.80",
        "04.03.80",
        "04.03.1980",
        "3/4/1980",
        "03/04/80",
        "4/3/1980",
        "1980.3.4",
        "1980-03-04",
        "19800304",
        "4 - 3 - 1980",
        "4 March 1980",
        "March 4th, 1980",
        "the 4th of March, 1980",
        "Mar 4 1980",
        "4. März 1980",
        "4 de marzo de 1980",
        "4 maart 1980",
        "4 марта 1980",
        "1980年3月4日",
    ],
)
def test_a_day_is_found_as_people_write_it(written: str) -> None:
    assert gated(MORE_PLACES["prose"](f"I was born on {written}, so", "utf-8", "8bit"), (BORN,))[1]


@pytest.mark.parametrize(
    "written",
    ["431980", "4380", "4 380 EUR", "1.4.3.80", "14.3.80", "4.3.801", "34 March 1980"],
)
def test_a_number_like_a_day_is_none(written: str) -> None:
    assert not gated(MORE_PLACES["prose"](f"It is {written}, so", "utf-8", "8bit"), (BORN,))[1]


def test_two_hundred_kilobytes_with_three_hundred_values_take_a_moment() -> None:
    words = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor at the shop".split()
    text = "\n".join(" ".join(words[(i + k) % len(words)] for k in range(12)) for i in range(2700))
    message = outward.rewrite(
        Message.parse(leaks.alone(leaks.text_part("plain", text, "utf-8", "8bit"))), FACTS
    )
    assert len(bytes(message)) > 190_000
    others = values(*(f"{words[i % 15]} {i * 7919} {words[i % 13]}" for i in range(300)))
    best = min(_seconds(message, others) for _ in range(5))
    assert best < 0.1


def _seconds(message: Message, others: tuple[Secret, ...]) -> float:
    started = time.process_time()
    guard.guarded(message, FACTS, others)
    return time.process_time() - started
