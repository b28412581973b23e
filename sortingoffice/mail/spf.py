"""SPF: may this client send for this domain?

Written anew because pyspf, the one complete library, asks DNS while it blocks and has had no release
since 2020; here a program asks through `mail.asking`.  The judge is the openspf.org suite: 203 of 203.

Promise: at most ten terms that ask, two void look-ups and about 120 questions, whatever the record says; a
failed look-up is temperror, never an absent record.

Sources: RFC 7208; its section stands at the lines that obey it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import field, replace
from datetime import datetime
from functools import lru_cache

from sortingoffice.frozen import dataclass
from sortingoffice.mail import macros
from sortingoffice.mail.address import Address
from sortingoffice.mail.asking import Answer, Outcome, Program, Question
from sortingoffice.mail.authentication import Result, SpfResult
from sortingoffice.mail.macros import IpAddress, MacroString

MAX_LOOKUPS = 10  # §4.6.4
MAX_VOID = 2
MAX_NAMES = 10  # MX or PTR names of one term
MAX_RECORD = 16_384  # octets; real ones fit in 4 KiB
_USUAL = 512  # octets, up to which what was read of a record is kept
MAX_EXPLANATION = 400  # characters that a stranger may put into our reply

_VERSION = re.compile(rb"v=spf1(?= |\Z)", re.IGNORECASE)
_DIRECTIVE = re.compile(r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)((?:[:/].*)?)", re.IGNORECASE)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)")
_CIDR = re.compile(r"(.*?)(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?", re.DOTALL)
_LABEL = re.compile(r"[\x20-\x2d\x2f-\x7e]{1,63}")  # %_ makes blanks
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_QUALIFIERS = {"+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}


class _Stop(Exception):
    """The evaluation ends here: with temperror or permerror, and why."""

    def __init__(self, result: Result, reason: str):
        super().__init__(reason)
        self.result = result
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Directive:
    """One mechanism with its qualifier; `target` None means the domain itself."""

    text: str
    result: Result
    name: str
    target: MacroString | None = None
    bits4: int = 32
    bits6: int = 128
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None


@dataclass(frozen=True, slots=True)
class _Policy:
    directives: tuple[_Directive, ...]
    redirect: MacroString | None
    explanation: MacroString | None


@dataclass(slots=True)
class _Check:
    """One evaluation: who sends, and what it has cost so far."""

    ip: IpAddress
    helo: str
    local: str
    sender_domain: str
    receiver: str
    now: datetime | None
    lookups: int = 0
    voids: int = 0
    validated: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def address_type(self) -> str:
        return "A" if self.ip.version == 4 else "AAAA"


def check(
    ip: str, helo: str, sender: Address | None, *, receiver: str = "unknown", now: datetime | None = None
) -> Program[SpfResult]:
    """The result for a client and a sender; for the null sender, for its HELO name (§2.4).

    receiver, now  for the macros r and t in an explanation
    """
    domain, local = (helo, "postmaster") if sender is None else (sender.domain, sender.local or "postmaster")
    about = SpfResult(
        Result.NONE,
        domain=domain.lower().rstrip("."),
        identity="helo" if sender is None else "mailfrom",
        sender=helo if sender is None else str(sender),
    )
    try:
        client: IpAddress = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return replace(about, reason="no client address")
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    state = _Check(client, helo, local, domain, receiver, now)
    try:
        return (yield from _evaluate(state, about, domain))
    except _Stop as stop:
        return replace(about, result=stop.result, reason=stop.reason)


def _evaluate(state: _Check, about: SpfResult, domain: str) -> Program[SpfResult]:
    """check_host() of §4."""
    record = yield from _record(domain)
    if record is None:
        return replace(about, result=Result.NONE, reason="")
    about = replace(about, record=record)
    policy = (_usual if len(record) <= _USUAL else _parsed)(record)
    for directive in policy.directives:
        if (yield from _matches(state, directive, domain)):
            explanation = ""
            if directive.result is Result.FAIL and policy.explanation is not None:
                explanation = yield from _explanation(state, policy.explanation, domain)
            return replace(about, result=directive.result, explanation=explanation, reason=directive.text)
    if policy.redirect is None or any(directive.name == "all" for directive in policy.directives):
        return replace(about, result=Result.NEUTRAL, reason="no mechanism matched")  # §4.7
    _count(state)
    target = yield from _name(state, policy.redirect, domain)
    found = yield from _evaluate(state, about, target)
    if found.result is Result.NONE:
        raise _Stop(Result.PERMERROR, "redirect to a domain without a policy")  # §6.1
    return found


def _record(domain: str) -> Program[bytes | None]:
    """§4.3, §4.4, §4.5: the one policy of a domain; None where there is none."""
    name = domain.removesuffix(".")
    if "." not in name or not _possible(name):
        return None
    answer = yield Question(name, "TXT")
    if answer.outcome is Outcome.TEMPORARY:
        raise _Stop(Result.TEMPERROR, "policy not reachable")
    found = [record for record in answer.records if isinstance(record, bytes) and _VERSION.match(record)]
    if len(found) > 1:
        raise _Stop(Result.PERMERROR, "more than one policy")
    return found[0] if found else None


# ---- the grammar, §12 ------------------------------------------------------------------------------


def _parsed(record: bytes) -> _Policy:
    """The whole record is read before any of it is used: an error anywhere is permerror (§4.6)."""
    if len(record) > MAX_RECORD:
        raise _Stop(Result.PERMERROR, "policy too long")
    if not record.isascii():
        raise _Stop(Result.PERMERROR, "policy beyond ASCII")
    directives: list[_Directive] = []
    modifiers: dict[str, MacroString] = {}
    for term in record[6:].decode("ascii").split(" "):
        if not term:
            continue
        if match := _MODIFIER.fullmatch(term):
            _add_modifier(modifiers, match[1].lower(), match[2])
        else:
            directives.append(_directive(term))
    return _Policy(tuple(directives), modifiers.get("redirect"), modifiers.get("exp"))


_usual = lru_cache(256)(_parsed)  # what a sender publishes is the same for each of its messages


def _add_modifier(modifiers: dict[str, MacroString], name: str, value: str) -> None:
    if name in ("redirect", "exp"):
        found = macros.domain_spec(value)
        if name in modifiers:
            raise _Stop(Result.PERMERROR, f"{name}= twice")
    else:
        found = macros.compiled(value)
        name = "unknown"
    if found is None:
        raise _Stop(Result.PERMERROR, "syntax error in a modifier")
    modifiers[name] = found


def _directive(term: str) -> _Directive:
    match = _DIRECTIVE.fullmatch(term)
    if match is None:
        raise _Stop(Result.PERMERROR, "unknown mechanism")
    name, rest = match[2].lower(), match[3]
    start = _Directive(term, _QUALIFIERS[match[1] or "+"], name)
    if name in ("ip4", "ip6"):
        return replace(start, network=_network(name, rest))
    if name == "all":
        if rest:
            raise _Stop(Result.PERMERROR, "all takes no argument")
        return start
    return _with_target(start, rest)


def _network(name: str, rest: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    address, slash, bits = rest[1:].partition("/")
    most = 32 if name == "ip4" else 128
    try:
        if not rest.startswith(":") or (slash and not re.fullmatch("0|[1-9][0-9]{0,2}", bits)):
            raise ValueError
        if "%" in address or (bits and int(bits) > most):
            raise ValueError
        length = int(bits) if bits else most
        if name == "ip4":
            return ipaddress.IPv4Network((ipaddress.IPv4Address(address), length), strict=False)
        return ipaddress.IPv6Network((ipaddress.IPv6Address(address), length), strict=False)
    except ValueError:
        raise _Stop(Result.PERMERROR, f"syntax error in {name}") from None


def _with_target(start: _Directive, rest: str) -> _Directive:
    """include, a, mx, ptr and exists."""
    error = _Stop(Result.PERMERROR, f"syntax error in {start.name}")
    bits4, bits6 = 32, 128
    if start.name in ("a", "mx"):
        match = _CIDR.fullmatch(rest)
        assert match is not None  # the first part takes whatever the others don't
        rest = match[1]
        bits4, bits6 = int(match[2] or 32), int(match[3] or 128)
        if bits4 > 32 or bits6 > 128:
            raise error
    target = None
    if rest:
        target = macros.domain_spec(rest[1:]) if rest.startswith(":") else None
        if target is None:
            raise error
    elif start.name in ("include", "exists"):
        raise error
    return replace(start, target=target, bits4=bits4, bits6=bits6)


# ---- the mechanisms, §5 ----------------------------------------------------------------------------


def _matches(state: _Check, directive: _Directive, domain: str) -> Program[bool]:
    match directive.name:
        case "all":
            return True
        case "ip4" | "ip6":
            return directive.network is not None and state.ip in directive.network
    _count(state)
    target = domain if directive.target is None else (yield from _name(state, directive.target, domain))
    match directive.name:
        case "include":
            return (yield from _included(state, target))
        case "a":
            return (yield from _holds(state, directive, target))
        case "mx":
            return (yield from _mx(state, directive, target))
        case "ptr":
            names = yield from _validated(state)
            return any(_within(name, target) for name in names)
    answer = yield from _ask(state, Question(target, "A"))  # exists: always A (§5.7)
    return bool(answer.records)


def _included(state: _Check, target: str) -> Program[bool]:
    """§5.2: the included policy's errors are ours; only its pass matches."""
    found = yield from _evaluate(state, SpfResult(Result.NONE), target)
    if found.result is Result.NONE:
        raise _Stop(Result.PERMERROR, "include of a domain without a policy")
    return found.result is Result.PASS


