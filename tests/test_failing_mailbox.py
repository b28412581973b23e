"""While a person's mailbox takes no mail: what must reach them waits where they see it, and then goes where
their mail goes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.core.decide import Decision, Verdict
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import Delivery, DeliveryState, Direction, Envelope, MailboxState, Peer
from sortingoffice.core.notice import Notice
from sortingoffice.core.relationship import Action
from sortingoffice.errors import OfficeError
from sortingoffice.flows import accounts as mailboxes
from sortingoffice.flows import consent, held, notices, receive, relationships, settle
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication, DkimResult, DmarcResult, Result
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply
from sortingoffice.store import accounts, events, leases, spool
from sortingoffice.store.database import Database, Transaction
from sortingoffice.store.spool import Claimed
from tests import spooled
from tests.desk import open_desk
from tests.person import Person
from tests.spooled import ALIAS, MAILBOX, OUTWARD, REVERSE, Spooled
from tests.test_repeated import came
from tests.web import Site

OTHER = "anna@other.example"
TO_A_STRANGER = (
    f"From: <{MAILBOX}>\r\nTo: <someone@else.example>\r\nSubject: hello\r\n"
    "Date: Sun, 01 Mar 2026 11:59:00 +0000\r\nMessage-ID: <o1@home.example>\r\n\r\nText.\r\n"
).encode()
UNUSABLE = "mailbox_unusable"


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases; Anna's one mailbox keeps failing."""
    made = spooled.make(db, tmp_path)
    change(made, MAILBOX, state=MailboxState.FAILING)
    return made


@pytest.fixture
def two(db: Database, tmp_path: Path) -> Spooled:
    """The preferred one keeps failing, the other one works."""
    made = spooled.make(db, tmp_path, second_mailbox=True)
    change(made, MAILBOX, state=MailboxState.FAILING)
    return made


def change(made: Spooled, address: str, **changes: object) -> None:
    mine = made.db.view(mailboxes.mailbox, made.account, address)
    made.db.call(accounts.set_mailbox, replace(mine, **changes))  # type: ignore[arg-type]


def choose(made: Spooled, address: str) -> None:
    made.db.call(mailboxes.prefer_mailbox, made.office, made.account, address, actor="test")


def verify(made: Spooled, address: str) -> None:
    """Its owner answers the verification mail."""
    made.db.call(mailboxes.ask_mailbox, made.office, made.account, address, actor="test")
    asked = made.queued(Direction.NOTICE)[0].raw
    token = re.search(rb"--token ([0-9a-z.]+)", asked)
    assert token is not None
    done = made.db.call(
        mailboxes.confirm_typed, made.office, made.account, address, token[1].decode(), actor="t"
    )
    assert done.state is MailboxState.VERIFIED


def submitted(
    made: Spooled, name: str = "out1", to: str = "someone@else.example", author: str = MAILBOX
) -> Decision:
    """What becomes of the mail that the person's own program brings."""
    arrival = sent(made, name, to, Peer("192.0.2.1", account_id=made.account.id), author=author)
    return made.db.call(receive.accept, made.office, arrival)


def sent(
    made: Spooled,
    name: str,
    to: str,
    peer: Peer,
    auth: Authentication | None = None,
    *,
    author: str = MAILBOX,
) -> Arrival:
    recipient = parse(to)
    assert recipient is not None
    raw = TO_A_STRANGER.replace(b"someone@else.example", to.encode()).replace(
        MAILBOX.encode(), author.encode()
    )
    envelope = Envelope(parse(author), (recipient,))
    return Arrival(
        peer, envelope, Message.parse(raw), len(raw), auth or Authentication(), name, made.clock.now
    )


def waiting(made: Spooled) -> list[Claimed]:
    return list(made.db.view(spool.queue, state=DeliveryState.HELD))


