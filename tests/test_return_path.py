"""Mail to the return path of what the person sent: it outlives nothing that ends the relationship."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sortingoffice.core import naming
from sortingoffice.core.decide import Decision, Verdict
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import (
    AccountState,
    Alias,
    AliasState,
    Binding,
    Delivery,
    DeliveryState,
    Direction,
    Envelope,
    Peer,
    RelationshipState,
    Strangers,
)
from sortingoffice.flows import leaks, receive, settle
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail import token
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply
from sortingoffice.store import accounts, relationships, spool
from sortingoffice.store.database import Database
from sortingoffice.store.spool import Claimed
from tests import spooled
from tests.spooled import ALIAS, MAILBOX, VENDOR, Spooled
from tests.unit.test_dsn import POSTFIX

STRANGER = "spam@evil.example"
NEW = "solar.badger1111@sort.example"
AUTO = "Auto-Submitted: auto-replied"


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    return spooled.make(db, tmp_path)


def sent(made: Spooled, direction: Direction = Direction.OUTWARD) -> Delivery:
    """A mail of the person's that the vendor's server has taken; or one that the mailbox's has."""
    delivery = made.put(direction)
    claimed = Claimed(made.message(delivery), delivery)
    made.db.call(settle.settle, made.office, claimed, Tried(Reply(250, "2.0.0", "ok")), made.clock.now)
    return delivery


def path(made: Spooled, delivery: Delivery) -> str:
    return f"{token.return_path(made.office.keys.token, delivery.id)}@sort.example"


def came(
    made: Spooled,
    *to: str,
    author: str = STRANGER,
    sender: str | None = "",
    name: str = "back1",
    more: str = "",
) -> Decision:
    """What a mail is answered; its author proves to be who it says.

    sender  of the envelope; "" the author, None the null sender
    """
    lines = f"From: {author}", f"To: {to[0]}", f"Message-ID: <{name}@out.example>", *filter(None, [more])
    raw = ("\r\n".join((*lines, "Subject: hello", "")) + "\r\nhello\r\n").encode()
    return answered(made, to, raw, author if sender == "" else sender, author, name)


def answered(
    made: Spooled,
    to: tuple[str, ...],
    raw: bytes,
    sender: str | None,
    author: str,
    name: str,
    *,
    signed: bool = True,
) -> Decision:
    recipients = tuple(each for each in map(parse, to) if each is not None)
    envelope = Envelope(None if sender is None else parse(sender), recipients)
    proved = receive.proved(parse(author)) if author else Authentication()
    if not signed:
        proved = replace(proved, dmarc=replace(proved.dmarc, aligned_dkim=False))
    message = Message.parse(raw)
    arrival = Arrival(Peer("192.0.2.1"), envelope, message, len(raw), proved, name, made.clock.now)
    return made.db.call(receive.accept, made.office, arrival)


def bound(made: Spooled) -> None:
    made.db.call(
        relationships.bind, Binding(0, made.relationship.id, "shop.example", "learned", made.clock.now)
    )


def change(made: Spooled, **columns: object) -> None:
    now = made.db.view(relationships.by_id, made.relationship.id)
    assert now is not None
    made.db.call(relationships.update, replace(now, **columns))  # type: ignore[arg-type]


def waiting(made: Spooled) -> list[tuple[Direction, DeliveryState]]:
    return [(each.message.direction, each.delivery.state) for each in made.db.view(spool.queue)]


# ---- what ends a relationship ------------------------------------------------------------------------


def _once(made: Spooled) -> None:
    change(made, max_messages=1)
    assert came(made, ALIAS, author=VENDOR, name="the-one").verdict is Verdict.ACCEPT


ENDS: dict[str, Callable[[Spooled], None]] = {
    "used_up": _once,
    "expired_relationship": lambda made: change(made, state=RelationshipState.EXPIRED),
    "revoked_relationship": lambda made: change(made, state=RelationshipState.REVOKED),
    "suspended_account": lambda made: made.db.call(
        accounts.update, replace(made.account, state=AccountState.SUSPENDED)
    ),
    "locked": lambda made: change(made, strangers=Strangers.LOCK),
}


