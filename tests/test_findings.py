"""What the leak guard finds and may not rewrite waits for the person's word; the question shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sortingoffice.core.decide import Decision
from sortingoffice.core.model import GrantMode, Mailbox, MailboxState, Sensitivity, SpooledMessage
from sortingoffice.core.names import Mark
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import consent, held, names
from sortingoffice.store import accounts, confirmations, events, spool
from sortingoffice.store.database import Database
from tests import leaks
from tests.desk import MAILBOX, Desk, open_desk
from tests.person import Person

IBAN = "DE89 3704 0044 0532 0130 00"


def send(desk: Desk, message: bytes | str) -> Decision:
    return desk.post(message)


def question(desk: Desk) -> str:
    return desk.notices()[-1].raw.decode()


def waiting(desk: Desk) -> tuple[int, SpooledMessage]:
    """The one held delivery's number, and its message."""
    [row] = desk.db.view(held.every, desk.account)
    found = desk.db.view(held.one, desk.account, row["id"])
    message = desk.db.view(lambda tx: spool.by_token(tx, found["message"]))
    assert message is not None
    return row["id"], message


def test_an_address_in_new_prose_is_held_and_the_question_shows_where_and_what(desk: Desk) -> None:
    send(desk, f"Hello,\n\nplease write me at {MAILBOX} instead.\n\nAnna\n")
    assert desk.states() == ["held"]
    asked = question(desk)
    assert re.search(r"From: Sorting Office <yes\.[a-z2-7]{26}@", asked)
    assert "Subject: Not sent: your mail to Lamp Shop would show your own address (yes or no?)" in asked
    assert 'Your message "your lamp" to Lamp Shop waits for your word: it would show your address' in asked
    assert f"  the text: your address {MAILBOX}\r\n" in asked
    assert f"please write me at [[{MAILBOX}]] instead." in asked
    assert "yes         sends it, as it is" in asked
    assert "yes always" not in asked
    assert "Subject: your lamp" in asked, "the person's own mail is attached"


def test_yes_sends_exactly_what_was_held(desk: Desk) -> None:
    send(desk, f"write me at {MAILBOX} instead\n\n> quoted {MAILBOX}\n")
    _, before = waiting(desk)
    desk.answer("yes")
    assert desk.states() == ["queued"]
    after = desk.db.view(spool.by_id, before.id)
    assert after is not None
    assert after.raw == before.raw
    assert after.raw.count(MAILBOX.encode()) == 1, "the quoted one is the alias"


def test_no_drops_it_gives_the_words_back_and_forgets_the_finding(desk: Desk) -> None:
    send(desk, f"write me at {MAILBOX} instead\n")
    asked = desk.notices()[-1]
    desk.answer("no", asked)
    assert desk.states() == ["dropped"]
    assert f"write me at {MAILBOX} instead" in question(desk)
    token = re.search(r"yes\.[a-z2-7]{26}", asked.raw.decode())
    assert token is not None
    found = desk.db.view(consent.find, token[0])
    assert found is not None
    assert found.leaving == "", "the words around a finding stay no longer than the question"
    desk.answer("yes", asked)
    assert desk.states() == ["dropped"], "a word counts once"


def test_silence_drops_it_after_three_days(desk: Desk) -> None:
    send(desk, f"write me at {MAILBOX} instead\n")
    desk.later(hours=73)
    desk.answer("yes")
    assert desk.states() == ["held"]
    desk.db.call(consent.expire, desk.office, desk.now[0])
    assert desk.states() == ["dropped"]
    assert "Not sent: no answer about your message to Lamp Shop" in question(desk)


def test_yes_always_is_not_offered_and_the_message_still_waits(desk: Desk) -> None:
    send(desk, f"write me at {MAILBOX} instead\n")
    asked = desk.notices()[-1]
    desk.answer("yes always", asked)
    assert desk.states() == ["held"]
    assert '"yes always" is not offered' in question(desk)
    desk.answer("yes", asked)
    assert desk.states() == ["queued"]


@pytest.mark.parametrize("sensitivity", [Sensitivity.SENSITIVE, Sensitivity.NORMAL])
def test_a_withheld_value_typed_by_hand_is_held_and_stands_in_the_ledger_after_the_yes(
    desk: Desk, sensitivity: Sensitivity
) -> None:
    desk.set("bank.iban=DE89370400440532013000", sensitivity=sensitivity)
    if sensitivity is Sensitivity.NORMAL:
        desk.grant("bank", mode=GrantMode.NEVER)
    send(desk, f"Hello, pay to {IBAN}, please.\n")
    assert desk.states() == ["held"]
    assert desk.disclosures() == []
    asked = question(desk)
    assert "would show a value that is not for them" in asked
    assert f"the text: bank.iban\r\n      Hello, pay to [[{IBAN}]], please." in asked
    desk.answer("ja")
    assert desk.states() == ["queued"]
    assert [(row["field"], row["via"], row["contact"]) for row in desk.disclosures()] == [
        ("iban", "typed", "clerk@lamp-shop.example")
    ]


