"""One press: the vendor's own way out of its list is taken, and the relationship is muted."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core.model import DeliveryState, Direction
from sortingoffice.flows import attempt, unsubscribe
from sortingoffice.flows.office import Office
from sortingoffice.mail import token
from sortingoffice.mail import unsubscribe as ways_of
from sortingoffice.mail.message import Message
from sortingoffice.mail.unsubscribe import Ways
from sortingoffice.net.conversing import Conversing
from sortingoffice.net.resolver import Resolver
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import events, relationships, spool
from sortingoffice.store.database import Transaction
from sortingoffice.store.spool import Claimed
from sortingoffice.values import Endpoint
from tests.person import Person
from tests.servers import make_certificate
from tests.web import Site, arrives, opened

CLICK = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
LEAVE = "List-Unsubscribe: <mailto:leave@shop.example?subject=leave%20list>\r\n"


# ---- what a message offers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ("", Ways()),
        (LEAVE, Ways("", "mailto:leave@shop.example?subject=leave%20list")),
        (f"List-Unsubscribe: <https://a.example/u>,\r\n <mailto:x@a.example>\r\n{CLICK}",
         Ways("https://a.example/u", "mailto:x@a.example")),
        ("List-Unsubscribe: <https://a.example/u>\r\n", Ways()),  # a page for a person, not for a POST
        (f"List-Unsubscribe: <http://a.example/u>\r\n{CLICK}", Ways()),
        (f"List-Unsubscribe: <https://me@a.example/u>\r\n{CLICK}", Ways()),
        (f"List-Unsubscribe: <https://[::1/u>\r\n{CLICK}", Ways()),
        (f"List-Unsubscribe: <https://a.ex\r\n ample/u>\r\n{CLICK}", Ways("https://a.example/u", "")),
        ("List-Unsubscribe: <mailto:a@b.example,c@d.example>\r\n", Ways()),
        ("List-Unsubscribe: <mailto:>\r\n", Ways()),
        (f"List-Unsubscribe: <https://a.example/{'x' * 3000}>\r\n{CLICK}", Ways()),
        ("List-Unsubscribe: mailto:x@a.example\r\n", Ways()),
    ],
)  # fmt: skip
def test_the_ways_out_of_a_list_are_read_as_the_standards_say(fields: str, wanted: Ways) -> None:
    assert ways_of.ways(Message.parse(f"{fields}From: a@b.example\r\n\r\n".encode())) == wanted


def test_a_vendors_words_for_the_letter_are_one_short_line() -> None:
    letter = ways_of.letter(
        "mailto:leave@shop.example?subject=a%0D%0ABcc:%20x@y.example&body=" + "z%0A" * 500
    )
    assert letter is not None
    assert letter.subject == "a Bcc: x@y.example"
    assert len(letter.body) <= 200
    assert "\n" not in letter.body


@given(st.binary(max_size=200))
def test_no_octets_are_too_odd_to_be_read(octets: bytes) -> None:
    ways_of.ways(Message.parse(b"List-Unsubscribe: " + octets + b"\r\n\r\n"))


@given(st.integers(0, 2**40), st.integers(0, 24), st.sampled_from("abcdefgh234567"))
def test_a_link_is_its_relationships_and_nobody_can_make_one(number: int, at: int, other: str) -> None:
    key = b"k" * 32
    secret = token.leaving(key, number)
    assert token.left_by(key, secret) == number
    assert token.left_by(b"j" * 32, secret) is None
    assert token.delivery_of(key, "rp" + secret) is None
    forged = secret[:at] + other + secret[at + 1 :]
    assert token.left_by(key, forged) == (number if forged == secret else None)


# ---- the press ---------------------------------------------------------------------------------------


@dataclass
class Vendor:
    """Its web server, which ends subscriptions."""

    port: int = 0
    status: str = "200 OK"
    asked: list[bytes] = field(default_factory=list)


@pytest.fixture
async def site(person: Person) -> AsyncIterator[Site]:
    with person.config.open("a") as config:
        config.write('\n[http]\nbase_url = "https://office.example"\n')
    person.out("new", "Lamp Shop")
    person.out("set", "lamp-shop", "--unsubscribe", "office")
    async with opened(person) as made:
        yield made


def _forwarded(person: Person) -> Message:
    with person.office() as office:
        return Message.parse(_queued(office, Direction.INWARD)[0].message.raw)


def _queued(office: Office, direction: Direction) -> list[Claimed]:
    """What waits, the latest first, with its octets."""

    def look(tx: Transaction) -> list[Claimed]:
        found = []
        for each in spool.queue(tx):
            message = spool.by_id(tx, each.message.id)
            if message is not None and message.direction is direction:
                found.append(replace(each, message=message))
        return found

    return office.db.view(look)


def _link(message: Message) -> str:
    found = re.fullmatch(
        rb"<https://office\.example(/leave/[a-z2-7]{26})>", message.value("List-Unsubscribe") or b""
    )
    assert found is not None, message.value("List-Unsubscribe")
    return found[1].decode()


def _events(office: Office) -> list[str]:
    return [f"{each.what} {each.detail}" for each in office.db.view(lambda tx: events.every(tx))]


async def test_its_mail_carries_one_way_out_and_that_is_ours(site: Site) -> None:
    arrives(
        site.person,
        "lamp-shop",
        "news@shop.example",
        fields=f"{LEAVE}{LEAVE}List-Id: <news.shop.example>\r\n",
    )
    message = _forwarded(site.person)
    assert _link(message)
    assert len(list(message.all("List-Unsubscribe"))) == 1
    assert message.value("List-Unsubscribe-Post") == b"List-Unsubscribe=One-Click"
    assert message.value("List-Id") == b"<news.shop.example>"


async def test_mail_that_offers_no_way_out_gets_none(site: Site) -> None:
    arrives(site.person, "lamp-shop", "news@shop.example")
    assert _forwarded(site.person).first("List-Unsubscribe") is None


async def test_a_press_writes_to_the_vendor_from_the_alias_and_mutes_once(site: Site) -> None:
    arrives(site.person, "lamp-shop", "news@shop.example", fields=LEAVE)
    path = _link(_forwarded(site.person))
    client = site.client()
    looked = await client.get(path)
    assert looked.status_code == 200
    assert "Lamp Shop" in looked.text
    assert site.person.json("show", "lamp-shop")["state"] == "active", "a look changes nothing"
    for _ in range(2):
        pressed = await client.post(path, data={"List-Unsubscribe": "One-Click"})
        assert pressed.status_code == 200
        assert "Unsubscribed" in pressed.text
    assert site.person.json("show", "lamp-shop")["state"] == "muted"
    [row] = _queued(site.office, Direction.OUTWARD)
    letter = Message.parse(row.message.raw)
    assert row.delivery.recipient == "leave@shop.example"
    assert row.delivery.state is DeliveryState.QUEUED
    assert letter.value("Subject") == b"leave list"
    assert site.person.json("show", "lamp-shop")["alias"].encode() in (letter.value("From") or b"")
    arrives(site.person, "lamp-shop", "news@shop.example", "again", fields=LEAVE)
    assert [each["reason"] for each in site.person.json("held", "list")] == ["muted"]


async def test_a_press_asks_the_vendor_also_where_its_mail_waits_already(site: Site) -> None:
    arrives(site.person, "lamp-shop", "news@shop.example", fields=LEAVE)
    path = _link(_forwarded(site.person))
    site.person.out("pause", "lamp-shop")
    for _ in range(2):
        assert "has been asked to stop" in (await site.client().post(path)).text
    [row] = _queued(site.office, Direction.OUTWARD)
    assert row.delivery.recipient == "leave@shop.example"


@pytest.mark.parametrize("secret", ["a" * 26, "x", "%00", "a" * 5000])
async def test_a_link_that_is_not_ours_is_nowhere(site: Site, secret: str) -> None:
    client = site.client()
    assert (await client.get(f"/leave/{secret}")).status_code == 404
    assert (await client.post(f"/leave/{secret}")).status_code == 404


async def test_guessing_at_links_is_slowed(site: Site) -> None:
    client = site.client()
    answers = [(await client.post(f"/leave/{'a' * 26}")).status_code for _ in range(60)]
    assert answers[0] == 404
    assert answers[-1] == 429


async def test_a_revoked_relationship_has_no_link_any_more(site: Site) -> None:
    arrives(site.person, "lamp-shop", "news@shop.example", fields=LEAVE)
    path = _link(_forwarded(site.person))
    site.person.out("revoke", "lamp-shop")
    assert (await site.client().post(path)).status_code == 404


def test_without_an_address_on_the_web_the_setting_is_refused(person: Person) -> None:
    person.out("new", "Lamp Shop")
    assert "http.base_url" in person.refused("set", "lamp-shop", "--unsubscribe", "office")


@dataclass
class Clicked:
    """The vendor's web server, and an office that finds and trusts it."""

    vendor: Vendor
    office: Office
    secret: str
    trusting: ssl.SSLContext

    async def press(self) -> bool:
        """A press, and what follows of it; whether it had anything to do."""
        done = self.office.db.call(unsubscribe.press, self.office, self.secret)
        assert done is not None
        if done.changed and done.relationship.leave_url:
            await unsubscribe.tell_vendor(self.office, done.relationship, self.trusting)
        return done.changed


