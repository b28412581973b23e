"""A decision: what happens, by which rule, and what the peer is told.

Promise: each carries the name of the function that made it; one text stands for every address that takes
nothing.

Sources: RFC 5321 §4.2; RFC 3463; the design's "Limits and refusals".
"""

from __future__ import annotations

from enum import StrEnum

from sortingoffice.frozen import dataclass
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
ACCEPTED = Reply(250, "2.0.0", "ok")


def refused(rule: str, reply: Reply) -> Decision:
    return Decision(Verdict.REFUSE, rule, reply)


_PRECEDENCE = (Verdict.DEFER, Verdict.ACCEPT, Verdict.HOLD, Verdict.REFUSE)


def answer(decisions: tuple[Decision, ...]) -> Decision:
    """One answer for the message, after DATA: a refusal only when every recipient refuses.

    Raises ValueError for an empty tuple.
    """
    return min(decisions, key=lambda decision: _PRECEDENCE.index(decision.verdict))
