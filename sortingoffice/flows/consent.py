"""Held for the person's word: ask them, hear them, and let the message go or drop it.

A question is a mail from `yes.<token>@…`; its answer counts once, from the account's own proved
mailbox.  `held release` is the same yes.  Before anything is let go, the rules run again: a card
that was changed, a relationship that was revoked or a grant that has expired stops it, and the
person is told.

Promise: a held message ends exactly once: sent whole, or dropped and its words given back.

Sources: the cards document of the design, "Held, and errors"; RFC 3834 (automatic answers).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import datetime, timedelta
from typing import Any

from sortingoffice import log
from sortingoffice.core import cards, question, typed
from sortingoffice.core import word as words
from sortingoffice.core.cards import Refused, Waiting
from sortingoffice.core.checked import Found, in_short
from sortingoffice.core.directive import Ask
from sortingoffice.core.model import (
    Account,
    Confirmation,
    Contact,
    DeliveryState,
    Grant,
    GrantMode,
    Relationship,
    SpooledMessage,
    Via,
)
from sortingoffice.core.notice import Notice
from sortingoffice.core.wallet import Facts, Held, Sight, Wallet
from sortingoffice.core.word import Word
from sortingoffice.errors import OfficeError
from sortingoffice.flows import entry, findings, gate, notices, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.entry import Leaving
from sortingoffice.flows.findings import Findings
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import classify, mime
from sortingoffice.mail.address import Address
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, confirmations, events, ledger, relationships, spool
from sortingoffice.store import cards as rows
from sortingoffice.store.database import Transaction

PREFIX = "yes"
PATIENCE = timedelta(hours=72)
_TOKEN = re.compile(r"yes\.([a-z2-7]{26})")  # 128 random bits


def ask(
    tx: Transaction,
    office: Office,
    to: Relationship,
    contacts: tuple[Contact, ...],
    message: SpooledMessage,
    *,
    waiting: Waiting | None = None,
    found: tuple[Found, ...] = (),
    values: tuple[Leaving, ...] = (),
    shown: tuple[Leaving, ...] = (),
    left_out: tuple[str, ...] = (),
    original: bytes,
    now: datetime,
) -> None:
    """Ask the person about a message that was just spooled, held: once, whatever there is to ask.

    waiting   a card that is news to the vendor
    found     what the leak guard found
    values    what leaves by the rules of cards, if they say yes
    shown     what was found and leaves against them, if they say yes: it stands in the ledger then
    left_out  fields of the asked cards that stay, as "card.field"
    original  their own mail, octets
    """
    if any(each.state is not DeliveryState.HELD for each in spool.deliveries(tx, message.id)):
        raise ValueError("what waits for a yes is spooled as held: a queued delivery may be on its way")
    rule = waiting.rule if waiting is not None else gate.RULE
    token = base64.b32encode(office.random(16)).decode().rstrip("=").lower()
    expires = now + PATIENCE
    confirmations.add(
        tx,
        Confirmation(
            id=0,
            account_id=to.account_id,
            relationship_id=to.id,
            message_id=message.id,
            token_hash=hashlib.sha256(token.encode()).digest(),
            leaving=_Asked(values, shown, findings.of(found)).written,
            expires=expires,
            created=now,
            answered=None,
            answer="",
        ),
    )
    route = _route(tx, office, contacts)
    why, filled = (waiting.what, waiting.filled) if waiting is not None else ("", ())
    said = question.asked(to.name, message.subject, why, filled, left_out, found, route, expires, original)
    notices.send(
        tx,
        office,
        said,
        account_id=to.account_id,
        relationship_id=to.id,
        to=message.sender,
        by=Address(f"{PREFIX}.{token}", notices.author(tx, office).domain),
        rule=rule,
        now=now,
    )
    _event(tx, message, "held", rule, now, "outward gate", why or in_short(found))


def find(tx: Transaction, local: str) -> Confirmation | None:
    """The question that an address of ours belongs to, open or not."""
    match = _TOKEN.fullmatch(local.lower())
    return confirmations.by_hash(tx, hashlib.sha256(match[1].encode()).digest()) if match else None


def answered(tx: Transaction, office: Office, arrival: Arrival, address: Address) -> None:
    """A reply to a question, from the account's own proved mailbox."""
    found = find(tx, address.local)
    automatic = arrival.envelope.sender is None or classify.automatic(arrival.message)
    if found is None or found.answered is not None or found.expires <= arrival.now or automatic:
        log.event("answer-ignored", message=arrival.token)
        return
    try:
        empty, word = arrival.computed(_said, arrival.message)
    except mime.TooComplex:
        empty, word = True, None
    if empty:
        log.event("answer-ignored", message=arrival.token)
        return
    if word is None:
        _tell(tx, office, found, question.unclear(_about(tx, found)[1].name), "answer_unclear", arrival.now)
        return
    if word is Word.ALWAYS and findings_of(found):
        _tell(
            tx, office, found, question.not_always(_about(tx, found)[1].name), "answer_unclear", arrival.now
        )
        return
    say(tx, office, found, word, actor=arrival.actor(), now=arrival.now)


