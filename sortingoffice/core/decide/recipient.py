"""At RCPT: whether an address takes mail from this peer, now.

Sources: RFC 5321 §3.3, §4.5.1; RFC 3463.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from sortingoffice.core.decide.decision import NO_SUCH, Decision, Verdict, refused
from sortingoffice.core.model import AliasState, RelationshipState
from sortingoffice.frozen import dataclass
from sortingoffice.mail.reply import Reply

_RELAY_DENIED = Reply(550, "5.7.1", "we do not relay to that domain")
_RCPT_OK = Reply(250, "2.1.5", "ok")


class Target(StrEnum):
    """What a recipient's address is, at this moment."""

    NOTHING = "nothing"  # never issued
    ELSEWHERE = "elsewhere"  # not a domain of ours
    ALIAS = "alias"
    REVERSE = "reverse alias"
    RETURN_PATH = "return path"
    RESERVED = "reserved"  # postmaster and the like
    VERIFICATION = "verification"  # where a mailbox's owner answers our question
    CONFIRMATION = "confirmation"  # where the person says their word on a held message
    CARD = "card"  # a card contact: asks for the card, and is never delivered to
    BY_MAIL = "by mail"  # where the person asks for an address by mail


@dataclass(frozen=True, slots=True)
class RcptFacts:
    """All that the answer to one RCPT depends on.

    submission    the peer authenticated as an account
    active        the account that owns the target is not suspended
    state         the relationship's; None where the target has none
    alias_state   None where the target is no alias
    until, spent  the relationship's end; whether its number of messages is used up
    """

    target: Target
    submission: bool
    now: datetime
    active: bool = True
    state: RelationshipState | None = None
    alias_state: AliasState | None = None
    until: datetime | None = None
    spent: bool = False


RcptRule = Callable[[RcptFacts], Decision | None]


def submitted(facts: RcptFacts) -> Decision | None:
    """A person may name any contact at submission; what can't be sent safely comes back after DATA."""
    if facts.submission and facts.target is Target.ELSEWHERE:
        return Decision(Verdict.ACCEPT, "submitted", _RCPT_OK)
    return None


def relay_denied(facts: RcptFacts) -> Decision | None:
    return refused("relay_denied", _RELAY_DENIED) if facts.target is Target.ELSEWHERE else None


def unknown_address(facts: RcptFacts) -> Decision | None:
    return refused("unknown_address", NO_SUCH) if facts.target is Target.NOTHING else None


def reserved(facts: RcptFacts) -> Decision | None:
    """RFC 5321 §4.5.1: postmaster is reached whatever else holds."""
    return Decision(Verdict.ACCEPT, "reserved", _RCPT_OK) if facts.target is Target.RESERVED else None


def verification(facts: RcptFacts) -> Decision | None:
    """Whether its token counts shows after DATA."""
    if facts.target is Target.VERIFICATION:
        return Decision(Verdict.ACCEPT, "verification", _RCPT_OK)
    return None


def suspended_account(facts: RcptFacts) -> Decision | None:
    return None if facts.active else refused("suspended_account", NO_SUCH)


def return_path(facts: RcptFacts) -> Decision | None:
    """Only we could have signed it, and a bounce may come whatever has ended.  What is none is judged after
    DATA, as at the alias."""
    return Decision(Verdict.ACCEPT, "return_path", _RCPT_OK) if facts.target is Target.RETURN_PATH else None


def revoked_relationship(facts: RcptFacts) -> Decision | None:
    if facts.state is RelationshipState.REVOKED or facts.alias_state is AliasState.REVOKED:
        return refused("revoked_relationship", NO_SUCH)
    return None


def expired_relationship(facts: RcptFacts) -> Decision | None:
    if facts.state is RelationshipState.EXPIRED or (facts.until is not None and facts.until <= facts.now):
        return refused("expired_relationship", NO_SUCH)
    return None


def used_up(facts: RcptFacts) -> Decision | None:
    """`--max N` and `--once` bound what comes in, never what the person may still answer."""
    if facts.spent and facts.target is Target.ALIAS:
        return refused("used_up", NO_SUCH)
    return None


def live(facts: RcptFacts) -> Decision | None:
    return Decision(Verdict.ACCEPT, "live", _RCPT_OK)


# Mail to a return path that is neither a bounce nor from anybody who may use it.
NOT_A_BOUNCE = Decision(Verdict.REFUSE, "not_a_bounce", NO_SUCH)

RCPT_RULES: tuple[RcptRule, ...] = (
    submitted,
    relay_denied,
    unknown_address,
    reserved,
    verification,
    suspended_account,
    return_path,
    revoked_relationship,
    expired_relationship,
    used_up,
    live,
)


def rcpt(facts: RcptFacts) -> Decision:
    """The answer to one RCPT."""
    return next(decision for rule in RCPT_RULES if (decision := rule(facts)) is not None)
