"""What DNS says of the office, against what it should say: each question a program, each answer a finding.

Promise: what DNS could not tell is a warning ("ask again"), never "missing"; every finding that is not ok
has a remedy that a person can carry out.

Sources: RFC 5321 §5.1 (MX); RFC 7208 §4.6.4 (ten look-ups), §10.1.3; RFC 6376 §3.6; RFC 7489 §6.3, §6.6.3;
RFC 8461 §3 (MTA-STS); RFC 1912 §2.1 (the reverse name leads back).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from enum import StrEnum

from sortingoffice.core.records import Record
from sortingoffice.frozen import dataclass
from sortingoffice.mail import dmarc, keys, spf, tags
from sortingoffice.mail.address import Address
from sortingoffice.mail.asking import Answer, Outcome, Program, Question
from sortingoffice.mail.authentication import DmarcResult, Result, SpfResult

MOST_LOOKUPS = 10  # RFC 7208 §4.6.4
_COUNTED = ("include", "a", "mx", "ptr", "exists")  # mechanisms that cost a look-up each; redirect= does, too


class Health(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`.

    check   what was looked at: "mx sort.example"
    said    what was found
    remedy  what to do; "" where it is ok
    """

    check: str
    health: Health
    said: str
    remedy: str = ""


def ok(check: str, said: str) -> Finding:
    return Finding(check, Health.OK, said)


def warning(check: str, said: str, remedy: str) -> Finding:
    return Finding(check, Health.WARNING, said, remedy)


def failed(check: str, said: str, remedy: str) -> Finding:
    return Finding(check, Health.FAILED, said, remedy)


_AGAIN = "run `sortingoffice doctor` again; see [dns] in the config"


def unknown(check: str) -> Finding:
    return warning(check, "DNS did not answer", _AGAIN)


def _publish(record: Record) -> str:
    return f"publish {record.name} {record.type} {record.value}"


# ---- the host --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Addresses:
    """A and AAAA of a host.

    untold  the questions that DNS did not answer, as words: "the A of mx.sort.example"; "" for none
    """

    found: tuple[str, ...] = ()
    untold: str = ""


def addresses(host: str) -> Program[Addresses]:
    """For a smarthost that the config names by its address: that one."""
    if _is_address(host):
        return Addresses((host,))
    found: list[str] = []
    untold: list[str] = []
    for type in ("A", "AAAA"):
        answer = yield Question(host, type)
        if answer.outcome is Outcome.TEMPORARY:
            untold.append(type)
        found += [str(each) for each in answer.records]
    return Addresses(tuple(found), f"the {' and '.join(untold)} of {host}" if untold else "")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host(name: str, *, direct: bool) -> Program[tuple[Finding, ...]]:
    """Whether the host has addresses, and each leads back to it.

    direct  we deliver straight to MX hosts, which look at the reverse name of who calls
    """
    its = yield from addresses(name)
    check = f"address {name}"
    if not its.found:
        if its.untold:
            return (unknown(check),)
        return (
            failed(check, "it has no address", f"publish an A or AAAA record of this machine for {name}"),
        )
    findings = [but_for(its.untold, ok(check, ", ".join(its.found)))]
    for ip in its.found:
        findings.append((yield from _reverse(ip, name, direct=direct)))
    return tuple(findings)


def but_for(untold: str, finding: Finding) -> Finding:
    """The finding as far as it is known, and what is not: at most a warning."""
    if not untold:
        return finding
    return warning(finding.check, f"{finding.said}; DNS did not answer for {untold}", _AGAIN)


def _reverse(ip: str, name: str, *, direct: bool) -> Program[Finding]:
    check = f"ptr {ip}"
    if not ipaddress.ip_address(ip).is_global:
        return warning(
            check, "not an address of the internet", f"let {name} lead to this machine's own address"
        )
    answer = yield Question(ipaddress.ip_address(ip).reverse_pointer, "PTR")
    if answer.outcome is Outcome.TEMPORARY:
        return unknown(check)
    back = [str(each).lower().rstrip(".") for each in answer.records]
    if name in back:
        return ok(check, name)
    said = f"leads to {', '.join(back)}" if back else "no reverse name"
    remedy = f"ask whoever runs this machine's network to let {ip} lead back to {name}"
    return (
        failed(check, said, f"{remedy}: many servers refuse mail without")
        if direct
        else warning(check, said, remedy)
    )


# ---- a domain --------------------------------------------------------------------------------------------