def _said(message: Message) -> tuple[bool, Word | None]:
    """Whether a reply says nothing at all, and the word in it."""
    root = mime.parse(message)
    return words.first_line(root) is None, words.said(root)


def say(
    tx: Transaction, office: Office, found: Confirmation, word: Word, *, actor: str, now: datetime
) -> str:
    """Carry the person's word out; "" or why the message could not go after all."""
    message, to = _about(tx, found)
    account = accounts.by_id(tx, found.account_id)
    assert account is not None, "a foreign key holds it"
    if not confirmations.end(tx, found.id, word.value, now):
        raise OfficeError("that message was answered for already")
    if word is Word.NO:
        _drop(tx, message, "no", now)
        _tell(tx, office, found, question.dropped(to.name, message.subject, message.raw), "dropped", now)
        _event(tx, message, "dropped", "no", now, actor)
        return ""
    keys = vaults.open_for(office, account)
    wallet = wallets.of(tx, keys, account, now, to)
    asked = _Asked.read(found.leaving, wallet)
    verdict = _still(tx, account, to, message, asked, wallet, now)
    if verdict is not None:
        _drop(tx, message, verdict.rule, now)
        told = question.refused(to.name, verdict.what, verdict.hint, message.raw)
        _tell(tx, office, found, told, verdict.rule, now)
        _event(tx, message, "dropped", verdict.rule, now, actor, verdict.what)
        return verdict.what
    entry.write(
        tx,
        keys,
        to,
        asked.leaving,
        contacts=[each.contact_id for each in confirmations.held(tx, message.id)],
        message_id=message.id,
        now=now,
    )
    if word is Word.ALWAYS:
        _grant(tx, account, to, asked.values, now)
    for each in confirmations.held(tx, message.id):
        spool.release(tx, each.id, now)
    _event(tx, message, "released", word.value, now, actor)
    office.wake()
    return ""


def expire(tx: Transaction, office: Office, now: datetime) -> int:
    """Drop what nobody answered for in time, and tell; how many."""
    due = confirmations.run_out(tx, now)
    for found in due:
        message, to = _about(tx, found)
        confirmations.end(tx, found.id, "expired", now)
        if not confirmations.held(tx, message.id):
            continue  # dropped meanwhile, by a revocation or by hand
        told = question.run_out(to.name, message.subject, message.raw)
        _drop(tx, message, "no answer", now)
        _tell(tx, office, found, told, "no_answer", now)
        _event(tx, message, "dropped", "no_answer", now, "housekeeping")
    return len(due)


def _about(tx: Transaction, found: Confirmation) -> tuple[SpooledMessage, Relationship]:
    message = spool.by_id(tx, found.message_id)
    to = relationships.by_id(tx, found.relationship_id)
    assert message is not None, "a foreign key holds it"
    assert to is not None, "a foreign key holds it"
    return message, to


def findings_of(found: Confirmation) -> Findings:
    """What the leak guard found in the message that an open question is about."""
    return findings.read(_stored(found.leaving).get("found", {}))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a question is about, as it stands in its row; "card.field" for a value that is not what it was."""

    values: tuple[Leaving | str, ...]
    shown: tuple[Leaving | str, ...]
    found: Findings

    @property
    def leaving(self) -> list[Leaving]:
        return [each for each in (*self.values, *self.shown) if isinstance(each, Leaving)]

    @property
    def changed(self) -> str:
        """The first that is not what it was, "" where none is."""
        return next((each for each in (*self.values, *self.shown) if isinstance(each, str)), "")

    @property
    def written(self) -> str:
        return json.dumps(
            {
                "values": [_row(each) for each in self.values if isinstance(each, Leaving)],
                "shown": [_row(each) for each in self.shown if isinstance(each, Leaving)],
                "found": findings.written(self.found),
            },
            ensure_ascii=False,
        )

    @classmethod
    def read(cls, written: str, wallet: Wallet) -> _Asked:
        stored = _stored(written)
        values, shown = (
            tuple(_read(row, wallet) for row in stored.get(name, ())) for name in ("values", "shown")
        )
        return cls(values, shown, findings.read(stored.get("found", {})))


def _stored(written: str) -> dict[str, Any]:
    """A question of before the guard asked is a list of values."""
    stored = json.loads(written or "{}")
    return {"values": stored} if isinstance(stored, list) else stored


def _row(leaving: Leaving) -> dict[str, object]:
    """What `_read` finds the value by again; the value itself is in no row but the card's."""
    value = leaving.value
    return {
        "card": value.card,
        "field": value.key,
        "version": value.version_id,
        "mac": value.mac.hex(),
        "form": leaving.form,
        "via": leaving.via.value,
        "grant": leaving.grant_id,
    }


