"""Which failures say that a mailbox takes no mail, so that all of a person's is held; and which don't."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.core import returned as words
from sortingoffice.core.delivery import End, Tried
from sortingoffice.core.model import Delivery, DeliveryState, MailboxState
from sortingoffice.flows import settle
from sortingoffice.mail.reply import Reply
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import accounts, leases
from sortingoffice.store.database import Database
from tests import spooled
from tests.delivering import at_sink, delivering, ended
from tests.servers import Sink
from tests.spooled import Spooled
from tests.test_returned import comes_back
from tests.unit.test_dsn import POSTFIX
from tests.waiting import until

GONE = Reply(550, "5.1.1", "no such user")
FULL = Reply(552, "5.2.2", "over quota")
VIRUS = Reply(554, "", "message refused: virus found")
TAKEN = Reply(250, "2.0.0", "taken")


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases."""
    return spooled.make(db, tmp_path)


def mailbox(made: Spooled) -> MailboxState:
    found = made.db.view(accounts.mailbox_by_id, made.mailbox.id)
    assert found is not None
    return found.state


def attempt(made: Spooled, reply: Reply, *, of_message: bool = False) -> Delivery:
    """A mail for the person whose one attempt ended so."""
    delivery = made.put()
    claimed = next(
        each
        for each in made.db.call(leases.claim, made.clock.now, "n", 100)
        if each.delivery.id == delivery.id
    )
    tried = Tried(reply, "mx [192.0.2.1]:25", of_message=of_message)
    made.db.call(settle.settle, made.office, claimed, tried, made.clock.now)
    made.db.call(leases.give_back, "n")
    return delivery


# ---- through the wire ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        {".": "554 message refused: virus found"},
        {".": "550 5.0.0 no"},
        {".": "554 5.4.6 too many hops"},
        {"DATA": "554 no"},
        {"MAIL": "552 message size exceeds the limit"},
        {"RCPT": "552 5.2.3 too long for that mailbox"},
    ],
    ids=str,
)
async def test_mails_that_a_filter_refuses_hold_nobodys_mail(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, answers: dict[str, str]
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    sink.answers.update(answers)
    async with delivering(made) as wake:
        for _ in range(words.FAILURES):
            delivery = made.put()
            wake.set()
            await until(ended(made, delivery))
            assert made.now(delivery).state is DeliveryState.RETURNED
            made.clock.pass_(days=1)
    assert mailbox(made) is MailboxState.VERIFIED


@pytest.mark.parametrize("reply", ["550 no such user", "550 5.1.1 no such user", "552 full"])
async def test_a_mailbox_whose_server_knows_no_codes_is_failing_all_the_same(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, reply: str
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    sink.answers["RCPT"] = reply
    async with delivering(made) as wake:
        deliveries = [made.put() for _ in range(words.FAILURES)]
        wake.set()
        await until(ended(made, *deliveries))
    assert mailbox(made) is MailboxState.FAILING


# ---- in the history --------------------------------------------------------------------------------------


def test_what_a_filter_refused_does_not_make_the_one_real_failure_the_third(made: Spooled) -> None:
    for _ in range(words.FAILURES):
        attempt(made, VIRUS, of_message=True)
        made.clock.pass_(days=1)
    attempt(made, GONE)
    assert mailbox(made) is MailboxState.VERIFIED


def test_what_a_filter_refuses_in_between_does_not_hide_a_failing_mailbox(made: Spooled) -> None:
    for _ in range(words.FAILURES):
        assert mailbox(made) is MailboxState.VERIFIED
        attempt(made, VIRUS, of_message=True)
        attempt(made, GONE)
    assert mailbox(made) is MailboxState.FAILING


def test_a_mailbox_that_is_full_after_the_dot_is_failing_only_after_some_hours(made: Spooled) -> None:
    for _ in range(10):
        attempt(made, FULL, of_message=True)
        made.clock.pass_(minutes=20)
    assert mailbox(made) is MailboxState.VERIFIED, "three mails of one evening, each larger than what is free"
    made.clock.pass_(hours=1)
    attempt(made, FULL, of_message=True)
    assert mailbox(made) is MailboxState.FAILING


def test_one_that_was_taken_begins_the_hours_anew(made: Spooled) -> None:
    for reply in (FULL, FULL, TAKEN, FULL, FULL, FULL):
        attempt(made, reply, of_message=True)
        made.clock.pass_(hours=1)
    assert mailbox(made) is MailboxState.VERIFIED


@pytest.mark.parametrize(
    ("status", "diagnostic", "state"),
    [
        ("5.0.0", "554 refused", MailboxState.VERIFIED),
        ("5.1.1", "550 5.1.1 User unknown", MailboxState.FAILING),
    ],
)
def test_mail_that_came_back_counts_where_it_says_that_the_mailbox_is_why(
    made: Spooled, status: str, diagnostic: str, state: MailboxState
) -> None:
    report = POSTFIX.replace("Status: 5.1.1", f"Status: {status}")
    start, end = report.index("550 5.1.1 <"), report.index("\n--B\nContent-Type: message/rfc822")
    report = report[:start] + diagnostic + "\n" + report[end:]
    taken = [attempt(made, TAKEN) for _ in range(words.FAILURES)]
    for each in taken:
        assert comes_back(made, each, report)
        made.clock.pass_(hours=3)
    assert mailbox(made) is state


@pytest.mark.parametrize(
    ("reason", "reply", "speaks"),
    [
        ("refused", "550 no such user", True),
        ("refused", "550 5.0.0 no", True),
        ("refused", "550 5.4.1 access denied", True),
        ("refused", "552 5.2.3 too large", False),
        ("refused", "550 5.7.1 spam", False),
        ("message refused", "554 virus", False),
        ("message refused", "554 5.0.0 virus", False),
        ("message refused", "554 5.4.6 loop", False),
        ("message refused", "550 5.1.7 that author is none", False),
        ("message refused", "550 5.1.1 no such user", True),
        ("message refused", "552 5.2.2 full", True),
        ("message refused", "552 5.2.3 too large", False),
        ("bounced", "550 5.0.0 no", False),
        ("bounced", "550 5.1.1 no such user", True),
        ("expired", "451 4.4.1 connection refused", True),
        ("expired", "451 4.4.2 the connection was lost after the message was sent", False),
        ("expired", "452 4.2.2 full", True),
        ("expired", "451 later", False),
        ("expired", "", False),
    ],
)
def test_a_failure_speaks_of_the_mailbox_where_its_code_or_its_moment_says_so(
    reason: str, reply: str, speaks: bool
) -> None:
    assert words.speaks_of_mailbox(End(DeliveryState.RETURNED, reason, reply, None)) is speaks
