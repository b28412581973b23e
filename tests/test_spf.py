"""SPF by the openspf.org suite, first choice of each case, and by what a stranger may try."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import address, macros, spf
from sortingoffice.mail.address import Address
from sortingoffice.mail.asking import Answer, Outcome, Question, run
from sortingoffice.mail.authentication import Result, SpfResult
from tests import corpora


def _suite() -> list[Any]:
    text = corpora.read(corpora.SPF)
    if text is None:
        return [pytest.param(None, None, marks=corpora.skipped(corpora.SPF), id="openspf suite")]
    cases = []
    for section in yaml.safe_load_all(text):
        zone = {name.lower(): records for name, records in section["zonedata"].items()}
        for name, case in section["tests"].items():
            cases.append(pytest.param(zone, case, id=name))
    return cases


def _octets(value: Any) -> bytes:
    parts = value if isinstance(value, list) else [value]
    return b"".join(part.encode("utf-8") for part in parts)


def _suite_answer(zone: dict[str, list[Any]]) -> Callable[[Question], Answer]:
    """The suite's rules: an SPF record stands for TXT unless TXT is there; TIMEOUT is for all the rest."""

    def answer(question: Question) -> Answer:
        records = zone.get(question.name.lower())
        if records is None:
            return Answer(Outcome.NO_NAME)
        pairs = [
            (kind, value) for record in records if isinstance(record, dict) for kind, value in record.items()
        ]
        kind = question.type
        for name, value in pairs:
            if name == "CNAME" and kind != "CNAME":
                return answer(Question(value, kind))
        if kind == "TXT" and not any(name == "TXT" for name, _ in pairs):
            kind = "SPF"
        found = [value for name, value in pairs if name == kind and value != "NONE"]
        if not found and "TIMEOUT" in records:
            return Answer(Outcome.TEMPORARY)
        if question.type == "TXT":
            return Answer(Outcome.FOUND if found else Outcome.NO_DATA, tuple(map(_octets, found)))
        if question.type == "MX":
            found = [tuple(value) for value in found]
        return Answer(Outcome.FOUND if found else Outcome.NO_DATA, tuple(found))

    return answer


def _mailbox(text: str) -> Address | None:
    """The suite's senders, the impossible ones too, which no envelope of ours could carry."""
    if not text:
        return None
    local, _, domain = text.rpartition("@")
    return address.parse(text) or Address(local, domain.lower())


@pytest.mark.parametrize(("zone", "case"), _suite())
def test_the_public_suite_gets_its_first_choice(zone: dict[str, list[Any]], case: dict[str, Any]) -> None:
    program = spf.check(case["host"], case["helo"], _mailbox(case["mailfrom"]), receiver="mx.sort.example")
    found = run(program, _suite_answer(zone))
    wanted = case["result"]
    assert found.result == (wanted[0] if isinstance(wanted, list) else wanted)
    if "explanation" in case:
        assert (found.explanation or "DEFAULT") == case["explanation"]


def _check(
    records: dict[tuple[str, str], Answer], sender: str = "bob@a.example", ip: str = "192.0.2.1"
) -> SpfResult:
    asked: list[Question] = []

    def answer(question: Question) -> Answer:
        asked.append(question)
        assert len(asked) <= 130
        return records.get((question.name.lower(), question.type), Answer(Outcome.NO_NAME))

    return run(spf.check(ip, "mail.a.example", _mailbox(sender)), answer)


def _txt(*records: bytes) -> Answer:
    return Answer(Outcome.FOUND, records)


def test_the_result_names_the_domain_the_mechanism_and_the_record() -> None:
    found = _check({("a.example", "TXT"): _txt(b"v=spf1 ip4:192.0.2.0/24 -all")})
    assert found == SpfResult(
        Result.PASS,
        domain="a.example",
        identity="mailfrom",
        sender="bob@a.example",
        reason="ip4:192.0.2.0/24",
        record=b"v=spf1 ip4:192.0.2.0/24 -all",
    )


def test_the_null_sender_is_judged_by_its_helo_name() -> None:
    found = _check({("mail.a.example", "TXT"): _txt(b"v=spf1 -all")}, sender="")
    assert (found.result, found.identity, found.domain) == (Result.FAIL, "helo", "mail.a.example")


def test_an_ipv4_client_on_an_ipv6_socket_is_an_ipv4_client() -> None:
    records = {("a.example", "TXT"): _txt(b"v=spf1 ip4:192.0.2.1 -all")}
    assert _check(records, ip="::ffff:192.0.2.1").result is Result.PASS


@pytest.mark.parametrize("ip", ["", "unix:/run/x", "192.0.2.999"])
def test_a_client_without_an_address_has_no_result(ip: str) -> None:
    assert _check({("a.example", "TXT"): _txt(b"v=spf1 +all")}, ip=ip).result is Result.NONE