def test_a_card_and_a_finding_are_one_question(desk: Desk) -> None:
    desk.shipping()
    send(desk, f"#card shipping city\n\nor write to {MAILBOX}\n")
    assert desk.states() == ["held"]
    assert len(desk.notices()) == 1
    asked = question(desk)
    assert "card shipping is not granted to Lamp Shop; and it would show your address" in asked
    assert "new to Lamp Shop" in asked
    assert f"or write to [[{MAILBOX}]]" in asked
    desk.answer("yes always")
    assert desk.states() == ["held"]
    desk.answer("yes", desk.notices()[0])
    assert desk.states() == ["queued"]
    assert [row["field"] for row in desk.disclosures()] == ["city"]


def test_what_became_private_meanwhile_was_not_shown_and_so_is_not_sent(desk: Desk) -> None:
    send(desk, f"write to {MAILBOX} or anna@work.example\n")
    asked = desk.notices()[-1]
    new = Mailbox(
        0,
        desk.account.id,
        "anna@work.example",
        MailboxState.VERIFIED,
        True,
        False,
        None,
        "",
        None,
        None,
        desk.now[0],
    )
    desk.db.call(accounts.add_mailbox, new)
    desk.answer("yes", asked)
    assert desk.states() == ["dropped"]
    assert "anna@work.example, too" in question(desk)


def test_a_value_that_was_changed_meanwhile_stops_it(desk: Desk) -> None:
    desk.set("bank.iban=DE89370400440532013000", sensitivity=Sensitivity.SENSITIVE)
    send(desk, f"Hello, pay to {IBAN}, please.\n")
    asked = desk.notices()[-1]
    desk.later(minutes=1)
    desk.set("bank.iban=GB33BUKB20201555555555")
    desk.answer("yes", asked)
    assert desk.states() == ["dropped"]
    assert "bank.iban was changed while the message waited" in question(desk)


def test_held_shows_where_and_what_and_release_is_a_yes(desk: Desk) -> None:
    attached = leaks.attached("application/zip", leaks.zipped(f"<a>{MAILBOX}</a>", "a.xml"), name="b.zip")
    send(desk, attached.partition(b"Subject: hello\r\n")[2])
    number, _ = waiting(desk)
    found = desk.db.view(held.one, desk.account, number)
    assert found["reason"] == "leak_guard"
    assert found["findings"] == [
        {
            "where": 'the attachment "b.zip" (compressed)',
            "what": f"your address {MAILBOX}",
            "around": f"<a>[[{MAILBOX}]]</a>",
        }
    ]
    done = desk.db.call(held.release, desk.office, desk.account, number, actor="test")
    assert "refused" not in done
    assert desk.states() == ["queued"]


def test_a_bomb_is_held_and_said_to_be_more_than_can_be_searched(desk: Desk) -> None:
    bomb = leaks.zipped("0" * (1 << 27), "a.txt")
    raw = leaks.attached("application/zip", bomb)
    send(desk, raw.partition(b"Subject: hello\r\n")[2])
    assert desk.states() == ["held"]
    assert "it holds more than can be searched" in question(desk)


def test_nesting_beyond_the_limits_comes_back(desk: Desk) -> None:
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(40)
    )
    decision = send(desk, deep + b"\r\nhello\r\n")
    assert decision.rule == "too_complex"
    assert desk.states() == []
    assert "Not sent: your mail could not be checked" in question(desk)


def test_a_thousand_findings_make_a_short_question(desk: Desk) -> None:
    parts = [leaks.text_part("csv", f"x;{MAILBOX}\n", "utf-8", "8bit") for _ in range(150)]
    send(desk, leaks.mixed(*parts).partition(b"Subject: hello\r\n")[2])
    asked = question(desk).partition("message/rfc822")[0]
    assert len(asked) < 5000
    assert "and 130 more like these" in asked


def test_only_the_question_s_own_account_can_answer(desk: Desk) -> None:
    send(desk, f"write me at {MAILBOX} instead\n")
    desk.answer("yes", sender=None)
    assert desk.states() == ["held"]
    [found] = desk.db.view(lambda tx: [confirmations.of_message(tx, waiting_id(desk))])
    assert found is not None


def waiting_id(desk: Desk) -> int:
    return waiting(desk)[1].id


# ---- names that are private ----------------------------------------------------------------------


def mark(desk: Desk, name: str = "", kind: Mark = Mark.NAME) -> None:
    desk.db.call(names.add, desk.office, desk.account, kind, name, actor="test")


@pytest.mark.parametrize(
    "words",
    [
        "Greetings, Anna Beispiel\n",
        "the parcel for BEISPIEL, please\n",
        "an Béispièl, Anna\n",
        "> Dear Ms Beispiel,\n",
        "Content-Type: text/html\n\n<p>Anna <b>Bei</b>spiel</p>",
        "Content-Type: text/plain; name=CV-Beispiel.txt\n\nhello\n",
        "B e i s p i e l\n",
    ],
)
def test_each_word_of_a_private_name_is_held(desk: Desk, words: str) -> None:
    mark(desk, "Anna Beispiel")
    desk.post(words)
    assert desk.states() == ["held"]
    assert "it would show your name" in question(desk)
    assert "would show your name (yes or no?)" in question(desk)