@pytest.mark.parametrize("rule", ENDS)
def test_a_stranger_at_a_return_path_is_answered_as_at_the_alias(made: Spooled, rule: str) -> None:
    delivery = sent(made)
    bound(made)
    ENDS[rule](made)
    before = waiting(made)
    found = came(made, path(made, delivery))
    assert (found.verdict, found.rule) == (Verdict.REFUSE, rule)
    assert found.reply == came(made, ALIAS, name="back2").reply
    assert waiting(made) == before, "nothing of it is held, either"


def test_a_return_path_ends_with_the_day_that_ends_its_relationship(made: Spooled) -> None:
    delivery = sent(made)
    change(made, until=made.clock.now + timedelta(days=1))
    assert came(made, path(made, delivery)).verdict is Verdict.ACCEPT
    made.clock.pass_(days=1)
    assert came(made, path(made, delivery), name="back2").rule == "expired_relationship"


def test_a_return_path_ends_with_the_alias_that_the_mail_was_written_as(made: Spooled) -> None:
    delivery = sent(made)
    rotated(made, AliasState.ROTATED)
    later = sent(made)
    assert came(made, path(made, delivery), name="still").verdict is Verdict.ACCEPT
    rotated(made, AliasState.REVOKED)
    for author in (STRANGER, VENDOR):
        found = came(made, path(made, delivery), author=author, name=f"by-{author}")
        assert (found.verdict, found.rule) == (Verdict.REFUSE, "revoked_relationship")
    assert came(made, path(made, later), name="to-the-new-one").verdict is Verdict.ACCEPT


def rotated(made: Spooled, state: AliasState) -> None:
    """From now on there is a new alias; what becomes of the old one."""
    old, *new = made.db.view(relationships.aliases, made.relationship.id)
    made.db.call(relationships.set_alias, replace(old, state=state))
    if not new:
        made.clock.pass_(minutes=1)
        of = made.relationship.id
        alias = Alias(0, of, NEW, naming.canonical(NEW), AliasState.LIVE, made.clock.now)
        made.db.call(relationships.add_alias, alias)


def test_what_is_no_bounce_at_the_return_path_of_mail_for_the_mailbox_is_refused(made: Spooled) -> None:
    delivery = sent(made, Direction.INWARD)
    for sender in (STRANGER, None):
        assert came(made, path(made, delivery), sender=sender).rule == "not_a_bounce"
    assert waiting(made) == []


def test_a_refusal_at_a_return_path_beside_a_recipient_that_takes_the_mail_goes_as_at_the_alias(
    made: Spooled,
) -> None:
    delivery = sent(made)
    change(made, state=RelationshipState.REVOKED)
    other = made.db.call(
        relationships.add, replace(made.relationship, id=0, slug="other", state=RelationshipState.ACTIVE)
    )
    made.db.call(
        relationships.add_alias,
        Alias(0, other.id, NEW, naming.canonical(NEW), AliasState.LIVE, made.clock.now),
    )
    assert came(made, path(made, delivery), NEW).verdict is Verdict.ACCEPT
    assert waiting(made) == [(Direction.INWARD, DeliveryState.QUEUED)]


# ---- what a return path is for -------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["used_up", "expired_relationship", "revoked_relationship", "locked"])
def test_a_bounce_is_heard_whatever_has_ended(made: Spooled, rule: str) -> None:
    delivery = sent(made)
    bound(made)
    ENDS[rule](made)
    raw = POSTFIX.replace("\n", "\r\n").encode()
    assert answered(made, (path(made, delivery),), raw, None, "", "bounce").rule == "return_path"
    assert made.now(delivery).reason == "bounced"


def test_an_automatic_answer_of_the_vendors_is_heard_after_the_one_message(made: Spooled) -> None:
    delivery = sent(made)
    _once(made)  # by which the vendor is bound
    assert came(made, path(made, delivery), author=VENDOR, name="by-hand").rule == "used_up"
    assert came(made, path(made, delivery), sender=None, more=AUTO, name="stranger").rule == "used_up"
    for sender in (None, VENDOR):
        found = came(
            made, path(made, delivery), author=VENDOR, sender=sender, more=AUTO, name=f"auto-{sender}"
        )
        assert found.rule == "welcome"
    assert len(waiting(made)) == 3