def attempted(made: Spooled, delivery: Delivery, reply: Reply) -> None:
    (claimed,) = made.db.call(leases.claim, made.clock.now, "n", 10)
    assert claimed.delivery.id == delivery.id
    made.db.call(settle.settle, made.office, claimed, Tried(reply, "mx"), made.clock.now)


def let_go(made: Spooled, number: int) -> None:
    made.db.call(held.release, made.office, made.account, number, actor="test")


# ---- what the person must be told -----------------------------------------------------------------------


def test_mail_that_must_come_back_waits_whole_where_the_person_sees_it(made: Spooled) -> None:
    assert submitted(made).verdict is Verdict.ACCEPT
    (row,) = made.db.view(held.every, made.account)
    assert (row["reason"], row["direction"], row["from"]) == (UNUSABLE, "notice", "the office")
    assert row["subject"] == "Not sent: someone@else.example is no contact of yours"
    assert TO_A_STRANGER in made.db.view(held.one, made.account, row["id"])["raw"]
    assert made.db.call(leases.claim, made.clock.now, "n", 10) == (), "the mailbox is sent nothing"


def test_what_a_vendor_refused_is_kept_for_whose_mailbox_fails(made: Spooled) -> None:
    attempted(made, made.put(Direction.OUTWARD), Reply(550, "5.1.1", "no such user"))
    (note,) = waiting(made)
    assert note.delivery.reason == UNUSABLE
    raw = made.message(note.delivery).raw
    assert OUTWARD in raw
    assert b"no such user" in raw


def test_whose_mailbox_fails_is_asked_all_the_same(sqlite_db: Database, tmp_path: Path) -> None:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    (mine,) = desk.db.view(accounts.mailboxes, desk.account.id)
    desk.db.call(accounts.set_mailbox, replace(mine, state=MailboxState.FAILING))
    desk.post("#card shipping city\n")
    reasons = {row["direction"]: row["reason"] for row in desk.db.view(held.every, desk.account)}
    assert reasons == {"outward": "new_information_needs_a_yes", "notice": UNUSABLE}
    desk.later(days=4)
    desk.db.call(consent.expire, desk.office, desk.now[0])
    question, end = desk.notices()
    assert b"#card shipping city" in question.raw
    assert b"City: Berlin" in end.raw, "what nobody answered for is theirs again"


def test_who_has_another_mailbox_is_told_there_and_at_once(two: Spooled) -> None:
    submitted(two)
    assert waiting(two) == []
    (told,) = two.db.view(spool.queue)
    assert told.delivery.recipient == OTHER


def test_a_mailbox_that_takes_mail_again_gets_what_waited_for_it(made: Spooled) -> None:
    submitted(made)
    came(made, "first")
    verify(made, MAILBOX)
    assert waiting(made) == []
    found = {each.message.rule: each.delivery for each in made.db.view(spool.queue)}
    assert set(found) == {UNUSABLE, "outsider", "verification"}
    assert {each.recipient for each in found.values()} == {MAILBOX}


def test_what_the_office_had_to_say_goes_to_the_first_mailbox_that_works(two: Spooled) -> None:
    change(two, OTHER, state=MailboxState.PENDING)
    submitted(two)
    (note,) = waiting(two)
    assert note.delivery.recipient == MAILBOX
    verify(two, OTHER)
    now = two.now(note.delivery)
    assert (now.state, now.recipient, now.destination) == (DeliveryState.QUEUED, OTHER, "other.example")


def test_a_note_that_fails_makes_no_other(made: Spooled) -> None:
    submitted(made)
    (note,) = waiting(made)
    change(made, MAILBOX, state=MailboxState.VERIFIED)
    let_go(made, note.delivery.id)
    change(made, MAILBOX, state=MailboxState.FAILING)
    attempted(made, note.delivery, Reply(552, "5.2.2", "full"))
    assert made.db.view(spool.queue) == ()
    assert made.now(note.delivery).state is DeliveryState.RETURNED