def mx(domain: str, hostname: str) -> Program[Finding]:
    """Whether mail for the domain is sent to this office."""
    check = f"mx {domain}"
    answer = yield Question(domain, "MX")
    if answer.outcome is Outcome.TEMPORARY:
        return unknown(check)
    hosts = [each[1].lower() for each in answer.records if isinstance(each, tuple)]
    remedy = _publish(Record(domain, "MX", f"10 {hostname}"))
    if hostname in hosts:
        others = [each for each in hosts if each != hostname]
        if not others:
            return ok(check, hostname)
        said = f"{hostname}, and also {', '.join(others)}"
        return warning(check, said, "remove hosts that do not hand this domain's mail to this office")
    return failed(check, f"leads to {', '.join(hosts)}" if hosts else "none", remedy)


def sender_policy(
    domain: str,
    hostname: str,
    senders: Collection[str],
    *,
    helo: bool = False,
    untold: str = "",
    smarthost: str = "",
) -> Program[tuple[Finding, ...]]:
    """Whether SPF lets our own mail pass, and stays within ten look-ups.

    senders    the addresses that mail leaves from; empty where they are not known
    helo       judge `domain` as the name in HELO, as for null senders
    untold     the addresses of a sender that DNS did not tell
    smarthost  where mail is handed in, and `senders` are its addresses: it may leave from others
    """
    check = f"spf {domain}"
    lookups = yield from _lookups(domain, frozenset())
    if lookups is None:
        return (unknown(check),)
    wanted = "a" if helo else "mx"
    if lookups < 0:
        include = f", with the include: that the operator of {smarthost} names before ~all"
        record = Record(domain, "TXT", f"v=spf1 {wanted} {'~all' if smarthost else '-all'}")
        remedy = _publish(record) + (include if smarthost else "")
        return (failed(check, "no policy, or more than one", remedy),)
    findings: list[Finding] = []
    for ip in senders:
        found = yield from spf.check(ip, hostname, None if helo else Address("postmaster", domain))
        if found.result is Result.TEMPERROR:
            findings.append(unknown(check))
        elif found.result is not Result.PASS:
            said = f"{found.result} for {ip}" + (f" ({found.reason})" if found.reason else "")
            findings.append(
                _not_ours(check, said, smarthost)
                if smarthost
                else failed(check, said, f"add ip4:, ip6:, {wanted} or an include: for {ip} to the policy")
            )
    if lookups > MOST_LOOKUPS:
        remedy = (
            "replace some include:, a and mx by ip4: and ip6:; beyond ten every receiver fails the policy"
        )
        findings.append(failed(check, f"{lookups} look-ups, at most {MOST_LOOKUPS} are allowed", remedy))
    if findings:
        return tuple(findings)
    if not senders:
        if untold:
            return (unknown(check),)
        remedy = "let the host names of the config resolve"
        return (warning(check, "a policy, but it is not known where mail leaves from", remedy),)
    passed = ok(check, f"pass for {', '.join(senders)}; {lookups} of {MOST_LOOKUPS} look-ups")
    return (but_for(untold, passed),)


def _not_ours(check: str, said: str, smarthost: str) -> Finding:
    """Providers seldom send from where they take mail in, so this says little."""
    return warning(
        check,
        f"{said}, where {smarthost} takes mail; from where it sends is not known here",
        f"see that the policy has the include: that the operator of {smarthost} names",
    )


def _lookups(domain: str, above: frozenset[str]) -> Program[int | None]:
    """How many look-ups a policy costs; -1 where there is not exactly one, None where DNS can't tell."""
    answer = yield Question(domain, "TXT")
    if answer.outcome is Outcome.TEMPORARY:
        return None
    policies = [
        each for each in _texts(answer) if each.lower() == "v=spf1" or each.lower().startswith("v=spf1 ")
    ]
    if len(policies) != 1:
        return -1
    total = 0
    for term in policies[0].lower().split()[1:]:
        name, _, inside = term.lstrip("+-~?").replace("=", ":", 1).partition(":")
        name = name.partition("/")[0]
        total += name in _COUNTED or name == "redirect"
        if name in ("include", "redirect") and "%" not in inside and inside not in above and len(above) < 10:
            more = yield from _lookups(inside, above | {domain})
            if more is None:
                return None
            total += max(more, 0)
        if total > 3 * MOST_LOOKUPS:
            break
    return total


