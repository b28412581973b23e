"""What would become of a mail that the person writes: it is accepted as it would be, and taken back.

The whole of `receive.accept` runs, in a transaction that is rolled back: the rules, their facts and
their order are the real ones, because nothing else is run.

Promise: nothing is stored, nothing is sent and nobody is asked, whatever the answer.
"""

from __future__ import annotations

import re
from dataclasses import field
from enum import StrEnum
from typing import Any

from sortingoffice.core import addressing, cards, decide
from sortingoffice.core.cards import Refused, Waiting
from sortingoffice.core.decide import Decision, Verdict
from sortingoffice.core.model import Account, DeliveryState, Envelope, Peer
from sortingoffice.errors import OfficeError
from sortingoffice.flows import gate, receive, target
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers, trace
from sortingoffice.mail.address import Address
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message
from sortingoffice.store import domains, events, spool
from sortingoffice.store.database import Transaction

_NAME = "explain"  # of the message, as long as there is one
_ADDRESSING = frozenset(rule.__name__ for rule in addressing.RULES)
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")


class Result(StrEnum):
    OK = "ok"
    ASK = "ask"  # the person is asked first
    NO = "no"
    SKIPPED = "skipped"  # not come to, or nothing was asked for


@dataclass(frozen=True, slots=True)
class Step:
    """One rule, by name; said: why, where it isn't ok."""

    rule: str
    result: Result
    said: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """The decision as the person would see it, with all the rules.

    decision  ACCEPT: it goes; HOLD: they are asked; REFUSE: it comes back to them, or is refused; DEFER
    told      what they would be told, "" where they wouldn't
    """

    decision: Decision
    told: str
    steps: tuple[Step, ...]


@dataclass
class _Watched:
    """The rules' own words, as they are judged."""

    steps: dict[str, Step] = field(default_factory=dict)

    def __call__(self, rule: str, verdict: cards.Verdict) -> None:
        said = "" if verdict is None else verdict.what
        result = Result.OK
        if isinstance(verdict, Refused):
            result = Result.NO
        elif isinstance(verdict, Waiting):
            result = Result.ASK
        self.steps[rule] = Step(rule, result, said)


class _TakenBack(Exception):
    """Ends the transaction without a trace; carries the answer out of it."""

    def __init__(self, found: Explained) -> None:
        super().__init__()
        self.found = found


def reply(
    office: Office,
    account: Account,
    octets: bytes,
    sender: Address | None = None,
    recipient: Address | None = None,
) -> Explained:
    """What would become of this mail, if it came from the account's own mailbox, proved.

    octets     a message, or only its text where sender and recipient are given
    sender     who writes; None: as From says
    recipient  whom to; None: everyone in To and Cc whose address is here

    Raises OfficeError where it names nobody here.
    """
    message = _message(octets, sender, recipient)
    try:
        office.db.call(_tried, office, account, message, recipient)
    except _TakenBack as taken:
        return taken.found
    raise AssertionError("it always ends so")


def _message(octets: bytes, sender: Address | None, recipient: Address | None) -> Message:
    """With CR LF; a bare text gets the header that it needs."""
    raw = trace.with_mailbox_line(re.sub(rb"\r\n|\r|\n", b"\r\n", octets))
    if _FIELD.match(raw) is None:
        if sender is None or recipient is None:
            raise OfficeError("the file has no header: say who writes to whom with --from and --to")
        raw = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + raw
    message = Message.parse(raw)
    # One that was sent already is no repetition here.
    left_out = ["Message-ID", *(["From"] if sender else []), *(["To", "Cc"] if recipient else [])]
    message = message.without(*left_out)
    added = b""
    if sender is not None:
        added += b"From: <" + str(sender).encode() + b">\r\n"
    if recipient is not None:
        added += b"To: <" + str(recipient).encode() + b">\r\n"
    return Message.parse(added + bytes(message))


