"""The two decisions about mail: at RCPT, per recipient, and after DATA, for the message.

Facts in, decision out, no I/O: `explain` runs these same functions.  The rules are
ordered tuples of functions; the order is the policy and reads from top to bottom, and
each decision carries the name of the function that made it.  Each question has a room: `recipient` at
RCPT; after DATA `content` for everybody, `arrived` at a relationship, `written` for what is to leave.

Sources: RFC 5321 §3.3, §4.2; RFC 3463; RFC 7489 §6.6 (DMARC); the design's "Limits and refusals".
"""

from sortingoffice.core.decide.arrived import INWARD_RULES, Dmarc, InwardFacts, Scan, inward
from sortingoffice.core.decide.content import MESSAGE_RULES, MessageFacts, message
from sortingoffice.core.decide.decision import ACCEPTED, NO_SUCH, Decision, Verdict, answer
from sortingoffice.core.decide.recipient import NOT_A_BOUNCE, RCPT_RULES, RcptFacts, Target, rcpt
from sortingoffice.core.decide.written import AUTHOR_RULES, AuthorFacts, author

__all__ = [
    "ACCEPTED",
    "AUTHOR_RULES",
    "INWARD_RULES",
    "MESSAGE_RULES",
    "NOT_A_BOUNCE",
    "NO_SUCH",
    "RCPT_RULES",
    "AuthorFacts",
    "Decision",
    "Dmarc",
    "InwardFacts",
    "MessageFacts",
    "RcptFacts",
    "Scan",
    "Target",
    "Verdict",
    "answer",
    "author",
    "inward",
    "message",
    "rcpt",
]
