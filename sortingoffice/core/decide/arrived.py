"""After DATA, the fate of a vendor's or a stranger's message at one relationship.

Sources: RFC 7489 §6.6 (DMARC); RFC 7960 (mailing lists); RFC 8617 §7.2 (ARC).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from sortingoffice.core.binding import Stranger
from sortingoffice.core.decide.decision import ACCEPTED, NO_SUCH, Decision, Verdict, refused
from sortingoffice.core.model import MailboxState, RelationshipState, Strangers
from sortingoffice.frozen import dataclass
from sortingoffice.mail.reply import Reply


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
    temporary     nothing proves its author, but a look-up failed that might have
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
    temporary: bool = False
    scan: Scan = Scan.CLEAN


_UNCHECKED = Reply(451, "4.7.0", "the author's domain could not be checked, try again later")

InwardRule = Callable[[InwardFacts], Decision | None]


def repeated_message(facts: InwardFacts) -> Decision | None:
    """A client that missed our 250 sends again: it is answered the same, and delivered once."""
    return Decision(Verdict.ACCEPT, "repeated_message", ACCEPTED) if facts.repeated else None


def looped(facts: InwardFacts) -> Decision | None:
    if facts.looped:
        return refused("looped", Reply(554, "5.4.6", "this message has been here before"))
    return None


def revoked_meanwhile(facts: InwardFacts) -> Decision | None:
    if facts.state in (RelationshipState.REVOKED, RelationshipState.EXPIRED):
        return refused("revoked_meanwhile", NO_SUCH)
    return None


def refused_sender(facts: InwardFacts) -> Decision | None:
    if facts.refused:
        return refused("refused_sender", Reply(550, "5.7.1", "the recipient does not take mail from you"))
    return None


def dmarc_unknown(facts: InwardFacts) -> Decision | None:
    """A time-out of DNS is no absent policy: the sender tries again (RFC 7489 §6.6.2)."""
    if facts.dmarc is Dmarc.TEMPORARY and not facts.vouched:
        return Decision(Verdict.DEFER, "dmarc_unknown", _UNCHECKED)
    return None


def dmarc_reject(facts: InwardFacts) -> Decision | None:
    if facts.dmarc is Dmarc.REJECT and not (facts.list_bound or facts.vouched):
        return refused(
            "dmarc_reject", Reply(550, "5.7.1", "the author's domain asks to refuse unauthenticated mail")
        )
    return None


def no_author(facts: InwardFacts) -> Decision | None:
    """RFC 5322 §3.6.2: there is nobody whom the person could answer, and mailboxes refuse such mail."""
    if not facts.author:
        return refused("no_author", Reply(550, "5.6.0", "the From field holds no address (RFC 5322)"))
    return None


def scanner_reject(facts: InwardFacts) -> Decision | None:
    if facts.scan is Scan.REJECT:
        return refused("scanner_reject", Reply(550, "5.7.1", "this message looks like spam"))
    return None


def scanner_greylist(facts: InwardFacts) -> Decision | None:
    if facts.scan in (Scan.GREYLIST, Scan.LATER):
        reply = Reply(451, "4.7.1", "please try again in a few minutes")
        return Decision(Verdict.DEFER, "scanner_greylist", reply)
    return None


def vendor_unknown(facts: InwardFacts) -> Decision | None:
    """Where only the vendor gets in: a key or policy that could not be looked up is no absent proof, with or
    without DMARC (RFC 6376 §6.1.2)."""
    only_vendor = facts.strangers is Strangers.LOCK or facts.state is RelationshipState.CLOSING
    if facts.temporary and only_vendor and facts.stranger not in (Stranger.VENDOR, Stranger.PROCESSOR):
        return Decision(Verdict.DEFER, "vendor_unknown", _UNCHECKED)
    return None


def locked(facts: InwardFacts) -> Decision | None:
    if facts.strangers is Strangers.LOCK and facts.stranger not in (Stranger.VENDOR, Stranger.PROCESSOR):
        return refused("locked", Reply(550, "5.7.1", "this address takes mail from its own vendor only"))
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
        return refused("closing", NO_SUCH)
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
    vendor_unknown,
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
