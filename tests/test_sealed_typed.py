"""Sealed values that the person types by hand: the office can't read them, and knows them all the same."""

from __future__ import annotations

import os
import time

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import guard, likeness, secrets
from sortingoffice.core.model import FieldType
from sortingoffice.core.needle import Kind, Secret
from sortingoffice.core.secrets import Secrets
from sortingoffice.errors import OfficeError
from sortingoffice.flows import notified, notify, rotation, sealed
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.sealed import Seal
from sortingoffice.mail import cipher
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, schema
from tests import leaks
from tests.desk import Desk, assigned

SEAL = Seal("correct horse battery")
KEY = bytes(32)
PASSPORT = "C01X00T47"


def seal(desk: Desk, *assignments: str) -> None:
    desk.db.call(sealed.set_fields, desk.office, desk.account, assigned(assignments), SEAL, actor="test")


def question(desk: Desk) -> str:
    return desk.notices()[-1].raw.decode()


def sealed_before_there_were_likenesses(desk: Desk) -> None:
    """Each sealed value as an older office left it."""
    keys = vaults.open_for(desk.office, desk.account)

    def strip(tx: sa.Connection) -> None:
        for row in tx.execute(sa.select(schema.field_version)).all():
            place = keys.version(row.field_id, row.number)
            _, outer = sealed._parted(keys.open_octets(place, row.sealed))
            old = cipher.seal(keys.data_key, place, outer, os.urandom(cipher.NONCE))
            same = schema.field_version.c.id == row.id
            tx.execute(schema.field_version.update().where(same).values(sealed=old))

    desk.db.call(strip)


def test_a_sealed_value_typed_by_hand_is_held_and_the_question_shows_where_in_the_words_as_typed(
    either: Desk,
) -> None:
    desk = either
    seal(desk, f"id.number={PASSPORT}")
    desk.post("Hello,\n\nmy passport is c01-x00-t47, as you asked.\n\nAnna\n")
    assert desk.states() == ["held"]
    asked = question(desk)
    assert (
        "Subject: Not sent: your mail to Lamp Shop would show a value that is not for them (yes or no?)"
        in (asked)
    )
    assert "  the text: id.number\r\n" in asked
    assert "my passport is [[c01-x00-t47]], as you asked." in asked
    assert PASSPORT not in asked
    assert "yes always" not in asked
    assert desk.disclosures() == []


