"""TLS and AUTH on the way out: the policy ladder, and what is never said in the clear."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from sortingoffice.core.delivery import Tried
from sortingoffice.net import tls
from sortingoffice.net.relay import Login, Relay
from sortingoffice.net.route import Host
from tests.relaying import QUICK, Sinks, far_end, greet, host, parcel
from tests.servers import DROP, Certificate


def trusting(certificate: Certificate) -> tls.Contexts:
    return tls.Contexts(str(certificate.certificate))


async def test_tls_is_used_where_it_is_offered_and_not_verified(
    sinks: Sinks, relay: Relay, certificate: Certificate
) -> None:
    sink = sinks(tls=certificate.server())
    tried = await relay.attempt([host(sink, name="another.example")], parcel())
    assert tried.tls.startswith("TLSv1.3")
    assert sink.received[0].tls == tried.tls


@pytest.mark.parametrize(
    "answer", ["454 4.7.0 not now", "220 go", DROP], ids=["refused", "broken", "dropped"]
)
async def test_opportunistic_tls_that_fails_falls_back_to_plain_text(
    sinks: Sinks, relay: Relay, answer: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, "STARTTLS")
        if (await reader.readline()).startswith(b"STARTTLS"):
            if answer != DROP:
                writer.write(answer.encode() + b"\r\nthis is no TLS\r\n")
                await asyncio.sleep(0.05)
            return
        writer.write(b"250 ok\r\n")
        for reply in (b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.readline()

    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel())
    assert tried.reply.accepted
    assert tried.tls == ""


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class _Choosy:
    """A host whose TLS works, and which then wants none of it: a certificate of ours, or nothing more to say.

    With TLS 1.3 we hear of that only when our handshake has ended.
    """

    def __init__(self, certificate: Certificate, version: ssl.TLSVersion, *, says: str | None = None) -> None:
        self.context = certificate.server()
        self.context.minimum_version = self.context.maximum_version = version
        self.says = says
        self.calls = 0
        self.said: list[bytes] = []

    def wants_a_certificate(self, certificate: Certificate) -> None:
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(certificate.certificate)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        await greet(reader, writer, "STARTTLS")
        while line := await reader.readline():
            self.said.append(line[:4])
            if line.startswith(b"STARTTLS"):
                writer.write(b"220 go\r\n")
                await writer.start_tls(self.context)
                if self.says is None:
                    return
                for _ in range(2):  # EHLO, and HELO where that isn't known
                    await reader.readline()
                    writer.write(self.says.encode() + b"\r\n")
                return
            if line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 ok\r\n")


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())
@pytest.mark.parametrize("choosy", [True, False], ids=["wants a certificate", "closes"])
async def test_opportunistic_tls_that_ends_after_the_handshake_falls_back_to_plain_text(
    relay: Relay, certificate: Certificate, version: ssl.TLSVersion, choosy: bool
) -> None:
    peer = _Choosy(certificate, version)
    if choosy:
        peer.wants_a_certificate(certificate)
    async with far_end(peer.serve) as there:
        tried = await relay.attempt([there], parcel())
        strictly = await relay.attempt([there], parcel(), policy=tls.Policy.REQUIRED)
    assert tried.reply.accepted
    assert tried.tls == ""
    assert strictly.reply.temporary
    assert peer.said.count(b"MAIL") == 1


@pytest.mark.parametrize("says", ["421 4.3.2 busy", "550 5.7.1 go away"])
async def test_a_reply_in_tls_is_no_reason_to_go_without(
    relay: Relay, certificate: Certificate, says: str
) -> None:
    peer = _Choosy(certificate, ssl.TLSVersion.TLSv1_3, says=says)
    async with far_end(peer.serve) as there:
        tried = await relay.attempt([there], parcel())
    assert says[:3] in tried.reply.text
    assert tried.unreachable
    assert peer.calls == 1


async def test_a_greeting_in_tls_is_no_reason_to_go_without(
    certificate: Certificate, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await writer.start_tls(certificate.server())
        writer.write(b"554 5.7.1 go away\r\n")
        await reader.readline()

    async with far_end(serve) as there:
        monkeypatch.setattr(tls, "SUBMISSIONS", there.port)  # we may not bind 465 here
        tried = await relay.attempt([there], parcel())
    assert "554" in tried.reply.text
    assert calls == 1


async def test_required_tls_never_sends_without_a_good_certificate(
    sinks: Sinks, certificate: Certificate
) -> None:
    relay = Relay("mx.sort.example", timeouts=QUICK, contexts=trusting(certificate))
    stranger = Relay("mx.sort.example", timeouts=QUICK)
    secure, plain = sinks(tls=certificate.server()), sinks()
    required = tls.Policy.REQUIRED
    good = await relay.attempt([host(secure)], parcel(), policy=required)
    wrong_name = await relay.attempt([host(secure, name="evil.example")], parcel(), policy=required)
    unknown = await stranger.attempt([host(secure)], parcel(), policy=required)
    without = await relay.attempt([host(plain)], parcel(), policy=required)
    await relay.close()
    await stranger.close()
    assert good.reply.accepted
    assert all(tried.reply.temporary for tried in (wrong_name, unknown, without))
    assert (len(secure.received), len(plain.received)) == (1, 0)


async def test_policies_do_not_share_connections(sinks: Sinks, certificate: Certificate) -> None:
    relay = Relay("mx.sort.example", timeouts=QUICK, contexts=trusting(certificate))
    sink = sinks(tls=certificate.server())
    await relay.attempt([host(sink)], parcel(), policy=tls.Policy.OPPORTUNISTIC)
    await relay.attempt([host(sink)], parcel(), policy=tls.Policy.REQUIRED)
    await relay.close()
    assert sink.sessions == 2


async def test_the_smarthost_is_given_name_and_password(
    sinks: Sinks, relay: Relay, certificate: Certificate
) -> None:
    sink = sinks(tls=certificate.server(), users={"office": "secret"})
    login = Login("office", "secret")
    assert (await relay.attempt([host(sink)], parcel(), login=login)).reply.accepted
    assert sink.received[0].username == "office"


async def test_a_wrong_password_is_the_offices_fault_and_temporary(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(users={"office": "secret"})
    tried = await relay.attempt([host(sink)], parcel(), login=Login("office", "wrong"))
    assert tried.reply.temporary
    assert "535" in tried.reply.text
    assert "wrong" not in tried.reply.text


async def test_the_password_is_not_sent_in_the_clear(sinks: Sinks, relay: Relay) -> None:
    sink = sinks(users={"office": "secret"}, host="127.0.0.2")
    abroad = Host("smart.example", "127.0.0.2", sink.port)
    # 127.0.0.2 is as local as 127.0.0.1; what is asked is the rule, so it is put where it applies.
    assert abroad.local
    tried = await relay.attempt(
        [_Abroad(abroad.name, abroad.address, abroad.port)], parcel(), login=Login("o", "s")
    )
    assert tried.reply.temporary
    assert not any("AUTH" in line for line in sink.commands)


class _Abroad(Host):
    local = False


async def test_tls_from_the_first_octet_is_spoken_on_port_465(
    sinks: Sinks, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sinks(tls=certificate.server(), implicit_tls=True)
    monkeypatch.setattr(tls, "SUBMISSIONS", sink.port)  # we may not bind 465 here
    relay = Relay("mx.sort.example", timeouts=QUICK, contexts=trusting(certificate))
    tried = await relay.attempt([host(sink)], parcel(), policy=tls.Policy.REQUIRED)
    await relay.close()
    assert tried.reply.accepted
    assert sink.received[0].tls.startswith("TLSv1.3")


async def test_nothing_injected_before_tls_is_believed(relay: Relay, certificate: Certificate) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, "STARTTLS")
        if not (await reader.readline()).startswith(b"STARTTLS"):
            return
        writer.write(b"220 go\r\n250-evil\r\n250 SIZE 1\r\n")
        await writer.start_tls(certificate.server())
        await reader.readline()
        writer.write(b"250 x\r\n")
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 taken\r\n")
        await reader.readline()

    async with far_end(serve) as there:
        tried: Tried = await relay.attempt([there], parcel())

    assert tried.reply.code != 552


def test_the_two_contexts_are_what_their_names_say() -> None:
    both = tls.Contexts()
    assert (both.verified.verify_mode, both.verified.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert both.unverified.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
async def test_who_wants_tls_or_a_login_first_refuses_us_and_not_the_message(
    sinks: Sinks, relay: Relay, certificate: Certificate, command: str
) -> None:
    broken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # has no certificate: no handshake ends well
    wants = sinks(tls=broken, answers={command: "530 5.7.0 Must issue a STARTTLS command first"})
    tried = await relay.attempt([host(wants)], parcel())
    assert (tried.reply.code, tried.unreachable) == (451, False)
    assert "Must issue a STARTTLS command first" in tried.reply.text
    takes = sinks(tls=certificate.server())
    tried = await relay.attempt([host(wants), host(takes)], parcel())
    assert tried.reply.accepted, "the next host takes it"