def test_a_policy_that_includes_itself_ends() -> None:
    assert _check({("a.example", "TXT"): _txt(b"v=spf1 include:a.example -all")}).result is Result.PERMERROR
    assert _check({("a.example", "TXT"): _txt(b"v=spf1 redirect=a.example")}).result is Result.PERMERROR


def test_a_policy_cannot_make_us_ask_without_end() -> None:
    names = Answer(Outcome.FOUND, tuple((n, f"mx{n}.a.example") for n in range(10)))
    hosts = {(f"mx{n}.a.example", "A"): Answer(Outcome.FOUND, ("198.51.100.1",)) for n in range(10)}
    records = {
        ("a.example", "TXT"): _txt(b"v=spf1" + b" mx" * 20 + b" -all"),
        ("a.example", "MX"): names,
    } | hosts
    assert _check(records).reason == "too many look-ups"


def test_a_long_policy_of_many_terms_is_refused_before_it_is_read() -> None:
    assert (
        _check({("a.example", "TXT"): _txt(b"v=spf1 " + b"ip4:192.0.2.9 " * 5000)}).reason
        == "policy too long"
    )


@pytest.mark.parametrize(
    "term",
    [
        b"%{s}" * 4000,
        b"%{l1r.-+,/_=}" * 1200 + b".x",
        b"." * 16000,
        b"a." * 8000,
        b"1" * 16000,
        b"a" * 8000 + b"-" * 8000,
    ],
)
def test_a_hostile_macro_string_costs_linear_time(term: bytes) -> None:
    start = time.process_time()
    local = ".".join("a" for _ in range(32))
    _check({("a.example", "TXT"): _txt(b"v=spf1 exists:" + term + b" -all")}, sender=f"{local}@a.example")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", [b"Go\r\naway", b"\x1b[2Jgone", "Grüße".encode(), b"%{x}", b"%"])
def test_an_explanation_that_could_break_a_line_or_a_terminal_is_none(text: bytes) -> None:
    records = {
        ("a.example", "TXT"): _txt(b"v=spf1 -all exp=why.a.example"),
        ("why.a.example", "TXT"): _txt(text),
    }
    found = _check(records)
    assert (found.result, found.explanation) == (Result.FAIL, "")


def test_a_long_explanation_is_cut() -> None:
    records = {
        ("a.example", "TXT"): _txt(b"v=spf1 -all exp=why.a.example"),
        ("why.a.example", "TXT"): _txt(b"no " * 900),
    }
    assert len(_check(records).explanation) == spf.MAX_EXPLANATION


@given(st.binary(max_size=120), st.text(max_size=40), st.text(max_size=40))
def test_no_record_and_no_sender_make_it_raise(record: bytes, local: str, helo: str) -> None:
    answer = Answer(Outcome.FOUND, (b"v=spf1 " + record,))

    def always(question: Question) -> Answer:
        match question.type:
            case "TXT":
                return answer
            case "MX":
                return Answer(Outcome.FOUND, ((10, "mx.a.example"),))
        return Answer(Outcome.FOUND, ("192.0.2.9" if question.type == "A" else "2001:db8::9",))

    run(spf.check("192.0.2.1", helo, Address(local, "a.example")), always)


_term = st.sampled_from(
    ["a", "mx", "ptr", "all", "-all",
     "?exists:%{l}.x", "include:b.example", "redirect=%{d2}", "exp=%{p}.c.example",
     "ip4:192.0.2.1/33", "ip6:::1/0", "a:%{ir}.%{v}.x//64", "mx/24//65", "x=%{S7r-}", "a:%{h}", "exists:%_.x"]
)  # fmt: skip


@given(st.lists(_term, max_size=14), st.sampled_from(["FOUND", "TEMPORARY", "NO_NAME"]), st.text(max_size=12))
def test_any_mix_of_terms_ends_in_a_result_within_the_bounds(
    terms: list[str], outcome: str, local: str
) -> None:
    asked = 0

    def answer(question: Question) -> Answer:
        nonlocal asked
        asked += 1
        if question.type == "TXT":
            return _txt(("v=spf1 " + " ".join(terms)).encode())
        records = {"A": ("192.0.2.9",), "MX": ((1, "b.example"),), "PTR": ("a.example",)}.get(
            question.type, ()
        )
        return Answer(Outcome[outcome], records if outcome == "FOUND" else ())

    found = run(spf.check("192.0.2.1", "h.example", Address(local, "a.example")), answer)
    assert found.result in Result
    assert asked <= 130


@given(st.text(max_size=60))
def test_what_compiles_as_a_macro_string_expands(text: str) -> None:
    for words in (False, True):
        found = macros.compiled(text, words=words)
        if found is not None:
            found.expanded(dict.fromkeys("slodiphvcrt", "a.b-c"))
