"""MTA-STS: a domain says which hosts its mail goes to, over verified TLS, or not at all.

The record `_mta-sts.<domain>` only names a version; the policy itself comes over HTTPS (`net.policy`), so
that whoever can forge DNS can't take it away.

Promise: linear; None for whatever breaks the grammar; a wildcard stands for exactly one label.

Sources: RFC 8461 §3.1 (record), §3.2 (policy), §4.1 (matching), §5 (application).
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass
from sortingoffice.mail import tags
from sortingoffice.mail.asking import Outcome, Program, Question

MOST_OCTETS = 64 * 1024  # of a policy, RFC 8461 §3.3
MOST_AGE = 31_557_600  # seconds, RFC 8461 §3.2
_MOST_HOSTS = 100
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


class Mode(StrEnum):
    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain wants.

    hosts  patterns in lower case, "mx.home.example" or "*.home.example"
    age    seconds that it may be kept
    """

    mode: Mode
    hosts: tuple[str, ...]
    age: int

    def allows(self, host: str) -> bool:
        """Whether mail may be given to the MX host of that name (RFC 8461 §4.1)."""
        host = host.rstrip(".").lower()
        rest = host.partition(".")[2]
        return any(host == pattern or f"*.{rest}" == pattern for pattern in self.hosts)


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy as it was fetched, and stays for its age.

    record  the id that the DNS record had then
    text    the policy's octets
    """

    id: int
    domain: str
    record: str
    text: bytes
    fetched: datetime
    expires: datetime


def record(domain: str) -> Program[str]:
    """The id in the domain's record; "" where there is no good one, or DNS doesn't answer now."""
    answer = yield Question(f"_mta-sts.{domain}", "TXT")
    if answer.outcome is not Outcome.FOUND:
        return ""
    # RFC 8461 §3.1: others don't count, and several are none.
    found = [octets for octets in map(_octets, answer.records) if octets.startswith(b"v=STSv1;")]
    if len(found) != 1:
        return ""
    name = (tags.parse(found[0]) or {}).get("id", "")
    return name if _ID.fullmatch(name) else ""


def _octets(record: object) -> bytes:
    return record if isinstance(record, bytes) else b""


def parse(octets: bytes) -> Policy | None:
    """The policy in the octets of `mta-sts.txt`."""
    if len(octets) > MOST_OCTETS:
        return None
    try:
        lines = octets.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        return None
    found: dict[str, str] = {}
    hosts: list[str] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            if line.strip(" \t"):
                return None
            continue
        name, value = name.strip(" \t"), value.strip(" \t")
        if name == "mx":
            hosts.append(value.lower())
        else:
            found.setdefault(name, value)  # of fields that stand twice the first counts, RFC 8461 §3.2
    return _policy(found, tuple(hosts))


def _policy(found: dict[str, str], hosts: tuple[str, ...]) -> Policy | None:
    mode, age = found.get("mode", ""), found.get("max_age", "")
    if found.get("version") != "STSv1" or mode not in list(Mode):
        return None
    if not re.fullmatch(r"[0-9]{1,10}", age) or int(age) > MOST_AGE:
        return None
    if len(hosts) > _MOST_HOSTS or not all(map(_pattern, hosts)) or (not hosts and mode != Mode.NONE):
        return None
    return Policy(Mode(mode), hosts, int(age))


def _pattern(host: str) -> bool:
    return all(_LABEL.fullmatch(label) for label in host.removeprefix("*.").split("."))