def test_without_a_vendor_that_is_known_nobodys_automatic_answer_is_heard_after_the_one_message(
    made: Spooled,
) -> None:
    delivery = sent(made)
    change(made, max_messages=1, received=1)
    assert came(made, path(made, delivery), more=AUTO).rule == "used_up"


def test_an_automatic_answer_is_delivered_where_the_alias_would_take_it(made: Spooled) -> None:
    delivery = sent(made)
    bound(made)
    assert came(made, path(made, delivery), author=VENDOR, sender=None, more=AUTO).rule == "welcome"
    change(made, strangers=Strangers.HOLD)
    stranger = came(made, path(made, delivery), sender=None, more=AUTO, name="back2")
    assert (stranger.verdict, stranger.rule) == (Verdict.HOLD, "stranger_held")
    assert [state for _, state in waiting(made)] == [DeliveryState.HELD, DeliveryState.QUEUED]


@pytest.mark.parametrize(
    ("state", "rule"),
    [
        (RelationshipState.ACTIVE, "sent_as_alias"),
        (RelationshipState.REVOKED, "revoked_relationship"),
        (RelationshipState.EXPIRED, "expired_relationship"),
    ],
)
def test_the_mailboxs_own_answer_goes_out_as_long_as_one_to_a_reverse_alias_would(
    made: Spooled, state: RelationshipState, rule: str
) -> None:
    delivery = sent(made, Direction.INWARD)
    change(made, state=state)
    raw = f"From: {MAILBOX}\r\nTo: {path(made, delivery)}\r\nSubject: away\r\n\r\nI am away.\r\n".encode()
    found = answered(made, (path(made, delivery),), raw, None, MAILBOX, "own", signed=False)
    assert found.rule == rule
    assert len(made.queued(Direction.OUTWARD)) == (rule == "sent_as_alias")


TICKET = f"""From: Postmaster Support <postmaster@shop.example>
To: {ALIAS}
Subject: [Ticket#55] My lamp
Auto-Submitted: auto-replied

We have received your message. To show that you are a human, open
https://shop.example/{"x" * 600}/confirm
"""


def test_an_answer_of_a_postmasters_machine_reaches_the_person_whole(made: Spooled) -> None:
    delivery = sent(made)
    raw = TICKET.replace("\n", "\r\n").encode()
    found = answered(made, (path(made, delivery),), raw, None, "postmaster@shop.example", "ticket")
    assert found.verdict is Verdict.ACCEPT
    (there,) = made.queued(Direction.INWARD)
    assert b"x/confirm" in there.raw
    assert made.now(delivery).state is DeliveryState.DELIVERED


@pytest.mark.parametrize("direction", [Direction.INWARD, Direction.OUTWARD])
def test_a_bounce_in_another_language_from_whomever_is_told_and_leaves_no_evidence(
    made: Spooled, direction: Direction
) -> None:
    delivery = sent(made, direction)
    bound(made)
    change(made, strangers=Strangers.LOCK)
    raw = (
        "From: Mailserver <mailserver@home.example>\r\nSubject: =?utf-8?q?=C3=89chec_de_la_remise?=\r\n"
        "X-Failed-Recipients: anna@home.example\r\n\r\n550 5.1.1 inconnu\r\n"
    )
    found = answered(made, (path(made, delivery),), raw.encode(), None, "mailserver@home.example", "bounce")
    assert found.rule == "return_path"
    assert made.now(delivery).reason == "bounced"
    told = Direction.RETURN if direction is Direction.INWARD else Direction.NOTICE
    assert len(made.queued(told)) == 1
    assert made.db.view(leaks.listed, made.account) == []


# ---- evidence ----------------------------------------------------------------------------------------


def test_evidence_names_the_return_path_that_was_written_to_not_the_alias_of_today(made: Spooled) -> None:
    delivery = sent(made)
    bound(made)
    rotated(made, AliasState.ROTATED)
    came(made, path(made, delivery))
    change(made, strangers=Strangers.LOCK)
    assert came(made, path(made, delivery), name="back2").rule == "locked"
    [kept] = made.db.view(leaks.listed, made.account)
    assert (kept["alias"], kept["kept"]) == (path(made, delivery), 2)
