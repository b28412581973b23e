"""The two decisions about mail: at RCPT, per recipient, and after DATA, for the message.

Facts in, decision out, no I/O: `explain` runs these same functions.  The rules are
ordered tuples of functions; the order is the policy and reads from top to bottom, and
each decision carries the name of the function that made it.

Sources: RFC 5321 §3.3, §4.2; RFC 3463; RFC 7489 §6.6 (DMARC); the design's "Limits and refusals".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sortingoffice.core.binding import Stranger
from sortingoffice.core.model import AliasState, MailboxState, RelationshipState, Strangers
from sortingoffice.mail.reply import Reply


class Verdict(StrEnum):
    ACCEPT = "accept"
    HOLD = "hold"
    REFUSE = "refuse"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens, and the rule that says so.

    reply  what the peer is told; for HOLD the same as for ACCEPT, since a stranger learns nothing
    """

    verdict: Verdict
    rule: str
    reply: Reply


# One text for "never existed", "suspended", "expired" and "revoked": a stranger must not learn which
# aliases were ever in use.
NO_SUCH = Reply(550, "5.1.1", "no such address here")
_RELAY_DENIED = Reply(550, "5.7.1", "we do not relay to that domain")
_RCPT_OK = Reply(250, "2.1.5", "ok")
ACCEPTED = Reply(250, "2.0.0", "ok")


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


def _refused(rule: str, reply: Reply) -> Decision:
    return Decision(Verdict.REFUSE, rule, reply)


def submitted(facts: RcptFacts) -> Decision | None:
    """A person may name any contact at submission; what can't be sent safely comes back after DATA."""
    if facts.submission and facts.target is Target.ELSEWHERE:
        return Decision(Verdict.ACCEPT, "submitted", _RCPT_OK)
    return None


def relay_denied(facts: RcptFacts) -> Decision | None:
    return _refused("relay_denied", _RELAY_DENIED) if facts.target is Target.ELSEWHERE else None


def unknown_address(facts: RcptFacts) -> Decision | None:
    return _refused("unknown_address", NO_SUCH) if facts.target is Target.NOTHING else None


def reserved(facts: RcptFacts) -> Decision | None:
    """RFC 5321 §4.5.1: postmaster is reached whatever else holds."""
    return Decision(Verdict.ACCEPT, "reserved", _RCPT_OK) if facts.target is Target.RESERVED else None


def verification(facts: RcptFacts) -> Decision | None:
    """Whether its token counts shows after DATA."""
    if facts.target is Target.VERIFICATION:
        return Decision(Verdict.ACCEPT, "verification", _RCPT_OK)
    return None


def suspended_account(facts: RcptFacts) -> Decision | None:
    return None if facts.active else _refused("suspended_account", NO_SUCH)


def return_path(facts: RcptFacts) -> Decision | None:
    """Only we could have signed it."""
    return Decision(Verdict.ACCEPT, "return_path", _RCPT_OK) if facts.target is Target.RETURN_PATH else None


def revoked_relationship(facts: RcptFacts) -> Decision | None:
    if facts.state is RelationshipState.REVOKED or facts.alias_state is AliasState.REVOKED:
        return _refused("revoked_relationship", NO_SUCH)
    return None


def expired_relationship(facts: RcptFacts) -> Decision | None:
    if facts.state is RelationshipState.EXPIRED or (facts.until is not None and facts.until <= facts.now):
        return _refused("expired_relationship", NO_SUCH)
    return None


def used_up(facts: RcptFacts) -> Decision | None:
    """`--max N` and `--once` bound what comes in, never what the person may still answer."""
    if facts.spent and facts.target is Target.ALIAS:
        return _refused("used_up", NO_SUCH)
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
        return _refused("header_too_large", Reply(552, "5.3.4", "the message header is too large"))
    return None


def one_from(facts: MessageFacts) -> Decision | None:
    """RFC 5322 §3.6: exactly one; two are how a reader is shown another author than the one checked."""
    if facts.froms != 1:
        return _refused("one_from", Reply(550, "5.6.0", "a message needs exactly one From field (RFC 5322)"))
    return None


def one_author(facts: MessageFacts) -> Decision | None:
    """RFC 7489 §6.6.1: two authors are how a domain's policy is got around, the person's own mailbox among
    them; large providers refuse such mail, too."""
    if facts.authors > 1:
        return _refused(
            "one_author", Reply(550, "5.6.0", "a message needs one author, or nobody can check it")
        )
    return None


