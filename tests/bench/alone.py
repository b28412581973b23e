"""A network of the bench's own: it runs again in a namespace that holds nothing but a loopback.

So port 53 is free, which opendkim insists on: its resolver (libunbound) asks nobody at 127.0.0.0/8
unless a file tells it to, and reads that file anew for every message, which makes it crash under
load.  The name server for it is therefore at 192.0.2.53 (RFC 5737), an address of that loopback.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sortingoffice.net.zone import ZoneServer

NAMESERVER = "192.0.2.53"
_INSIDE = "BENCH_INSIDE"


def possible() -> bool:
    """Whether this account may make such a network."""
    return os.getuid() == 0 and all(map(shutil.which, ("unshare", "ip")))


def enter() -> None:
    """Run this program again, inside; returns there."""
    if not os.environ.get(_INSIDE):
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, "-m", "tests.bench", *sys.argv[1:]])
    for words in ("link set lo up", f"addr add {NAMESERVER}/32 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)


@contextmanager
def nameserver(zone: ZoneServer) -> Iterator[None]:
    """Answer from the zone at `NAMESERVER`, on the port that everybody knows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.bind((NAMESERVER, 53))
        asked.settimeout(0.2)
        ended = threading.Event()
        known: dict[bytes, bytes] = {}  # but for the id: whoever asks again shall cost us nothing

        def answer() -> None:
            while not ended.is_set():
                try:
                    question, peer = asked.recvfrom(4096)
                except TimeoutError:
                    continue
                if question[2:] not in known:
                    known[question[2:]] = (zone.respond(question, over_udp=True) or b"")[2:]
                asked.sendto(question[:2] + known[question[2:]], peer)

        thread = threading.Thread(target=answer, name="port 53", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