@pytest.mark.parametrize(
    "words", ["Beispiele gibt es genug, hann\n", "an Na\n", "Joanna, annabel\n", "hello\n"]
)
def test_other_words_than_a_private_name_leave(desk: Desk, words: str) -> None:
    mark(desk, "Anna Beispiel")
    desk.post(words)
    assert desk.states() == ["queued"]


def test_a_name_without_marks_leaves(desk: Desk) -> None:
    desk.post("Greetings, Anna Beispiel\n")
    assert desk.states() == ["queued"]


def test_the_login_and_the_name_beside_the_mailbox_can_be_private(desk: Desk) -> None:
    desk.post("Greetings, Anna\n")
    mark(desk, kind=Mark.DISPLAY)  # the From says Anna
    desk.post("Greetings, Anna\n")
    mark(desk, kind=Mark.LOGIN)  # the account is called anna
    desk.post("ANNA wrote this\n")
    assert desk.states() == ["queued", "held", "held"]


def test_a_name_with_an_umlaut_is_known_in_both_spellings(desk: Desk) -> None:
    mark(desk, "Jörg Müller")
    for words in ("von Müller\n", "von Mueller\n", "von MULLER\n", "von Möller\n"):
        desk.post(words)
    assert desk.states() == ["held", "held", "held", "queued"]


def test_a_name_that_the_vendor_may_see_is_no_finding(desk: Desk) -> None:
    mark(desk, "Anna Beispiel")
    desk.set("person.name=Anna Beispiel")
    desk.give("lamp-shop", "person")
    desk.post("Greetings, Anna Beispiel\n")
    assert desk.states() == ["queued"]


@pytest.mark.parametrize("name", ["Al", "", "x" * 101, "Anna\x1bBeispiel"])
def test_a_name_that_cannot_be_looked_for_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(OfficeError):
        mark(desk, name)


def test_a_name_can_be_marked_once_and_taken_off(desk: Desk) -> None:
    mark(desk, "Anna  Beispiel")
    mark(desk, "Anna Beispiel")
    assert [(row["name"], row["looked_for"]) for row in desk.db.view(names.every, desk.account)] == [
        ("Anna Beispiel", ["Anna", "Beispiel"])
    ]
    desk.db.call(names.remove, desk.office, desk.account, Mark.NAME, "Anna Beispiel", actor="test")
    assert desk.db.view(names.every, desk.account) == []
    with pytest.raises(NotThere):
        desk.db.call(names.remove, desk.office, desk.account, Mark.NAME, "Anna Beispiel", actor="test")


def test_the_log_does_not_say_which_name(desk: Desk) -> None:
    mark(desk, "Anna Beispiel")
    told = desk.db.view(lambda tx: events.every(tx))
    assert "name marked private" in [each.what for each in told]
    assert "Beispiel" not in repr(told)


def test_names_are_marked_at_the_command_line(person: Person) -> None:
    person.out("names", "add", "Anna Beispiel", "--login")
    rows = person.json("names", "list")
    assert [(row["mark"], row["looked_for"]) for row in rows] == [
        ("name", ["Anna", "Beispiel"]),
        ("login", [rows[1]["name"]]),
    ]
    person.out("names", "remove", "Anna Beispiel")
    assert [row["mark"] for row in person.json("names", "list")] == ["login"]
    assert "too short" in person.refused("names", "add", "Al")
    assert "is not marked" in person.refused("names", "remove", "Somebody")


def test_several_names_are_one_array_and_none_is_marked_where_one_is_wrong(person: Person) -> None:
    person.refused("names", "add", "Bertha", "Al", "--json")
    assert person.json("names", "list") == []
    added = person.json("names", "add", "Bertha", "Clara", "--login")
    assert added == person.json("names", "list")
    person.refused("names", "remove", "Bertha", "Somebody")
    assert [row["name"] for row in person.json("names", "remove", "Bertha")] == ["Bertha"]


def test_marked_names_are_kept_by_either_database(db: Database, tmp_path: Path) -> None:
    desk = open_desk(db, tmp_path)
    mark(desk, "Anna Beispiel")
    mark(desk, "Anna Beispiel")
    mark(desk, kind=Mark.LOGIN)
    assert [row["mark"] for row in desk.db.view(names.every, desk.account)] == ["name", "login"]
    desk.post("Greetings, Beispiel\n")
    assert desk.states() == ["held"]
    desk.answer("yes")
    assert desk.states() == ["queued"]
    desk.db.call(names.remove, desk.office, desk.account, Mark.LOGIN, "", actor="test")
    assert [row["mark"] for row in desk.db.view(names.every, desk.account)] == ["name"]


def test_a_card_that_needs_a_yes_waits_from_the_moment_it_is_spooled(desk: Desk) -> None:
    """A node may have taken a new delivery for itself at once: holding it afterwards would be too late."""
    desk.shipping()
    desk.post("#card shipping city\n")
    assert desk.states() == ["held"]
    [row] = desk.db.view(held.every, desk.account)
    assert row["reason"] == "new_information_needs_a_yes"
