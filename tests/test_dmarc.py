"""DMARC: discovery, alignment and policy; and organizational domains by the public suite."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import dmarc
from sortingoffice.mail.asking import Answer, Outcome, Question, run
from sortingoffice.mail.authentication import DkimResult, DmarcResult, Result, SpfResult
from sortingoffice.mail.message import Message
from tests import corpora

NO_SPF = SpfResult(Result.NONE)


def _spf(domain: str, result: Result = Result.PASS) -> SpfResult:
    return SpfResult(result, domain=domain)


def _dkim(domain: str, result: Result = Result.PASS) -> DkimResult:
    return DkimResult(result, domain=domain)


def _zone(**records: bytes | None) -> Callable[[Question], Answer]:
    """_zone(shop=…) is the policy at _dmarc.shop.example, None a failed look-up."""

    def answer(question: Question) -> Answer:
        name = question.name.removeprefix("_dmarc.").removesuffix(".example").replace(".", "_")
        if name not in records:
            return Answer(Outcome.NO_NAME)
        found = records[name]
        return Answer(Outcome.TEMPORARY) if found is None else Answer(Outcome.FOUND, (found,))

    return answer


def _evaluate(
    author: str, spf: SpfResult, dkims: list[DkimResult], zone: Callable[[Question], Answer]
) -> DmarcResult:
    return run(dmarc.evaluate(author, spf, dkims), zone)


REJECT = _zone(shop=b"v=DMARC1; p=reject; sp=quarantine; rua=mailto:x@shop.example")


@pytest.mark.parametrize(
    ("spf", "dkims", "result"),
    [
        (NO_SPF, [], Result.FAIL),
        (_spf("shop.example"), [], Result.PASS),
        (_spf("bounce.shop.example"), [], Result.PASS),
        (_spf("else.example"), [], Result.FAIL),
        (_spf("shop.example", Result.SOFTFAIL), [], Result.FAIL),
        (NO_SPF, [_dkim("news.shop.example")], Result.PASS),
        (NO_SPF, [_dkim("else.example"), _dkim("shop.example")], Result.PASS),
        (NO_SPF, [_dkim("shop.example", Result.POLICY)], Result.FAIL),
        (NO_SPF, [_dkim("evilshop.example")], Result.FAIL),
        (_spf("shop.example", Result.TEMPERROR), [], Result.TEMPERROR),
        (_spf("else.example", Result.TEMPERROR), [], Result.FAIL),
        (NO_SPF, [_dkim("shop.example", Result.TEMPERROR)], Result.TEMPERROR),
        (NO_SPF, [_dkim("", Result.TEMPERROR)], Result.TEMPERROR),  # no signature was looked at in time
        (_spf("shop.example"), [_dkim("shop.example", Result.TEMPERROR)], Result.PASS),
    ],
)
def test_a_pass_needs_one_aligned_proof(spf: SpfResult, dkims: list[DkimResult], result: Result) -> None:
    found = _evaluate("shop.example", spf, dkims, REJECT)
    assert (found.result, found.policy, found.found_at) == (result, "reject", "shop.example")


def test_strict_alignment_wants_the_very_domain() -> None:
    zone = _zone(shop=b"v=DMARC1;p=reject;adkim=s;aspf=s")
    found = _evaluate("shop.example", _spf("b.shop.example"), [_dkim("n.shop.example")], zone)
    assert (found.result, found.aligned_spf, found.aligned_dkim) == (Result.FAIL, False, False)
    assert _evaluate("shop.example", _spf("shop.example"), [], zone).result is Result.PASS


def test_a_subdomain_without_a_record_is_asked_for_by_sp() -> None:
    found = _evaluate("news.shop.example", NO_SPF, [], REJECT)
    assert (found.result, found.policy, found.found_at) == (Result.FAIL, "quarantine", "shop.example")


def test_a_subdomains_own_record_wins() -> None:
    zone = _zone(shop=b"v=DMARC1; p=reject", news_shop=b"v=DMARC1; p=none")
    assert _evaluate("news.shop.example", NO_SPF, [], zone).policy == "none"


@pytest.mark.parametrize(
    "failing", [{"shop": None}, {"news_shop": None}, {"news_shop": None, "shop": b"v=DMARC1;p=none"}]
)
def test_a_failed_look_up_is_not_an_absent_policy(failing: dict[str, bytes | None]) -> None:
    found = _evaluate("news.shop.example", NO_SPF, [_dkim("shop.example")], _zone(**failing))
    assert (found.result, found.aligned_dkim) == (Result.TEMPERROR, True)


def test_without_a_record_alignment_is_told_all_the_same() -> None:
    found = _evaluate("shop.example", _spf("shop.example"), [_dkim("else.example")], _zone())
    assert (found.result, found.aligned_spf, found.aligned_dkim) == (Result.NONE, True, False)


def test_several_records_are_none() -> None:
    both = Answer(Outcome.FOUND, (b"v=DMARC1; p=reject", b"v=DMARC1; p=none"))
    assert _evaluate("shop.example", NO_SPF, [], lambda question: both).result is Result.NONE


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        (b"v=DMARC1; p=reject", "reject"),
        (b"v = DMARC1 ;p = Reject ; junk ; =x", "reject"),
        (b"V=DMARC1; P=reject", "reject"),
        (b"v=DMARC1; p=reject; pct=100", "reject"),
        (b"v=DMARC1; p=reject; pct=10", "reject"),
        (b"v=DMARC1; p=reject; pct=0", "quarantine"),
        (b"v=DMARC1; p=quarantine; t=y", "none"),
        (b"v=DMARC1; p=nonsense; rua=mailto:a@b.example", "none"),
        (b"v=DMARC1; p=nonsense; rua=a@b.example , mailto:a@b.example!10m", "none"),
        (b"v=DMARC1; p=nonsense; rua=a@b.example", ""),
        (b"v=DMARC1; p=nonsense", ""),
        (b"v=DMARC1", ""),
        (b"v=dmarc1; p=reject", ""),
        (b"v=DMARC12; p=reject", ""),
        (b"p=reject; v=DMARC1", ""),
        (b"v=DMARC1; p=reject\xff", ""),
    ],
)
def test_a_record_asks_for_what_it_says_and_junk_for_nothing(record: bytes, policy: str) -> None:
    assert _evaluate("shop.example", NO_SPF, [], _zone(shop=record)).policy == policy


@pytest.mark.parametrize(
    ("fields", "domain"),
    [
        (b"From: Anna <anna@Shop.example>\r\n", "shop.example"),
        (b"From: anna@shop.example\r\n", "shop.example"),
        (b'From: "a, b <x@evil.example>" <anna@shop.example>\r\n', "shop.example"),
        ("From: a@bücher.example\r\n".encode(), "xn--bcher-kva.example"),
        (b"", ""),
        (b"From: \r\n", ""),
        (b"From: undisclosed:;\r\n", ""),
        (b"From: a@shop.example, b@shop.example\r\n", ""),
        (b"From: a@shop.example\r\nFrom: b@shop.example\r\n", ""),
        (b"From: a@shop.example\r\nfrom : b@shop.example\r\n", ""),
        (b"From: <a@shop.example> <b@evil.example>\r\n", ""),
        (b"From: <a@shop.example>, <A@Shop.example>\r\n", "shop.example"),
        (b"From: Lamp, Shop <a@shop.example>\r\n", "shop.example"),
        (b"From: @evil.example:a@shop.example\r\n", "shop.example"),
        (b"From: <a@shop.example> <>\r\n", "shop.example"),
        (b"From: bad@@evil.example; a@shop.example\r\n", "shop.example"),
        (b"From: x, <<a@shop.example>>\r\n", ""),
        (b"From: a@[192.0.2.1]\r\n", ""),
        (b"From: =?utf-8?q?a=40shop.example?=\r\n", ""),
    ],
)
def test_the_author_is_one_address_in_one_from(fields: bytes, domain: str) -> None:
    assert dmarc.author_domain(Message.parse(fields + b"To: b@sort.example\r\n\r\n")) == domain


def test_a_message_without_one_author_is_permerror() -> None:
    assert _evaluate("", _spf("shop.example"), [], REJECT).result is Result.PERMERROR


@given(st.binary(max_size=80))
def test_no_record_makes_it_raise(record: bytes) -> None:
    _evaluate("shop.example", NO_SPF, [], _zone(shop=b"v=DMARC1;" + record))


# ---- the successor's tree walk ------------------------------------------------------------------------


def _walked(
    author: str, records: dict[str, bytes], dkims: list[DkimResult], *, names: str = ""
) -> DmarcResult:
    """names: the domains that exist without a policy, in one text."""

    def answer(question: Question) -> Answer:
        if question.type == "A":
            return Answer(Outcome.FOUND if question.name in names.split() else Outcome.NO_NAME, ())
        record = records.get(question.name.removeprefix("_dmarc."))
        return Answer(Outcome.FOUND, (record,)) if record else Answer(Outcome.NO_NAME)

    program = dmarc.evaluate(author, NO_SPF, dkims, discovery=dmarc.Discovery.TREE_WALK)
    return run(program, answer)


POLICY = b"v=DMARC1; p=reject"


def test_the_walk_takes_the_highest_policy_as_the_organisation() -> None:
    records = {"shop.example": POLICY, "eu.shop.example": b"v=DMARC1; p=none"}
    found = _walked("a.b.eu.shop.example", records, [_dkim("news.shop.example")])
    assert (found.result, found.found_at, found.aligned_dkim) == (Result.PASS, "shop.example", True)


def test_the_authors_own_policy_wins_over_its_organisations() -> None:
    records = {"shop.example": POLICY, "eu.shop.example": b"v=DMARC1; p=none"}
    found = _walked("eu.shop.example", records, [])
    assert (found.result, found.policy, found.found_at) == (Result.FAIL, "none", "eu.shop.example")


def test_a_top_that_says_so_is_an_organisation_of_its_own() -> None:
    records = {"uni.example": POLICY, "dept.uni.example": b"v=DMARC1; p=reject; psd=n"}
    assert _walked("x.dept.uni.example", records, [_dkim("y.dept.uni.example")]).result is Result.PASS
    assert _walked("x.dept.uni.example", records, [_dkim("uni.example")]).result is Result.FAIL
    assert _walked("uni.example", records, [_dkim("dept.uni.example")]).result is Result.FAIL


def test_below_a_registry_each_name_is_an_organisation() -> None:
    records = {"bank": b"v=DMARC1; p=reject; psd=y", "one.bank": b"v=DMARC1; p=none"}
    assert _walked("mail.one.bank", records, [_dkim("one.bank")]).result is Result.PASS
    assert _walked("one.bank", records, [_dkim("two.bank")]).result is Result.FAIL
    fallen = _walked("new.bank", records, [])
    assert (fallen.found_at, fallen.policy) == ("bank", "reject")


def test_a_registry_that_writes_itself_is_its_own_organisation() -> None:
    """RFC 9989 §4.10: the walk ends at psd=y, also where it began."""
    records = {"gov.land": b"v=DMARC1; p=reject; psd=y", "land": b"v=DMARC1; p=none"}
    assert _walked("gov.land", records, [_dkim("land")]).result is Result.FAIL
    assert _walked("gov.land", records, [_dkim("tax.gov.land")]).result is Result.FAIL
    assert _walked("gov.land", records, [_dkim("gov.land")]).result is Result.PASS


def test_a_record_without_p_asks_for_nothing_and_still_says_where_an_organisation_ends() -> None:
    """RFC 9989 §4.7; by the suffix list it is none."""
    records = {"uni.example": POLICY, "dept.uni.example": b"v=DMARC1; psd=n"}
    found = _walked("x.dept.uni.example", records, [_dkim("uni.example")])
    assert (found.result, found.policy, found.found_at) == (Result.FAIL, "none", "dept.uni.example")
    assert _walked("dept.uni.example", {"dept.uni.example": b"v=DMARC1; sp=reject"}, []).policy == "none"


def test_a_subdomain_that_does_not_exist_is_asked_for_by_np() -> None:
    records = {"shop.example": b"v=DMARC1; p=none; sp=none; np=reject"}
    assert _walked("fake.shop.example", records, []).policy == "reject"
    assert _walked("news.shop.example", records, [], names="news.shop.example").policy == "none"


def test_a_walk_asks_eight_times_at_most() -> None:
    asked: list[str] = []

    def answer(question: Question) -> Answer:
        asked.append(question.name)
        return Answer(Outcome.NO_NAME)

    author = "a.b.c.d.e.f.g.h.i.j.shop.example"
    run(dmarc.evaluate(author, NO_SPF, [], discovery=dmarc.Discovery.TREE_WALK), answer)
    assert asked[:2] == [f"_dmarc.{author}", "_dmarc.f.g.h.i.j.shop.example"]
    assert (len(asked), asked[-1]) == (8, "_dmarc.example")


def test_a_walk_that_fails_is_temporary_and_alignment_is_told_by_the_list() -> None:
    program = dmarc.evaluate(
        "shop.example", NO_SPF, [_dkim("n.shop.example")], discovery=dmarc.Discovery.TREE_WALK
    )
    found = run(program, lambda question: Answer(Outcome.TEMPORARY))
    assert (found.result, found.aligned_dkim) == (Result.TEMPERROR, True)


# ---- organizational domains ------------------------------------------------------------------------


@pytest.mark.parametrize("text", corpora.whole(corpora.SUFFIXES))
def test_the_public_suffix_suite_passes_whole(text: str) -> None:
    cases = re.findall(r"^checkPublicSuffix\((null|'[^']*'), (null|'[^']*')\);", text, re.MULTILINE)
    assert len(cases) == 78
    for domain, wanted in cases:
        expected = None if wanted == "null" else wanted.strip("'")
        given_domain = "" if domain == "null" else domain.strip("'")
        assert dmarc.registrable(given_domain) == expected, domain


@pytest.mark.parametrize(
    ("domain", "organisation"),
    [
        ("mail.shop.co.uk", "shop.co.uk"), ("shop.co.uk", "shop.co.uk"), ("co.uk", "co.uk"),
        ("localhost", "localhost"), ("A.B.Example.", "b.example"), ("x.github.io", "x.github.io"),
        ("[192.0.2.1]", "[192.0.2.1]"), ("", ""),
    ],
)  # fmt: skip
def test_an_organizational_domain_is_what_a_registry_gave_out(domain: str, organisation: str) -> None:
    assert dmarc.organizational(domain) == organisation


@given(st.text(max_size=40), st.text(max_size=40))
def test_organizational_is_stable_and_aligned_is_symmetric(one: str, other: str) -> None:
    assert dmarc.organizational(dmarc.organizational(one)) == dmarc.organizational(one)
    assert dmarc.aligned(one, other) == dmarc.aligned(other, one)
