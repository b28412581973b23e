"""One mail of a person's, to contacts of two accounts or with a word on another: its one answer holds for all
of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.core import naming
from sortingoffice.core.decide import Decision, Verdict
from sortingoffice.core.model import Alias, AliasState, Contact, Direction, Envelope, Peer
from sortingoffice.flows import receive
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication, DmarcResult, Result
from sortingoffice.mail.headers import addresses
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, contacts, events, relationships
from sortingoffice.store.database import Database
from tests import spooled
from tests.desk import Desk
from tests.spooled import MAILBOX, REVERSE, Spooled

BENS = "orders.other.aaaa2222@sort.example"
CONTACT = "orders@other.example"


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """Anna's mailbox is one of Ben's account, too, which has a contact of its own."""
    made = spooled.make(db, tmp_path)
    tx, now = made.db.call, made.clock.now
    ben = tx(accounts.add, replace(made.account, id=0, name="ben", admin=False))
    tx(accounts.add_mailbox, replace(made.mailbox, id=0, account_id=ben.id))
    of = tx(relationships.add, replace(made.relationship, id=0, account_id=ben.id, slug="other"))
    alias = "solar.badger1111@sort.example"
    tx(relationships.add_alias, Alias(0, of.id, alias, naming.canonical(alias), AliasState.LIVE, now))
    contact = Contact(0, of.id, CONTACT, CONTACT, "", BENS, naming.canonical(BENS), now)
    tx(contacts.get_or_add, of.id, contact)
    return made


async def sent(made: Spooled, to: Sequence[str], *, copy: str = "", hourly: int = 1000) -> Decision:
    """The answer to one mail of the person's to both; `copy`: who is named in Cc."""
    head = f"From: {MAILBOX}\r\nTo: {', '.join(to)}\r\nMessage-ID: <o1@home.example>\r\n"
    raw = (head + (f"Cc: {copy}\r\n" if copy else "") + "\r\nhello\r\n").encode()
    proof = DmarcResult(Result.PASS, aligned_spf=True, aligned_dkim=False)
    recipients = tuple(each for each in map(parse, to) if each is not None)
    arrival = Arrival(
        Peer("192.0.2.1"),
        Envelope(parse(MAILBOX), recipients),
        Message.parse(raw),
        len(raw),
        Authentication(dmarc=proof, from_domain="home.example"),
        f"at{made.clock.now:%H%M}",
        made.clock.now,
    )
    limits = replace(made.office.config.limits, account_messages_per_hour=hourly)
    office = replace(made.office, config=replace(made.office.config, limits=limits))
    return await receive.accepted(office, arrival)


ORDERS = pytest.mark.parametrize("to", [(REVERSE, BENS), (BENS, REVERSE)], ids=["anna first", "ben first"])


@ORDERS
async def test_where_one_accounts_part_is_put_off_nothing_of_the_others_stands(
    made: Spooled, to: Sequence[str]
) -> None:
    made.put(Direction.OUTWARD)  # of Anna's, who may send no other in this hour
    before = len(made.db.view(events.every))
    found = await sent(made, to, hourly=1)
    assert (found.verdict, found.rule) == (Verdict.DEFER, "account_messages_per_hour")
    assert made.queued(Direction.NOTICE) == []
    assert len(made.db.view(events.every)) == before
    made.clock.pass_(hours=2)
    assert (await sent(made, to, hourly=1)).verdict is Verdict.ACCEPT
    told = made.queued(Direction.NOTICE)  # neither knows the other's contact: it comes back, to each once
    assert len({each.account_id for each in told}) == len(told) == 2


@ORDERS
async def test_what_cannot_even_come_back_to_one_account_is_refused_whoever_is_named_last(
    made: Spooled, to: Sequence[str]
) -> None:
    mailboxes = made.db.view(accounts.mailboxes_by_address, MAILBOX)
    bens = next(each for each in mailboxes if each.account_id != made.account.id)
    made.db.call(accounts.set_mailbox, replace(bens, delivers=False))
    assert (await sent(made, to, copy="outsider@else.example")).verdict is Verdict.REFUSE
    assert made.queued(Direction.OUTWARD) == []


def test_a_word_in_a_mail_that_is_put_off_is_not_heard_yet(desk: Desk) -> None:
    desk.post(f"Content-Type: text/plain\n\nwrite to {MAILBOX}\n")
    assert desk.states() == ["held"]
    [asked] = addresses(Message.parse(desk.notices()[-1].raw).value("From") or b"")
    clerk = parse(desk.clerk.reverse_alias)
    assert asked.address is not None
    assert clerk is not None
    raw = f"From: {MAILBOX}\r\nTo: {asked.address}, {clerk}\r\n\r\nyes\r\n".encode()
    arrival = Arrival(
        Peer("192.0.2.1", account_id=desk.account.id),
        Envelope(parse(MAILBOX), (asked.address, clerk)),
        Message.parse(raw),
        len(raw),
        Authentication(),
        "a-word",
        desk.now[0],
    )
    limits = replace(desk.office.config.limits, account_messages_per_hour=1)
    strict = replace(desk.office, config=replace(desk.office.config, limits=limits))
    assert desk.db.call(receive.accept, strict, arrival).verdict is Verdict.DEFER
    assert desk.states() == ["held"]
    desk.db.call(receive.accept, desk.office, arrival)
    assert desk.states()[0] == "queued"