def _holds(state: _Check, directive: _Directive, target: str) -> Program[bool]:
    answer = yield from _ask(state, Question(target, state.address_type))
    bits = directive.bits4 if state.ip.version == 4 else directive.bits6
    return any(_near(state.ip, record, bits) for record in answer.records)


def _near(ip: IpAddress, record: object, bits: int) -> bool:
    """Whether both addresses are in one network of so many bits."""
    other = ipaddress.ip_address(str(record))
    shift = ip.max_prefixlen - bits
    return other.version == ip.version and int(other) >> shift == int(ip) >> shift


def _mx(state: _Check, directive: _Directive, target: str) -> Program[bool]:
    answer = yield from _ask(state, Question(target, "MX"))
    pairs = [record for record in answer.records if isinstance(record, tuple)]
    names = [str(name) for _, name in sorted(pairs) if name]
    if len(names) > MAX_NAMES:  # §4.6.4
        raise _Stop(Result.PERMERROR, "too many MX names")
    for name in names:
        if (yield from _holds(state, directive, name)):
            return True
    return False


def _validated(state: _Check) -> Program[tuple[str, ...]]:
    """§5.5: the client's names that lead back to it; a failed look-up is no match."""
    if "" not in state.validated:
        answer = yield Question(state.ip.reverse_pointer, "PTR")
        names = []
        for record in answer.records[:MAX_NAMES]:
            name = str(record).lower().rstrip(".")
            if not _possible(name):
                continue
            addresses = yield Question(name, state.address_type)
            if any(ipaddress.ip_address(str(found)) == state.ip for found in addresses.records):
                names.append(name)
        state.validated[""] = tuple(names)
    return state.validated[""]


