"""Whom a message makes a vendor, a stranger or nobody: own mail, public addresses, DNS that is silent."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest

from sortingoffice.core.model import Binding, Envelope, Peer, RelationshipState
from sortingoffice.flows import issue, leaks, receive, strangers
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import (
    Authentication,
    DkimResult,
    DmarcResult,
    Result,
    SpfResult,
)
from sortingoffice.mail.message import Message
from sortingoffice.store import relationships
from sortingoffice.store.database import Database
from tests.desk import MAILBOX, START, Desk, open_desk

SHOP = "lamp.shop1234@sort.example"
_number = count(1)


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    return open_desk(db, tmp_path)


def proved(domain: str) -> Authentication:
    return Authentication(
        dmarc=DmarcResult(Result.PASS, aligned_spf=True),
        spf=SpfResult(Result.PASS, domain=domain),
        from_domain=domain,
    )


def silent(domain: str, *, spf: str = "") -> Authentication:
    """A key that could not be looked up; spf: or a policy."""
    key = DkimResult(Result.TEMPERROR, domain=domain, selector="s", reason="key not reachable")
    return Authentication(
        dkim=() if spf else (key,),
        spf=SpfResult(Result.TEMPERROR if spf else Result.NONE, domain=spf),
        dmarc=DmarcResult(Result.NONE),
        from_domain="lampshop.example",
    )


def arrives(desk: Desk, to: str, author: str, found: Authentication) -> str:
    """The rule by which a message was taken or not."""
    sender, recipient = parse(author), parse(to)
    assert sender is not None
    assert recipient is not None
    name = next(_number)
    raw = (
        f"From: <{author}>\r\nTo: <{to}>\r\nMessage-ID: <{name}@x.example>\r\n"
        "Date: Sun, 1 Mar 2026 12:00:00 +0000\r\nSubject: hello\r\n\r\nhello\r\n"
    ).encode()
    peer, envelope = Peer("198.51.100.7"), Envelope(sender, (recipient,))
    arrival = Arrival(peer, envelope, Message.parse(raw), len(raw), found, f"m{name}", desk.now[0])
    return asyncio.run(receive.accepted(desk.office, arrival)).rule


def bound(desk: Desk, relationship: int) -> set[str]:
    return {each.identity for each in desk.db.view(relationships.bindings, relationship)}


def digest(desk: Desk) -> str:
    desk.db.call(strangers.digests, desk.office)
    return "".join(each.raw.decode() for each in desk.notices() if each.rule == "digest")


def test_the_persons_own_mail_makes_them_nobodys_vendor_and_no_stranger(desk: Desk) -> None:
    pocket = desk.relate("Pocket", state=RelationshipState.UNBOUND)
    assert arrives(desk, "pocket1234@sort.example", MAILBOX, proved("home.example")) == "in_your_name"
    assert bound(desk, pocket.id) == set()
    waiting = desk.db.view(relationships.by_id, pocket.id)
    assert waiting is not None
    assert (waiting.state, waiting.name) == (RelationshipState.UNBOUND, "Pocket")
    assert arrives(desk, "pocket1234@sort.example", "a@real.example", proved("real.example")) == "welcome"
    assert bound(desk, pocket.id) == {"real.example"}
    assert arrives(desk, "pocket1234@sort.example", MAILBOX, proved("home.example")) == "in_your_name"
    assert desk.db.view(leaks.listed, desk.account) == []
    assert digest(desk) == ""


def test_whoever_forges_the_person_is_a_stranger(desk: Desk) -> None:
    assert arrives(desk, SHOP, MAILBOX, Authentication(from_domain="home.example")) == "in_your_name"
    assert [each["class"] for each in desk.db.view(leaks.listed, desk.account)] == [
        "unauthenticated stranger"
    ]


def test_a_leak_is_of_the_address_that_was_written_to(desk: Desk) -> None:
    desk.db.call(relationships.bind, Binding(0, desk.shop.id, "lampshop.example", "site", START))
    new = desk.db.call(issue.rotate, desk.office, desk.account, "lamp-shop", actor="test")["alias"]
    assert arrives(desk, SHOP, "spam@evil.example", proved("evil.example")) == "stranger_flagged"
    (leak,) = desk.db.view(leaks.listed, desk.account)
    assert (leak["alias"], leak["identity"], leak["kept"]) == (SHOP, "evil.example", 1)
    told = digest(desk)
    assert f"evil.example wrote to {SHOP}, which only Lamp Shop was given" in told
    assert new not in told, "nobody ever saw it"
    assert arrives(desk, new, "spam@evil.example", proved("evil.example")) == "stranger_flagged"
    assert {each["alias"] for each in desk.db.view(leaks.listed, desk.account)} == {SHOP, new}


def test_nobody_is_a_stranger_at_an_address_that_the_standards_name(desk: Desk) -> None:
    for author in ("one.example", "two.example"):
        assert arrives(desk, "postmaster@sort.example", f"a@{author}", proved(author)) == "welcome"
    unproved = arrives(desk, "postmaster@sort.example", "a@three.example", Authentication())
    assert unproved == "stranger_flagged"
    assert desk.db.view(leaks.listed, desk.account) == []
    assert digest(desk) == ""


@pytest.mark.parametrize(
    "found", [silent("lampshop.example"), silent("mail.lampshop.example"), silent("", spf="lampshop.example")]
)
def test_a_vendor_whose_dns_is_silent_is_not_called_a_forger(desk: Desk, found: Authentication) -> None:
    desk.db.call(relationships.bind, Binding(0, desk.shop.id, "lampshop.example", "site", START))
    assert arrives(desk, SHOP, "orders@lampshop.example", found) == "stranger_flagged"
    assert desk.db.view(leaks.listed, desk.account) == []
    assert digest(desk) == ""


@pytest.mark.parametrize("found", [silent("evil.example"), silent("", spf="evil.example")])
def test_a_forger_whose_own_dns_is_silent_is_one_all_the_same(desk: Desk, found: Authentication) -> None:
    desk.db.call(relationships.bind, Binding(0, desk.shop.id, "lampshop.example", "site", START))
    assert arrives(desk, SHOP, "orders@lampshop.example", found) == "stranger_flagged"
    assert [each["class"] for each in desk.db.view(leaks.listed, desk.account)] == ["forged vendor"]
    assert "pretends to be Lamp Shop" in digest(desk)
