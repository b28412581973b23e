"""The answer to one RCPT: who is asked for, and whether who asks may go on asking.

Promise: live, revoked and never issued are answered in the same time.

Sources: RFC 5321 §3.3, §7.3; `core.limits` (who guesses).
"""

from __future__ import annotations

import asyncio

from sortingoffice import log, metrics, transaction
from sortingoffice.core import decide
from sortingoffice.core.decide import Decision, Target, Verdict
from sortingoffice.core.model import Peer
from sortingoffice.flows import rejects, target
from sortingoffice.flows.office import Office
from sortingoffice.flows.target import Found
from sortingoffice.mail.address import Address
from sortingoffice.mail.reply import Reply
from sortingoffice.store import events
from sortingoffice.store.database import Transaction

# What was issued and what never was answer in the same time: what is noted of them differs, so it waits
# until a peer that asks for one after another is through with its session.
_NOTED_AFTER = 0.25
_SHUT_OUT = Reply(421, "4.7.0", "too many recipients that do not exist, try again later")


async def answer(office: Office, peer: Peer, sender: Address | None, recipient: Address) -> Reply:
    """The answer to one RCPT.  `sender` is None for the null reverse-path."""
    most = office.config.limits.unknown_recipients
    if peer.account_id is None:
        now = asyncio.get_running_loop().time()
        seconds = office.peers.wait(peer.ip, now, most_unknown=most)
        if seconds is None:
            log.event("rcpt-shut-out", message=transaction.message(), peer=peer.ip)
            metrics.refused("rcpt", "defer", "unknown_recipients")
            return _SHUT_OUT
        if seconds:
            await asyncio.sleep(seconds)
    decision, found = await office.db.glance(judge, office, peer, recipient)
    if decision.verdict is Verdict.REFUSE:
        log.event("rcpt-refused", message=transaction.message(), peer=peer.ip, rule=decision.rule)
        metrics.refused("rcpt", decision.verdict.value, decision.rule)
        if found.account is not None:
            note = office.db.write(_note_refusal, office, peer, found, decision)
            office.later("note-refusal", note, seconds=_NOTED_AFTER)
        elif found.target is Target.NOTHING:
            office.later("note-reject", rejects.note(office, peer, recipient), seconds=_NOTED_AFTER)
    if peer.account_id is None:
        now = asyncio.get_running_loop().time()
        if found.target is Target.NOTHING:
            office.peers.asked(peer.ip, now, unknown=True)
        elif found.account is not None:
            of = 0 if found.relationship is None else found.relationship.id
            office.peers.named(peer.ip, now, (found.account.id, of), most=most)
    return decision.reply


def judge(tx: Transaction, office: Office, peer: Peer, recipient: Address) -> tuple[Decision, Found]:
    found = target.find(tx, office, recipient)
    facts = found.rcpt_facts(submission=peer.account_id is not None, now=office.clock())
    return decide.rcpt(facts), found


def _note_refusal(tx: Transaction, office: Office, peer: Peer, found: Found, decision: Decision) -> None:
    events.add(
        tx,
        at=office.clock(),
        actor=f"smtp {peer.ip}",
        account_id=None if found.account is None else found.account.id,
        relationship_id=None if found.relationship is None else found.relationship.id,
        message="",
        what="refused",
        rule=decision.rule,
        detail="",
    )
