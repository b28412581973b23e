"""By mail: the contact "New address" answers its own account with an alias, and nobody else at all."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.cli.stage import MAILBOX, ORDERS, until
from sortingoffice.core import decide
from sortingoffice.core.decide import Decision, Target, Verdict
from sortingoffice.core.model import Account, Envelope, Peer, RelationshipState
from sortingoffice.errors import OfficeError
from sortingoffice.flows import bymail, cardcontacts, issue, receive, settings, target
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.issue import Wish
from sortingoffice.mail import headers, vcard
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.authentication import Authentication, DkimResult, DmarcResult, Result
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, contacts, relationships, schema
from sortingoffice.store.database import Database, Transaction
from tests.desk import START, Desk, open_desk
from tests.office import Office, written
from tests.person import Person


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    made = open_desk(db, tmp_path)
    db.call(lambda tx: tx.execute(schema.mailbox.update().values(dkim_seen=None, proof="spf")).rowcount)
    return made


def contact(desk: Desk, name: str = "New address") -> Address:
    account = desk.db.view(accounts.by_id, desk.account.id)
    assert account is not None
    return desk.db.view(bymail.contacts, desk.office, account)[name]


def proved(who: Address | None) -> Authentication:
    """What the mailbox's own host sent."""
    if who is None:
        return Authentication()
    return Authentication(dmarc=DmarcResult(Result.PASS, aligned_spf=True), from_domain=who.domain)


def mail(
    desk: Desk,
    subject: str,
    *fields: str,
    to: Address | str = "",
    sender: str | None = MAILBOX,
    message_id: str = "<1@home.example>",
    account_id: int | None = None,
    also: tuple[str, ...] = (),
) -> Arrival:
    """A mail as it stands at the door, its sender proved."""
    recipient = to or contact(desk)
    lines = [f"From: Anna <{sender or MAILBOX}>", f"To: {recipient}", f"Subject: {subject}", *fields]
    if message_id:
        lines.append(f"Message-ID: {message_id}")
    raw = written(*lines, date=False)
    addressed = tuple(each for text in (str(recipient), *also) if (each := parse(text)) is not None)
    who = None if sender is None else parse(sender)
    peer = Peer("192.0.2.1", account_id=account_id)
    return Arrival(
        peer,
        Envelope(who, addressed),
        Message.parse(raw),
        len(raw),
        proved(who),
        "asked",
        desk.now[0],
    )


def ask(desk: Desk, subject: str, *fields: str, **about: Any) -> Decision:
    return desk.db.call(receive.accept, desk.office, mail(desk, subject, *fields, **about))


def answers(desk: Desk) -> list[list[str]]:
    """The lines of each answer, oldest first."""
    return [Message.parse(each.raw).body.decode().splitlines() for each in desk.notices()]


def sites(desk: Desk) -> list[str]:
    """Of what was made by mail, oldest first."""
    return [each.site for each in desk.db.view(relationships.every, desk.account.id)[1:]]


def names(desk: Desk) -> list[str]:
    return [each.name for each in desk.db.view(relationships.every, desk.account.id)[1:]]


# ---- an address ----------------------------------------------------------------------------------


SUBJECTS = (
    ("Lamp Light", "Lamp Light", ""),
    ("lampshop.example", "lampshop.example", "lampshop.example"),
    ("LampShop.Example", "lampshop.example", "lampshop.example"),
    ("https://www.lampshop.example/join?a=b", "lampshop.example", "lampshop.example"),
    ("The Lamps https://lampshop.example/join", "The Lamps", "lampshop.example"),
    ("Re: Lamp Light", "Lamp Light", ""),
    ("Mr. Smith", "Mr. Smith", ""),
    ("report.txt", "report.txt", ""),
    ("=?utf-8?q?K=C3=BCche_&_Bad?=", "Küche & Bad", ""),
    ("pocketbook", "pocketbook", ""),
)


def test_the_subject_is_the_vendor_and_the_answer_begins_with_the_alias(desk: Desk) -> None:
    for number, (subject, name, site) in enumerate(SUBJECTS):
        decision = ask(desk, subject, message_id=f"<{number}@home.example>")
        assert (decision.verdict, decision.rule) == (Verdict.ACCEPT, "made_by_mail"), subject
        made = desk.db.view(relationships.every, desk.account.id)[-1]
        [alias] = desk.db.view(relationships.aliases, made.id)
        first, second, *rest = answers(desk)[-1]
        assert (first, second, made.name, made.site) == (alias.address, "", name, site)
        assert name in " ".join(rest)


