"""Two people, each with an office of their own, who write to each other from three mail programs.

Promise: in ten turns the thread stays one for both, and nothing on either side names the other's mailbox.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from sortingoffice.cli import stage as stages
from sortingoffice.cli.stage import Stage, until
from sortingoffice.mail import headers, mime
from sortingoffice.mail.message import Message
from sortingoffice.net.sink import Received, Sink
from tests.office import addresses, unsigned
from tests.test_edge_clients import program

HEIM = "heim.example"
BELA = f"bela.privat@{HEIM}"
POST = "post.example"


@dataclass
class Writer:
    """A person: their office, their real mailbox and their mail program's files."""

    stage: Stage
    box: Sink
    name: str
    account: str
    folder: Path
    password: str
    alias: str = ""
    other: str = ""
    sent: list[str] = field(default_factory=list)

    @property
    def mailbox(self) -> str:
        return self.stage.mailbox

    @property
    def laptop(self) -> str:
        """What the mail programs name in a Message-ID: of the mailbox's domain, as they do."""
        return f"laptop.{self.mailbox.rpartition('@')[2]}"

    def got(self, turn: int) -> Received:
        """What came in that turn."""
        marker = f"turn {turn} ".encode()

        def look() -> Received | None:
            return next((each for each in tuple(self.box.received) if marker in _prose(each.octets)), None)

        found = until(look, f"turn {turn} to reach {self.name}")
        assert found is not None
        return found


def _prose(octets: bytes) -> bytes:
    """The text without what it quotes."""
    text = mime.parse(Message.parse(octets)).text() or ""
    return "\n".join(line for line in text.splitlines() if not line.startswith(">")).encode()


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Writer, Writer]]:
    with ExitStack() as stack:
        first = stack.enter_context(stages.opened())
        folder = tmp_path_factory.mktemp("bela")
        box = Sink()
        box.start_in_thread("127.0.0.5", first.port)
        stack.callback(box.stop)
        second = Stage(folder, first.zone, first.vendor, box, first.port)
        second.domain, second.mailbox, second.host = POST, BELA, "127.0.0.4"
        second.publish(HEIM, "127.0.0.5")
        stack.callback(second.stop)
        second.configure()
        made = []
        for stage, sink, name in ((first, first.home, "Anna Arden"), (second, box, "Bela Blum")):
            stage.init()
            stage.start()
            account = stage.mailbox.partition("@")[0]
            password = stage.command("admin", "password", "new", "--label", "laptop")
            home = tmp_path_factory.mktemp(account)
            made.append(Writer(stage, sink, name, account, home, password))
        anna, bela = made
        anna.alias = anna.stage.command("new", "Bela")
        bela.alias = bela.stage.command("new", "Anna")
        anna.other = anna.stage.command("contact", "bela", bela.alias)
        yield anna, bela


# ---- the mail programs -------------------------------------------------------------------------------


def _mbox(writer: Writer, message: Received) -> Path:
    """The message in a folder of its own, as the person's mail program keeps it."""
    path = writer.folder / "inbox"
    octets = message.octets.replace(b"\r\n", b"\n")
    escaped = re.sub(rb"(?m)^(>*From )", rb">\1", octets)
    path.write_bytes(b"From someone Thu Jan  1 00:00:00 2026\n" + escaped.rstrip(b"\n") + b"\n\n")
    return path


