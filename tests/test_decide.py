"""The decisions: each rule by its name, and the order that is the policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice.core import decide
from sortingoffice.core.binding import Stranger
from sortingoffice.core.decide import (
    AuthorFacts,
    Decision,
    Dmarc,
    InwardFacts,
    MessageFacts,
    RcptFacts,
    Target,
    Verdict,
)
from sortingoffice.core.model import AliasState, MailboxState, RelationshipState, Strangers
from sortingoffice.mail.reply import Reply

NOW = datetime(2026, 11, 22, tzinfo=UTC)
LIVE = RcptFacts(
    Target.ALIAS, submission=False, now=NOW, state=RelationshipState.ACTIVE, alias_state=AliasState.LIVE
)
UNSURE: dict[str, object] = {"stranger": Stranger.UNAUTHENTICATED, "temporary": True}
VENDOR = InwardFacts(
    stranger=Stranger.VENDOR,
    dmarc=Dmarc.NONE,
    strangers=Strangers.LEARN,
    state=RelationshipState.ACTIVE,
    mailbox=MailboxState.VERIFIED,
)
NOBODY = AuthorFacts(
    submission=False,
    own_address=True,
    dkim=False,
    dkim_covers_recipient=False,
    spf=False,
    dkim_seen=False,
    temporary=False,
)


@pytest.mark.parametrize(
    ("facts", "rule", "code"),
    [
        (LIVE, "live", 250),
        (replace(LIVE, target=Target.NOTHING, state=None, alias_state=None), "unknown_address", 550),
        (replace(LIVE, target=Target.ELSEWHERE, state=None, alias_state=None), "relay_denied", 550),
        (replace(LIVE, target=Target.ELSEWHERE, submission=True), "submitted", 250),
        (replace(LIVE, target=Target.RESERVED, state=RelationshipState.REVOKED), "reserved", 250),
        (replace(LIVE, active=False), "suspended_account", 550),
        (replace(LIVE, state=RelationshipState.REVOKED), "revoked_relationship", 550),
        (replace(LIVE, alias_state=AliasState.REVOKED), "revoked_relationship", 550),
        (replace(LIVE, alias_state=AliasState.ROTATED), "live", 250),
        (replace(LIVE, state=RelationshipState.EXPIRED), "expired_relationship", 550),
        (replace(LIVE, until=NOW), "expired_relationship", 550),
        (replace(LIVE, until=NOW + timedelta(seconds=1)), "live", 250),
        (replace(LIVE, spent=True), "used_up", 550),
        (replace(LIVE, spent=True, target=Target.REVERSE), "live", 250),
        (replace(LIVE, state=RelationshipState.MUTED), "live", 250),
        (replace(LIVE, target=Target.RETURN_PATH, state=RelationshipState.REVOKED), "return_path", 250),
        (replace(LIVE, target=Target.VERIFICATION), "verification", 250),
    ],
)
def test_a_recipient_is_answered_by_the_first_rule_that_knows(facts: RcptFacts, rule: str, code: int) -> None:
    decision = decide.rcpt(facts)
    assert (decision.rule, decision.reply.code) == (rule, code)


def test_a_revoked_alias_answers_like_one_that_never_existed() -> None:
    never = decide.rcpt(replace(LIVE, target=Target.NOTHING, state=None, alias_state=None))
    for ended in (
        replace(LIVE, state=RelationshipState.REVOKED),
        replace(LIVE, state=RelationshipState.EXPIRED),
        replace(LIVE, alias_state=AliasState.REVOKED),
        replace(LIVE, active=False),
        replace(LIVE, spent=True),
    ):
        assert bytes(decide.rcpt(ended).reply) == bytes(never.reply)


@pytest.mark.parametrize(
    ("change", "rule", "verdict"),
    [
        ({}, "welcome", Verdict.ACCEPT),
        ({"stranger": Stranger.AUTHENTICATED}, "stranger_flagged", Verdict.ACCEPT),
        ({"stranger": Stranger.PROCESSOR, "strangers": Strangers.LOCK}, "welcome", Verdict.ACCEPT),
        ({"stranger": Stranger.AUTHENTICATED, "strangers": Strangers.HOLD}, "stranger_held", Verdict.HOLD),
        ({"stranger": Stranger.FORGED, "strangers": Strangers.LOCK}, "locked", Verdict.REFUSE),
        ({"dmarc": Dmarc.REJECT}, "dmarc_reject", Verdict.REFUSE),
        ({"dmarc": Dmarc.REJECT, "list_bound": True}, "welcome", Verdict.ACCEPT),
        ({"dmarc": Dmarc.QUARANTINE}, "dmarc_quarantine", Verdict.HOLD),
        ({"in_your_name": True, "stranger": Stranger.UNAUTHENTICATED}, "in_your_name", Verdict.HOLD),
        ({"in_your_name": True, "dmarc": Dmarc.REJECT}, "dmarc_reject", Verdict.REFUSE),
        ({"dmarc": Dmarc.TEMPORARY}, "dmarc_unknown", Verdict.DEFER),
        (UNSURE | {"strangers": Strangers.LOCK}, "vendor_unknown", Verdict.DEFER),
        (UNSURE | {"state": RelationshipState.CLOSING}, "vendor_unknown", Verdict.DEFER),
        (UNSURE, "stranger_flagged", Verdict.ACCEPT),
        (UNSURE | {"strangers": Strangers.LOCK, "dmarc": Dmarc.REJECT}, "dmarc_reject", Verdict.REFUSE),
        ({"temporary": True, "strangers": Strangers.LOCK}, "welcome", Verdict.ACCEPT),
        ({"state": RelationshipState.MUTED}, "muted", Verdict.HOLD),
        ({"state": RelationshipState.REVOKED}, "revoked_meanwhile", Verdict.REFUSE),
        (
            {"state": RelationshipState.CLOSING, "stranger": Stranger.AUTHENTICATED},
            "closing",
            Verdict.REFUSE,
        ),
        ({"state": RelationshipState.CLOSING}, "welcome", Verdict.ACCEPT),
        ({"mailbox": MailboxState.FAILING}, "mailbox_unusable", Verdict.HOLD),
        ({"mailbox": None}, "mailbox_unusable", Verdict.HOLD),
        ({"refused": True}, "refused_sender", Verdict.REFUSE),
        ({"looped": True}, "looped", Verdict.REFUSE),
        ({"author": False}, "no_author", Verdict.REFUSE),
        ({"repeated": True, "state": RelationshipState.MUTED}, "repeated_message", Verdict.ACCEPT),
    ],
)
def test_an_inward_message_meets_its_rule(change: dict[str, object], rule: str, verdict: Verdict) -> None:
    decision = decide.inward(replace(VENDOR, **change))  # type: ignore[arg-type]
    assert (decision.rule, decision.verdict) == (rule, verdict)


def test_a_held_message_is_answered_like_an_accepted_one() -> None:
    held = decide.inward(replace(VENDOR, state=RelationshipState.MUTED))
    assert held.reply == decide.inward(VENDOR).reply


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"submission": True, "own_address": False}, "authenticated_submission"),
        ({"own_address": False, "dkim": True, "dkim_covers_recipient": True}, "not_the_owner"),
        ({"dkim": True, "dkim_covers_recipient": True}, "signed_by_mailbox"),
        ({"dkim": True, "spf": True}, "unproven"),
        ({"spf": True}, "sent_by_mailbox_host"),
        ({"spf": True, "dkim_seen": True}, "unproven"),
        ({"temporary": True}, "proof_unknown"),
        ({}, "unproven"),
    ],
)
def test_only_proof_makes_an_author(change: dict[str, bool], rule: str) -> None:
    assert decide.author(replace(NOBODY, **change)).rule == rule


def test_an_unproven_author_hears_of_an_address_that_never_existed() -> None:
    assert decide.author(NOBODY).reply == decide.NO_SUCH


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, None),
        ({"froms": 0}, "one_from"),
        ({"froms": 2}, "one_from"),
        ({"authors": 0}, None),
        ({"authors": 2}, "one_author"),
        ({"header_octets": 101}, "header_too_large"),
        ({"fields": 1001}, "header_too_large"),
        ({"hops": 51}, "too_many_hops"),
    ],
)
def test_a_message_nobody_can_take_is_refused_for_all(change: dict[str, int], rule: str | None) -> None:
    facts = MessageFacts(
        header_octets=100, most_header_octets=100, fields=9, froms=1, authors=1, hops=3, most_hops=50
    )
    decision = decide.message(replace(facts, **change))
    assert (None if decision is None else decision.rule) == rule


def _of(verdict: Verdict) -> Decision:
    return Decision(verdict, verdict.value, Reply(250, "2.0.0", "ok"))


@pytest.mark.parametrize(
    ("verdicts", "answer"),
    [
        ((Verdict.REFUSE, Verdict.REFUSE), Verdict.REFUSE),
        ((Verdict.REFUSE, Verdict.ACCEPT), Verdict.ACCEPT),
        ((Verdict.REFUSE, Verdict.HOLD), Verdict.HOLD),
        ((Verdict.ACCEPT, Verdict.DEFER), Verdict.DEFER),
    ],
)
def test_the_message_is_refused_only_when_every_recipient_refuses(
    verdicts: tuple[Verdict, ...], answer: Verdict
) -> None:
    assert decide.answer(tuple(_of(each) for each in verdicts)).verdict is answer


def test_every_rule_carries_the_name_of_its_function() -> None:
    for rules in (decide.RCPT_RULES, decide.INWARD_RULES, decide.AUTHOR_RULES, decide.MESSAGE_RULES):
        for rule in rules:
            names = [const for const in rule.__code__.co_consts if const == rule.__name__]
            assert names, f"{rule.__name__} names another rule"