@pytest.fixture
async def clicked(site: Site, zone: ZoneServer, tmp_path: Path) -> AsyncIterator[Clicked]:
    vendor = Vendor()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(26)
        vendor.asked.append(head + body)
        writer.write(
            f"HTTP/1.1 {vendor.status}\r\nLocation: https://elsewhere.example/\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )

    certificate = make_certificate(tmp_path, "u.shop.example")
    server = Conversing(answer)
    port = await server.listen("127.0.0.1", 0, context=certificate.server())
    zone.set("u.shop.example", "A", "127.0.0.1")
    offered = f"List-Unsubscribe: <https://u.shop.example:{port}/out?u=1&x=%20y>\r\n{CLICK}"
    arrives(site.person, "lamp-shop", "news@shop.example", fields=offered + LEAVE)
    local = replace(
        site.office.config, dns=replace(site.office.config.dns, nameservers=(Endpoint(*zone.endpoint),))
    )
    office = replace(site.office, config=local, resolver=Resolver((Endpoint(*zone.endpoint),), 2.0))
    secret = _link(_forwarded(site.person)).rpartition("/")[2]
    trusting = ssl.create_default_context(cafile=str(certificate.certificate))
    yield Clicked(vendor, office, secret, trusting)
    await server.close()


async def test_a_vendors_server_that_did_not_answer_is_asked_by_the_next_press(
    clicked: Clicked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsubscribe, "_WAITS", (0.0,))
    clicked.vendor.status = "503 Not Now"
    assert await clicked.press()
    clicked.vendor.status = "200 OK"
    assert await clicked.press()
    assert len(clicked.vendor.asked) == 2
    assert not await clicked.press(), "it has answered"
    assert len(clicked.vendor.asked) == 2


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "410 Gone"])
async def test_one_click_is_posted_to_the_vendors_own_server_and_told_in_the_log(
    clicked: Clicked, status: str
) -> None:
    clicked.vendor.status = status
    office = clicked.office
    assert attempt.here(office).loopback
    assert await clicked.press()
    [asked] = clicked.vendor.asked
    assert asked.startswith(b"POST /out?u=1&x=%20y HTTP/1.1\r\n")
    assert b"\r\nCookie:" not in asked
    assert asked.endswith(b"List-Unsubscribe=One-Click")
    assert f"unsubscribed u.shop.example: answered {status[:3]}" in _events(office)
    assert not _queued(office, Direction.OUTWARD), "one way is enough"


async def test_a_vendor_cannot_send_us_to_our_own_network(
    site: Site, zone: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsubscribe, "_WAITS", (0.0,))
    zone.set("u.shop.example", "A", "10.0.0.1")
    arrives(
        site.person,
        "lamp-shop",
        "news@shop.example",
        fields=f"List-Unsubscribe: <https://u.shop.example/>\r\n{CLICK}",
    )
    office = replace(site.office, resolver=Resolver((Endpoint(*zone.endpoint),), 2.0))
    of = office.db.view(lambda tx: relationships.by_slug(tx, 1, "lamp-shop"))
    assert of is not None
    await unsubscribe.tell_vendor(office, of, ssl.create_default_context())
    assert "unsubscribed u.shop.example: no answer: no address" in _events(office)
