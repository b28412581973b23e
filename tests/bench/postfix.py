"""Postfix as Debian packages it, with directories and ports of its own: bare, and with postsrsd and opendkim.

What a person would set up who forwards mail: aliases in a hash map, one next hop, the sender
rewritten by postsrsd, what comes in verified by one opendkim, what goes out signed (RSA-2048) by
another: one opendkim does either to a message, never both.  SPF, DMARC, ARC and per-contact addresses, which
the office does as well, are not done here.

Kept in Postfix's favour: no look-up of the client's name, no TLS, no flow delay, milters behind local
sockets (behind TCP ones delayed acknowledgements cost a message over 100 ms of waiting).  opendkim asks the
bench's own DNS through libunbound, as it would in production (`tests.bench.alone`).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sortingoffice.cli.stage import free_port
from sortingoffice.mail import keys
from sortingoffice.net.zone import ZoneServer
from tests.bench import alone, residents
from tests.bench.letters import HOME, HOSTNAME, OFFICE
from tests.bench.system import System, listens, started, stopped

BARE = "postfix"
SIGNING = "postfix+srs+dkim, signing"
BOTH = "postfix+srs+dkim, both"
_POSTFIX = Path("/usr/sbin/postfix")
_POSTSRSD = Path("/usr/sbin/postsrsd")
_OPENDKIM = Path("/usr/sbin/opendkim")
_SELECTOR = "bench"

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_DKIM = """\
Syslog no
UserID root
RequireSafeKeys no
Mode {mode}
Socket local:{socket}
UMask 000
AuthservID {hostname}
AlwaysAddARHeader yes
Canonicalization relaxed/relaxed
OversignHeaders From
SignatureAlgorithm rsa-sha256
"""
_SIGN = """\
InternalHosts 0.0.0.0/0
KeyTable file:{folder}/keys
SigningTable refile:{folder}/signing
"""
_VERIFY = """\
InternalHosts 192.0.2.1
Nameservers {nameserver}
"""


def missing() -> list[str]:
    """Programs that Debian's packages postfix, postsrsd and opendkim would bring."""
    return [program.name for program in (_POSTFIX, _POSTSRSD, _OPENDKIM) if not program.exists()]


@contextmanager
def running(
    name: str, folder: Path, sink: tuple[str, int], aliases: int, zone: ZoneServer
) -> Iterator[System]:
    """BARE, SIGNING or BOTH."""
    folder.mkdir()
    folder.chmod(0o755)
    with ExitStack() as stack:
        helpers = _Helpers(folder, stack)
        settings: dict[str, str] = {}
        proofs: list[bytes] = []
        if name != BARE:
            settings = helpers.postsrsd()
            milters = [helpers.verifier()] if name == BOTH else []
            milters.append(helpers.signer(zone))
            settings["smtpd_milters"] = ", ".join(f"unix:{socket}" for socket in milters)
            settings["milter_default_action"] = "tempfail"  # a helper that fails shall be seen
            proofs = [rb"^MAIL FROM:<SRS0", rb"(?s)DKIM-Signature: [^\n]*a=rsa-sha256.*d=sort\.example"]
        if name == BOTH:
            proofs.append(rb"dkim=pass")
        port, master = stack.enter_context(_postfix(folder, sink, aliases, settings))
        log = folder / "log" / "mail.log"
        yield System(
            name,
            port,
            lambda: [master, *helpers.pids],
            tuple(proofs),
            share=1.0 if name == BARE else 0.4,
            wrong=lambda: "\n".join(
                line
                for line in log.read_text(errors="replace").splitlines()
                if "fatal:" in line or "error:" in line
            ),
        )


