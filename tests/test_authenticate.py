"""All methods together, over DNS on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime

import pytest

from sortingoffice.core.model import Peer
from sortingoffice.mail import arc, canonical, dkim, keys
from sortingoffice.mail.address import Address
from sortingoffice.mail.asking import Answer, Question
from sortingoffice.mail.authentication import Authentication, Result
from sortingoffice.mail.message import Message
from sortingoffice.net.authenticate import LARGE, authenticate
from sortingoffice.net.resolver import Resolver
from sortingoffice.net.zone import SERVFAIL, TIMEOUT, ZoneServer
from sortingoffice.values import Endpoint

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = keys.SigningKey.from_pem("shop.example", "r1", keys.generate_rsa()[0])
LISTS = keys.SigningKey.from_pem("lists.example", "s", keys.generate_rsa()[0])
PEER = Peer("127.0.0.1", "mail.shop.example")
SENDER = Address("bounce", "shop.example")
PLAIN = b"From: Shop <sales@shop.example>\r\nTo: a@sort.example\r\nSubject: Hi\r\n\r\nHello.\r\n"
SIGNED = dkim.sign(PLAIN, KEY, NOW)[0].raw + PLAIN


@pytest.fixture
def shop(zone: ZoneServer) -> ZoneServer:
    zone.set("shop.example", "TXT", "v=spf1 ip4:127.0.0.1 -all")
    zone.set("r1._domainkey.shop.example", "TXT", KEY.record)
    zone.set("_dmarc.shop.example", "TXT", "v=DMARC1; p=reject")
    return zone


async def _found(
    zone: ZoneServer,
    raw: bytes = SIGNED,
    *,
    peer: Peer = PEER,
    sender: Address | None = SENDER,
    deadline: float = 5,
    patience: float = 1,
) -> Authentication:
    resolver = Resolver((Endpoint(*zone.endpoint),), patience)
    return await authenticate(resolver, peer, sender, raw, Message.parse(raw), now=NOW, deadline=deadline)


async def test_an_honest_message_passes_everywhere_and_nothing_is_asked_twice(shop: ZoneServer) -> None:
    auth = await _found(shop)
    assert (auth.spf.result, [d.result for d in auth.dkim], auth.dmarc.result) == ("pass", ["pass"], "pass")
    assert (auth.aligned_spf, auth.aligned_dkim, auth.passed, auth.temporary) == (True, True, True, False)
    assert auth.identities == ("shop.example",)
    assert auth.from_domain == "shop.example"
    assert len(shop.asked) == len(set(shop.asked)) == 3


async def test_a_forged_message_fails(shop: ZoneServer) -> None:
    auth = await _found(shop, PLAIN, peer=Peer("127.0.0.2", "evil.example"))
    assert (auth.spf.result, auth.dkim, auth.dmarc.result, auth.dmarc.policy) == (
        "fail",
        (),
        "fail",
        "reject",
    )
    assert (auth.passed, auth.temporary, auth.identities) == (False, False, ())


async def test_a_proof_without_a_policy_is_a_proof(shop: ZoneServer) -> None:
    shop.remove("_dmarc.shop.example", "TXT")
    auth = await _found(shop)
    assert (auth.dmarc.result, auth.passed) == ("none", True)


async def test_the_identities_are_the_organisations_that_proved_themselves(shop: ZoneServer) -> None:
    shop.set("mailer.provider.co.uk", "TXT", "v=spf1 +all")
    auth = await _found(shop, sender=Address("b", "mailer.provider.co.uk"))
    assert auth.identities == ("shop.example", "provider.co.uk")
    assert (auth.aligned_spf, auth.aligned_dkim) == (False, True)


@pytest.mark.parametrize("failure", [SERVFAIL, TIMEOUT])
async def test_dns_that_fails_is_temporary_and_not_a_verdict(shop: ZoneServer, failure: str) -> None:
    for name in ("shop.example", "r1._domainkey.shop.example", "_dmarc.shop.example"):
        shop.set(name, "TXT", failure)
    auth = await _found(shop, patience=0.3)
    assert (auth.spf.result, [d.result for d in auth.dkim]) == ("temperror", ["temperror"])
    assert auth.dmarc.result == "temperror"
    assert (auth.passed, auth.temporary) == (False, True)


async def test_a_failed_look_up_beside_a_proof_defers_nothing(shop: ZoneServer) -> None:
    shop.set("_dmarc.shop.example", "TXT", SERVFAIL)
    auth = await _found(shop)
    assert (auth.dmarc.result, auth.passed, auth.temporary) == ("temperror", True, False)


async def test_a_forwarders_chain_is_told_with_its_sealer(shop: ZoneServer) -> None:
    shop.set("s._domainkey.lists.example", "TXT", LISTS.record)
    sealed = b"".join(f.raw for f in arc.seal(SIGNED, LISTS, "mx.lists.example; arc=none", NOW)) + SIGNED
    auth = await _found(shop, sealed)
    assert (auth.arc.result, auth.arc.sealer, auth.arc.instances) == ("pass", "lists.example", 1)
    assert "arc=pass (i=1 d=lists.example)" in auth.text("mx.sort.example")


async def test_the_deadline_holds(shop: ZoneServer) -> None:
    shop.set("shop.example", "TXT", TIMEOUT)
    start = time.perf_counter()
    auth = await _found(shop, deadline=1, patience=20)
    assert time.perf_counter() - start < 10
    assert (auth.spf.result, auth.spf.domain, auth.spf.reason) == (
        "temperror", "shop.example", "not found out in time",
    )  # fmt: skip
    assert auth.dkim[0].passed  # what came in time counts
    assert auth.passed


async def test_a_policy_that_is_late_hides_no_proof(shop: ZoneServer) -> None:
    shop.set("_dmarc.shop.example", "TXT", TIMEOUT)
    auth = await _found(shop, deadline=1, patience=20)
    assert (auth.dmarc.result, auth.aligned_dkim, auth.passed, auth.temporary) == (
        "temperror",
        True,
        True,
        False,
    )


async def test_the_null_sender_is_told_by_its_helo(shop: ZoneServer) -> None:
    shop.set("mail.shop.example", "TXT", "v=spf1 ip4:127.0.0.1 -all")
    auth = await _found(shop, sender=None)
    assert (auth.spf.result, auth.spf.identity, auth.aligned_spf) == ("pass", "helo", True)


async def test_a_large_message_is_hashed_in_a_thread(
    shop: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    real = canonical.body_hash

    def watched(body: bytes, *, relaxed: bool) -> bytes:
        threads.append(threading.get_ident())
        return real(body, relaxed=relaxed)

    monkeypatch.setattr(canonical, "body_hash", watched)
    large = PLAIN + b"All work and no play.\r\n" * (LARGE // 20)
    auth = await _found(shop, dkim.sign(large, KEY, NOW)[0].raw + large)
    assert auth.dkim[0].result is Result.PASS
    assert threads[0] == threading.get_ident() != threads[1]  # signing here, verifying there


class _Broken(Resolver):
    """A resolver with a bug that one question brings out."""

    async def ask(self, question: Question) -> Answer:
        if "_domainkey" in question.name:
            raise RuntimeError("ours")
        return await super().ask(question)


async def test_a_bug_of_ours_is_temporary_and_logged(
    shop: ZoneServer, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = _Broken((Endpoint(*shop.endpoint),), 1)
    auth = await authenticate(resolver, PEER, SENDER, SIGNED, Message.parse(SIGNED), now=NOW)
    assert [d.result for d in auth.dkim] == ["temperror"]
    assert auth.spf.result == "pass"
    assert "authentication-failed" in caplog.text


async def test_many_messages_at_once_each_get_their_own_results(shop: ZoneServer) -> None:
    resolver = Resolver((Endpoint(*shop.endpoint),), 5)

    async def one(n: int) -> bool:
        raw = SIGNED if n % 2 else SIGNED.replace(b"Hello", b"Hullo")
        return (await authenticate(resolver, PEER, SENDER, raw, Message.parse(raw), now=NOW)).dkim[0].passed

    assert await asyncio.gather(*(one(n) for n in range(40))) == [bool(n % 2) for n in range(40)]
