"""MTA-STS (RFC 8461): the record, the policy, and what it does to a delivery, over HTTPS and SMTP."""

from __future__ import annotations

import asyncio
import http.server
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from sortingoffice.core.delivery import Outcome, Tried
from sortingoffice.core.model import SpooledMessage
from sortingoffice.flows import attempt
from sortingoffice.flows.attempt import Attempts
from sortingoffice.flows.strict import Policies
from sortingoffice.mail import asking, mtasts
from sortingoffice.mail.asking import Answer, Question
from sortingoffice.mail.mtasts import Mode, Policy
from sortingoffice.net import policy as policies
from sortingoffice.net import tls
from sortingoffice.net.https import Turns
from sortingoffice.net.relay import Relay
from sortingoffice.net.sink import Sink
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store.database import Database
from sortingoffice.store.spool import Claimed
from tests import spooled
from tests.relaying import far_end
from tests.servers import Certificate, make_certificate
from tests.spooled import Spooled
from tests.waiting import until

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mx.home.example\r\nmx: *.other.example\r\nmax_age: 86400\r\n"

# ---- the record and the policy -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([b"v=STSv1; id=20260301T;"], "20260301T"),
        ([b"v=spf1 -all", b"v=STSv1; id=a1"], "a1"),
        ([b"v=STSv1; id=a1", b"v=STSv1; id=a2"], ""),
        ([b"v=STSv1; id=not-this"], ""),
        ([b"v=STSv1;"], ""),
        ([b"v=STSv2; id=a1"], ""),
    ],
)
def test_the_record_is_one_with_an_id_or_none(records: list[bytes], found: str) -> None:
    def answer(question: Question) -> Answer:
        assert question == Question("_mta-sts.home.example", "TXT")
        return Answer(asking.Outcome.FOUND, tuple(records))

    assert asking.run(mtasts.record("home.example"), answer) == found


def test_a_policy_is_read_with_either_line_end_and_unknown_fields() -> None:
    wanted = Policy(Mode.ENFORCE, ("mx.home.example", "*.other.example"), 86400)
    assert mtasts.parse(GOOD) == wanted
    assert mtasts.parse(GOOD.replace(b"\r\n", b"\n") + b"extra: thing\nmode: none\n") == wanted


@pytest.mark.parametrize(
    "text",
    [
        b"",
        GOOD.replace(b"STSv1", b"STSv2"),
        GOOD.replace(b"enforce", b"perhaps"),
        GOOD.replace(b"86400", b"-1"),
        GOOD.replace(b"86400", b"99999999"),
        GOOD.replace(b"mx: ", b"nx: "),
        GOOD.replace(b"*.other", b"mx.*.other"),
        GOOD + b"no colon\r\n",
        GOOD + b"x: \xff\r\n",
        GOOD + b"a: b\r\n" * 20_000,
        b"<html>",
    ],
)
def test_what_breaks_the_grammar_is_no_policy(text: bytes) -> None:
    assert mtasts.parse(text) is None


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mx.home.example", True),
        ("MX.Home.example.", True),
        ("a.other.example", True),
        ("a.b.other.example", False),
        ("other.example", False),
        ("mx.home.example.evil.example", False),
    ],
)
def test_a_wildcard_stands_for_one_label(host: str, allowed: bool) -> None:
    found = mtasts.parse(GOOD)
    assert found is not None
    assert found.allows(host) is allowed


# ---- over the wire -----------------------------------------------------------------------------------


@dataclass
class Site:
    """The domain's policy server; what it answers may be changed."""

    port: int = 0
    text: bytes = GOOD
    status: int = 200
    kind: str = "text/plain"
    slow: float = 0.0
    asked: list[str] = field(default_factory=list)


@dataclass
class World:
    """A destination with a policy, its mail host, and an office that delivers to it."""

    site: Site
    zone: ZoneServer
    sink: Sink
    made: Spooled
    relay: Relay

    def fresh(self, turns: Turns | None = None) -> Attempts:
        """As after a restart: nothing is remembered but what the database holds."""
        office = self.made.office
        here = attempt.here(office)
        known = Policies(office, self.relay.contexts, here, port=self.site.port, turns=turns)
        return Attempts(office, self.relay, known)

    def put(self) -> Claimed:
        delivery = self.made.put()
        message: SpooledMessage = self.made.message(delivery)
        return Claimed(message, delivery)

    async def tried(self) -> Tried:
        return await self.fresh().make(self.put(), ours=False)


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Certificate, Certificate, Path]:
    """Certificates of the policy's and of the mail server, and a file of who is trusted."""
    site = make_certificate(tmp_path, "mta-sts.home.example")
    mail = make_certificate(tmp_path, "mx.home.example")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(site.certificate.read_bytes() + mail.certificate.read_bytes())
    return site, mail, trusted


