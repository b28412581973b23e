"""The spam filter: Debian's rspamd beside a running office, and far ends that answer nonsense."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import smtplib
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sortingoffice.cli.stage import ORDERS, VENDOR, free_port, until
from sortingoffice.core.decide import Scan
from sortingoffice.core.limits import GREYLIST_SECONDS, Peers
from sortingoffice.core.model import Envelope, Peer
from sortingoffice.mail.address import Address
from sortingoffice.net import scanner
from sortingoffice.net.conversing import Conversing
from tests.database import skip_or_fail
from tests.office import Office, opened, written

_CONFIG = """\
options {{ pidfile = "{folder}/pid"; filters = "regexp"; tempdir = "{folder}";
  history_file = "{folder}/history"; hs_cache_dir = "{folder}";
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.2s; retransmits = 1; }} }}
logging {{ type = "file"; filename = "{folder}/log"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
modules {{ path = "{folder}/none.lua"; }}
regexp {{ }}
lua = "{folder}/rules.lua";
"""
_RULES = """\
config["regexp"] = config["regexp"] or {}
config["regexp"]["TEST_REJECT"] = { re = 'Subject=/scan-reject/H', score = 20.0 }
config["regexp"]["TEST_MARK"] = { re = 'Subject=/scan-mark/H', score = 8.0 }
config["regexp"]["TEST_GREY"] = { re = 'Subject=/scan-grey/H', score = 5.0 }
"""


@pytest.fixture(scope="module")
def rspamd() -> Iterator[str]:
    """The URL of a filter that goes by the subject."""
    program = shutil.which("rspamd")
    if program is None:
        skip_or_fail("rspamd")
        raise AssertionError
    with tempfile.TemporaryDirectory(prefix="rspamd-") as name:
        folder, port = Path(name), free_port()
        (folder / "rspamd.conf").write_text(_CONFIG.format(folder=folder, port=port))
        (folder / "rules.lua").write_text(_RULES)
        (folder / "none.lua").touch()
        command = [program, "--no-fork", "--config", str(folder / "rspamd.conf")]
        if os.getuid() == 0:
            person = pwd.getpwnam("_rspamd")
            for path in (folder, *folder.iterdir()):
                os.chown(path, person.pw_uid, person.pw_gid)
            command += ["--user", "_rspamd", "--group", "_rspamd"]
        with (folder / "out").open("wb") as out:
            daemon = subprocess.Popen(command, stdout=out, stderr=out)
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: _answers(url, daemon, folder), "rspamd to start", patience=90)
            yield url
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _answers(url: str, daemon: subprocess.Popen[bytes], folder: Path) -> bool:
    assert daemon.poll() is None, (folder / "out").read_text()
    with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(f"{url}/ping", timeout=2):
        return True
    return False


@pytest.fixture(scope="module")
def office(rspamd: str) -> Iterator[Office]:
    with opened() as stage:
        stage.configure(scanner=f'rspamd_url = "{rspamd}"')
        stage.init()
        stage.start()
        yield Office(stage)
        assert stage.stop() == 0, stage.log
        assert "Traceback" not in stage.log


def test_each_action_of_rspamd_leads_to_a_rule_of_its_own(office: Office) -> None:
    """Also for mail that the vendor signed: a proof of who it is says nothing of what it wants."""
    shop = office.fresh("--site", VENDOR)
    for word in ("mark", "none"):
        office.from_vendor(shop.alias, written(f"From: {ORDERS}", subject=f"scan-{word}"))
    for word, code in (("reject", 550), ("grey", 451)):
        with pytest.raises(smtplib.SMTPDataError) as raised:
            office.from_vendor(shop.alias, written(f"From: {ORDERS}", subject=f"scan-{word}"))
        assert raised.value.smtp_code == code
    rules = {row["rule"] for row in office.stage.json("log", shop.slug)}
    assert rules >= {"scanner_reject", "scanner_greylist", "scanner_marked", "welcome"}
    assert office.home("scan-mark").value("X-Spam") == b"Yes"
    assert office.home("scan-none").value("X-Spam") is None


def test_what_the_person_writes_is_not_judged(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    mail = written("From: anna@home.example", f"To: {shop.contact()}", subject="scan-reject me")
    office.from_home(shop.contact(), mail)
    assert office.vendor("scan-reject me")


def test_who_comes_again_after_some_minutes_is_taken() -> None:
    peers = Peers()
    who = ("192.0.2.1", "a@b.example", "c@d.example")
    assert not peers.patient(who, 0.0)
    assert not peers.patient(who, GREYLIST_SECONDS - 1)
    assert peers.patient(who, GREYLIST_SECONDS)
    assert not peers.patient((*who, "another"), GREYLIST_SECONDS)
    assert not peers.patient(who, 90_000.0), "a day later it begins anew"


# ---- far ends that are no filter -------------------------------------------------------------------------

ENVELOPE = Envelope(Address("a", "b.example"), (Address("c", "d.example"),))


async def _scanned(answer: bytes | None, *, helo: str = "x", deadline: float = 0.5) -> tuple[Scan, bytes]:
    """The outcome against a server that says this (None: nothing), and what it was asked."""
    asked = bytearray()

    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.extend(await reader.readuntil(b"hello\r\n"))
            writer.write(answer or b"")
            if answer is None:
                await reader.read()
            await writer.drain()
        finally:
            gone.set()

    server = Conversing(handle)
    url = f"http://127.0.0.1:{await server.listen('127.0.0.1', 0)}"
    try:
        raw = b"From: a\r\n\r\nhello\r\n"
        found = await scanner.scan(url, Peer("192.0.2.1", helo), ENVELOPE, raw, deadline=deadline)
        await asyncio.wait_for(gone.wait(), 5)
    finally:
        await server.close()
    return found, bytes(asked)


@pytest.mark.parametrize(("action", "means"), [("discard", Scan.REJECT), ("quarantine", Scan.SPAM)])
async def test_what_rspamd_would_lose_in_silence_is_refused_or_marked(action: str, means: Scan) -> None:
    found, _ = await _scanned(b'HTTP/1.0 200 OK\r\n\r\n{"action": "%s"}' % action.encode(), deadline=30)
    assert found is means


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"\xff" * 1000,
        b"HTTP/1.0 500 oops\r\n\r\n" + b'{"action": "reject"}',
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000,
        b'HTTP/1.0 200 OK\r\n\r\n{"action": "explode"}',
        b'HTTP/1.0 200 OK\r\n\r\n{"action": "reject"}' + b" " * 3 * 2**20,
    ],
    ids=["silence", "nothing", "noise", "500", "a list", "no action", "nested", "unknown action", "endless"],
)
async def test_a_filter_that_is_out_of_order_stops_no_mail(answer: bytes | None) -> None:
    assert (await _scanned(answer))[0] is Scan.CLEAN


async def test_a_filter_that_is_not_there_stops_no_mail() -> None:
    assert await scanner.scan("http://127.0.0.1:9", Peer("192.0.2.1"), ENVELOPE, b"x") is Scan.CLEAN


async def test_a_peers_words_cannot_end_a_field() -> None:
    found, asked = await _scanned(
        b'HTTP/1.0 200 OK\r\n\r\n{"action": "soft reject"}', helo="x\r\nIP: 127.0.0.1\r\n\r\nyy"
    )
    assert found is Scan.LATER
    assert asked.count(b"\r\n\r\n") == 2, "the end of the head, and of the message's"
    assert asked.count(b"\r\nIP: ") == 1
