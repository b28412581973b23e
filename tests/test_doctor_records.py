"""`doctor` on DNS that answers in part, on keys that nobody can use, on policies from elsewhere.

What DNS could not tell is a warning, never "missing".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sortingoffice.core import diagnosis
from sortingoffice.core.diagnosis import Finding, Health
from sortingoffice.core.records import Record
from sortingoffice.flows import doctor
from sortingoffice.mail import asking, keys
from sortingoffice.mail.asking import Answer, Outcome, Question
from sortingoffice.net.resolver import Resolver
from sortingoffice.net.zone import ZoneServer
from sortingoffice.values import Endpoint
from tests.person import DOMAIN, Person

HOST = f"mx.{DOMAIN}"
SILENT = Answer(Outcome.TEMPORARY)
Zone = dict[tuple[str, str], tuple[object, ...] | Answer]


def answering(zone: Zone) -> Callable[[Question], Answer]:
    def answer(question: Question) -> Answer:
        found = zone.get((question.name, question.type), Answer(Outcome.NO_NAME))
        return found if isinstance(found, Answer) else Answer(Outcome.FOUND, found)

    return answer


def healths(found: tuple[Finding, ...]) -> list[Health]:
    assert all(bool(each.remedy) is (each.health is not Health.OK) for each in found), found
    return [each.health for each in found]


# ---- half an answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("silent", "told"), [("A", "AAAA"), ("AAAA", "A")])
def test_an_address_that_dns_did_not_tell_is_a_warning_beside_the_one_that_it_told(
    silent: str, told: str
) -> None:
    ip = {"A": "8.8.4.4", "AAAA": "2001:4860:4860::8844"}[told]
    back = {"A": "4.4.8.8.in-addr.arpa", "AAAA": f"{'4.4.8.8' + '.0' * 16}.0.6.8.4.0.6.8.4.1.0.0.2.ip6.arpa"}
    zone: Zone = {(HOST, silent): SILENT, (HOST, told): (ip,), (back[told], "PTR"): (HOST,)}
    found = asking.run(diagnosis.host(HOST, direct=True), answering(zone))
    assert healths(found) == [Health.WARNING, Health.OK]
    assert found[0].said == f"{ip}; DNS did not answer for the {silent} of {HOST}"
    assert "again" in found[0].remedy


def test_a_host_of_which_dns_told_nothing_is_no_host_without_an_address() -> None:
    zone: Zone = {(HOST, "A"): SILENT}
    found = asking.run(diagnosis.host(HOST, direct=True), answering(zone))
    assert (healths(found), found[0].said) == ([Health.WARNING], "DNS did not answer")


def test_spf_that_passes_for_the_addresses_that_dns_told_says_which_it_did_not() -> None:
    zone: Zone = {(DOMAIN, "TXT"): (b"v=spf1 ip6:2001:db8::/32 -all",)}
    untold = f"the A of {HOST}"
    program = diagnosis.sender_policy(DOMAIN, HOST, ("2001:db8::1",), untold=untold)
    found = asking.run(program, answering(zone))
    assert healths(found) == [Health.WARNING]
    said = f"pass for 2001:db8::1; 0 of 10 look-ups; DNS did not answer for {untold}"
    assert found[0].said == said
    none = asking.run(diagnosis.sender_policy(DOMAIN, HOST, (), untold=untold), answering(zone))
    assert (healths(none), none[0].said) == ([Health.WARNING], "DNS did not answer")


def test_doctor_says_of_whose_address_dns_told_nothing_at_spf_too(person: Person) -> None:
    with ZoneServer() as zone:
        zone.set(HOST, "A", "SERVFAIL")
        zone.set(HOST, "AAAA", "2001:db8::1")
        zone.set(DOMAIN, "MX", f"10 {HOST}.")
        zone.set(DOMAIN, "TXT", "v=spf1 mx -all")
        found = examined(person, zone)
    assert found[f"address {HOST}"].said == f"2001:db8::1; DNS did not answer for the A of {HOST}"
    assert found[f"spf {DOMAIN}"].health is Health.WARNING
    assert found[f"spf {DOMAIN}"].said.endswith(f"; DNS did not answer for the A of {HOST}")


@pytest.mark.parametrize(
    ("a", "aaaa", "said"),
    [
        ("SERVFAIL", "SERVFAIL", ""),
        ("SERVFAIL", "", ""),
        ("", "SERVFAIL", ""),
        ("SERVFAIL", "::1", "its policy can't be fetched ("),  # nobody has a certificate for it there
    ],
)
def test_an_address_of_mta_sts_that_dns_did_not_tell_is_a_warning(
    person: Person, a: str, aaaa: str, said: str
) -> None:
    with ZoneServer() as zone:
        zone.set(f"_mta-sts.{DOMAIN}", "TXT", "v=STSv1; id=1;")
        for type, value in (("A", a), ("AAAA", aaaa)):
            if value:
                zone.set(f"mta-sts.{DOMAIN}", type, value)
        found = examined(person, zone)[f"mta-sts {DOMAIN}"]
    assert found.health is Health.WARNING
    assert found.said.startswith(said or "DNS did not answer")
    assert "DNS did not answer" in found.said
    assert "again" in found.remedy


def test_a_host_of_mta_sts_that_has_no_address_fails(person: Person) -> None:
    with ZoneServer() as zone:
        zone.set(f"_mta-sts.{DOMAIN}", "TXT", "v=STSv1; id=1;")
        found = examined(person, zone)[f"mta-sts {DOMAIN}"]
    assert found.health is Health.FAILED
    assert "has no address" in found.said


def examined(person: Person, zone: ZoneServer) -> dict[str, Finding]:
    """What is said of the names, by what was looked at."""

    async def names() -> list[Finding]:
        with person.office() as office:
            asking = replace(office, resolver=Resolver([Endpoint(*zone.endpoint)], timeout=2.0))
            return [each async for each in doctor._names(asking)]

    return {each.check: each for each in asyncio.run(names())}


# ---- keys ------------------------------------------------------------------------------------------------

ED25519, RSA = keys.generate_ed25519()[1], keys.generate_rsa()[1]
PUBLIC = {"ed25519": ED25519, "rsa": RSA}
OURS = {
    "ed25519": Record(f"ed1._domainkey.{DOMAIN}", "TXT", f"v=DKIM1; k=ed25519; p={ED25519}"),
    "rsa": Record(f"rsa1._domainkey.{DOMAIN}", "TXT", f"v=DKIM1; k=rsa; p={RSA}"),
}


def key(kind: str, *published: str, state: str = "signing") -> Finding:
    record = OURS[kind]
    zone: Zone = {(record.name, "TXT"): tuple(each.encode() for each in published)}
    found = asking.run(diagnosis.key(record, state), answering(zone))
    healths((found,))
    return found


@pytest.mark.parametrize(
    ("kind", "published", "why"),
    [
        ("ed25519", "v=DKIM1; p={key}", "key of another algorithm"),
        ("ed25519", "v=DKIM1; k=ed25519; s=tlsrpt; p={key}", "key not for email"),
        ("ed25519", "v=DKIM1; k=ed25519; h=sha1; p={key}", "key not for sha256"),
        ("ed25519", "p={key}; v=DKIM1; k=ed25519", "not a DKIM1 key record"),
        ("rsa", "v=DKIM1; k=ed25519; p={key}", "key of another algorithm"),
        ("rsa", "v=DKIM1; h=sha1; p={key}", "key not for sha256"),
        ("rsa", "v=DKIM1; p={key}; p={key}", "key record malformed"),
        ("rsa", "v=DKIM1; p=", "key revoked"),
    ],
)
def test_a_key_that_no_verifier_can_use_fails_with_the_record_to_publish(
    kind: str, published: str, why: str
) -> None:
    published = published.format(key=PUBLIC[kind])
    with pytest.raises(keys.Unusable, match=why):
        keys.public_key(published.encode(), f"{kind}-sha256")
    found = key(kind, published)
    assert found.health is Health.FAILED
    assert why in found.said
    assert found.remedy == f"publish {OURS[kind].name} TXT {OURS[kind].value}"
    assert key(kind, published, state="next").health is Health.WARNING


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("ed25519", OURS["ed25519"].value),
        ("ed25519", f"k=ed25519;p={ED25519}"),
        ("rsa", f"v=DKIM1; p={RSA}"),
        ("rsa", f"v=DKIM1; h=sha1:sha256; s=email; t=s; p={RSA[:100]} \t{RSA[100:]};"),
    ],
    ids=["ours", "short", "without k", "folded"],
)
def test_a_key_that_verifiers_can_use_is_ok_however_its_record_is_written(kind: str, published: str) -> None:
    assert key(kind, published).health is Health.OK
    assert key(kind, published, state="next").health is Health.OK


def test_another_key_and_one_record_too_many_fail() -> None:
    other = keys.generate_ed25519()[1]
    assert key("ed25519", f"v=DKIM1; k=ed25519; p={other}").said == "another key is published"
    found = key("rsa", OURS["rsa"].value, "v=spf1 -all")
    assert (found.health, found.said) == (Health.FAILED, "more than one record is published")
    assert found.remedy.endswith("and nothing else there")


# ---- SPF, where a smarthost takes the mail ---------------------------------------------------------------

SMARTHOST = "smtp.provider.example"
PROVIDER: Zone = {
    (DOMAIN, "TXT"): (b"v=spf1 mx include:out.provider.example ~all",),
    (DOMAIN, "MX"): ((10, HOST),),
    (HOST, "A"): ("198.51.100.1",),
    ("out.provider.example", "TXT"): (b"v=spf1 ip4:203.0.113.0/24 -all",),
}


def relayed(zone: Zone) -> tuple[Finding, ...]:
    program = diagnosis.sender_policy(DOMAIN, HOST, ("192.0.2.25",), smarthost=SMARTHOST)
    return asking.run(program, answering(zone))


@pytest.mark.parametrize("end", ["~all", "-all", "?all", "include:nobody.example -all"])
def test_a_smarthost_that_sends_from_other_addresses_than_it_takes_mail_at_fails_no_policy(end: str) -> None:
    policy = f"v=spf1 mx include:out.provider.example {end}".encode()
    found = relayed(PROVIDER | {(DOMAIN, "TXT"): (policy,)})
    assert healths(found) == [Health.WARNING]
    assert "192.0.2.25" in found[0].said
    assert f"where {SMARTHOST} takes mail; from where it sends is not known here" in found[0].said
    assert f"include: that the operator of {SMARTHOST} names" in found[0].remedy
    direct = asking.run(
        diagnosis.sender_policy(DOMAIN, HOST, ("192.0.2.25",)),
        answering(PROVIDER | {(DOMAIN, "TXT"): (policy,)}),
    )
    assert healths(direct) == [Health.FAILED]


def test_with_a_smarthost_a_policy_that_is_missing_or_too_dear_still_fails() -> None:
    missing = relayed({})
    assert healths(missing) == [Health.FAILED]
    assert missing[0].remedy.startswith(f"publish {DOMAIN} TXT v=spf1 mx ~all, with the include: ")
    dear = relayed(PROVIDER | {(DOMAIN, "TXT"): (b"v=spf1 ip4:192.0.2.0/24" + b" a" * 11 + b" ~all",)})
    assert healths(dear) == [Health.FAILED]
    fine = relayed(PROVIDER | {(DOMAIN, "TXT"): (b"v=spf1 ip4:192.0.2.0/24 ~all",)})
    assert healths(fine) == [Health.OK]


@pytest.mark.parametrize(("smarthost", "ip"), [(SMARTHOST, "192.0.2.25"), ("192.0.2.25", "192.0.2.25")])
def test_doctor_fails_no_policy_of_an_office_with_a_smarthost(
    person: Person, smarthost: str, ip: str
) -> None:
    text = person.config.read_text()
    assert "smarthost" not in text
    line = f'smarthost = "{smarthost}:587"\n'
    section = "[delivery]\n"
    with_it = text.replace(section, section + line) if section in text else f"{text}\n{section}{line}"
    person.config.write_text(with_it)
    with ZoneServer() as zone:
        zone.set(SMARTHOST, "A", ip)
        zone.set(DOMAIN, "TXT", "v=spf1 include:out.provider.example ~all")
        zone.set("out.provider.example", "TXT", "v=spf1 ip4:203.0.113.0/24 -all")
        found = examined(person, zone)[f"spf {DOMAIN}"]
    assert found.health is Health.WARNING
    assert found.said.startswith(f"softfail for {ip} (~all), where {smarthost} takes mail")


# ---- DMARC -----------------------------------------------------------------------------------------------

BELOW, ABOVE = "sort.anna.example", "anna.example"


@pytest.mark.parametrize(
    ("own", "above", "health", "said"),
    [
        ("", "v=DMARC1; p=reject", Health.OK, f"p=reject, inherited from {ABOVE}"),
        ("", "v=DMARC1; p=none; sp=quarantine", Health.OK, f"sp=quarantine, inherited from {ABOVE}"),
        ("", "v=DMARC1; p=reject; sp=none", Health.WARNING, f"sp=none, inherited from {ABOVE}: anybody"),
        ("", "v=DMARC1; p=none", Health.WARNING, f"p=none, inherited from {ABOVE}: anybody"),
        ("v=DMARC1; p=reject", "v=DMARC1; p=none", Health.OK, "p=reject"),
        ("v=DMARC1; p=none; sp=reject", "v=DMARC1; p=reject", Health.WARNING, "p=none: anybody"),
        ("v=DMARC1; p=bogus", "v=DMARC1; p=reject", Health.FAILED, "no record that can be read"),
        ("", "", Health.FAILED, "no record that can be read"),
        ("SERVFAIL", "v=DMARC1; p=reject", Health.WARNING, "DNS did not answer"),
        ("", "SERVFAIL", Health.WARNING, "DNS did not answer"),
    ],
)
def test_a_policy_of_dmarc_counts_that_is_inherited_and_whose_it_is_is_said(
    own: str, above: str, health: Health, said: str
) -> None:
    zone: Zone = {}
    for name, value in ((BELOW, own), (ABOVE, above)):
        if value:
            zone[f"_dmarc.{name}", "TXT"] = SILENT if value == "SERVFAIL" else (value.encode(),)
    record = Record(f"_dmarc.{BELOW}", "TXT", "v=DMARC1; p=reject")
    found = asking.run(diagnosis.policy(record), answering(zone))
    assert healths((found,)) == [health]
    assert found.said.startswith(said)
    if health is Health.OK or said == "DNS did not answer":
        assert found.said == said
    else:
        assert found.remedy == f"publish _dmarc.{BELOW} TXT v=DMARC1; p=reject"


def test_two_policies_of_dmarc_are_none() -> None:
    record = Record(f"_dmarc.{BELOW}", "TXT", "v=DMARC1; p=reject")
    zone: Zone = {
        (record.name, "TXT"): (b"v=DMARC1; p=reject", b"v=DMARC1; p=none"),
        (f"_dmarc.{ABOVE}", "TXT"): (b"v=DMARC1; p=reject",),
    }
    found = asking.run(diagnosis.policy(record), answering(zone))
    assert (found.health, found.said) == (Health.FAILED, "more than one record, so none counts")