def test_the_answer_threads_and_goes_to_the_mailbox_that_asked(desk: Desk) -> None:
    ask(desk, "Lamp Light", "References: <0@home.example>")
    [notice] = desk.notices()
    message = Message.parse(notice.raw)
    assert message.value("In-Reply-To") == b"<1@home.example>"
    assert headers.message_ids(message.value("References") or b"") == ("<0@home.example>", "<1@home.example>")
    assert headers.decode(message.value("Subject") or b"") == "Re: Lamp Light"
    assert message.value("To") == MAILBOX.encode()
    assert headers.addresses(message.value("From") or b"")[0].address == contact(desk)
    assert (message.value("Auto-Submitted"), message.value("Content-Type")) == (
        b"auto-generated",
        b'text/plain; charset="utf-8"',
    )


def test_nobody_else_gets_more_than_the_answer_of_an_address_that_never_existed(desk: Desk) -> None:
    for sender in ("eve@else.example", "clerk@lamp-shop.example"):
        decision = ask(desk, "Lamp Light", sender=sender)
        assert (decision.verdict, decision.reply) == (Verdict.REFUSE, decide.NO_SUCH)
    unproved = replace(mail(desk, "Lamp Light"), auth=Authentication())
    assert desk.db.call(receive.accept, desk.office, unproved).reply == decide.NO_SUCH
    assert (answers(desk), names(desk)) == ([], [])


def test_at_submission_the_login_is_the_proof(desk: Desk) -> None:
    assert ask(desk, "Lamp Light", account_id=desk.account.id).rule == "made_by_mail"
    assert names(desk) == ["Lamp Light"]


def test_another_account_of_the_office_may_not_ask_in_my_name(desk: Desk) -> None:
    other = desk.db.call(accounts.add, replace(desk.account, id=0, name="bert"))
    ask(desk, "Lamp Light", account_id=other.id)
    assert names(desk) == []


def test_what_can_t_be_an_address_is_told_in_words_and_nothing_is_made(desk: Desk) -> None:
    for number, subject in enumerate(("", "   ", "Re:", "x" * 300, "=?utf-8?b?4oCu?=")):
        assert ask(desk, subject, message_id=f"<{number}@home.example>").rule == "not_made"
        lines = answers(desk)[-1]
        assert "subject" in lines[0]
        assert "lampshop.example" in lines[2]
    assert names(desk) == []


def test_a_huge_subject_is_answered_shortly(desk: Desk) -> None:
    assert ask(desk, "ä" * 20_000).rule == "not_made"
    assert len(desk.notices()[0].raw) < 2_000


def test_an_automatic_mail_makes_nothing_and_is_not_answered(desk: Desk) -> None:
    for field in ("Auto-Submitted: auto-replied", "Precedence: bulk", "List-Id: <x.example>"):
        assert ask(desk, "Out of office", field).rule == "automatic_mail"
    assert (answers(desk), names(desk)) == ([], [])


def test_the_null_sender_is_not_answered(desk: Desk) -> None:
    arrival = replace(mail(desk, "Lamp Light"), envelope=Envelope(None, (contact(desk),)))
    assert desk.db.call(receive.accept, desk.office, arrival).rule == "automatic_mail"
    assert names(desk) == []


def test_the_same_mail_again_makes_no_second_alias(desk: Desk) -> None:
    for number, message_id in enumerate(("<1@home.example>", ""), start=1):
        rules = [ask(desk, "Lamp Light", message_id=message_id).rule for _ in range(2)]
        desk.later(days=1)
        rules.append(ask(desk, "Lamp Light", message_id=message_id).rule)
        assert rules == ["made_by_mail", "repeated_message", "repeated_message"]
        assert (len(answers(desk)), len(names(desk))) == (number, number)