def test_no_more_mail_is_taken_from_whom_so_much_waits(made: Spooled) -> None:
    for number in range(notices.MOST_WAITING):
        assert submitted(made, f"out{number}").verdict is Verdict.ACCEPT
    for to in ("someone@else.example", REVERSE):
        decision = submitted(made, f"over {to}", to)
        assert (decision.verdict, decision.rule, decision.reply.code) == (
            Verdict.DEFER,
            "too_much_waits",
            452,
        )
    assert len(waiting(made)) == notices.MOST_WAITING
    made.db.call(held.drop, made.office, made.account, waiting(made)[0].delivery.id, actor="test")
    assert submitted(made, "again").verdict is Verdict.ACCEPT


def test_beyond_that_only_what_holds_the_persons_own_words_is_kept(made: Spooled) -> None:
    def say(said: Notice) -> bool:
        told = made.db.call(
            notices.send, made.office, said, account_id=made.account.id, rule="digest", now=made.clock.now
        )
        return told is not None

    assert all(say(Notice("The day's mail", ())) for _ in range(notices.MOST_WAITING))
    assert not say(Notice("The day's mail", ()))
    assert say(Notice("Not delivered", (), OUTWARD))
    change(made, MAILBOX, state=MailboxState.VERIFIED)
    assert say(Notice("The day's mail", ())), "what a mailbox takes doesn't pile up"


@pytest.mark.parametrize(
    ("changes", "author", "to", "rule", "reason"),
    [
        (
            {"delivers": False},
            MAILBOX,
            "someone@else.example",
            "outsider",
            "someone@else.example is no contact of yours",
        ),
        ({"state": MailboxState.PENDING}, ALIAS, ALIAS, "nobody_remains", "only you were left"),
    ],
)
def test_without_any_mailbox_what_must_come_back_is_refused_with_the_reason(
    made: Spooled, changes: dict[str, object], author: str, to: str, rule: str, reason: str
) -> None:
    change(made, MAILBOX, **changes)
    decision = submitted(made, "out1", to, author)
    assert (decision.verdict, decision.rule, decision.reply.code) == (Verdict.REFUSE, rule, 550)
    assert reason in decision.reply.text
    assert "no verified mailbox" in decision.reply.text
    assert made.db.view(spool.queue) == ()
    (event,) = made.db.view(events.of_message, "out1")
    assert (event.what, event.rule) == ("refused", rule)


def test_what_was_refused_may_be_sent_again_and_a_provider_is_told_no_reason(made: Spooled) -> None:
    """The signature that proves its author has carried nothing yet."""
    change(made, MAILBOX, delivers=False)
    signed = DkimResult(
        Result.PASS,
        "home.example",
        signed=("from", "to", "date"),
        stamp=int(made.clock.now.timestamp()) - 8 * 86400,
        signature=b"s",
    )
    auth = Authentication(
        dkim=(signed,),
        dmarc=DmarcResult(Result.PASS, aligned_spf=True, aligned_dkim=True),
        from_domain="home.example",
    )
    for name in ("first", "second"):
        arrival = sent(made, name, REVERSE, Peer("192.0.2.1"), auth)
        decision = made.db.call(receive.accept, made.office, arrival)
        assert (decision.verdict, decision.rule) == (Verdict.REFUSE, "stale_signature")
        assert "week" not in decision.reply.text


# ---- where mail goes that was held ------------------------------------------------------------------------


def test_mail_held_for_a_failing_mailbox_is_let_go_to_the_one_that_was_chosen_then(two: Spooled) -> None:
    assert came(two, "first") == UNUSABLE
    (mail,) = waiting(two)
    choose(two, OTHER)
    let_go(two, mail.delivery.id)
    now = two.now(mail.delivery)
    assert (now.state, now.recipient, now.destination) == (DeliveryState.QUEUED, OTHER, "other.example")


