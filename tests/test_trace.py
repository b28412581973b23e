"""Received and Authentication-Results: what we write, and what of others' we take away."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core.model import Peer
from sortingoffice.mail import trace
from sortingoffice.mail.authentication import (
    ArcResult,
    Authentication,
    DkimResult,
    DmarcResult,
    Result,
    SpfResult,
)
from sortingoffice.mail.message import Message

AT = datetime(2026, 3, 1, 13, 0, 5, tzinfo=timezone(timedelta(hours=1)))
PEER = Peer("192.0.2.1", "mail.shop.example", "TLSv1.3 TLS_AES_256_GCM_SHA384")


def test_our_received_says_where_from_and_by_whom_with_a_utc_date() -> None:
    field = trace.received("mx.sort.example", "abcd1234", AT, origin=trace.origin(PEER))
    assert field.raw == (
        b"Received: from mail.shop.example ([192.0.2.1]) by mx.sort.example\r\n"
        b"\twith ESMTPS id abcd1234;\r\n\tSun, 01 Mar 2026 12:00:05 +0000\r\n"
    )


def test_outward_mail_has_no_from_and_no_with() -> None:
    assert trace.received("mx.sort.example", "abcd1234", AT).raw == (
        b"Received: by mx.sort.example id abcd1234;\r\n\tSun, 01 Mar 2026 12:00:05 +0000\r\n"
    )


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        (Peer("2001:db8::1", "a"), "a ([IPv6:2001:db8::1]) with ESMTP"),
        (Peer("::ffff:192.0.2.1", "[192.0.2.1]"), "[192.0.2.1] ([IPv6:::ffff:c000:201]) with ESMTP"),
        (Peer("192.0.2.1", "a", "TLSv1.3 X", 7), "a ([192.0.2.1]) with ESMTPSA"),
        (Peer("192.0.2.1", "a", esmtp=False), "a ([192.0.2.1]) with SMTP"),
        (Peer("192.0.2.1", "a) by evil (b"), "unknown ([192.0.2.1]) with ESMTP"),
        (Peer("192.0.2.1", "a with x"), "unknown ([192.0.2.1]) with ESMTP"),
        (Peer("192.0.2.1", "a\r\nX: y"), "unknown ([192.0.2.1]) with ESMTP"),
        (Peer("192.0.2.1", ""), "unknown ([192.0.2.1]) with ESMTP"),
        (Peer("", "a"), "a ([unknown]) with ESMTP"),
    ],
)
def test_a_peers_words_stand_in_the_trace_only_where_they_are_a_name(peer: Peer, origin: str) -> None:
    assert trace.origin(peer) == origin


def test_a_marked_message_is_known_again_and_only_by_its_mark() -> None:
    field = trace.received("mx.sort.example", "abcd", AT, origin=trace.origin(PEER), mark="k" * 16)
    message = Message((field,), b"\r\n", b"")
    assert trace.carries(message, "mx.sort.example", "k" * 16)
    assert trace.carries(Message.parse(bytes(message).upper()), "MX.sort.example", "k" * 16)
    assert not trace.carries(message, "mx.sort.example", "l" * 16)
    assert not trace.carries(message, "mx.else.example", "k" * 16)


def test_hops_are_counted() -> None:
    assert (
        trace.hops(Message.parse(b"Received: a\r\nreceived : b\r\nX-Received: c\r\n\r\nReceived: d\r\n")) == 2
    )


# ---- results -----------------------------------------------------------------------------------------


FULL = Authentication(
    spf=SpfResult(
        Result.PASS, domain="shop.example", sender="bounce@shop.example", reason="ip4:192.0.2.0/24"
    ),
    dkim=(
        DkimResult(Result.PASS, "shop.example", "r1", "rsa-sha256", tag="AbCd+/12", bits=2048),
        DkimResult(
            Result.FAIL, "news.example", "e1", "ed25519-sha256", tag="xyz", reason="body hash did not verify"
        ),
    ),
    dmarc=DmarcResult(Result.PASS, "reject", "shop.example", aligned_spf=True),
    arc=ArcResult(Result.PASS, 2, "lists.example", 0, ("a.example", "lists.example")),
    from_domain="shop.example",
    ip="192.0.2.1",
)


def test_all_results_are_told_in_one_field_that_others_can_read() -> None:
    field = trace.recorded_results(FULL.text("mx.sort.example"))
    assert max(map(len, field.raw.split(b"\r\n"))) <= 78
    read = authres.AuthenticationResultsHeader.parse("Authentication-Results: " + field.unfolded.decode())
    assert read.authserv_id == "mx.sort.example"
    assert [(result.method, result.result) for result in read.results] == [
        ("spf", "pass"), ("dkim", "pass"), ("dkim", "fail"), ("dmarc", "pass"), ("arc", "pass"),
    ]  # fmt: skip
    shown = {f"{p.type}.{p.name}": p.value for result in read.results[:2] for p in result.properties}
    assert shown["smtp.mailfrom"] == "bounce@shop.example"
    assert (shown["header.d"], shown["header.s"]) == ("shop.example", "r1")


def test_a_message_without_anything_still_says_none() -> None:
    text = Authentication().text("mx.sort.example")
    assert text == "mx.sort.example; spf=none; dkim=none; dmarc=none; arc=none"


_evil = st.text(st.sampled_from('ab@.;="\\()\r\n\t <>,:\x00\x7fü\u202e'), max_size=40).map(
    lambda text: text.replace(";", "; dmarc=pass")
)


@given(_evil, _evil, _evil, _evil)
def test_no_value_of_a_peer_adds_a_result_or_breaks_the_field(
    one: str, two: str, three: str, four: str
) -> None:
    auth = Authentication(
        spf=SpfResult(Result.FAIL, domain=one, sender=two, reason=three),
        dkim=(DkimResult(Result.FAIL, one, two, three, tag=four, reason=four),),
        dmarc=DmarcResult(Result.FAIL, "reject", one, reason=two),
        arc=ArcResult(Result.FAIL, 1, three, reason=four),
        from_domain=one,
        ip=two,
    )
    field = trace.recorded_results(auth.text("mx.sort.example"))
    assert re.fullmatch(rb"[\x20-\x7e\r\n\t]*", field.raw)
    assert len(Message.parse(field.raw + b"\r\n").fields) == 1
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\([^()]*\)', "", field.unfolded.decode())
    assert re.findall(r"([a-z]+)=(pass|fail|none|\w+)", re.sub(r"\S+\.\S+", "", bare)) == [
        ("spf", "fail"), ("dkim", "fail"), ("dmarc", "fail"), ("arc", "fail"),
    ]  # fmt: skip


_word = st.sampled_from(
    ["dkim=pass", '"a ; b  c"', "(a ; b  c)", 'x="a; b\\" c"', "y=1;", "b" * 90, '"', "("]
)


@given(st.lists(_word, min_size=1, max_size=20))
def test_folding_adds_folds_between_words_and_nothing_else(words: list[str]) -> None:
    text = " ".join(words)
    assert trace.folded(text, 10).replace("\r\n\t", " ") == text


# ---- forged ones ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "mx.sort.example; dkim=pass", " MX.Sort.Example ; dkim=pass", "mx.sort.example 1; none",
        "mx.sort.example.; none",
        "mx.sort.example", '"mx.sort.example"; none', '"mx.sort.\\example" 1; none',
        "(hi) mx.sort.example (x) 1; none",
        "(a (b) \\) c)\r\n mx.sort.example; none", "\r\n\tmx.sort.example;\r\n\tdkim=pass",
        "mx.\uff53ort\u3002exam\u00adple; none", "\uff4d\uff58\uff0esort.example 1; none",
        "mx.sort.example(x); none", "=?utf-8?q?mx=2Esort=2Eexample?=; none",
        "=?us-ascii?b?bXguc29ydC5leGFtcGxl?= 1; none",
        "=?utf-8?q?mx=2Esort?=\r\n =?utf-8?q?=2Eexample;_dkim?= =pass",
    ],
)  # fmt: skip
def test_results_that_claim_to_be_ours_are_removed(value: str) -> None:
    message = Message.parse(
        f"Authentication-Results: {value}\r\nauthentication-results : {value}\r\nA: b\r\n\r\n".encode()
    )
    assert [f.name for f in trace.without_forged(message, "mx.sort.example").fields] == [b"A"]


@pytest.mark.parametrize("name", ["mx.bücher.example", "MX.BÜCHER.example.", "mx.xn--bcher-kva.example"])
def test_results_that_write_our_international_name_as_people_do_are_removed(name: str) -> None:
    message = Message.parse(f"Authentication-Results: {name}; dkim=pass\r\n\r\n".encode())
    assert trace.without_forged(message, "mx.xn--bcher-kva.example").fields == ()


@pytest.mark.parametrize(
    "value",
    [
        "mx.else.example; dkim=pass",
        "xmx.sort.example; x",
        "(mx.sort.example) y; x",
        "",
        "(",
        '"',
        "\xff; x",
        ";",
    ],
)
def test_results_of_others_are_kept_octet_for_octet(value: str) -> None:
    raw = (
        b"Authentication-Results: "
        + value.encode("latin-1")
        + b"\r\nX-Authentication-Results: mx.sort.example; a\r\n\r\n"
    )
    assert bytes(trace.without_forged(Message.parse(raw), "mx.sort.example")) == raw


@given(st.binary(max_size=60))
def test_no_octets_make_the_removal_raise(value: bytes) -> None:
    message = Message.parse(b"Authentication-Results: " + value + b"\r\n\r\n")
    trace.without_forged(message, "mx.sort.example")
    trace.carries(Message.parse(b"Received: " + value + b"\r\n\r\n"), "mx.sort.example", "m")


@pytest.mark.parametrize(
    "value", [b"(" * 100_000, b"()" * 50_000, b"\\" * 100_000, b" " * 100_000, b'"' * 100_000]
)
def test_a_hostile_value_costs_linear_time(value: bytes) -> None:
    message = Message.parse(b"Authentication-Results: " + value + b"\r\n\r\n")
    start = time.process_time()
    trace.without_forged(message, "mx.sort.example")
    assert time.process_time() - start < 1


@given(st.text(alphabet='ab"\\(); =/', max_size=40))
def test_the_words_of_results_are_the_whole_value(text: str) -> None:
    assert "; ".join(" ".join(words) for words in trace.results(text)) == text


@pytest.mark.parametrize("unit", ["(\\", '"\\', "(", '"', '("', "(\\(", "((a", '"a ', "; ("])
@pytest.mark.parametrize("end", ["", "\\", "(a", '"', ")"])
def test_hostile_results_are_split_in_linear_time(unit: str, end: str) -> None:
    started = time.process_time()
    assert list(trace.results(unit * 30_000 + end))
    assert time.process_time() - started < 3


def test_dates_are_told_in_utc() -> None:
    assert trace.received("h", "t", AT.astimezone(UTC)).raw == trace.received("h", "t", AT).raw