@dataclass(slots=True)
class _Helpers:
    """What runs beside Postfix."""

    folder: Path
    stack: ExitStack
    pids: list[int] = field(default_factory=list)

    def _start(self, arguments: list[str | Path], at: int | Path) -> None:
        log = self.folder / "helpers.log"
        process = started(arguments, log)
        self.stack.callback(stopped, process)
        listens(at, log)
        self.pids.append(process.pid)

    def postsrsd(self) -> dict[str, str]:
        """The settings that make Postfix ask it."""
        secret = self.folder / "srs.secret"
        secret.write_text("a secret for a bench alone\n")
        forward, reverse = free_port(), free_port()
        ports = [f"-f{forward}", f"-r{reverse}"]
        self._start([_POSTSRSD, "-4", f"-s{secret}", f"-d{OFFICE}", "-l127.0.0.1", *ports], forward)
        return {
            "sender_canonical_maps": f"tcp:127.0.0.1:{forward}",
            "sender_canonical_classes": "envelope_sender",
            "recipient_canonical_maps": f"tcp:127.0.0.1:{reverse}",
            "recipient_canonical_classes": "envelope_recipient, header_recipient",
        }

    def signer(self, zone: ZoneServer) -> Path:
        """An opendkim that signs whatever passes, for the office's domain; its socket."""
        pem, public = keys.generate_rsa()
        path = self.folder / "dkim.pem"
        path.write_bytes(pem)
        path.chmod(0o600)
        zone.set(f"{_SELECTOR}._domainkey.{OFFICE}", "TXT", f"v=DKIM1; k=rsa; p={public}")
        (self.folder / "keys").write_text(f"own {OFFICE}:{_SELECTOR}:{path}\n")
        (self.folder / "signing").write_text("* own\n")
        return self._opendkim("s", _SIGN)

    def verifier(self) -> Path:
        """An opendkim that verifies whatever passes; its socket."""
        return self._opendkim("v", _VERIFY)

    def _opendkim(self, mode: str, rest: str) -> Path:
        socket = self.folder / f"opendkim-{mode}.socket"
        config = self.folder / f"opendkim-{mode}.conf"
        config.write_text(
            _DKIM.format(mode=mode, socket=socket, hostname=HOSTNAME)
            + rest.format(folder=self.folder, nameserver=alone.NAMESERVER)
        )
        self._start([_OPENDKIM, "-f", "-x", config], socket)
        return socket


@contextmanager
def _postfix(
    folder: Path, sink: tuple[str, int], aliases: int, more: dict[str, str]
) -> Iterator[tuple[int, int]]:
    """Its port and its master process."""
    for name in ("config", "queue", "data", "log"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    port = free_port()
    table = folder / "config" / "aliases"
    with table.open("w") as lines:
        for number in range(aliases):
            lines.write(f"{residents.alias(number)} person{number // 100}@{HOME}\n")
    subprocess.run(["/usr/sbin/postmap", f"hash:{table}"], check=True, timeout=300)
    settings = {
        "compatibility_level": "3.6",
        "queue_directory": str(folder / "queue"),
        "data_directory": str(folder / "data"),
        "maillog_file": str(folder / "log" / "mail.log"),
        "maillog_file_prefixes": str(folder),
        "myhostname": HOSTNAME,
        "mydestination": "",
        "virtual_alias_domains": OFFICE,
        "virtual_alias_maps": f"hash:{table}",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "mynetworks": "127.0.0.0/8",
        "relayhost": f"[{sink[0]}]:{sink[1]}",
        "disable_dns_lookups": "yes",
        "smtpd_peername_lookup": "no",
        "smtp_tls_security_level": "none",
        "smtpd_tls_security_level": "none",
        "in_flow_delay": "0",
        "smtp_destination_concurrency_limit": "50",
        "message_size_limit": "40000000",
        "mailbox_size_limit": "0",
        **more,
    }
    (folder / "config" / "main.cf").write_text(
        "".join(f"{key} = {value}\n" for key, value in settings.items())
    )
    (folder / "config" / "master.cf").write_text(_MASTER.format(port=port))
    _command(folder, "start")
    try:
        listens(port, folder / "log" / "mail.log", speaks=b"220")
        yield port, int((folder / "queue" / "pid" / "master.pid").read_text())
    finally:
        _command(folder, "stop")


def _command(folder: Path, verb: str) -> None:
    done = subprocess.run(
        [_POSTFIX, "-c", folder / "config", verb], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise SystemExit(f"postfix {verb}: {done.stderr}")
