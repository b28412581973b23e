"""Where mail for a destination goes, on a zone that is a dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from sortingoffice.mail.asking import Answer, Outcome, Program, Question, run
from sortingoffice.mail.reply import Reply
from sortingoffice.net.route import Here, Host, find, listening, smarthost
from sortingoffice.values import Endpoint

HERE = Here("mx.sort.example", listening([Endpoint("198.51.100.1", 25)]))
TEMPORARY = Answer(Outcome.TEMPORARY)
Zone = Mapping[tuple[str, str], Answer | list[object]]


def resolved(program: Program[tuple[Host, ...] | Reply], zone: Zone) -> tuple[Host, ...] | Reply:
    def answer(question: Question) -> Answer:
        found = zone.get((question.name, question.type))
        if isinstance(found, Answer):
            return found
        if found is not None:
            return Answer(Outcome.FOUND, tuple(found))
        known = any(name == question.name for name, _ in zone)
        return Answer(Outcome.NO_DATA if known else Outcome.NO_NAME)

    return run(program, answer)


def hosts(zone: Zone, destination: str = "shop.example", here: Here = HERE, ours: bool = False) -> list[str]:
    found = resolved(find(destination, here, list, ours=ours), zone)
    assert not isinstance(found, Reply), found
    return [f"{host.name} {host.address}" for host in found]


def refusal(zone: Zone, destination: str = "shop.example", here: Here = HERE, ours: bool = False) -> str:
    found = resolved(find(destination, here, list, ours=ours), zone)
    assert isinstance(found, Reply)
    return f"{found.code} {found.status}"


def test_exchanges_come_by_preference() -> None:
    zone: Zone = {
        ("shop.example", "MX"): [(20, "b.example"), (10, "a.example")],
        ("a.example", "A"): ["192.0.2.1"],
        ("b.example", "A"): ["192.0.2.2"],
    }
    assert hosts(zone) == ["a.example 192.0.2.1", "b.example 192.0.2.2"]


def test_equal_preferences_are_shuffled_and_others_are_not() -> None:
    zone: Zone = {
        ("shop.example", "MX"): [(10, "a.example"), (10, "b.example"), (20, "c.example")],
        ("a.example", "A"): ["192.0.2.1"],
        ("b.example", "A"): ["192.0.2.2"],
        ("c.example", "A"): ["192.0.2.3"],
    }
    found = resolved(find("shop.example", HERE, lambda names: names[::-1]), zone)
    assert not isinstance(found, Reply)
    assert [host.name for host in found] == ["b.example", "a.example", "c.example"]


def test_both_families_are_tried_in_turn() -> None:
    zone: Zone = {
        ("shop.example", "MX"): [(10, "a.example")],
        ("a.example", "A"): ["192.0.2.1", "192.0.2.2"],
        ("a.example", "AAAA"): ["2001:db8::1"],
    }
    assert hosts(zone) == ["a.example 192.0.2.1", "a.example 2001:db8::1", "a.example 192.0.2.2"]


def test_a_domain_without_mx_is_its_own_exchange() -> None:
    assert hosts({("shop.example", "AAAA"): ["2001:db8::1"]}) == ["shop.example 2001:db8::1"]


def test_a_null_mx_is_never_called() -> None:
    zone: Zone = {("shop.example", "MX"): [(0, "")], ("shop.example", "A"): ["192.0.2.1"]}
    assert refusal(zone) == "556 5.1.10"


def test_what_dns_could_not_tell_is_temporary() -> None:
    assert refusal({("shop.example", "MX"): TEMPORARY}) == "451 4.4.3"
    assert refusal({("shop.example", "MX"): [(1, "a.example")], ("a.example", "A"): TEMPORARY}) == "451 4.4.3"


def test_one_exchange_that_cannot_be_looked_up_leaves_the_others() -> None:
    zone: Zone = {
        ("shop.example", "MX"): [(1, "a.example"), (2, "b.example")],
        ("a.example", "A"): TEMPORARY,
        ("b.example", "A"): ["192.0.2.2"],
    }
    assert hosts(zone) == ["b.example 192.0.2.2"]


def test_a_domain_that_does_not_exist_is_permanent() -> None:
    assert refusal({}) == "550 5.1.2"
    assert refusal({("shop.example", "TXT"): ["x"]}) == "550 5.4.4"
    assert refusal({("shop.example", "MX"): [(1, "a.example")], ("a.example", "TXT"): ["x"]}) == "550 5.4.4"


OURSELVES: Zone = {
    ("shop.example", "MX"): [(5, "a.example"), (10, "b.example"), (10, "own.example"), (20, "c.example")],
    ("a.example", "A"): ["192.0.2.1"],
    ("b.example", "A"): ["192.0.2.2"],
    ("own.example", "A"): ["198.51.100.1"],
    ("c.example", "A"): ["192.0.2.3"],
}


def test_ourselves_and_whoever_is_less_preferred_are_left_out() -> None:
    assert hosts(OURSELVES) == ["a.example 192.0.2.1"]


@pytest.mark.parametrize(
    "zone",
    [
        {("shop.example", "MX"): [(1, "own.example")], ("own.example", "A"): ["198.51.100.1"]},
        {("shop.example", "MX"): [(1, "mx.sort.example")], ("mx.sort.example", "A"): ["192.0.2.9"]},
        {("shop.example", "A"): ["198.51.100.1"]},
    ],
    ids=["by address", "by name", "implicit"],
)
def test_a_stranger_whose_exchange_is_ourselves_is_a_loop(zone: Zone) -> None:
    assert refusal(zone) == "550 5.4.6"
    assert hosts(zone, ours=True)  # for a domain of ours it is right


def test_a_stranger_cannot_send_us_to_our_own_machine() -> None:
    zone: Zone = {("shop.example", "MX"): [(1, "a.example")], ("a.example", "A"): ["127.0.0.1"]}
    assert refusal(zone) == "550 5.4.6"
    assert hosts(zone, here=replace(HERE, loopback=True)) == ["a.example 127.0.0.1"]
    for address in ("0.0.0.0", "224.0.0.1", "169.254.1.1"):
        assert refusal({("shop.example", "A"): [address]}) == "550 5.4.6"
    for address in ("::1", "::", "fe80::1", "::ffff:127.0.0.1"):
        assert refusal({("shop.example", "AAAA"): [address]}) == "550 5.4.6"


@pytest.mark.parametrize(
    "second",
    [{("b.example", "A"): ["198.51.100.1"]}, {("b.example", "A"): ["127.0.0.1"]}],
    ids=["ours", "here"],
)
def test_what_may_have_a_better_host_that_dns_could_not_tell_is_no_loop(second: Zone) -> None:
    first: Zone = {
        ("shop.example", "MX"): [(1, "a.example"), (2, "b.example")],
        ("a.example", "A"): TEMPORARY,
    }
    assert refusal({**first, **second}) == "451 4.4.3"


def test_address_literals_need_no_question() -> None:
    assert hosts({}, "[192.0.2.1]") == ["[192.0.2.1] 192.0.2.1"]
    assert hosts({}, "[IPv6:2001:db8::1]") == ["[IPv6:2001:db8::1] 2001:db8::1"]
    assert refusal({}, "[127.0.0.1]") == "550 5.4.6"
    assert refusal({}, "[198.51.100.1]") == "550 5.4.6"


def test_the_number_of_hosts_is_bounded() -> None:
    zone: dict[tuple[str, str], list[object]] = {
        ("shop.example", "MX"): [(n, f"m{n}.example") for n in range(100)]
    }
    for n in range(100):
        zone[(f"m{n}.example", "A")] = [f"192.0.2.{k}" for k in range(1, 101)]
    assert len(hosts(zone)) == 8
    assert len({name.split()[0] for name in hosts(zone)}) == 2


def test_the_smarthost_is_an_address_or_a_name() -> None:
    zone: Zone = {("smart.example", "A"): ["192.0.2.1"]}
    found = resolved(smarthost(Endpoint("smart.example", 587)), zone)
    assert found == (Host("smart.example", "192.0.2.1", 587),)
    assert resolved(smarthost(Endpoint("192.0.2.7", 25)), {}) == (Host("192.0.2.7", "192.0.2.7", 25),)
    local = resolved(smarthost(Endpoint("localhost", 25)), {})
    assert not isinstance(local, Reply)
    assert [host.address for host in local] == ["127.0.0.1", "::1"]


def test_a_smarthost_that_is_not_found_returns_nobodys_mail() -> None:
    found = resolved(smarthost(Endpoint("smart.example", 587)), {})
    assert isinstance(found, Reply)
    assert found.temporary


def test_a_wildcard_is_every_address_of_this_machine() -> None:
    everywhere = listening([Endpoint("0.0.0.0", 25)])
    assert everywhere("127.0.0.1", 25)
    assert not everywhere("127.0.0.1", 26)
    assert not everywhere("192.0.2.1", 25)
