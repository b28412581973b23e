"""`doctor` on the machine itself: queue, clock, certificates, files; each made ok, doubtful and wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from sortingoffice.core.diagnosis import Finding, Health
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import doctor
from sortingoffice.flows.office import now
from sortingoffice.mail import certificate
from sortingoffice.net import probe
from sortingoffice.net.resolver import Resolver
from sortingoffice.values import Endpoint
from tests.person import DOMAIN, Person
from tests.test_housekeeping import later


def one(found: object, check: str) -> Finding:
    listed = [each for each in found if each.check == check]  # type: ignore[attr-defined]
    assert len(listed) == 1, (check, found)
    finding: Finding = listed[0]
    assert bool(finding.remedy) is (finding.health is not Health.OK), finding
    return finding


@pytest.mark.parametrize(("minutes", "health"), [(0, Health.OK), (59, Health.OK), (61, Health.FAILED)])
def test_mail_that_is_due_and_is_not_tried_fails(person: Person, minutes: int, health: Health) -> None:
    person.out("new", "Lamp Shop")
    person.spooled("lamp-shop", DeliveryState.QUEUED)
    with person.office() as office:
        found = one(doctor.queue(later(office, minutes=minutes)), "queue")
    assert found.health is health
    assert found.said.startswith("1 wait")
    if health is Health.FAILED:
        assert "serve" in found.remedy


def test_mail_that_waits_for_a_word_for_a_week_is_a_warning(person: Person) -> None:
    person.out("new", "Lamp Shop")
    person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    with person.office() as office:
        assert [each.check for each in doctor.queue(later(office, days=6))] == ["queue"]
        found = one(doctor.queue(later(office, days=8)), "held")
    assert found.health is Health.WARNING
    assert "held list" in found.remedy


@pytest.mark.parametrize(
    ("told", "health"), [(True, Health.OK), (False, Health.WARNING), (None, Health.WARNING)]
)
def test_a_clock_that_nothing_sets_is_a_warning(
    person: Person, monkeypatch: pytest.MonkeyPatch, told: bool | None, health: Health
) -> None:
    monkeypatch.setattr(probe, "clock_synchronised", lambda: told)  # the kernel's word
    with person.office() as office:
        assert one(doctor.clock(office), "clock").health is health


def test_a_clock_behind_the_log_fails(person: Person) -> None:
    person.out("new", "Lamp Shop")
    with person.office() as office:
        found = one(doctor.clock(later(office, minutes=-10)), "clock")
    assert (found.health, found.remedy) == (Health.FAILED, "set the clock; DKIM signatures carry its time")


@pytest.mark.parametrize(
    ("kind", "days", "chain", "health", "said"),
    [
        ("smtp", 100, "", Health.OK, "verified, until"),
        ("smtp", 15, "", Health.OK, "verified, until"),
        ("smtp", 13, "", Health.WARNING, "in 12 days"),
        ("smtp", -1, "", Health.FAILED, "ended"),
        ("submission", -1, "", Health.FAILED, "ended"),
        ("smtp", 100, "self-signed", Health.WARNING, "not verified"),
        ("submission", 100, "self-signed", Health.FAILED, "will not trust"),
    ],
)
def test_a_certificate_is_looked_at_before_it_ends(
    person: Person, kind: str, days: int, chain: str, health: Health, said: str
) -> None:
    pem, _ = certificate.self_signed("mx.sort.example", now() - certificate.LIFE + timedelta(days=days))
    seen = probe.Seen("", "220 hello", chain, pem)
    with person.office() as office:
        found = one(doctor._certificate(office, "tls here", kind, seen), "tls here")
    assert found.health is health
    assert said in found.said


def test_a_server_without_tls_fails(person: Person) -> None:
    with person.office() as office:
        found = one(doctor._certificate(office, "tls here", "smtp", probe.Seen("", "220 hello")), "tls here")
    assert (found.health, found.said) == (Health.FAILED, "no STARTTLS")


@pytest.mark.parametrize(
    ("name", "mode", "health"),
    [
        ("keys/token.key", 0o600, Health.OK),
        ("keys/token.key", 0o640, Health.FAILED),
        ("keys", 0o755, Health.FAILED),
        ("office.db", 0o640, Health.OK),
        ("office.db", 0o644, Health.FAILED),
        (".", 0o701, Health.FAILED),
    ],
)
def test_files_that_others_can_read_fail(person: Person, name: str, mode: int, health: Health) -> None:
    with person.office() as office:
        path = (office.config.data_dir / name).resolve()
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        try:
            found = [each for each in doctor.files(office) if each.check in ("files", f"file {path}")]
        finally:
            path.chmod(before)
    assert [each.health for each in found] == [health]
    if health is Health.FAILED:
        assert found[0].remedy == f"chmod go-rwx {path}"


def test_a_key_file_that_is_gone_fails(person: Person, tmp_path: Path) -> None:
    text = person.config.read_text()
    section = "[delivery]\n" if "[delivery]" not in text else ""
    gone = tmp_path / "gone"
    line = f'smarthost_password_file = "{gone}"\n'
    person.config.write_text(text.replace("[delivery]\n", f"[delivery]\n{line}") if not section else text)
    if section:
        person.config.write_text(f"{text}\n{section}{line}")
    with person.office() as office:
        found = one(doctor.files(office), f"file {gone}")
    assert found.health is Health.FAILED


def test_a_certificate_that_is_gone_fails_and_one_that_all_may_read_does_not(
    person: Person, tmp_path: Path
) -> None:
    shown, key = tmp_path / "shown.pem", tmp_path / "shown.key"
    key.touch(0o600)
    with person.office() as office:
        config = replace(office.config, smtp=replace(office.config.smtp, tls_certificate=shown, tls_key=key))
        with_it = replace(office, config=config)
        assert one(doctor.files(with_it), f"file {shown}").health is Health.FAILED
        shown.touch(0o644)
        assert one(doctor.files(with_it), "files").health is Health.OK


def test_each_line_says_ok_warning_or_failed_and_what_to_do(person: Person) -> None:
    """Nobody listens here, so something has failed: status 1, in words and in JSON alike."""
    words = person.says("doctor")
    rows = json.loads(person.says("doctor", "--json").out)
    assert words.status == person.says("doctor", "--json").status == 1
    assert {row["health"] for row in rows} <= {"ok", "warning", "failed"}
    assert all(row["remedy"] for row in rows if row["health"] != "ok")
    for row in rows:
        assert row["check"] in words.out
        if row["health"] == "failed":
            assert f"→ {row['remedy']}" in words.out
    bad = sum(row["health"] == "failed" for row in rows)
    assert f"{bad} failed" in words.out + words.err


class Together(asyncio.DatagramProtocol):
    """A name server that answers for a domain once it was asked for the MX, the policies and the keys."""

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._waiting: list[tuple[dns.message.Message, object]] = []
        self._asked: set[tuple[str, str]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True)
        type = dns.rdatatype.to_text(query.question[0].rdtype)
        self._waiting.append((query, address))
        if name.endswith(self._domain) and type in ("MX", "TXT"):
            self._asked.add((name, type))
        if len(self._asked) >= 6:  # MX, SPF, two keys, DMARC, MTA-STS
            ready, self._waiting = self._waiting, []
        elif type in ("MX", "TXT"):
            ready = []
        else:
            ready = [self._waiting.pop()]
        for question, asker in ready:
            answer = dns.message.make_response(question)
            answer.set_rcode(dns.rcode.NXDOMAIN)
            answer.flags |= dns.flags.AA
            self._transport.sendto(answer.to_wire(), asker)  # type: ignore[attr-defined]


def test_what_a_domain_publishes_is_asked_for_at_once(person: Person) -> None:
    """Else a name server that is down would take its time-out once for each record of each domain."""

    async def examined() -> list[Finding]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Together(DOMAIN), local_addr=("127.0.0.1", 0)
        )
        try:
            host, port = transport.get_extra_info("sockname")
            with person.office() as office:
                asking = replace(office, resolver=Resolver([Endpoint(host, port)]))
                return [each async for each in doctor._names(asking)]
        finally:
            transport.close()

    found = asyncio.run(examined())
    assert {each.check.split()[0] for each in found} >= {"mx", "spf", "dkim", "dmarc", "mta-sts"}
    assert [each.check for each in found if each.said == "DNS did not answer"] == []
