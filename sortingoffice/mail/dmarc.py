"""DMARC: does the author's domain stand behind this message, and what does it ask for if not?

Promise: `aligned_spf` and `aligned_dkim` are told whether or not the domain publishes a policy; a look-up
that failed is temperror, never "no policy".  Addresses for reports (rua, ruf) are ignored: we send none.

pct is not sampled, for the same message must meet the same fate at each try: pct=0 lowers the policy by
one step, as t=y of DMARC's successor does; any other value counts as 100.

The organizational domain is found by the public suffix list (RFC 7489) or, behind a setting, by walking up
the tree of names, as the successor does (RFC 9989 §4.10).

Sources: RFC 7489 §3.1 (alignment), §6.3, §6.4 (records), §6.6.3 (discovery); RFC 9989 §4.7 (np, psd, t).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers
from sortingoffice.mail.address import Address
from sortingoffice.mail.asking import Outcome, Program, Question
from sortingoffice.mail.authentication import DkimResult, DmarcResult, Result, SpfResult
from sortingoffice.mail.message import Field, Message
from sortingoffice.mail.publicsuffix import organizational, registrable

__all__ = ["Discovery", "aligned", "author_domain", "evaluate", "organizational", "registrable"]

MAX_RECORD = 16_384
_USUAL = 512  # octets, up to which what was read of a record is kept
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[^ \t]+")
_VERSION = re.compile(rb"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_POLICIES = ("none", "quarantine", "reject")
_LOWER = {"reject": "quarantine", "quarantine": "none", "none": "none"}
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class Discovery(StrEnum):
    """How the organizational domain is found."""

    SUFFIX_LIST = "suffix list"
    TREE_WALK = "tree walk"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy record, read.

    own, below  what is asked for the domain itself and for its subdomains
    absent      what is asked for subdomains that don't exist (np=); read by the tree walk only
    boundary    psd=: "n" an organisation's top, "y" a registry, "u" unsaid
    """

    own: str
    below: str
    absent: str
    boundary: str
    strict_spf: bool
    strict_dkim: bool
    record: bytes


def author_domain(message: Message) -> str:
    """The domain of the one author: "" unless there is exactly one From that names exactly one.

    What can't be read beside it is nobody: a name with a comma, or the same address once more, must not
    spare a forger the policy of the domain that readers will see.
    """
    fields = list(message.all("From"))
    found = _authors(fields)
    if len(fields) != 1 or len(found) != 1 or found[0] is None:
        return ""
    return "" if found[0].domain.startswith("[") else found[0].domain


def authors(message: Message) -> int:
    """How many a reader might take for its author: the addresses of From, each once."""
    return len(_authors(list(message.all("From"))))


def _authors(fields: Sequence[Field]) -> tuple[Address | None, ...]:
    """The addresses of From fields, each once.

    Two in angle brackets in one mailbox are two authors, also where the grammar reads only one or none:
    clients differ in which they show.
    """
    value = b",".join(field.value for field in fields)
    mentions = headers.addresses(value)
    if len(mentions) == 1 and _QUOTED.sub(b"", value).count(b"<") > 1:
        return mentions[0].address, None
    return tuple(
        {each.address.normal: each.address for each in mentions if each.address is not None}.values()
    )


def aligned(domain: str, author: str, *, strict: bool = False) -> bool:
    """RFC 7489 §3.1: the same domain; relaxed, the same organizational domain."""
    domain, author = domain.lower().rstrip("."), author.lower().rstrip(".")
    if not domain or not author:
        return False
    return domain == author or (not strict and organizational(domain) == organizational(author))