HELD = (
    ("number", "No. C01X00T47."),
    ("number", "No.C01X00T47"),
    ("number", "(C01X 00T47)"),
    ("number", "Content-Type: text/html\n\n<p>C01X<b>00</b>T47</p>"),
    ("number", "Content-Transfer-Encoding: base64\n\nQzAxWDAwVDQ3\n"),
    ("number", "番号C01X00T47です"),
    ("phone", "call 0170 / 123 45 67"),
    ("phone", "call +49 (0) 170 1234567"),
    ("phone", "Tel.+49 170 1234567"),
    ("birthday", "born 29.02.1984"),
    ("birthday", "born on 29 février 1984"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("amount", "1.234.567,50 EUR"),
    ("note", "after a knee   operation in may I"),
)
SENT = (
    "C01X00T470",
    "AC01X00T47",
    "nothing of the kind",
    "4711",  # so short a value would be found in any mail
    "DE",
    "knee operation",
)


def test_it_is_known_in_every_spelling_that_the_guard_knows_and_in_no_other_word(desk: Desk) -> None:
    values = (PASSPORT, "+491701234567", "1984-02-29", "DE89370400440532013000", "1234567.50")
    keys = ("number", "phone", "birthday", "iban", "amount")
    seal(desk, *(f"id.{key}={value}" for key, value in zip(keys, values, strict=True)))
    seal(desk, "note.note=A knee operation in May", "note.pin=4711", "note.country=DE")
    for field, words in HELD:
        desk.post(words)
        assert (desk.states()[-1], f".{field}" in question(desk)) == ("held", True), words
    for words in SENT:
        desk.post(words)
        assert desk.states()[-1] == "queued", words


def test_yes_sends_it_as_it_is_and_the_ledger_says_which_version_was_typed_and_not_what(either: Desk) -> None:
    desk = either
    seal(desk, f"id.number={PASSPORT}")
    desk.post(f"my passport: {PASSPORT}\n")
    desk.answer("yes")
    assert desk.states() == ["queued"]
    [row] = desk.who_has("id.number")
    assert (row["via"], row["version"], row["state"]) == ("typed", 1, "queued")
    keys = vaults.open_for(desk.office, desk.account)
    [item] = desk.db.view(lambda tx: tx.execute(sa.select(schema.disclosure_item)).all())
    assert keys.open(keys.item(item.disclosure_id, item.card, item.field), item.sealed) == ""


def test_what_the_vendor_was_given_so_is_no_secret_to_it_and_one_to_the_others(desk: Desk) -> None:
    seal(desk, f"id.number={PASSPORT}")
    desk.post(f"my passport: {PASSPORT}\n")
    desk.answer("yes")
    desk.later(hours=1)
    seal(desk, "id.until=2030-01-01")  # the card was sealed anew, the value is the same
    desk.post(f"as I wrote, {PASSPORT} it is\n")
    assert desk.states() == ["queued", "queued"]
    seal(desk, "id.number=D22Y11U58")
    desk.post("and the new one is D22Y11U58\n")
    assert desk.states()[-1] == "held"
    assert len(desk.who_has("id.number")) == 1


def test_a_sealed_value_that_was_given_in_a_form_is_written_down_by_its_version(desk: Desk) -> None:
    seal(desk, f"id.number={PASSPORT}")
    [row] = desk.give("lamp-shop", "id")
    assert (row["field"], row["version"], row["via"], row["state"]) == ("number", 1, "web-form", "given")
    sealed_before_there_were_likenesses(desk)
    with pytest.raises(OfficeError, match="give its passphrase once, at a terminal"):
        desk.give("lamp-shop", "id")


def test_who_holds_an_old_sealed_value_stands_in_the_plan_and_gets_no_mail(desk: Desk) -> None:
    desk.set("id.office=Berlin")
    desk.give("lamp-shop", "id")
    desk.later(hours=1)
    seal(desk, f"id.number={PASSPORT}")
    desk.give("lamp-shop", "id", ("number",))
    assert desk.db.view(notify.plan, desk.office, desk.account, "id") == (), "sealing changes no value"
    desk.later(hours=1)
    seal(desk, "id.number=D22Y11U58")
    [step] = desk.db.view(notify.plan, desk.office, desk.account, "id")
    assert (step.to.slug, step.how, step.changed) == ("lamp-shop", notify.SEALED, ())
    desk.db.call(notify.send, desk.office, desk.account, "id", actor="test")
    assert desk.states() == []
    [row] = desk.db.view(notified.status, desk.office, desk.account, "id")
    assert (row["state"], row["how"]) == ("planned", "sealed")
    with pytest.raises(OfficeError, match="only you can tell Lamp Shop"):
        desk.db.view(notified.papers, desk.office, desk.account, "id", "lamp-shop")
    assert desk.db.view(notified.papers, desk.office, desk.account, "id", "all") == []


def test_no_drops_it_and_the_words_come_back(desk: Desk) -> None:
    seal(desk, f"id.number={PASSPORT}")
    desk.post(f"my passport: {PASSPORT}\n")
    desk.answer("no")
    assert desk.states() == ["dropped"]
    assert f"my passport: {PASSPORT}" in question(desk)
    assert desk.disclosures() == []


def test_a_yes_after_the_value_was_changed_sends_nothing_and_gives_the_words_back(desk: Desk) -> None:
    seal(desk, f"id.number={PASSPORT}")
    desk.post(f"my passport: {PASSPORT}\n")
    asked = desk.notices()[-1]
    desk.later(hours=1)
    seal(desk, "id.number=D22Y11U58")
    desk.answer("yes", asked)
    assert desk.states() == ["dropped"]
    assert "Not sent: id.number was changed while the message waited" in question(desk)
    assert f"my passport: {PASSPORT}" in question(desk)


def test_a_value_that_also_stands_on_a_normal_card_is_no_secret(desk: Desk) -> None:
    desk.shipping()
    seal(desk, "id.holder=Anna Example", f"id.number={PASSPORT}")
    desk.post("Regards, Anna Example\n")
    assert desk.states() == ["queued"]


def test_sealing_a_card_makes_its_values_known_at_once(desk: Desk) -> None:
    desk.set(f"id.number={PASSPORT}", "id.other=something else")
    desk.later(hours=1)
    seal(desk, "id.other=another thing")
    desk.post(f"my passport: {PASSPORT}\n")
    assert desk.states() == ["held"]


def test_what_was_sealed_before_is_known_from_the_next_passphrase_on(either: Desk) -> None:
    desk = either
    seal(desk, f"id.number={PASSPORT}", "id.until=2030-01-01")
    sealed_before_there_were_likenesses(desk)
    desk.post(f"my passport: {PASSPORT}\n")
    assert desk.states() == ["queued"]
    assert sealed.recognised(desk.office, desk.account, SEAL) == 2
    assert sealed.recognised(desk.office, desk.account, SEAL) == 0
    desk.post(f"once more, my passport: {PASSPORT}\n")
    assert desk.states() == ["queued", "held"]
    rows = desk.db.view(sealed.show, desk.office, desk.account, "id", SEAL)
    assert {row["field"]: row["value"] for row in rows} == {"number": PASSPORT, "until": "2030-01-01"}


def test_a_new_data_key_keeps_what_sealed_values_are_known_by(desk: Desk) -> None:
    seal(desk, f"id.number={PASSPORT}")
    rotation.rotate_account(desk.office, desk.account, actor="test")
    account = desk.db.view(accounts.by_id, desk.account.id)
    assert account is not None
    desk.account = account
    desk.post(f"my passport: {PASSPORT}\n")
    assert desk.states() == ["held"]
    seal(desk, "id.number=D22Y11U58")
    desk.post("my passport: D22Y11U58\n")
    assert desk.states() == ["held", "held"]


def test_neither_the_value_nor_a_whole_mac_of_it_is_kept_outside_the_passphrase(desk: Desk) -> None:
    seal(desk, f"id.number={PASSPORT}")
    keys = vaults.open_for(desk.office, desk.account)
    [row] = desk.db.view(lambda tx: tx.execute(sa.select(schema.field_version)).all())
    opened = keys.open_octets(keys.version(row.field_id, row.number), row.sealed)
    assert PASSPORT.encode() not in opened
    like = sealed.likeness(keys, keys.version(row.field_id, row.number), row.sealed)
    assert like is not None
    assert len(like.octets) == 8, "its length, and 32 bits"
    assert keys.mac(FieldType.LINE, "number", PASSPORT)[:3] not in opened
    assert row.mac != keys.mac(FieldType.LINE, "number", PASSPORT)
    assert "key" not in repr(like)


def test_without_the_accounts_key_a_likeness_says_nothing_of_a_value() -> None:
    one, other = (likeness.of(os.urandom(32), [PASSPORT]) for _ in range(2))
    assert one.spellings != other.spellings
    assert not one.resembles(other)


@pytest.mark.parametrize("octets", [b"1234567", b"123456789"])
def test_what_is_no_likeness_is_not_read_as_one(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a likeness"):
        likeness.read(KEY, octets)


WORDS = st.text("abA1 -.@+é番\u200b\n", min_size=1, max_size=12)


@given(
    value=st.text("abA1 -é番", min_size=6, max_size=14), before=WORDS, after=WORDS, split=st.integers(0, 14)
)
def test_a_sealed_value_is_found_where_a_readable_one_is(
    value: str, before: str, after: str, split: int
) -> None:
    if not secrets.spelled(FieldType.LINE, value):
        return
    text = f"{before}{value[:split]}\u200b{value[split:]}{after}"
    readable = Secret(Kind.VALUE, value, "card.field")
    closed = Secret(Kind.VALUE, "", "card.field", like=likeness.of(KEY, [value]))
    expected, found = ({(h.start, h.end) for h in Secrets((each,)).hits(text)} for each in (readable, closed))
    assert found == expected


def test_two_hundred_kilobytes_with_three_hundred_sealed_values_take_a_moment() -> None:
    words = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor at the shop".split()
    text = "\n".join(" ".join(words[(i + k) % len(words)] for k in range(12)) for i in range(2700))
    message = Message.parse(leaks.alone(leaks.text_part("plain", text, "utf-8", "8bit")))
    closed = tuple(
        Secret(Kind.VALUE, "", f"card.{i}", like=likeness.of(KEY, [f"{words[i % 15]} {i} {'x' * (i % 40)}"]))
        for i in range(300)
    )

    def seconds() -> float:
        started = time.process_time()
        guard.as_written(message, closed)
        return time.process_time() - started

    assert min(seconds() for _ in range(5)) < 0.25  # 0.05 on a quiet machine


def test_a_grant_lets_no_sealed_value_leave_unasked(desk: Desk) -> None:
    seal(desk, f"id.number={PASSPORT}")
    desk.grant("id")
    desk.post(f"my passport: {PASSPORT}\n")
    assert desk.states() == ["held"]