@pytest.fixture
def site(chain: tuple[Certificate, Certificate, Path]) -> Iterator[Site]:
    made = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(f"{self.headers['Host']}{self.path}")
            time.sleep(made.slow)
            self.send_response(made.status)
            self.send_header("Content-Type", made.kind)
            self.send_header("Location", "https://mta-sts.home.example/elsewhere")
            self.send_header("Content-Length", str(len(made.text)))
            self.end_headers()
            self.wfile.write(made.text)

        def log_message(self, format: str, *args: object) -> None:
            return

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = chain[0].server().wrap_socket(server.socket, server_side=True)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def world(
    sqlite_db: Database,
    tmp_path: Path,
    zone: ZoneServer,
    sinks: Callable[..., Sink],
    site: Site,
    chain: tuple[Certificate, Certificate, Path],
) -> AsyncIterator[World]:
    _, mail, trusted = chain
    sink = sinks(tls=mail.server())
    zone.set("home.example", "MX", "10 mx.home.example.")
    zone.set("mx.home.example", "A", "127.0.0.1")
    zone.set("mta-sts.home.example", "A", "127.0.0.1")
    zone.set("_mta-sts.home.example", "TXT", "v=STSv1; id=one;")
    made = spooled.make(sqlite_db, tmp_path, delivery={"port": sink.port}, nameserver=zone.endpoint)
    relay = Relay("mx.sort.example", contexts=tls.Contexts(str(trusted)))
    yield World(site, zone, sink, made, relay)
    await relay.close()


async def test_under_a_policy_mail_goes_to_its_hosts_over_verified_tls(world: World) -> None:
    tried = await world.tried()
    assert tried.outcome is Outcome.TAKEN, tried
    assert tried.tls.startswith("TLS")
    assert world.site.asked == [f"mta-sts.home.example:{world.site.port}/.well-known/mta-sts.txt"]
    assert (await world.tried()).outcome is Outcome.TAKEN
    assert len(world.site.asked) == 1  # it is kept in the database


async def test_a_host_that_the_policy_does_not_name_gets_nothing(world: World) -> None:
    world.zone.set("home.example", "MX", "10 mx.evil.example.")
    world.zone.set("mx.evil.example", "A", "127.0.0.1")
    tried = await world.tried()
    assert (tried.reply.code, tried.reply.status) == (451, "4.7.5")
    assert world.sink.sessions == 0


async def test_a_certificate_for_another_name_gets_nothing(world: World, tmp_path: Path) -> None:
    world.sink.tls = make_certificate(tmp_path, "mx.evil.example").server()
    tried = await world.tried()
    assert tried.outcome is Outcome.LATER
    assert not world.sink.received


async def test_a_host_whose_starttls_was_taken_away_gets_nothing(world: World) -> None:
    world.sink.tls = None
    tried = await world.tried()
    assert (tried.outcome, tried.reply.status) == (Outcome.LATER, "4.7.0")
    assert not world.sink.received


async def test_a_policy_holds_when_dns_no_longer_names_it_until_its_age_is_over(world: World) -> None:
    assert (await world.tried()).outcome is Outcome.TAKEN
    world.zone.remove("_mta-sts.home.example", "TXT")
    world.sink.tls = None
    await world.relay.close()
    assert (await world.tried()).outcome is Outcome.LATER
    world.made.clock.now += timedelta(seconds=86401)
    assert (await world.tried()).outcome is Outcome.TAKEN


async def test_a_new_id_brings_the_new_policy(world: World) -> None:
    assert (await world.tried()).outcome is Outcome.TAKEN
    world.zone.set("_mta-sts.home.example", "TXT", "v=STSv1; id=two;")
    world.site.text = GOOD.replace(b"enforce", b"none")
    world.sink.tls = None
    await world.relay.close()
    assert (await world.tried()).outcome is Outcome.TAKEN
    assert len(world.site.asked) == 2