def _tried(
    tx: Transaction, office: Office, account: Account, message: Message, recipient: Address | None
) -> None:
    to = _recipients(tx, message) if recipient is None else (recipient,)
    if not to:
        raise OfficeError("nobody in To or Cc has an address of this office: name one with --to")
    peer = Peer("127.0.0.1", account_id=account.id)
    watched = _Watched()
    for each in to:
        facts = target.find(tx, office, each).rcpt_facts(submission=True, now=office.clock())
        answer = decide.rcpt(facts)
        if answer.verdict is not Verdict.ACCEPT:
            raise _TakenBack(Explained(answer, "", _steps(watched, answer, "", asked=False)))
    written = [m.address for f in message.all("From") for m in headers.addresses(f.value) if m.address]
    envelope = Envelope(written[0] if written else None, to)
    octets = bytes(message)
    arrival = Arrival(
        peer, envelope, message, len(octets), Authentication(), _NAME, office.clock(), watch=watched
    )
    raise _TakenBack(_judged(tx, receive.accept(tx, office, arrival), watched))


def _recipients(tx: Transaction, message: Message) -> tuple[Address, ...]:
    """Those in To and Cc on a domain that is hosted here."""
    hosted = {each.name for each in domains.every(tx)}
    found = [
        mention.address
        for name in ("To", "Cc")
        for each in message.all(name)
        for mention in headers.addresses(each.value)
        if mention.address is not None and mention.address.domain in hosted
    ]
    return tuple({each.normal: each for each in found}.values())


def _judged(tx: Transaction, answer: Decision, watched: _Watched) -> Explained:
    """What `accept` did, as the transaction has it."""
    happened = events.of_message(tx, _NAME)
    back = next((each for each in happened if each.what == "returned"), None)
    spooled = spool.by_token(tx, _NAME)
    deliveries = spool.deliveries(tx, spooled.id) if spooled is not None else ()
    held = next((each for each in deliveries if each.state is DeliveryState.HELD), None)
    asked = bool(watched.steps)
    if back is not None:
        decision = Decision(Verdict.REFUSE, back.rule, answer.reply)
        return Explained(decision, back.detail, _steps(watched, decision, back.detail, asked=asked))
    if held is None:
        return Explained(answer, "", _steps(watched, answer, "", asked=asked))
    told = next((each.detail for each in happened if each.what == "held"), "")
    decision = Decision(Verdict.HOLD, held.reason, answer.reply)
    return Explained(decision, told, _steps(watched, decision, told, asked=asked))


def _steps(watched: _Watched, decision: Decision, told: str, *, asked: bool) -> tuple[Step, ...]:
    """All rules in their order, with those that were not come to."""
    found = dict(watched.steps)
    sent = decision.verdict in (Verdict.ACCEPT, Verdict.HOLD)
    if decision.rule == "from_is_not_yours":
        found["sender_is_the_person"] = Step("sender_is_the_person", Result.NO, str(decision.reply))
    elif decision.rule in _ADDRESSING:
        found["sender_is_the_person"] = Step("sender_is_the_person", Result.OK)
        found["one_relationship"] = Step("one_relationship", Result.NO, told)
    elif not asked and sent:
        found |= {name: Step(name, Result.OK) for name in ("sender_is_the_person", "one_relationship")}
    result = Result.SKIPPED
    if sent:
        result = Result.ASK if decision.rule == gate.RULE else Result.OK
    found[gate.RULE] = Step(gate.RULE, result, told if result is Result.ASK else "")
    return tuple(found.get(name, Step(name, Result.SKIPPED)) for name in (*cards.STEPS, gate.RULE))


def shown(found: Explained) -> dict[str, Any]:
    """What programs read; the keys of `explain`, and the rules."""
    return {
        "decision": found.decision.verdict.value,
        "rule": found.decision.rule,
        "reply": str(found.decision.reply),
        "told": found.told,
        "rules": [
            {"rule": each.rule, "result": each.result.value, "said": each.said} for each in found.steps
        ],
    }