def too_many_hops(facts: MessageFacts) -> Decision | None:
    """RFC 5321 §6.3."""
    if facts.hops > facts.most_hops:
        return _refused("too_many_hops", Reply(554, "5.4.6", "too many hops, this message is looping"))
    return None


MESSAGE_RULES: tuple[MessageRule, ...] = (header_too_large, one_from, one_author, too_many_hops)


def message(facts: MessageFacts) -> Decision | None:
    """What refuses a message for everybody; None where nothing does."""
    return next((decision for rule in MESSAGE_RULES if (decision := rule(facts)) is not None), None)


class Dmarc(StrEnum):
    """What DMARC says of a message, with its policy folded in."""

    NONE = "none"  # passes, or the domain has no policy, or its policy is none
    QUARANTINE = "quarantine"
    REJECT = "reject"
    TEMPORARY = "temporary"  # it could not be found out now


class Scan(StrEnum):
    """What the spam filter says."""

    CLEAN = "clean"  # nothing, or nobody was asked
    SPAM = "spam"  # to be marked
    GREYLIST = "greylist"  # to be taken if it comes again
    LATER = "later"  # not now: the filter keeps count itself
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class InwardFacts:
    """All that the fate of one inward message at one relationship depends on.

    stranger      what its author is to the relationship
    list_bound    an aligned signature of a bound mailing list covers it (RFC 7960)
    vouched       forwarders whom the config trusts say that the author was proved (RFC 8617 §7.2)
    refused       the person refused this sender (`refuse REL SENDER`)
    mailbox       state of the mailbox that it would go to; None: there is none
    state         the relationship's, read again after DATA
    repeated      the same message was accepted for the same recipient a moment ago
    author        the From field holds an address that can be read
    in_your_name  that address is a mailbox of the account itself, and nothing proves it
    scan          the spam filter's word; a GREYLIST that has come again is CLEAN
    """

    stranger: Stranger
    dmarc: Dmarc
    strangers: Strangers
    state: RelationshipState
    mailbox: MailboxState | None
    list_bound: bool = False
    vouched: bool = False
    refused: bool = False
    looped: bool = False
    repeated: bool = False
    author: bool = True
    in_your_name: bool = False
    scan: Scan = Scan.CLEAN


InwardRule = Callable[[InwardFacts], Decision | None]


def repeated_message(facts: InwardFacts) -> Decision | None:
    """A client that missed our 250 sends again: it is answered the same, and delivered once."""
    return Decision(Verdict.ACCEPT, "repeated_message", ACCEPTED) if facts.repeated else None


def looped(facts: InwardFacts) -> Decision | None:
    if facts.looped:
        return _refused("looped", Reply(554, "5.4.6", "this message has been here before"))
    return None


def revoked_meanwhile(facts: InwardFacts) -> Decision | None:
    if facts.state in (RelationshipState.REVOKED, RelationshipState.EXPIRED):
        return _refused("revoked_meanwhile", NO_SUCH)
    return None


def refused_sender(facts: InwardFacts) -> Decision | None:
    if facts.refused:
        return _refused("refused_sender", Reply(550, "5.7.1", "the recipient does not take mail from you"))
    return None


def dmarc_unknown(facts: InwardFacts) -> Decision | None:
    """A time-out of DNS is no absent policy: the sender tries again (RFC 7489 §6.6.2)."""
    if facts.dmarc is Dmarc.TEMPORARY and not facts.vouched:
        reply = Reply(451, "4.7.0", "the author's domain could not be checked, try again later")
        return Decision(Verdict.DEFER, "dmarc_unknown", reply)
    return None


def dmarc_reject(facts: InwardFacts) -> Decision | None:
    if facts.dmarc is Dmarc.REJECT and not (facts.list_bound or facts.vouched):
        return _refused(
            "dmarc_reject", Reply(550, "5.7.1", "the author's domain asks to refuse unauthenticated mail")
        )
    return None


def no_author(facts: InwardFacts) -> Decision | None:
    """RFC 5322 §3.6.2: there is nobody whom the person could answer, and mailboxes refuse such mail."""
    if not facts.author:
        return _refused("no_author", Reply(550, "5.6.0", "the From field holds no address (RFC 5322)"))
    return None


