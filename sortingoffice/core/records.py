"""The DNS records of a hosted domain: what to publish so that mail comes in, and is believed.

Pure: facts in, records out.  The names and values are as a DNS provider's form wants them,
without trailing dots; `zone_lines` writes the same for a zone file.

Sources: RFC 1035 §3.3, §5.1 (strings of at most 255 octets); RFC 7208 §3, §10.1.3 (SPF, also
for the HELO name); RFC 6376 §3.6.2 and RFC 8463 (DKIM); RFC 7489 §6.3 (DMARC).
"""

from __future__ import annotations

from collections.abc import Iterable

from sortingoffice.core.model import DkimKey
from sortingoffice.frozen import dataclass

_STRING = 255  # octets in one <character-string>, RFC 1035 §3.3


@dataclass(frozen=True, slots=True)
class Record:
    """One record to publish.

    type   "MX" or "TXT"
    value  MX: "10 mx.sort.example"; TXT: the text, whole and unquoted
    """

    name: str
    type: str
    value: str


def records(domain: str, hostname: str, keys: Iterable[DkimKey], *, smarthost: bool) -> tuple[Record, ...]:
    """All records of one domain.

    smarthost  mail leaves through somebody else's server: SPF can't end in a hard fail before its
               include is added
    """
    end = "~all" if smarthost else "-all"
    found = [
        Record(domain, "MX", f"10 {hostname}"),
        Record(domain, "TXT", f"v=spf1 mx {end}"),
    ]
    if hostname != domain:  # RFC 7208 §2.3: the HELO identity is checked too, and alone for null senders
        found.append(Record(hostname, "TXT", f"v=spf1 a {end}"))
    found += [dkim_record(domain, key) for key in keys if key.retired is None]
    found.append(Record(f"_dmarc.{domain}", "TXT", "v=DMARC1; p=reject"))
    return tuple(found)


def dkim_record(domain: str, key: DkimKey) -> Record:
    kind = "ed25519" if key.algorithm.startswith("ed25519") else "rsa"
    return Record(f"{key.selector}._domainkey.{domain}", "TXT", f"v=DKIM1; k={kind}; p={key.public}")


def zone_lines(found: Iterable[Record]) -> list[str]:
    """The records as lines of a zone file, names absolute, long texts in strings of 255 octets."""
    return [f"{record.name}. 3600 IN {record.type} {_zone_value(record)}" for record in found]


def _zone_value(record: Record) -> str:
    if record.type != "TXT":
        return f"{record.value}."
    chunks = [record.value[at : at + _STRING] for at in range(0, len(record.value), _STRING)]
    return " ".join('"' + chunk.replace("\\", "\\\\").replace('"', '\\"') + '"' for chunk in chunks)
