"""What SPF, DKIM, DMARC and ARC said of one message.

Promise: whatever a peer put into a name, a selector or a signature, `text` is printable ASCII that
reads back as exactly the results it was made of: no value opens a comment, a tag or a field.

Sources: RFC 8601 (the field and its results, §2.2, §2.7); RFC 7489 §11.2 (dmarc); RFC 8617 §10 (arc).
"""

from __future__ import annotations

import re
from dataclasses import field
from enum import StrEnum

from sortingoffice.frozen import dataclass
from sortingoffice.mail.publicsuffix import organizational

MAX_SHOWN = 300  # octets of one value in the field
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")  # RFC 2045 §5.1
_UNSHOWN = re.compile(r"[^\x20-\x7e]")


class Result(StrEnum):
    """RFC 8601 §2.7; each method uses its part of them."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class SpfResult:
    """RFC 7208.

    domain       whose policy was asked: of the sender, or the HELO name where the sender is null
    identity     "mailfrom" or "helo"
    sender       the identity as it is shown: local@domain, or the HELO name
    explanation  the domain's words on a fail, printable ASCII; "" if none.  A stranger wrote them
    reason       what decided: the mechanism that matched, or what was wrong; ASCII, ours
    record       the policy as fetched, b"" if none
    """

    result: Result
    domain: str = ""
    identity: str = "mailfrom"
    sender: str = ""
    explanation: str = ""
    reason: str = ""
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class DkimResult:
    """One signature (RFC 6376).

    domain     d=, lower case; "" where the signature can't be read
    identity   i= as written, or "@" and d=
    reason     why it didn't pass; ASCII, ours
    signed     names in h=, lower case, in its order: what the signature covers
    tag        the first octets of b=, which tell signatures apart (RFC 6008)
    bits       of the key; 0 where there was none
    testing    the key's t=y
    key        the key record as fetched, for evidence; b"" if none
    """

    result: Result
    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    identity: str = ""
    reason: str = ""
    signed: tuple[str, ...] = ()
    tag: str = ""
    bits: int = 0
    testing: bool = False
    stamp: int | None = None
    signature: bytes = b""
    key: bytes = b""

    @property
    def passed(self) -> bool:
        return self.result is Result.PASS


@dataclass(frozen=True, slots=True)
class DmarcResult:
    """RFC 7489.

    policy        what the domain asks for on a fail: "none", "quarantine", "reject"; "" without a record
    found_at      the domain whose record it is; "" if none
    aligned_spf   SPF passed for a domain that stands for the author's (strict where the record says so)
    aligned_dkim  the same of a signature
    """

    result: Result
    policy: str = ""
    found_at: str = ""
    record: bytes = b""
    reason: str = ""
    aligned_spf: bool = False
    aligned_dkim: bool = False


@dataclass(frozen=True, slots=True)
class ArcResult:
    """The chain of forwarders (RFC 8617).

    instances  how many sets the message carries
    sealer     d= of the last seal; "" without a chain
    oldest     the lowest instance whose message signature still holds; 0: from the first on
    domains    d= of each seal, first to last
    told       what each forwarder said it found, first to last: the values of their results, shown as ASCII
    keys       the key records as fetched, one per signature that was checked
    whole      whether the last message signature leaves no room for a field on top that says something else
    """

    result: Result
    instances: int = 0
    sealer: str = ""
    oldest: int = 0
    domains: tuple[str, ...] = ()
    reason: str = ""
    told: tuple[str, ...] = ()
    keys: tuple[bytes, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Authentication:
    """All results of one message.

    from_domain  the domain of its one author; "" where From is missing, double or unreadable
    ip           the client's address, as SPF saw it
    """

    spf: SpfResult = field(default_factory=lambda: SpfResult(Result.NONE))
    dkim: tuple[DkimResult, ...] = ()
    dmarc: DmarcResult = field(default_factory=lambda: DmarcResult(Result.NONE))
    arc: ArcResult = field(default_factory=lambda: ArcResult(Result.NONE))
    from_domain: str = ""
    ip: str = ""

    @property
    def aligned_spf(self) -> bool:
        return self.dmarc.aligned_spf

    @property
    def aligned_dkim(self) -> bool:
        return self.dmarc.aligned_dkim

    @property
    def passed(self) -> bool:
        """The author's domain is proved, as DMARC would have it, whether or not it publishes a policy."""
        return self.aligned_spf or self.aligned_dkim

    @property
    def temporary(self) -> bool:
        """It is not proved, but might be at the next try: a look-up failed on the way."""
        found = (self.spf.result, self.dmarc.result, *(signature.result for signature in self.dkim))
        return not self.passed and Result.TEMPERROR in found

    @property
    def identities(self) -> tuple[str, ...]:
        """The organizational domains that are proved, by a signature or by SPF; each once."""
        proved = [signature.domain for signature in self.dkim if signature.passed]
        if self.spf.result is Result.PASS:
            proved.append(self.spf.domain)
        return tuple(dict.fromkeys(organizational(domain) for domain in proved if domain))

    def text(self, authserv_id: str) -> str:
        """The value of an Authentication-Results field, on one line, its results separated by "; "."""
        found = [self._spf(), *(_dkim(signature) for signature in self.dkim or (DkimResult(Result.NONE),))]
        return "; ".join([_shown(authserv_id), *found, self._dmarc(), self._arc()])

    def _spf(self) -> str:
        prop = "smtp.helo" if self.spf.identity == "helo" else "smtp.mailfrom"
        return _method("spf", self.spf.result, self.spf.reason, (prop, self.spf.sender))

    def _dmarc(self) -> str:
        policy = f"p={self.dmarc.policy}" if self.dmarc.policy else ""
        comment = "; ".join(part for part in (policy, self.dmarc.reason) if part)
        return _method("dmarc", self.dmarc.result, comment, ("header.from", self.from_domain))

    def _arc(self) -> str:
        if not self.arc.instances:
            return _method("arc", self.arc.result, self.arc.reason)
        sealed = ("header.oldest-pass", str(self.arc.oldest)) if self.arc.result is Result.PASS else ("", "")
        comment = self.arc.reason or f"i={self.arc.instances} d={self.arc.sealer}"
        return _method("arc", self.arc.result, comment, sealed, ("smtp.remote-ip", self.ip))


def _dkim(found: DkimResult) -> str:
    comment = found.reason or (f"{found.bits}-bit key" if found.bits else "")
    if found.testing:
        comment += "; testing"
    return _method(
        "dkim",
        found.result,
        comment,
        ("header.d", found.domain),
        ("header.s", found.selector),
        ("header.a", found.algorithm),
        ("header.b", found.tag),
    )


def _method(name: str, result: Result, comment: str, *properties: tuple[str, str]) -> str:
    parts = [f"{name}={result}"]
    if comment:
        parts.append(f"({_commented(comment)})")
    parts.extend(f"{prop}={_shown(value)}" for prop, value in properties if value)
    return " ".join(parts)


def _commented(text: str) -> str:
    """Text for a comment: nothing that could end it or begin another (RFC 5322 §3.2.2)."""
    return re.sub(r"[()\\]", "-", _UNSHOWN.sub("?", text))[:MAX_SHOWN]


def _shown(value: str) -> str:
    """A pvalue: a token, an address made of tokens, or a quoted string (RFC 8601 §2.2)."""
    value = _UNSHOWN.sub("?", value)[:MAX_SHOWN]
    local, at, domain = value.rpartition("@")
    if _TOKEN.fullmatch(value) or (
        at and _TOKEN.fullmatch(domain) and (not local or _TOKEN.fullmatch(local))
    ):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