def test_mail_held_for_a_failing_mailbox_follows_its_relationship(two: Spooled) -> None:
    came(two, "first")
    (mail,) = waiting(two)
    wish = relationships.Change(mailbox=OTHER)
    two.db.call(relationships.change, two.office, two.account, "lamp-shop", wish, actor="test")
    let_go(two, mail.delivery.id)
    assert two.now(mail.delivery).recipient == OTHER


def test_mail_held_while_there_was_no_mailbox_goes_to_the_first_that_there_is(made: Spooled) -> None:
    change(made, MAILBOX, state=MailboxState.PENDING)
    came(made, "first")
    (mail,) = waiting(made)
    assert mail.delivery.recipient == ""
    with pytest.raises(OfficeError, match="no verified mailbox that it could go to"):
        let_go(made, mail.delivery.id)
    verify(made, MAILBOX)
    now = made.now(mail.delivery)
    assert (now.state, now.recipient, now.destination) == (DeliveryState.QUEUED, MAILBOX, "home.example")


@pytest.mark.parametrize("reason", [UNUSABLE, "stranger_held"])
def test_nothing_is_let_go_to_a_mailbox_that_takes_no_mail(made: Spooled, reason: str) -> None:
    mail = made.put(state=DeliveryState.HELD, reason=reason)
    with pytest.raises(OfficeError, match=f"it would go to {MAILBOX}, which takes no mail"):
        let_go(made, mail.id)
    now = made.now(mail)
    assert (now.state, now.reason) == (DeliveryState.HELD, reason)
    assert [each.what for each in made.db.view(events.every)] == []


def test_what_a_pause_held_waits_on_for_the_mailbox(two: Spooled) -> None:
    mail = two.put(state=DeliveryState.HELD, reason="muted")
    two.db.call(relationships.act, two.office, two.account, "lamp-shop", Action.PAUSE, actor="test")
    done = two.db.call(relationships.act, two.office, two.account, "lamp-shop", Action.RESUME, actor="test")
    assert done.released == 0
    assert (two.now(mail).state, two.now(mail).reason) == (DeliveryState.HELD, UNUSABLE)
    choose(two, OTHER)
    let_go(two, mail.id)
    assert two.now(mail).recipient == OTHER


def test_what_is_let_go_to_a_vendor_needs_no_mailbox(made: Spooled) -> None:
    mail = made.put(Direction.OUTWARD, state=DeliveryState.HELD, reason="leak_guard")
    let_go(made, mail.id)
    now = made.now(mail)
    assert (now.state, now.recipient) == (DeliveryState.QUEUED, spooled.VENDOR)


def test_held_says_which_mailbox_takes_no_mail_and_what_to_do(person: Person) -> None:
    number = held_for(person)
    said = person.refused("held", "release", number)
    assert f"`sortingoffice admin mailbox verify {MAILBOX}`" in said
    person.out("admin", "mailbox", "add", OTHER, "--preferred")
    person.out("held", "release", number)
    assert person.delivery(number).recipient == OTHER


async def test_programs_are_told_the_same(site: Site) -> None:
    number = held_for(site.person)
    client = site.client(site.token())
    answer = await client.post(f"/api/office/held/{number}/release")
    assert answer.status_code == 409
    assert f"it would go to {MAILBOX}, which takes no mail" in answer.json()["message"]
    site.person.out("admin", "mailbox", "add", OTHER, "--preferred")
    assert (await client.post(f"/api/office/held/{number}/release")).status_code == 200
    assert site.person.delivery(number).recipient == OTHER


def held_for(person: Person) -> int:
    """The number of a mail of theirs that waits for their mailbox."""

    def fails(tx: Transaction) -> None:
        for each in accounts.mailboxes(tx, 1):
            accounts.set_mailbox(tx, replace(each, state=MailboxState.FAILING))

    person.out("new", "Lamp Shop")
    with person.office() as office:
        office.db.call(fails)
    return person.spooled("lamp-shop", DeliveryState.HELD, reason=UNUSABLE)