def _read(row: dict[str, Any], wallet: Wallet) -> Leaving | str:
    """What would leave, as it is now; "card.field" where it is not what it was."""
    value = wallet.member(f"{row['card']}.{row['field']}")
    there = value.text is not None or value.like is not None
    same = there and value.mac.hex() == row["mac"] and value.version_id == row["version"]
    return Leaving(value, row["form"], Via(row["via"]), row["grant"]) if same else value.named


def _still(
    tx: Transaction,
    account: Account,
    to: Relationship,
    message: SpooledMessage,
    asked: _Asked,
    wallet: Wallet,
    now: datetime,
) -> Refused | None:
    """Why a held message may no longer go; None if it may."""
    if not confirmations.held(tx, message.id):
        return Refused("not_held", "the message is not held any more", f"Nothing more goes to {to.name} now.")
    again = f"Nothing went to {to.name}. Your message is attached: send it again"
    if asked.changed:
        return Refused(
            "card_changed",
            f"{asked.changed} was changed while the message waited",
            f"{again} with the new value.",
        )
    confirmed: set[Held] = set()
    sights: list[Sight] = []
    for each in asked.values:
        if isinstance(each, Leaving) and not each.value.own:
            value = each.value
            confirmed.add(Held(value.card, value.key, value.mac))
            ask = Ask(value.card, (value.key,), (), "text", Via.DIRECTIVE, f"#{value.card} {value.key}")
            sights.append(Sight(ask, "text", (), False))
    facts = Facts(
        authenticated=True,
        sights=tuple(sights),
        unread=(),
        planted=frozenset(),
        vendors=(to.name,),
        slug=to.slug,
        outsiders=(),
        state=to.state,
        wallet=wallet,
        grants=rows.grants(tx, to.id),
        held=ledger.held(tx, to.id),
        tls_verified=True,  # the person was told about the route, and said yes
        now=now,
        trigger=account.trigger,
    )
    outcome = cards.resolve(facts, confirmed=frozenset(confirmed))
    if isinstance(outcome, Refused):
        return outcome
    given = frozenset(each.value.text for each in asked.leaving if each.value.text)
    known = given | typed.held_by(facts) | {to.display_name}
    withheld = typed.withheld(facts, given)
    new = findings.new_ones(tx, account.id, message.raw, asked.found, withheld, known)
    if new:
        return Refused(gate.RULE, f"it holds {', '.join(new)}, too", f"{again} without it.")
    return None


def _grant(
    tx: Transaction, account: Account, to: Relationship, values: tuple[Leaving | str, ...], now: datetime
) -> None:
    """`yes always`: from now on exactly these fields, by card."""
    by_card: dict[str, set[str]] = {}
    for each in values:
        if isinstance(each, Leaving) and not each.value.own:
            by_card.setdefault(each.value.card, set()).add(each.value.key)
    for card, keys in by_card.items():
        made = Grant(
            id=0,
            account_id=account.id,
            relationship_id=to.id,
            card=card,
            fields=json.dumps(sorted(keys), ensure_ascii=False),
            mode=GrantMode.AUTO,
            purpose="",
            terms="",
            not_before=None,
            expires=None,
            uses_left=None,
            created=now,
            ended=None,
        )
        rows.add_grant(tx, made)


def _drop(tx: Transaction, message: SpooledMessage, reason: str, now: datetime) -> None:
    for each in confirmations.held(tx, message.id):
        spool.drop(tx, each.id, reason, now)


def _route(tx: Transaction, office: Office, contacts: tuple[Contact, ...]) -> str:
    seen = {confirmations.last_tls(tx, each.id) for each in contacts}
    domains = ", ".join(dict.fromkeys(each.address.rpartition("@")[2] for each in contacts))
    if wallets.verified_route(tx, office, contacts, office.clock()):
        to = "" if office.config.delivery.smarthost is None else ", to your smarthost"
        return f"The way to {domains}: over verified TLS{to}."
    if "" in seen:
        return f"The way to {domains}: the last mail travelled unencrypted."
    if None in seen:
        return f"The way to {domains}: no mail has gone there yet, so whether it is encrypted isn't known."
    return f"The way to {domains}: the last mail was encrypted ({', '.join(sorted(str(s) for s in seen))})."


def _tell(
    tx: Transaction, office: Office, found: Confirmation, said: Notice, rule: str, now: datetime
) -> None:
    notices.send(
        tx,
        office,
        said,
        account_id=found.account_id,
        relationship_id=found.relationship_id,
        rule=rule,
        now=now,
    )


def _event(
    tx: Transaction,
    message: SpooledMessage,
    what: str,
    rule: str,
    now: datetime,
    actor: str,
    detail: str = "",
) -> None:
    events.add(
        tx,
        at=now,
        actor=actor,
        what=what,
        rule=rule,
        account_id=message.account_id,
        relationship_id=message.relationship_id,
        message=message.token,
        detail=detail,
    )
