"""DMARC: does the author's domain stand behind this message, and what does it ask for if not?

Promise: `aligned_spf` and `aligned_dkim` are told whether or not the domain publishes a policy; a look-up
that failed is temperror, never "no policy".  Addresses for reports (rua, ruf) are ignored: we send none.

pct is not sampled, for the same message must meet the same fate at each try: pct=0 lowers the policy by
one step, as t=y of DMARC's successor does; any other value counts as 100.

Sources: RFC 7489 §3.1 (alignment), §6.3, §6.4 (records), §6.6.3 (discovery); RFC 9091 (np= is not read).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sortingoffice.mail import headers
from sortingoffice.mail.asking import Outcome, Program, Question
from sortingoffice.mail.authentication import DkimResult, DmarcResult, Result, SpfResult
from sortingoffice.mail.message import Message
from sortingoffice.mail.publicsuffix import organizational, registrable

__all__ = ["aligned", "author_domain", "evaluate", "organizational", "registrable"]

MAX_RECORD = 16_384
_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_POLICIES = ("none", "quarantine", "reject")
_LOWER = {"reject": "quarantine", "quarantine": "none", "none": "none"}
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy record, read.

    own, below  what is asked for the domain itself and for its subdomains
    """

    own: str
    below: str
    strict_spf: bool
    strict_dkim: bool
    record: bytes


def author_domain(message: Message) -> str:
    """The domain of the one author: "" unless there is exactly one From with exactly one address.

    Two angle addresses in one mailbox count as two authors: clients differ in which they show.
    """
    fields = list(message.all("From"))
    if len(fields) != 1:
        return ""
    mentions = headers.addresses(fields[0].value)
    if len(mentions) != 1 or mentions[0].address is None:
        return ""
    if _QUOTED.sub(b"", fields[0].value).count(b"<") > 1:
        return ""
    domain = mentions[0].address.domain
    return "" if domain.startswith("[") else domain


def aligned(domain: str, author: str, *, strict: bool = False) -> bool:
    """RFC 7489 §3.1: the same domain; relaxed, the same organizational domain."""
    domain, author = domain.lower().rstrip("."), author.lower().rstrip(".")
    if not domain or not author:
        return False
    return domain == author or (not strict and organizational(domain) == organizational(author))


def evaluate(from_domain: str, spf: SpfResult, dkims: Iterable[DkimResult]) -> Program[DmarcResult]:
    """The result for an author's domain; from_domain "" (no one author) is permerror."""
    signatures = tuple(dkims)
    if not from_domain:
        return DmarcResult(Result.PERMERROR, reason="not exactly one author")
    try:
        found_at, policy = yield from _discovered(from_domain)
    except _Unreachable:
        facts = _alignment(from_domain, spf, signatures, None)
        return DmarcResult(
            Result.TEMPERROR, reason="policy not reachable", aligned_spf=facts[0], aligned_dkim=facts[1]
        )
    by_spf, by_dkim = _alignment(from_domain, spf, signatures, policy)
    if policy is None:
        return DmarcResult(Result.NONE, aligned_spf=by_spf, aligned_dkim=by_dkim)
    result, reason = Result.PASS, ""
    if not by_spf and not by_dkim:
        result, reason = _refused(from_domain, spf, signatures)
    asked = policy.own if found_at == from_domain else policy.below
    return DmarcResult(result, asked, found_at, policy.record, reason, by_spf, by_dkim)


class _Unreachable(Exception):
    """A policy's look-up failed for now."""


def _discovered(domain: str) -> Program[tuple[str, Policy | None]]:
    """RFC 7489 §6.6.3: the domain's own record, else its organizational domain's."""
    for place in dict.fromkeys((domain, organizational(domain))):
        answer = yield Question(f"_dmarc.{place}", "TXT")
        if answer.outcome is Outcome.TEMPORARY:
            raise _Unreachable
        records = [
            record
            for record in answer.records
            if isinstance(record, bytes) and len(record) <= MAX_RECORD and _VERSION.match(record)
        ]
        if records:  # several are none, and end the search
            return place, policy(records[0]) if len(records) == 1 else None
    return "", None


def policy(record: bytes) -> Policy | None:
    """A record's policy; None where it asks for nothing that can be read (RFC 7489 §6.6.3, step 6)."""
    found: dict[str, str] = {}
    for part in record.decode("ascii", "replace").split(";"):
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name.strip().lower(), value.strip())
    own = found.get("p", "").lower()
    below = found.get("sp", own).lower()
    if own not in _POLICIES or below not in _POLICIES:
        if not found.get("rua"):
            return None
        own = below = "none"
    if found.get("pct", "").strip("0") == "" < found.get("pct", "") or found.get("t", "").lower() == "y":
        own, below = _LOWER[own], _LOWER[below]
    return Policy(
        own, below, found.get("aspf", "").lower() == "s", found.get("adkim", "").lower() == "s", record
    )


def _alignment(
    author: str, spf: SpfResult, signatures: tuple[DkimResult, ...], policy: Policy | None
) -> tuple[bool, bool]:
    strict_spf = policy is not None and policy.strict_spf
    strict_dkim = policy is not None and policy.strict_dkim
    by_spf = spf.result is Result.PASS and aligned(spf.domain, author, strict=strict_spf)
    by_dkim = any(found.passed and aligned(found.domain, author, strict=strict_dkim) for found in signatures)
    return by_spf, by_dkim


def _refused(author: str, spf: SpfResult, signatures: tuple[DkimResult, ...]) -> tuple[Result, str]:
    """Fail; or temperror where what failed for now could have been the proof (RFC 7489 §6.6.2)."""
    may_spf = spf.result is Result.TEMPERROR and aligned(spf.domain, author)
    may_dkim = any(found.result is Result.TEMPERROR and aligned(found.domain, author) for found in signatures)
    return (Result.TEMPERROR, "a look-up failed") if may_spf or may_dkim else (Result.FAIL, "")
