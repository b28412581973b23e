"""The demo's and the tests' DNS server."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.query
import dns.rcode

from sortingoffice.net.zone import ZoneServer


def _ask(zone: ZoneServer, name: str, type: str, *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, type)
    host, port = zone.endpoint
    return (dns.query.tcp if tcp else dns.query.udp)(query, host, port=port, timeout=20)


def test_what_was_set_is_answered_over_udp_and_tcp(zone: ZoneServer) -> None:
    zone.set("Shop.example", "MX", (10, "mx.shop.example"), "20 mx2.shop.example.")
    zone.set("shop.example", "TXT", "v=spf1 " + "x" * 300)
    for tcp in (False, True):
        answer = _ask(zone, "shop.example.", "MX", tcp=tcp).answer[0]
        assert sorted(str(mx) for mx in answer) == ["10 mx.shop.example.", "20 mx2.shop.example."]
        txt = _ask(zone, "SHOP.example.", "TXT", tcp=tcp).answer[0][0]
        assert b"".join(txt.strings) == b"v=spf1 " + b"x" * 300


def test_a_name_without_records_does_not_exist_and_one_with_others_has_no_data(zone: ZoneServer) -> None:
    zone.set("www.shop.example", "A", "192.0.2.1")
    assert _ask(zone, "nowhere.example.", "A").rcode() == dns.rcode.NXDOMAIN
    assert _ask(zone, "shop.example.", "A").rcode() == dns.rcode.NOERROR
    zone.remove("www.shop.example", "A")
    assert _ask(zone, "www.shop.example.", "A").rcode() == dns.rcode.NXDOMAIN


def test_a_cname_is_followed(zone: ZoneServer) -> None:
    zone.set("a.example", "CNAME", "b.example")
    zone.set("b.example", "A", "192.0.2.2")
    assert [str(rrset[0]) for rrset in _ask(zone, "a.example.", "A").answer] == ["b.example.", "192.0.2.2"]


def test_a_large_answer_is_truncated_over_udp_only(zone: ZoneServer) -> None:
    zone.set("big.example", "TXT", *(f"{n}" + "y" * 200 for n in range(20)))
    assert _ask(zone, "big.example.", "TXT").flags & dns.flags.TC
    assert len(_ask(zone, "big.example.", "TXT", tcp=True).answer[0]) == 20
