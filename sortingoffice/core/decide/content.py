"""After DATA, what refuses a message for everybody.

Sources: RFC 5321 §6.3; RFC 5322 §3.6; RFC 7489 §6.6.1.
"""

from __future__ import annotations

from collections.abc import Callable

from sortingoffice.core.decide.decision import Decision, refused
from sortingoffice.frozen import dataclass
from sortingoffice.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What is asked of a message before anyone's share in it."""

    header_octets: int
    most_header_octets: int
    fields: int
    froms: int
    authors: int
    hops: int
    most_hops: int


MessageRule = Callable[[MessageFacts], Decision | None]
_MOST_FIELDS = 1000


def header_too_large(facts: MessageFacts) -> Decision | None:
    if facts.header_octets > facts.most_header_octets or facts.fields > _MOST_FIELDS:
        return refused("header_too_large", Reply(552, "5.3.4", "the message header is too large"))
    return None


def one_from(facts: MessageFacts) -> Decision | None:
    """RFC 5322 §3.6: exactly one; two are how a reader is shown another author than the one checked."""
    if facts.froms != 1:
        return refused("one_from", Reply(550, "5.6.0", "a message needs exactly one From field (RFC 5322)"))
    return None


def one_author(facts: MessageFacts) -> Decision | None:
    """RFC 7489 §6.6.1: two authors are how a domain's policy is got around, the person's own mailbox among
    them; large providers refuse such mail, too."""
    if facts.authors > 1:
        return refused(
            "one_author", Reply(550, "5.6.0", "a message needs one author, or nobody can check it")
        )
    return None


def too_many_hops(facts: MessageFacts) -> Decision | None:
    """RFC 5321 §6.3."""
    if facts.hops > facts.most_hops:
        return refused("too_many_hops", Reply(554, "5.4.6", "too many hops, this message is looping"))
    return None


MESSAGE_RULES: tuple[MessageRule, ...] = (header_too_large, one_from, one_author, too_many_hops)


def message(facts: MessageFacts) -> Decision | None:
    """What refuses a message for everybody; None where nothing does."""
    return next((decision for rule in MESSAGE_RULES if (decision := rule(facts)) is not None), None)