def test_a_signed_mail_that_somebody_sends_again_much_later_makes_nothing(desk: Desk) -> None:
    arrival = mail(desk, "Lamp Light", "Date: Sun, 01 Mar 2026 12:00:00 +0000")
    signature = DkimResult(
        Result.PASS,
        "home.example",
        signed=("from", "to", "date"),
        stamp=int(START.timestamp()),
        signature=b"s",
    )
    signed = replace(arrival, auth=replace(arrival.auth, dkim=(signature,)))
    rules = [desk.db.call(receive.accept, desk.office, signed).rule]
    for days in (1, 30):
        desk.later(days=days)
        again = replace(signed, now=desk.now[0], envelope=Envelope(parse(ORDERS), signed.envelope.recipients))
        rules.append(desk.db.call(receive.accept, desk.office, again).rule)
    assert rules == ["made_by_mail", "signature_used", "signature_used"]
    assert len(names(desk)) == 1


def test_of_the_same_mail_twice_at_once_one_is_answered(desk: Desk) -> None:
    arrival = mail(desk, "Lamp Light")
    inside, go_on = threading.Event(), threading.Event()
    rules: list[str] = []

    def first(tx: Transaction) -> None:
        rules.append(receive.accept(tx, desk.office, arrival).rule)
        inside.set()
        assert go_on.wait(10)

    def second() -> None:
        rules.append(desk.db.call(receive.accept, desk.office, arrival).rule)

    both = [threading.Thread(target=desk.db.call, args=(first,)), threading.Thread(target=second)]
    both[0].start()
    assert inside.wait(10)
    both[1].start()
    both[1].join(0.3)
    assert rules == ["made_by_mail"], "the second waits for what the first does"
    go_on.set()
    for each in both:
        each.join(10)
    assert rules == ["made_by_mail", "repeated_message"]
    assert names(desk) == ["Lamp Light"]


def test_an_hour_has_an_end_and_the_next_one_begins(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bymail, "MOST_AN_HOUR", 4)  # the shop counts as one
    rules = [ask(desk, f"Shop {n}", message_id=f"<{n}@home.example>").rule for n in range(4)]
    assert rules == ["made_by_mail"] * 3 + ["not_made"]
    assert "in an hour" in answers(desk)[-1][0]
    desk.later(hours=1, minutes=1)
    assert ask(desk, "Shop 5", message_id="<5@home.example>").rule == "made_by_mail"


# ---- a list of them ------------------------------------------------------------------------------


LISTS = (
    ("New address", "pocket", 10),
    ("New address", "Pocket 5", 5),
    ("New address", "AW: pocket  3 ", 3),
    ("Pocket addresses", "", 10),
    ("Pocket addresses", "7", 7),
    ("Pocket addresses", "for the fair", 10),
)


def test_pocket_gives_a_list_of_unbound_aliases(desk: Desk) -> None:
    for name, subject, count in LISTS:
        before = len(desk.db.view(relationships.every, desk.account.id))
        assert ask(desk, subject, to=contact(desk, name)).rule == "pocket_by_mail", subject
        made = desk.db.view(relationships.every, desk.account.id)[before:]
        lines = answers(desk)[-1]
        assert lines[count] == ""
        assert lines[:count] == [desk.db.view(relationships.aliases, each.id)[0].address for each in made]
        assert {each.state for each in made} == {RelationshipState.UNBOUND}


def test_a_list_is_not_longer_than_one_reads(desk: Desk) -> None:
    for subject in ("pocket 0", "pocket 51", "pocket 999999999"):
        assert ask(desk, subject).rule == "not_made"
        assert "1 to 50" in answers(desk)[-1][0]


# ---- the contacts --------------------------------------------------------------------------------


def test_renewed_contacts_are_others_and_the_old_ones_never_existed(desk: Desk) -> None:
    before = [contact(desk), contact(desk, "Pocket addresses")]
    assert {desk.db.view(target.find, desk.office, each).target for each in before} == {Target.BY_MAIL}
    desk.db.call(bymail.renew, desk.office, desk.account, actor="test")
    assert {desk.db.view(target.find, desk.office, each).target for each in before} == {Target.NOTHING}
    assert desk.db.view(target.find, desk.office, contact(desk)).target is Target.BY_MAIL
    assert contact(desk) not in before


