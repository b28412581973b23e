"""Fetching an MTA-STS policy.

Promise: `fetch` returns the octets of a 200 text/plain answer from a server whose certificate is good for
`mta-sts.<domain>`, or None where that was asked and is not to be had; at most `mtasts.MOST_OCTETS`; no
redirect is followed (`net.https`).

Sources: RFC 8461 §3.3.
"""

from __future__ import annotations

import http.client
import ssl

from sortingoffice import log
from sortingoffice.mail import mtasts
from sortingoffice.net import https
from sortingoffice.net.https import DEADLINE, PORT, Question, Turns, Unanswered, Unasked
from sortingoffice.net.resolver import Resolver
from sortingoffice.net.route import Here

_PATH = "/.well-known/mta-sts.txt"


async def fetch(
    domain: str,
    resolver: Resolver,
    context: ssl.SSLContext,
    here: Here,
    *,
    port: int = PORT,
    deadline: float = DEADLINE,
    turns: Turns | None = None,
) -> bytes | None:
    """The policy's octets; None where it can't be had, which is logged.

    turns  of those who ask for policies; None: this one waits for nobody
    Raises Unasked.
    """
    question = Question(f"mta-sts.{domain}", _PATH, port, {"Accept": "text/plain"})
    try:
        return await https.ask(
            question, _body, resolver, context, here, deadline=deadline, turns=turns or Turns(1)
        )
    except Unasked:
        raise
    except Unanswered as problem:
        log.event("mta-sts-unreachable", domain=domain, reason=problem)
        return None


def _body(answer: http.client.HTTPResponse) -> bytes:
    if answer.status != 200:  # no redirects: RFC 8461 §3.3
        raise ValueError(f"answered {answer.status}")
    kind = answer.getheader("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "text/plain":
        raise ValueError("is no text/plain")
    body = answer.read(mtasts.MOST_OCTETS + 1)
    if len(body) > mtasts.MOST_OCTETS:
        raise ValueError("is too large")
    return body