def evaluate(
    from_domain: str,
    spf: SpfResult,
    dkims: Iterable[DkimResult],
    *,
    discovery: Discovery = Discovery.SUFFIX_LIST,
) -> Program[DmarcResult]:
    """The result for an author's domain; from_domain "" (no one author) is permerror."""
    facts = _Facts(from_domain, spf, tuple(dkims), discovery)
    if not from_domain:
        return DmarcResult(Result.PERMERROR, reason="not exactly one author")
    try:
        found = yield from (
            _by_list(from_domain) if discovery is Discovery.SUFFIX_LIST else _by_walk(from_domain)
        )
        by_spf, by_dkim = yield from _alignment(facts, found)
    except _Unreachable:
        return unreachable(from_domain, spf, facts.signatures)
    policy = found.policy
    if policy is None:
        return DmarcResult(Result.NONE, aligned_spf=by_spf, aligned_dkim=by_dkim)
    result, reason = Result.PASS, ""
    if not by_spf and not by_dkim:
        result, reason = _refused(facts)
    asked = policy.own
    if found.at != from_domain:
        asked = policy.below
        if policy.absent != policy.below and discovery is Discovery.TREE_WALK:
            there = yield Question(from_domain, "A")
            asked = policy.absent if there.outcome is Outcome.NO_NAME else asked
    return DmarcResult(result, asked, found.at, policy.record, reason, by_spf, by_dkim)


def unreachable(from_domain: str, spf: SpfResult, dkims: Iterable[DkimResult]) -> DmarcResult:
    """The result where the policy could not be looked up: temperror, and alignment by the suffix list."""
    by_spf, by_dkim = _listed_alignment(_Facts(from_domain, spf, tuple(dkims), Discovery.SUFFIX_LIST))
    return DmarcResult(
        Result.TEMPERROR, reason="policy not reachable", aligned_spf=by_spf, aligned_dkim=by_dkim
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    author: str
    spf: SpfResult
    signatures: tuple[DkimResult, ...]
    discovery: Discovery


@dataclass(frozen=True, slots=True)
class _Found:
    """The policy that applies, whose it is, and the author's organizational domain ("": none found)."""

    at: str
    policy: Policy | None
    organisation: str


class _Unreachable(Exception):
    """A policy's look-up failed for now."""


# ---- discovery ---------------------------------------------------------------------------------------


def _by_list(author: str) -> Program[_Found]:
    """RFC 7489 §6.6.3: the domain's own record, else its organizational domain's."""
    organisation = organizational(author)
    for place in dict.fromkeys((author, organisation)):
        records = yield from _records(place)
        if records:  # several are none, and end the search
            return _Found(place, policy(records[0]) if len(records) == 1 else None, organisation)
    return _Found("", None, organisation)


def _by_walk(author: str) -> Program[_Found]:
    """RFC 9989 §4.10.1: the author's own record, else its organisation's, else the registry's above."""
    policies = yield from _walk(author)
    organisation = _top(author, policies)
    for place in (author, organisation, organisation.partition(".")[2]):
        if place in policies:
            return _Found(place, policies[place], organisation)
    return _Found("", None, organisation)


def _walk(domain: str) -> Program[dict[str, Policy]]:
    """RFC 9989 §4.10: the policies from a domain upwards, at most eight look-ups, to the first boundary."""
    found: dict[str, Policy] = {}
    for place in _upwards(domain):
        records = yield from _records(place)
        read = policy(records[0], Discovery.TREE_WALK) if len(records) == 1 else None
        if read is not None:
            found[place] = read
            if read.boundary in ("n", "y"):
                break
    return found


def _upwards(domain: str) -> Iterator[str]:
    labels = domain.split(".")
    yield domain
    labels = labels[-7:] if len(labels) > 8 else labels[1:]
    while labels:
        yield ".".join(labels)
        labels = labels[1:]


def _top(domain: str, policies: Mapping[str, Policy]) -> str:
    """RFC 9989 §4.10.2: the organizational domain that a walk found; "" where there was no policy at all."""
    for place, read in policies.items():
        if read.boundary == "n":
            return place
        if read.boundary == "y" and place != domain:
            return ".".join(domain.split(".")[-len(place.split(".")) - 1 :])
    return list(policies)[-1] if policies else ""


def _records(place: str) -> Program[list[bytes]]:
    answer = yield Question(f"_dmarc.{place}", "TXT")
    if answer.outcome is Outcome.TEMPORARY:
        raise _Unreachable
    return [
        record
        for record in answer.records
        if isinstance(record, bytes) and len(record) <= MAX_RECORD and _VERSION.match(record)
    ]


def policy(record: bytes, discovery: Discovery = Discovery.SUFFIX_LIST) -> Policy | None:
    """A record's policy; None where it asks for nothing that can be read (RFC 7489 §6.6.3, step 6).

    For the tree walk a record without p= asks for "none" (RFC 9989 §4.7): it may only say psd=.
    """
    return (_usual if len(record) <= _USUAL else _policy)(record, discovery)


def _policy(record: bytes, discovery: Discovery) -> Policy | None:
    found: dict[str, str] = {}
    for part in record.decode("ascii", "replace").split(";"):
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name.strip().lower(), value.strip().lower())
    own = found.get("p", "none" if discovery is Discovery.TREE_WALK else "")
    below = found.get("sp", own)
    absent = found.get("np", below)
    if own not in _POLICIES or below not in _POLICIES or absent not in _POLICIES:
        if not any(_URI.fullmatch(uri.strip()) for uri in found.get("rua", "").split(",")):
            return None
        own = below = absent = "none"
    if found.get("pct", "").strip("0") == "" < found.get("pct", "") or found.get("t") == "y":
        own, below, absent = _LOWER[own], _LOWER[below], _LOWER[absent]
    boundary = found.get("psd", "u")
    return Policy(own, below, absent, boundary, found.get("aspf") == "s", found.get("adkim") == "s", record)