def key(record: Record, state: str) -> Program[Finding]:
    """Whether a signing key stands in DNS as it should.

    state  "signing", "next" (signs after `admin key rotate`) or "missing" (its file is gone)
    """
    check = f"dkim {record.name}"
    if state == "missing":
        return failed(
            check,
            "the key's file is gone: nothing is signed with it",
            "`sortingoffice admin key new`, publish, `rotate`",
        )
    answer = yield Question(record.name, "TXT")
    if answer.outcome is Outcome.TEMPORARY:
        return unknown(check)
    found = [each for each in answer.records if isinstance(each, bytes)]
    said = _wrong_key(record, found)
    if not said:
        return ok(check, "published" if state == "signing" else "published; signs after `admin key rotate`")
    remedy = _publish(record) + ("" if len(found) < 2 else ", and nothing else there")
    if state == "signing":
        return failed(check, said, remedy)
    return warning(check, f"{said}; it does not sign yet", remedy)


def _wrong_key(record: Record, found: list[bytes]) -> str:
    """Why what was found is not our key as verifiers read it; "" where it is."""
    if len(found) != 1:  # RFC 6376 §3.6.2.2: of several, nobody knows which one counts
        return "more than one record is published" if found else "not published"
    ours = tags.parse(record.value.encode()) or {}
    try:
        keys.public_key(found[0], f"{ours.get('k', 'rsa')}-sha256")
    except keys.Unusable as unusable:
        return f"published so that no verifier can use it ({unusable})"
    theirs = (tags.parse(found[0]) or {}).get("p", "")
    return "" if "".join(theirs.split()) == ours.get("p") else "another key is published"


def policy(record: Record) -> Program[Finding]:
    """Whether DMARC protects the domain's aliases from forgery, by its own record or by one above it.

    record  what should stand in DNS
    """
    domain = record.name.removeprefix("_dmarc.")
    check = f"dmarc {domain}"
    found = yield from dmarc.evaluate(domain, SpfResult(Result.NONE), ())
    if found.result is Result.TEMPERROR:
        return unknown(check)
    if not found.policy:
        answer = yield Question(record.name, "TXT")
        listed = [each for each in _texts(answer) if each.replace(" ", "").upper().startswith("V=DMARC1")]
        said = "no record that can be read" if len(listed) < 2 else "more than one record, so none counts"
        return failed(check, said, _publish(record))
    said = _asked(domain, found)
    if found.policy == "none":
        return warning(check, f"{said}: anybody may forge the aliases", _publish(record))
    return ok(check, said)


def _asked(domain: str, found: DmarcResult) -> str:
    """The policy, and whose it is: for what is below the domain that published it, sp= counts (§6.3)."""
    if found.found_at == domain:
        return f"p={found.policy}"
    read = dmarc.policy(found.record)
    tag = "p" if read is None or read.own == read.below else "sp"
    return f"{tag}={found.policy}, inherited from {found.found_at}"


def transport(domain: str) -> Program[tuple[Finding | None, str]]:
    """MTA-STS: a finding, or (None, the policy's id) where its policy is to be fetched."""
    check = f"mta-sts {domain}"
    answer = yield Question(f"_mta-sts.{domain}", "TXT")
    if answer.outcome is Outcome.TEMPORARY:
        return unknown(check), ""
    found = [each for each in _texts(answer) if each.replace(" ", "").lower().startswith("v=stsv1;")]
    if not found:
        return ok(check, "none published, which is allowed: others encrypt to us where they can"), ""
    id = (tags.parse(found[0].encode("ascii", "replace")) or {}).get("id", "")
    if len(found) > 1 or not id:
        return failed(
            check, "the record can't be read", f"publish one: _mta-sts.{domain} TXT v=STSv1; id=1;"
        ), ""
    return None, id


def transport_policy(domain: str, hostname: str, text: str | None, why: str = "") -> Finding:
    """Whether the fetched policy lets others deliver to us; text None where it could not be fetched."""
    check = f"mta-sts {domain}"
    if text is None:
        return failed(
            check,
            f"its policy can't be fetched ({why})",
            f"serve https://mta-sts.{domain}/.well-known/mta-sts.txt",
        )
    lines = [line.partition(":") for line in text.splitlines()]
    said = {name.strip(): value.strip() for name, _, value in lines}
    hosts = [value.strip().lower() for name, _, value in lines if name.strip() == "mx"]
    if said.get("version") != "STSv1" or said.get("mode") not in ("enforce", "testing", "none"):
        return failed(check, "its policy can't be read", "see RFC 8461 §3.2: version, mode, mx, max_age")
    matching = hostname in hosts or f"*.{hostname.partition('.')[2]}" in hosts
    if not matching and said["mode"] == "enforce":
        return failed(check, f"its policy does not name {hostname}", f"add the line mx: {hostname}")
    return ok(check, f"mode {said['mode']}")


def _texts(answer: Answer) -> Iterable[str]:
    return [each.decode("utf-8", "replace") for each in answer.records if isinstance(each, bytes)]