def scanner_reject(facts: InwardFacts) -> Decision | None:
    if facts.scan is Scan.REJECT:
        return _refused("scanner_reject", Reply(550, "5.7.1", "this message looks like spam"))
    return None


def scanner_greylist(facts: InwardFacts) -> Decision | None:
    if facts.scan in (Scan.GREYLIST, Scan.LATER):
        reply = Reply(451, "4.7.1", "please try again in a few minutes")
        return Decision(Verdict.DEFER, "scanner_greylist", reply)
    return None


def locked(facts: InwardFacts) -> Decision | None:
    if facts.strangers is Strangers.LOCK and facts.stranger not in (Stranger.VENDOR, Stranger.PROCESSOR):
        return _refused("locked", Reply(550, "5.7.1", "this address takes mail from its own vendor only"))
    return None


def in_your_name(facts: InwardFacts) -> Decision | None:
    """Forged, or the person's own mail on a strange way: it must not pass as a vendor's.  Below all that
    refuses or defers, so that a stranger who tries one mailbox after the other is told nothing by it."""
    return Decision(Verdict.HOLD, "in_your_name", ACCEPTED) if facts.in_your_name else None


def dmarc_quarantine(facts: InwardFacts) -> Decision | None:
    if facts.dmarc is Dmarc.QUARANTINE and not (facts.list_bound or facts.vouched):
        return Decision(Verdict.HOLD, "dmarc_quarantine", ACCEPTED)
    return None


def stranger_held(facts: InwardFacts) -> Decision | None:
    if facts.strangers is Strangers.HOLD and facts.stranger not in (Stranger.VENDOR, Stranger.PROCESSOR):
        return Decision(Verdict.HOLD, "stranger_held", ACCEPTED)
    return None


def muted(facts: InwardFacts) -> Decision | None:
    if facts.state is RelationshipState.MUTED:
        return Decision(Verdict.HOLD, "muted", ACCEPTED)
    return None


def closing(facts: InwardFacts) -> Decision | None:
    """Only the organisation that was asked may still answer."""
    if facts.state is RelationshipState.CLOSING and facts.stranger is not Stranger.VENDOR:
        return _refused("closing", NO_SUCH)
    return None


def mailbox_unusable(facts: InwardFacts) -> Decision | None:
    if facts.mailbox is not MailboxState.VERIFIED:
        return Decision(Verdict.HOLD, "mailbox_unusable", ACCEPTED)
    return None


def scanner_marked(facts: InwardFacts) -> Decision | None:
    """Delivered, with a field that the mailbox's own filter understands."""
    return Decision(Verdict.ACCEPT, "scanner_marked", ACCEPTED) if facts.scan is Scan.SPAM else None


def stranger_flagged(facts: InwardFacts) -> Decision | None:
    if facts.stranger not in (Stranger.VENDOR, Stranger.PROCESSOR):
        return Decision(Verdict.ACCEPT, "stranger_flagged", ACCEPTED)
    return None


def welcome(facts: InwardFacts) -> Decision | None:
    return Decision(Verdict.ACCEPT, "welcome", ACCEPTED)


INWARD_RULES: tuple[InwardRule, ...] = (
    repeated_message,
    looped,
    revoked_meanwhile,
    no_author,
    refused_sender,
    dmarc_unknown,
    dmarc_reject,
    locked,
    scanner_reject,
    scanner_greylist,
    closing,
    in_your_name,
    dmarc_quarantine,
    stranger_held,
    muted,
    mailbox_unusable,
    scanner_marked,
    stranger_flagged,
    welcome,
)


def inward(facts: InwardFacts) -> Decision:
    """The fate of one inward message at one relationship."""
    return next(decision for rule in INWARD_RULES if (decision := rule(facts)) is not None)


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
    return None if facts.own_address else _refused("not_the_owner", NO_SUCH)


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
    return _refused("unproven", NO_SUCH)


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


_PRECEDENCE = (Verdict.DEFER, Verdict.ACCEPT, Verdict.HOLD, Verdict.REFUSE)


def answer(decisions: tuple[Decision, ...]) -> Decision:
    """One answer for the message, after DATA: a refusal only when every recipient refuses.

    Raises ValueError for an empty tuple.
    """
    return min(decisions, key=lambda decision: _PRECEDENCE.index(decision.verdict))