def _within(name: str, domain: str) -> bool:
    domain = domain.lower().rstrip(".")
    return name == domain or name.endswith("." + domain)


def _ask(state: _Check, question: Question) -> Program[Answer]:
    """An answer for a mechanism: temporary failures stop (§5), void ones are counted (§4.6.4)."""
    if not _possible(question.name):
        return Answer(Outcome.NO_NAME)
    answer = yield question
    if answer.outcome is Outcome.TEMPORARY:
        raise _Stop(Result.TEMPERROR, "name not reachable")
    if not answer.records:
        state.voids += 1
        if state.voids > MAX_VOID:
            raise _Stop(Result.PERMERROR, "too many void look-ups")
    return answer


def _count(state: _Check) -> None:
    state.lookups += 1
    if state.lookups > MAX_LOOKUPS:
        raise _Stop(Result.PERMERROR, "too many look-ups")


def _possible(name: str) -> bool:
    """Whether DNS can hold such a name: labels of 1 to 63 printable ASCII characters, 253 in all."""
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


# ---- macros and explanations, §7 and §6.2 ------------------------------------------------------------


def _name(state: _Check, spec: MacroString, domain: str) -> Program[str]:
    values = yield from _values(state, spec, domain)
    return macros.shortened(spec.expanded(values))


def _values(state: _Check, spec: MacroString, domain: str) -> Program[dict[str, str]]:
    values = {letter: make(state) for letter, make in _LETTERS.items() if letter in spec.letters}
    values["d"] = domain
    if "p" in spec.letters:
        names = yield from _validated(state)
        # §7.3: the domain itself first, then one below it, then any
        ranked = sorted(names, key=lambda name: (name != domain.lower(), not _within(name, domain)))
        values["p"] = ranked[0] if ranked else "unknown"
    return values


_LETTERS: dict[str, Callable[[_Check], str]] = {
    "s": lambda state: f"{state.local}@{state.sender_domain}",
    "l": lambda state: state.local,
    "o": lambda state: state.sender_domain,
    "i": lambda state: macros.dotted(state.ip),
    "v": lambda state: "in-addr" if state.ip.version == 4 else "ip6",
    "h": lambda state: state.helo,
    "c": lambda state: str(state.ip),
    "r": lambda state: state.receiver,
    "t": lambda state: str(int(state.now.timestamp())) if state.now else "0",
}


def _explanation(state: _Check, spec: MacroString, domain: str) -> Program[str]:
    """§6.2: any difficulty means that there is none."""
    name = yield from _name(state, spec, domain)
    if not _possible(name):
        return ""
    answer = yield Question(name, "TXT")
    if len(answer.records) != 1 or not isinstance(answer.records[0], bytes):
        return ""
    text = answer.records[0].decode("ascii", "replace")
    words = macros.compiled(text, words=True) if _PRINTABLE.fullmatch(text) else None
    if words is None:
        return ""
    said = words.expanded((yield from _values(state, words, domain)))
    return said[:MAX_EXPLANATION] if _PRINTABLE.fullmatch(said) else ""