_usual = lru_cache(256)(_policy)  # the same for each of a sender's messages


# ---- alignment ---------------------------------------------------------------------------------------


def _alignment(facts: _Facts, found: _Found) -> Program[tuple[bool, bool]]:
    """Whether SPF, and whether a signature, proves a domain that stands for the author's."""
    if facts.discovery is Discovery.SUFFIX_LIST or found.policy is None:
        return _listed_alignment(facts, found.policy)
    by_spf = facts.spf.result is Result.PASS and (
        yield from _walked(facts.spf.domain, facts.author, found.organisation, strict=found.policy.strict_spf)
    )
    for domain in dict.fromkeys(each.domain for each in facts.signatures if each.passed):
        if (yield from _walked(domain, facts.author, found.organisation, strict=found.policy.strict_dkim)):
            return by_spf, True
    return by_spf, False


def _walked(domain: str, author: str, organisation: str, *, strict: bool) -> Program[bool]:
    """RFC 9989 §4.10.2: both have one organizational domain, each found by its own walk."""
    if domain == author or strict:
        return domain == author
    if domain != organisation and not domain.endswith(f".{organisation}"):  # then no walk can meet it
        return False
    return _top(domain, (yield from _walk(domain))) == organisation


def _listed_alignment(facts: _Facts, policy: Policy | None = None) -> tuple[bool, bool]:
    strict_spf = policy is not None and policy.strict_spf
    strict_dkim = policy is not None and policy.strict_dkim
    by_spf = facts.spf.result is Result.PASS and aligned(facts.spf.domain, facts.author, strict=strict_spf)
    by_dkim = any(
        each.passed and aligned(each.domain, facts.author, strict=strict_dkim) for each in facts.signatures
    )
    return by_spf, by_dkim


def _refused(facts: _Facts) -> tuple[Result, str]:
    """Fail; or temperror where what failed for now could have been the proof (RFC 7489 §6.6.2).

    A signature's result without a domain stands for all of them: none was looked at.
    """
    may_spf = facts.spf.result is Result.TEMPERROR and aligned(facts.spf.domain, facts.author)
    may_dkim = any(
        each.result is Result.TEMPERROR and (not each.domain or aligned(each.domain, facts.author))
        for each in facts.signatures
    )
    return (Result.TEMPERROR, "a look-up failed") if may_spf or may_dkim else (Result.FAIL, "")
