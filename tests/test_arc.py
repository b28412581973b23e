"""ARC by ValiMail's suite, and against dkimpy; and what a stranger may try."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dkim as dkimpy
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import arc, canonical, dkim, keys, tags
from sortingoffice.mail.asking import Answer, Outcome, Question, run
from sortingoffice.mail.authentication import ArcResult, Result
from sortingoffice.mail.message import Field, Message
from tests import corpora

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ONE = keys.SigningKey.from_pem("one.example", "s", keys.generate_rsa()[0])
TWO = keys.SigningKey.from_pem("two.example", "s", keys.generate_rsa()[0])
ZONE = {f"s._domainkey.{key.domain}": key.record.encode() for key in (ONE, TWO)}
PLAIN = (
    b"From: Shop <sales@shop.example>\r\nTo: a@sort.example\r\nSubject: Hi\r\n"
    b"DKIM-Signature: v=1; b=x\r\n\r\nHello.\r\n"
)


def _answers(zone: Mapping[str, bytes | None]) -> Callable[[Question], Answer]:
    def answer(question: Question) -> Answer:
        if question.name not in zone:
            return Answer(Outcome.NO_NAME)
        record = zone[question.name]
        return Answer(Outcome.TEMPORARY) if record is None else Answer(Outcome.FOUND, (record,))

    return answer


def _validate(raw: bytes, zone: Mapping[str, bytes | None] = ZONE) -> ArcResult:
    return run(arc.validate(raw), _answers(zone))


def _sealed(raw: bytes, key: keys.SigningKey, state: str) -> bytes:
    fields = arc.seal(raw, key, f"mx.{key.domain}; spf=pass (x; y) smtp.mailfrom=a@b.c; arc={state}", NOW)
    return b"".join(each.raw for each in fields) + raw


# ---- the suite ---------------------------------------------------------------------------------------


def _cases(name: str) -> list[Any]:
    text = corpora.read(name)
    if text is None:
        return [pytest.param(None, None, marks=corpora.skipped(name), id="arc suite")]
    sections = yaml.safe_load_all(text)
    return [
        pytest.param(section, case, id=case_name)
        for section in sections
        for case_name, case in section["tests"].items()
    ]


def _raw(text: str) -> bytes:
    return text.encode().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize(("section", "case"), _cases(corpora.ARC_VALID))
def test_the_public_suite_validates(section: Any, case: Any) -> None:
    zone = {name: record.encode() for name, record in (section["txt-records"] or {}).items()}
    wanted = case["cv"].lower() or "fail"  # "": the chain has ended before us, and so is no pass
    assert _validate(_raw(case["message"]), zone).result == wanted


def _suite_results(message: Message, authserv_id: str) -> str:
    """The results of our id in a message, merged into one value, as we would have written it."""
    values = [
        f.unfolded.decode().partition(";")[2]
        for f in message.all("Authentication-Results")
        if f.unfolded.decode().startswith(authserv_id + ";")
    ]
    return "; ".join([authserv_id, *(" ".join(v.split()) for v in values)])


def _tags(value: bytes) -> dict[str, str]:
    return {name: "".join(text.split()) for name, text in (tags.parse(value) or {}).items()}


@pytest.mark.parametrize(("section", "case"), _cases(corpora.ARC_SIGN))
def test_the_public_suite_seals(section: Any, case: Any) -> None:
    key = keys.SigningKey.from_pem(section["domain"], section["sel"], section["privatekey"].encode())
    message = Message.parse(_raw(case["message"]))
    told = _suite_results(message, case["srv-id"])
    at = datetime.fromtimestamp(int(case["t"]), UTC)
    names = tuple(name.encode() for name in case["sig-headers"].split(":"))
    relaxed = canonical.header_octets(canonical.chosen(message.fields, names), relaxed=True)
    chosen = dkim.Covered(names, relaxed, dkim.body_hash(message.body))
    fields = arc.seal(message, key, told, at, covered=chosen)
    if not case["AS"]:
        assert fields == ()
        return
    seal, signature, results = fields
    assert _tags(signature.value) == _tags(case["AMS"].encode())
    assert results.unfolded.decode().split() == case["AAR"].split()
    # The suite's seals cover message signatures whose b= is one line, ours cover the folds: so by the key.
    assert {**_tags(seal.value), "b": ""} == {**_tags(case["AS"].encode()), "b": ""}
    zone = {name: record.encode() for name, record in section["txt-records"].items()}
    if _tags(seal.value)["cv"] == "fail":  # then the seal covers its own set alone
        covered = canonical.signed_octets([results, signature], seal, relaxed=True)
        octets = tags.octets(_tags(seal.value)["b"])
        assert keys.public_key(zone["dummy._domainkey.example.org"], "rsa-sha256").verifies(
            octets or b"", covered
        )
    else:
        assert _validate(bytes(message.prepended(*fields)), zone).result is Result.PASS


# ---- our own chains, and dkimpy's word ----------------------------------------------------------------


def test_a_chain_of_two_forwarders_passes_here_and_with_dkimpy() -> None:
    raw = _sealed(_sealed(PLAIN, ONE, "none"), TWO, "pass")
    found = _validate(raw)
    assert (found.result, found.instances, found.sealer, found.oldest) == ("pass", 2, "two.example", 0)
    assert found.domains == ("one.example", "two.example")
    assert set(found.keys) == set(ZONE.values())
    state, _, reason = dkimpy.ARC(raw).verify(dnsfunc=lambda name, timeout=5: ZONE[name.decode().rstrip(".")])
    assert (state, reason) == (b"pass", "success")


def test_what_dkimpy_seals_validates_here() -> None:
    pem = keys.generate_rsa()[0]
    zone = {"s._domainkey.three.example": keys.SigningKey.from_pem("three.example", "s", pem).record.encode()}
    raw = b"Authentication-Results: mx.three.example; arc=none\r\n" + PLAIN
    fields = dkimpy.arc_sign(raw, b"s", b"three.example", pem, b"mx.three.example")
    assert _validate(b"".join(fields) + raw, zone).result is Result.PASS


def test_a_forwarder_that_changed_the_message_is_told_by_the_oldest_pass() -> None:
    first = _sealed(PLAIN, ONE, "none").replace(b"Subject: Hi", b"Subject: [list] Hi")
    found = _validate(_sealed(first, TWO, "pass"))
    assert (found.result, found.oldest) == ("pass", 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello", b"Hullo"),
        (b"Subject: Hi", b"Subject: Ho"),
        (b"\tspf=pass", b"\tspf=fail"),
        (b"DKIM-Signature: v=1", b"DKIM-Signature: v=2"),
    ],
)
def test_a_change_after_the_last_seal_fails(old: bytes, new: bytes) -> None:
    raw = _sealed(PLAIN, ONE, "none")
    assert old in raw
    assert _validate(raw.replace(old, new)).result is Result.FAIL


def test_a_failed_look_up_is_temporary_and_adds_no_seal() -> None:
    raw = _sealed(PLAIN, ONE, "none")
    found = _validate(raw, {"s._domainkey.one.example": None})
    assert found.result is Result.TEMPERROR
    assert arc.seal(raw, TWO, "mx; arc=temperror", NOW) == ()


def test_a_broken_chain_is_sealed_as_failed_once_and_by_nobody_after() -> None:
    broken = _sealed(PLAIN, ONE, "none").replace(b"Hello", b"Hullo")
    assert _validate(broken).result is Result.FAIL
    ended = _sealed(broken, TWO, "fail")
    assert b"cv=fail" in ended
    assert _validate(ended).reason == "i=2 says that the chain had failed"
    assert arc.seal(ended, ONE, "mx; arc=fail", NOW) == ()


def test_a_chain_that_came_in_unseen_is_not_continued() -> None:
    assert arc.seal(_sealed(PLAIN, ONE, "none"), TWO, "mx; arc=none", NOW) == ()


def test_a_full_chain_gets_no_further_set() -> None:
    sets = b"".join(b"ARC-Seal: i=%d; cv=pass\r\n" % n for n in range(1, 51))
    assert arc.seal(sets + PLAIN, ONE, "mx; arc=pass", NOW) == ()


def test_a_comment_that_speaks_of_arc_is_no_result() -> None:
    fields = arc.seal(PLAIN, ONE, 'mx; spf=fail (x; arc=pass) smtp.helo="a; arc=fail"; arc=none', NOW)
    assert b"cv=none" in fields[0].raw


def test_our_fields_are_folded_below_78_octets() -> None:
    for each in arc.seal(
        PLAIN, ONE, f"mx.one.example; {'; '.join(f'dkim=pass header.d={n}.example' for n in range(9))}", NOW
    ):
        assert max(map(len, each.raw.split(b"\r\n"))) <= 78


def _forwarded(results: str) -> ArcResult:
    first = b"".join(f.raw for f in arc.seal(PLAIN, ONE, results, NOW)) + PLAIN
    return _validate(_sealed(first.replace(b"Subject: Hi", b"Subject: [list] Hi"), TWO, "pass"))


def test_forwarders_that_are_all_trusted_vouch_for_what_the_first_one_found() -> None:
    found = _forwarded("mx.one.example; dmarc=pass (p=reject) header.from=shop.example; arc=none")
    assert found.told[0] == "mx.one.example; dmarc=pass (p=reject) header.from=shop.example; arc=none"
    both = {"one.example", "two.example"}
    assert arc.vouched(found, both, "shop.example")
    assert not arc.vouched(found, {"two.example"}, "shop.example")
    assert not arc.vouched(found, both, "else.example")
    assert not arc.vouched(found, both, "")
    assert not arc.vouched(ArcResult(Result.NONE), both, "shop.example")


@pytest.mark.parametrize(
    "added",
    ["Subject: URGENT: pay", "Reply-To: eve@evil.example", "Date: Mon, 2 Mar 2026 12:00:00 +0000",
     "Content-Type: multipart/mixed; boundary=x", "Content-Transfer-Encoding: base64"],
)  # fmt: skip
def test_a_field_put_on_top_of_what_a_sealer_signed_once_is_vouched_for_by_nobody(added: str) -> None:
    names = [b"from", b"subject", b"date", b"reply-to", b"content-type", b"content-transfer-encoding"]
    message = Message.parse(
        b"Date: Sun, 1 Mar 2026 12:00:00 +0000\r\nReply-To: orders@shop.example\r\n"
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n" + PLAIN
    )
    once = dkim.Covered(
        tuple(names),
        canonical.header_octets(canonical.chosen(message.fields, names), relaxed=True),
        dkim.body_hash(message.body),
    )
    results = "x; dmarc=pass header.from=shop.example; arc=none"
    mail = b"".join(each.raw for each in arc.seal(message, ONE, results, NOW, covered=once)) + bytes(message)
    sealed, changed = _validate(mail), _validate(added.encode() + b"\r\n" + mail)
    assert arc.vouched(sealed, {"one.example"}, "shop.example")
    assert changed.result is Result.PASS, "the chain holds, whatever stands on top"
    assert not arc.vouched(changed, {"one.example"}, "shop.example")


@pytest.mark.parametrize(
    "results",
    ["x; dmarc=fail header.from=shop.example", "x; dkim=pass (dmarc=pass header.from=shop.example)",
     'x; dkim=pass header.s="a; dmarc=pass header.from=shop.example"', "x; spf=pass"],
)  # fmt: skip
def test_results_that_prove_no_author_vouch_for_nobody(results: str) -> None:
    found = _forwarded(f"{results}; arc=none")
    assert found.result is Result.PASS
    assert not arc.vouched(found, {"one.example", "two.example"}, "shop.example")


# ---- strangers -----------------------------------------------------------------------------------------


def test_fifty_sets_cost_little() -> None:
    raw = PLAIN
    for n in range(50):
        raw = _sealed(raw, ONE, "pass" if n else "none")
    start = time.process_time()
    assert _validate(raw).result is Result.PASS
    assert time.process_time() - start < 2
    assert _sealed(raw, ONE, "pass") == raw


def test_a_seal_that_chooses_its_own_fields_is_no_seal() -> None:
    sealed = Message.parse(_sealed(PLAIN, ONE, "none"))
    signature, results = sealed.fields[1:3]
    for extra in (b"", b"; h=from"):
        emptied = b"i=1; a=rsa-sha256; cv=none; d=one.example; s=s" + extra + b"; b="
        octets = canonical.header_octets([results, signature], relaxed=True)
        octets += canonical.relaxed_field(b"ARC-Seal", emptied).removesuffix(b"\r\n")
        seal = Field(b"ARC-Seal", b"ARC-Seal: " + emptied + base64.b64encode(ONE.signature(octets)) + b"\r\n")
        raw = bytes(replace(sealed, fields=(seal, *sealed.fields[1:])))
        assert _validate(raw).result is (Result.FAIL if extra else Result.PASS)


def test_fifty_one_sets_are_no_chain() -> None:
    raw = _sealed(PLAIN, ONE, "none")
    assert _validate(raw.replace(b"i=1;", b"i=51;")).result is Result.FAIL
    assert _validate(raw.replace(b"i=1;", b"i=0;")).result is Result.FAIL


_field = st.tuples(
    st.sampled_from([b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]),
    st.lists(
        st.sampled_from(
            [b"i=1", b"i=2", b"i=", b"cv=none", b"cv=pass", b"a=rsa-sha256", b"d=one.example", b"s=s",
             b"b=AA==", b"bh=AA==", b"h=from", b"h=arc-seal", b"t=x", b"\xff", b"", b"mx; spf=pass"]
        ),
        max_size=9,
    ).map(b"; ".join),
)  # fmt: skip


@given(st.lists(_field, max_size=7))
def test_no_set_of_fields_makes_validating_or_sealing_raise(fields: list[tuple[bytes, bytes]]) -> None:
    raw = b"".join(name + b": " + value + b"\r\n" for name, value in fields) + PLAIN
    assert _validate(raw).result is not Result.PASS
    for state in ("none", "pass", "fail"):
        arc.seal(raw, ONE, f"mx; arc={state}", NOW)


@given(st.text(max_size=30))
def test_any_value_of_results_is_sealed_or_refused_as_a_value(text: str) -> None:
    safe = "".join(c for c in text if " " <= c <= "~")
    for each in arc.seal(PLAIN, ONE, f"mx; {safe}", NOW):
        assert isinstance(each, Field)
