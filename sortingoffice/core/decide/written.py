"""After DATA, whether the account itself wrote what is to leave as its alias.

Sources: RFC 7489 §3.1 (alignment); the design's rules for who may send outward.
"""

from __future__ import annotations

from collections.abc import Callable

from sortingoffice.core.decide.decision import ACCEPTED, NO_SUCH, Decision, Verdict, refused
from sortingoffice.frozen import dataclass
from sortingoffice.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class AuthorFacts:
    """Whether a message to a reverse alias was written by the account that owns it.

    submission     the peer authenticated as that account
    own_address    the From is exactly one verified mailbox or identity of the account
    dkim           an aligned DKIM signature passed that covers From
    dkim_covers_recipient  the reverse alias stands in a To or Cc that such a signature covers
    spf            an aligned SPF pass
    dkim_seen      this mailbox's mail was signed before: SPF alone proves nothing any more
    temporary      DNS could not tell now
    """

    submission: bool
    own_address: bool
    dkim: bool
    dkim_covers_recipient: bool
    spf: bool
    dkim_seen: bool
    temporary: bool


AuthorRule = Callable[[AuthorFacts], Decision | None]


def authenticated_submission(facts: AuthorFacts) -> Decision | None:
    return Decision(Verdict.ACCEPT, "authenticated_submission", ACCEPTED) if facts.submission else None


def not_the_owner(facts: AuthorFacts) -> Decision | None:
    return None if facts.own_address else refused("not_the_owner", NO_SUCH)


def signed_by_mailbox(facts: AuthorFacts) -> Decision | None:
    if facts.dkim and facts.dkim_covers_recipient:
        return Decision(Verdict.ACCEPT, "signed_by_mailbox", ACCEPTED)
    return None


def sent_by_mailbox_host(facts: AuthorFacts) -> Decision | None:
    if facts.spf and not facts.dkim_seen and not facts.dkim:
        return Decision(Verdict.ACCEPT, "sent_by_mailbox_host", ACCEPTED)
    return None


def proof_unknown(facts: AuthorFacts) -> Decision | None:
    if facts.temporary:
        reply = Reply(451, "4.7.0", "the author's domain could not be checked, try again later")
        return Decision(Verdict.DEFER, "proof_unknown", reply)
    return None


def unproven(facts: AuthorFacts) -> Decision | None:
    return refused("unproven", NO_SUCH)


AUTHOR_RULES: tuple[AuthorRule, ...] = (
    authenticated_submission,
    not_the_owner,
    signed_by_mailbox,
    sent_by_mailbox_host,
    proof_unknown,
    unproven,
)


def author(facts: AuthorFacts) -> Decision:
    """Whether the account itself wrote this: what every outward message needs."""
    return next(decision for rule in AUTHOR_RULES if (decision := rule(facts)) is not None)