def mutt(writer: Writer, turn: int, to: Received | None) -> None:
    certificate = next(writer.stage.folder.rglob("*.crt"), None) or next(
        writer.stage.folder.rglob("*cert*.pem")
    )
    record = writer.folder / "sent"
    record.unlink(missing_ok=True)
    editor = writer.folder / "editor"
    editor.write_text(
        f"#!{sys.executable}\nimport sys, pathlib\np = pathlib.Path(sys.argv[-1])\n"
        f"p.write_text({_words(turn)!r} + '\\n' + p.read_text())\n"
    )
    editor.chmod(0o755)
    settings = writer.folder / "muttrc"
    port = writer.stage.submission_port
    settings.write_text(
        f"""\
set realname="{writer.name}" from="{writer.mailbox}" hostname="{writer.laptop}" use_from
set smtp_url="smtp://{writer.account}@{writer.stage.host}:{port}/" smtp_pass="{writer.password}"
set ssl_starttls=yes ssl_force_tls ssl_verify_host=no ssl_ca_certificates_file="{certificate}"
set record="{record}" copy=yes folder="{writer.folder}" mbox_type=mbox confirmappend=no
set editor="{editor}" fast_reply include=yes abort_unmodified=no abort_noattach=no
set quit=yes delete=no move=no wait_key=no sleep_time=0
"""
    )
    command = [program("mutt"), "-n", "-F", str(settings)]
    if to is None:
        done = subprocess.run(
            [*command, "-s", "a walk", "--", writer.other],
            input=_words(turn).encode(),
            capture_output=True,
            env={**os.environ, "HOME": str(writer.folder), "TERM": "xterm"},
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    else:
        keys = "<first-entry><group-reply><send-message><exit>"
        _on_a_terminal([*command, "-f", str(_mbox(writer, to)), "-e", f'push "{keys}"'], writer.folder)
    _remember(writer, record)


def s_nail(writer: Writer, turn: int, to: Received | None) -> None:
    assert to is not None
    record = writer.folder / "sent"
    record.unlink(missing_ok=True)
    url = f"smtp://{writer.account}:{writer.password}@{writer.stage.host}:{writer.stage.submission_port}"
    words = _words(turn).encode()
    done = subprocess.run(
        [
            program("s-nail"),
            "-:/",
            "-#",
            "-Sv15-compat",
            "-Ssmtp-use-starttls",
            "-Stls-verify=ignore",
            "-Squote",
            "-Ssendwait",
            "-Sfollowup-to",
            f"-Sfrom={writer.name} <{writer.mailbox}>",
            f"-Shostname={writer.laptop}",
            f"-Srecord={record}",
            f"-Smta={url}",
            "-f",
            str(_mbox(writer, to)),
        ],
        input=b"reply 1\n" + words + b"~.\nx\n",
        capture_output=True,
        env={**os.environ, "HOME": str(writer.folder), "LC_ALL": "C.UTF-8"},
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    _remember(writer, record)


def swaks(writer: Writer, turn: int, to: Received | None) -> None:
    assert to is not None
    message = Message.parse(to.octets)
    identity = f"<turn.{turn}.{int(time.time())}@{writer.laptop}>"
    quoted = "".join(f"> {line}\n" for line in (mime.parse(message).text() or "").splitlines())
    answered = (message.value("Message-ID") or b"").decode().strip()
    known = (message.value("References") or b"").decode()
    reverse = addresses(message, "From")[0]
    subject = headers.decode(message.value("Subject") or b"").removeprefix("Re: ")
    data = writer.folder / "data"
    data.write_text(
        f"From: {writer.name} <{writer.mailbox}>\nTo: {reverse}\nCc: {writer.mailbox}\n"
        f"Subject: Re: {subject}\nMessage-ID: {identity}\nIn-Reply-To: {answered}\n"
        f"References: {' '.join([*known.split(), answered])}\nDate: {format_datetime(datetime.now(UTC))}\n"
        f"X-Mailer: swaks on {writer.laptop}\nMIME-Version: 1.0\n"
        f"Content-Type: text/plain; charset=utf-8\n\n{_words(turn)}\n"
        f"On Sunday, {headers.decode(message.value('From') or b'')} wrote:\n{quoted}"
    )
    done = subprocess.run(
        [
            program("swaks"),
            "--server",
            f"{writer.stage.host}:{writer.stage.submission_port}",
            "--tls",
            "--auth-user",
            writer.account,
            "--auth-password",
            writer.password,
            "--from",
            writer.mailbox,
            "--to",
            reverse,
            "--data",
            f"@{data}",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    writer.sent.append(identity)


def _words(turn: int) -> str:
    return f"turn {turn} of a long talk\n\nWith an accent: Grüße, and a dot alone:\n.\nthat was it.\n"


def _remember(writer: Writer, record: Path) -> None:
    """The id by which the person's own mail program knows what it sent."""
    found = re.findall(r"(?mi)^Message-ID:\s*(<[^>]+>)", record.read_text(errors="replace"))
    writer.sent.append(found[-1])


def _on_a_terminal(command: list[str], home: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the other process
        os.environ.update(TERM="xterm", HOME=str(home), LC_ALL="C.UTF-8")
        os.execv(command[0], command)
    seen = b""
    end = time.monotonic() + 30
    try:
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(terminal, 65536)
                except OSError:
                    break
        else:
            raise AssertionError(seen.decode(errors="replace"))
    finally:
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, 15)
            os.waitpid(pid, 0)
        os.close(terminal)


# ---- the conversation --------------------------------------------------------------------------------


def _hidden(got: Received, writer: Writer) -> None:
    """Nothing of the writer's mailbox is in it, decoded or not."""
    local, _, domain = writer.mailbox.partition("@")
    decoded = unsigned(got.octets) + b"".join(
        (leaf.text() or "").encode() for leaf in mime.parse(Message.parse(got.octets)).leaves()
    )
    for secret in (domain, local, f"laptop.{domain}"):
        assert secret.encode() not in decoded, (secret, got.octets.decode(errors="replace"))


def _threaded(got: Received, reader: Writer, turn: int) -> None:
    """It answers the reader's last message, by the id that the reader's own mail program gave it."""
    message = Message.parse(got.octets)
    if turn == 1:
        return
    assert headers.message_ids(message.value("In-Reply-To") or b"") == (reader.sent[-1],)
    known = headers.message_ids(message.value("References") or b"")
    assert set(reader.sent) <= set(known), (turn, known, reader.sent)


def test_ten_turns_from_three_mail_programs_stay_one_thread_and_name_no_mailbox(
    writers: tuple[Writer, Writer],
) -> None:
    programs = [mutt, s_nail, swaks, mutt, mutt, swaks, s_nail, s_nail, swaks, mutt]
    last: Received | None = None
    for turn, write in enumerate(programs, 1):
        writer, reader = writers if turn % 2 else writers[::-1]
        write(writer, turn, last)
        last = reader.got(turn)
        _hidden(last, writer)
        _threaded(last, reader, turn)
        assert addresses(Message.parse(last.octets), "From") != [writer.alias]
    for writer in writers:
        assert writer.mailbox.encode() not in b"".join(
            each.octets for other in writers if other is not writer for each in other.box.received
        )
        assert len(writer.stage.json("list")) == 1
        assert len(writer.box.received) == 5, "nobody got a note, a copy or an error"
