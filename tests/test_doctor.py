"""`doctor`: each thing that may be wrong with an office, made wrong, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sortingoffice.cli.stage import OFFICE, Stage, opened
from sortingoffice.core import diagnosis
from sortingoffice.core.diagnosis import Health
from sortingoffice.core.records import Record
from sortingoffice.mail import asking
from sortingoffice.mail.asking import Answer, Outcome, Question

HOST = f"mx.{OFFICE}"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with opened() as stage:
        stage.init()
        stage.start()
        yield stage
        assert stage.stop() == 0, stage.log


def examined(stage: Stage) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the findings by what was looked at."""
    said = stage.run("doctor", "--json")
    rows = json.loads(said.out)
    assert all(row["remedy"] for row in rows if row["health"] != "ok"), rows
    return said.status, {row["check"]: row for row in rows}


def test_an_office_as_init_left_it_has_nothing_that_failed(stage: Stage) -> None:
    status, found = examined(stage)
    assert [row for row in found.values() if row["health"] == "failed"] == []
    assert status == 0
    looked_at = {check.split()[0] for check in found}
    assert looked_at >= set(
        "files disk database queue clock smtp tls address ptr mx spf dkim dmarc mta-sts".split()
    )
    assert found[f"spf {OFFICE}"]["said"] == "pass for 127.0.0.1; 1 of 10 look-ups"


@pytest.mark.parametrize(
    ("name", "type", "value", "check", "remedy"),
    [
        (OFFICE, "MX", "10 mx.elsewhere.example", f"mx {OFFICE}", f"publish {OFFICE} MX 10 {HOST}"),
        (OFFICE, "TXT", "v=spf1 ip4:192.0.2.1 -all", f"spf {OFFICE}", "127.0.0.1"),
        (OFFICE, "TXT", "v=spf1 " + "a " * 11 + "mx -all", f"spf {OFFICE}", "ten"),
        (f"_dmarc.{OFFICE}", "TXT", "v=DMARC2", f"dmarc {OFFICE}", "v=DMARC1; p=reject"),
        (f"rsa1._domainkey.{OFFICE}", "TXT", "v=DKIM1; p=AAAA", f"dkim rsa1._domainkey.{OFFICE}", "p="),
        (HOST, "TXT", "", f"spf {HOST}", "v=spf1 a"),
        (f"_mta-sts.{OFFICE}", "TXT", "v=STSv1; id=1;", f"mta-sts {OFFICE}", "mta-sts.txt"),
    ],
)
def test_a_record_that_is_wrong_fails_with_the_one_to_publish(
    stage: Stage, name: str, type: str, value: str, check: str, remedy: str
) -> None:
    before = stage.zone.records.get((name, type))
    if value:
        stage.zone.set(name, type, value)
    else:
        stage.zone.remove(name, type)
    try:
        status, found = examined(stage)
    finally:
        if before is None:
            stage.zone.remove(name, type)
        else:
            stage.zone.records[name, type] = before
    assert (status, found[check]["health"]) == (1, "failed")
    assert remedy in found[check]["remedy"]


def test_dns_that_does_not_answer_is_no_failure(stage: Stage) -> None:
    before = stage.zone.records[f"_dmarc.{OFFICE}", "TXT"]
    stage.zone.set(f"_dmarc.{OFFICE}", "TXT", "SERVFAIL")
    try:
        status, found = examined(stage)
    finally:
        stage.zone.records[f"_dmarc.{OFFICE}", "TXT"] = before
    assert (status, found[f"dmarc {OFFICE}"]["health"]) == (0, "warning")


def test_a_key_that_others_can_read_fails(stage: Stage) -> None:
    path = stage.folder / "office" / "keys" / "dkim" / OFFICE / "rsa1.pem"
    path.chmod(0o644)
    try:
        status, found = examined(stage)
    finally:
        path.chmod(0o600)
    assert (status, found[f"file {path}"]["remedy"]) == (1, f"chmod go-rwx {path}")


def test_an_office_that_cannot_be_opened_is_a_finding_too(stage: Stage) -> None:
    path = stage.folder / "office" / "keys" / "token.key"
    path.chmod(0o644)
    try:
        status, found = examined(stage)
    finally:
        path.chmod(0o600)
    assert (status, found["office"]["health"]) == (1, "failed")