def test_a_secret_belongs_to_one_account_and_is_matched_in_any_case(desk: Desk) -> None:
    shouted = parse(str(contact(desk)).upper())
    assert shouted is not None
    assert desk.db.view(target.find, desk.office, shouted).account == desk.account
    for account in (replace(desk.account, id=99), replace(desk.account, contacts_renewed=1)):
        other = desk.db.view(_contact_of, desk, account)
        assert desk.db.view(target.find, desk.office, other).target is Target.NOTHING
    for local in ("new.aaaaaaaaaaaaaaaaaaaaaaaaaa", "new.", "new", "pocket", "new." + "7" * 26):
        assert desk.db.view(target.find, desk.office, Address(local, "sort.example")).target is Target.NOTHING


def _contact_of(tx: Any, desk: Desk, account: Account) -> Address:
    return bymail.contacts(tx, desk.office, account)["New address"]


def test_they_stand_in_the_address_book_file(desk: Desk) -> None:
    cards = vcard.parse(desk.db.view(cardcontacts.file, desk.office, desk.account))
    found = {card[0].text: card[2].text for card in cards}
    assert found == {
        "New address": str(contact(desk)),
        "Pocket addresses": str(contact(desk, "Pocket addresses")),
    }


def test_nobody_chooses_an_address_that_looks_like_one_of_these(desk: Desk) -> None:
    for local in ("new", "Pocket", "new." + "a" * 26, "yes." + "2" * 26, "verify.1." + "b" * 32):
        with pytest.raises(OfficeError, match="reserved"):
            desk.db.call(issue.issue, desk.office, desk.account, Wish("Shop", local=local), actor="test")


def test_beside_a_vendor_it_goes_back_whole_and_makes_nothing(desk: Desk) -> None:
    arrival = mail(desk, "Your offer", also=(desk.clerk.reverse_alias,))
    assert desk.db.call(receive.accept, desk.office, arrival).rule == "outsider"
    assert names(desk) == []
    assert desk.states() == []


def test_it_never_becomes_a_vendor_s_contact_not_even_where_new_ones_are_made(desk: Desk) -> None:
    desk.db.call(settings.set_new_contacts, desk.office, desk.account, True, actor="test")
    [alias] = desk.db.view(relationships.aliases, desk.clerk.relationship_id)
    for sender in (MAILBOX, alias.address):
        arrival = mail(
            desk, "Your offer", sender=sender, also=(desk.clerk.reverse_alias,), account_id=desk.account.id
        )
        assert desk.db.call(receive.accept, desk.office, arrival).rule == "outsider"
    assert len(desk.db.view(contacts.every, desk.clerk.relationship_id)) == 1


def test_the_command_line_makes_them_anew(person: Person) -> None:
    def found(*options: str) -> str:
        card = vcard.parse(person.out("card", "contacts", *options).encode() + b"\n")[0]
        return card[2].text

    before = found()
    assert found() == before
    after = found("--renew")
    assert after != before
    assert found() == after


# ---- through a running office --------------------------------------------------------------------


def test_on_the_wire_the_address_made_by_mail_takes_mail_and_a_stranger_sees_nothing(office: Office) -> None:
    stage = office.stage
    cards = vcard.parse(stage.command("card", "contacts").encode())
    [new] = [card[2].text for card in cards if card[0].text == "New address"]
    office.from_home(new, written(f"From: {MAILBOX}", f"To: {new}", subject="lampshop.example"))
    alias = office.home("Re: lampshop.example").body.split(b"\r\n")[0].decode()
    assert stage.json("show", alias)["site"] == "lampshop.example"
    office.from_vendor(alias, written(f"From: {ORDERS}", f"To: {alias}", subject="welcome by mail"))
    assert b"hello" in office.home("welcome by mail").body
    stranger = written(f"From: {ORDERS}", f"To: {new}", subject="mine.example")
    nobody = alias.replace("@", "0@")
    never = written(f"From: {ORDERS}", f"To: {nobody}", subject="x")
    assert office.refused(new, stranger) == office.refused(nobody, never)
    assert office.refused(new, written(f"From: {MAILBOX}", f"To: {new}", subject="forged"))[0] == 550
    to = stage.command("contact", alias, ORDERS)
    forwarded = f"My note\r\n\r\nFrom: Sorting Office <{new}>\r\n"
    office.from_home(to, written(f"From: {MAILBOX}", f"To: {to}", subject="forwarded answer", body=forwarded))
    until(
        lambda: [each for each in stage.json("held", "list") if each["subject"] == "forwarded answer"], "held"
    )
    assert all(new.encode() not in each.octets for each in stage.vendor.received)