async def test_a_policy_on_trial_stops_nothing(world: World) -> None:
    world.site.text = GOOD.replace(b"enforce", b"testing").replace(b"mx.home", b"mx.elsewhere")
    world.sink.tls = None
    assert (await world.tried()).outcome is Outcome.TAKEN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", 302),
        ("status", 404),
        ("kind", "text/html"),
        ("text", GOOD + b"x: y\r\n" * 20_000),
        ("text", b"<html>"),
    ],
)
async def test_an_answer_that_is_no_policy_leaves_the_mail_as_without_one(
    world: World, name: str, value: object
) -> None:
    setattr(world.site, name, value)
    world.sink.tls = None
    assert (await world.tried()).outcome is Outcome.TAKEN
    assert len(world.site.asked) == 1


async def test_a_policy_server_that_hangs_costs_its_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.site.slow = 3
    found = await policies.fetch(
        "home.example",
        world.made.office.resolver,
        world.relay.contexts.verified,
        attempt.here(world.made.office),
        port=world.site.port,
        deadline=0.5,
    )
    assert found is None  # it would have come after three seconds


async def test_attempts_that_begin_together_ask_for_a_policy_once(world: World) -> None:
    attempts = world.fresh()
    waiting = [world.put() for _ in range(4)]
    tried = await asyncio.gather(*(attempts.make(claimed, ours=False) for claimed in waiting))
    assert {each.outcome for each in tried} == {Outcome.TAKEN}
    assert len(world.site.asked) == 1


async def test_policy_servers_that_hang_take_nobody_elses_threads(world: World) -> None:
    connected = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        await reader.read()

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    async with far_end(hang) as there:
        fetches = [
            asyncio.create_task(
                policies.fetch(
                    "home.example",
                    world.made.office.resolver,
                    world.relay.contexts.verified,
                    attempt.here(world.made.office),
                    port=there.port,
                    deadline=5,
                )
            )
            for _ in range(4)
        ]
        await until(lambda: connected >= 2)
        signature = asyncio.create_task(asyncio.to_thread(int))
        done, _ = await asyncio.wait({*fetches, signature}, return_when=asyncio.FIRST_COMPLETED)
        for each in fetches:
            each.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
    assert done == {signature}


@pytest.fixture
def no_room() -> Turns:
    """No thread can be had."""
    turns = Turns(1)
    turns.threads.shutdown()
    return turns


async def test_where_a_policy_could_not_be_asked_for_nothing_leaves_as_if_there_were_none(
    world: World, no_room: Turns
) -> None:
    world.sink.tls = None
    attempts = world.fresh(no_room)
    for _ in range(2):  # a turn that was lost would make the second wait
        tried = await asyncio.wait_for(attempts.make(world.put(), ours=False), 5)
        assert (tried.outcome, tried.reply.code, tried.reply.status) == (Outcome.LATER, 451, "4.4.5")
    assert world.sink.sessions == 0
    assert (await world.tried()).reply.status == "4.7.0", "it is asked for when there is room"


async def test_a_kept_policy_holds_where_the_next_could_not_be_asked_for(
    world: World, no_room: Turns
) -> None:
    assert (await world.tried()).outcome is Outcome.TAKEN
    await world.relay.close()
    world.zone.set("_mta-sts.home.example", "TXT", "v=STSv1; id=two;")
    tried = await world.fresh(no_room).make(world.put(), ours=False)
    assert tried.outcome is Outcome.TAKEN
    assert tried.tls.startswith("TLS")
    world.sink.tls = None
    await world.relay.close()
    assert (await world.fresh(no_room).make(world.put(), ours=False)).reply.status == "4.7.0"
    assert len(world.site.asked) == 1


async def test_a_policy_server_whose_certificate_is_not_good_is_not_believed(world: World) -> None:
    found = await policies.fetch(
        "home.example",
        world.made.office.resolver,
        ssl.create_default_context(),
        attempt.here(world.made.office),
        port=world.site.port,
    )
    assert found is None
    assert not world.site.asked


async def test_no_policy_is_asked_for_where_the_answer_would_come_from_inside(world: World) -> None:
    world.zone.set("mta-sts.home.example", "A", "169.254.169.254")
    assert (await world.tried()).outcome is Outcome.TAKEN
    assert not world.site.asked


def test_run_out_policies_are_forgotten(sqlite_db: Database) -> None:
    from sortingoffice.mail.mtasts import Kept
    from sortingoffice.store import policies as rows

    kept = Kept(0, "home.example", "one", GOOD, spooled.NOW, spooled.NOW + timedelta(days=1))
    sqlite_db.call(rows.keep, kept)
    sqlite_db.call(rows.keep, kept)
    assert sqlite_db.call(rows.forget, spooled.NOW) == 0
    assert sqlite_db.call(rows.forget, spooled.NOW + timedelta(days=2)) == 1
    assert sqlite_db.view(rows.of, "home.example") is None