def test_a_certificate_that_nobody_vouches_for_is_a_warning_between_mail_servers(stage: Stage) -> None:
    _, found = examined(stage)
    finding = found[f"tls 127.0.0.1:{stage.smtp_port}"]
    assert finding["health"] == "warning"
    assert "self" in finding["said"]


def test_a_port_where_nobody_listens_fails() -> None:
    with opened() as stage:
        stage.init()
        status, found = examined(stage)
        assert (status, found[f"smtp 127.0.0.1:{stage.port}"]["health"]) == (1, "failed")
        said = stage.run("doctor")
        assert said.status == 1
        assert "FAILED" in said.out
        assert "→ run `sortingoffice serve`" in said.out


# ---- what no loopback can show ---------------------------------------------------------------------------


def answering(records: dict[tuple[str, str], tuple[object, ...]]) -> Any:
    def answer(question: Question) -> Answer:
        found = records.get((question.name, question.type))
        return Answer(Outcome.NO_NAME) if found is None else Answer(Outcome.FOUND, found)

    return answer


@pytest.mark.parametrize(
    ("back", "direct", "health"),
    [
        (("mx.sort.example",), True, Health.OK),
        (("other.example",), True, Health.FAILED),
        ((), True, Health.FAILED),
        ((), False, Health.WARNING),
    ],
)
def test_an_address_leads_back_to_its_name(back: tuple[str, ...], direct: bool, health: Health) -> None:
    records: dict[tuple[str, str], tuple[object, ...]] = {
        (HOST, "A"): ("8.8.4.4",),
        ("4.4.8.8.in-addr.arpa", "PTR"): back,
    }
    found = asking.run(diagnosis.host(HOST, direct=direct), answering(records))
    assert [each.health for each in found] == [Health.OK, health]


def test_the_look_ups_of_includes_count() -> None:
    records: dict[tuple[str, str], tuple[object, ...]] = {
        ("a.example", "TXT"): (b"v=spf1 include:b.example include:c.example -all",),
        ("b.example", "TXT"): (b"v=spf1 a mx exists:%{i}.x.example ip4:192.0.2.1 -all",),
        ("c.example", "TXT"): (b"v=spf1 redirect=d.example",),
        ("d.example", "TXT"): (b"v=spf1 a a a a a -all",),
    }
    found = asking.run(diagnosis.sender_policy("a.example", HOST, ()), answering(records))
    assert (found[0].health, found[0].said) == (Health.FAILED, "11 look-ups, at most 10 are allowed")


def test_a_policy_that_includes_itself_ends() -> None:
    records: dict[tuple[str, str], tuple[object, ...]] = {
        ("a.example", "TXT"): (b"v=spf1 include:a.example include:b.example -all",),
        ("b.example", "TXT"): (b"v=spf1 include:a.example -all",),
    }
    assert asking.run(diagnosis.sender_policy("a.example", HOST, ()), answering(records))


@pytest.mark.parametrize(
    ("text", "health"),
    [
        ("version: STSv1\r\nmode: enforce\r\nmx: mx.sort.example\r\nmax_age: 86400\r\n", Health.OK),
        ("version: STSv1\nmode: enforce\nmx: *.sort.example\n", Health.OK),
        ("version: STSv1\nmode: enforce\nmx: mx.old.example\n", Health.FAILED),
        ("version: STSv1\nmode: testing\nmx: mx.old.example\n", Health.OK),
        ("<html>", Health.FAILED),
        (None, Health.FAILED),
    ],
)
def test_a_transport_policy_names_this_host(text: str | None, health: Health) -> None:
    assert diagnosis.transport_policy(OFFICE, HOST, text).health is health


def test_a_next_key_that_is_not_published_yet_is_a_warning() -> None:
    record = Record(f"rsa2._domainkey.{OFFICE}", "TXT", "v=DKIM1; k=rsa; p=AAAA")
    assert asking.run(diagnosis.key(record, "next"), answering({})).health is Health.WARNING
    assert asking.run(diagnosis.key(record, "signing"), answering({})).health is Health.FAILED
    assert asking.run(diagnosis.key(record, "missing"), answering({})).health is Health.FAILED
