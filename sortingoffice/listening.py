"""The sockets of the office: opened once, before any process of it takes a connection from them.

Promise: all of them accept, or `OfficeError` is raised and none does.  What systemd passed is used
instead of the config's addresses.  Each worker process has the same sockets; the system hands a connection
to one of those that wait, so what a dead worker would have taken waits for the next.

Sources: sd_listen_fds(3); accept(2).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sortingoffice import log
from sortingoffice.config import Config
from sortingoffice.edge.serve import opened as opened_for_mail
from sortingoffice.errors import OfficeError
from sortingoffice.frozen import dataclass
from sortingoffice.values import Endpoint

P = ParamSpec("P")
T = TypeVar("T")

_FIRST_PASSED = 3  # sd_listen_fds(3)
_PATIENCE = 2.0  # seconds for a port that somebody has


@dataclass(frozen=True, slots=True)
class Listening:
    """What listens for whom."""

    smtp: tuple[socket.socket, ...] = ()
    submission: tuple[socket.socket, ...] = ()
    http: socket.socket | None = None
    metrics: socket.socket | None = None

    def close(self) -> None:
        """In this process; who has the sockets too goes on."""
        for one in (*self.smtp, *self.submission, self.http, self.metrics):
            if one is not None:
                one.close()

    def told(self) -> list[tuple[str, Endpoint]]:
        """What it is for, and where, with the ports that the system chose."""
        mail = [("smtp", one) for one in self.smtp] + [("submission", one) for one in self.submission]
        others = [("http", self.http), ("metrics", self.metrics)]
        found = [*mail, *((kind, one) for kind, one in others if one is not None)]
        return [(kind, _endpoint(one)) for kind, one in found]


def opened(config: Config, role: str) -> Listening:
    """The sockets of a role; raises `OfficeError`."""
    smtp: list[socket.socket] = []
    submission: list[socket.socket] = []
    http = None
    try:
        if role in ("all", "smtp"):
            passed = _passed()
            smtp += passed.get("smtp") or _once_free(opened_for_mail, config.smtp.listen)
            submission += passed.get("submission") or _once_free(opened_for_mail, config.submission.listen)
        if role in ("all", "web") and config.http.listen is not None:
            http = _once_free(opened_for_http, config.http.listen, "http")
    except BaseException:
        Listening(tuple(smtp), tuple(submission), http).close()
        raise
    return Listening(tuple(smtp), tuple(submission), http, _for_figures(config))


def _once_free(open_: Callable[P, T], *where: P.args, **how: P.kwargs) -> T:
    """What it opens.  An office that was killed may have workers that still die, and have the port."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return open_(*where, **how)
        except OfficeError as error:
            reason = error.__context__
            in_use = isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE
            if not in_use or time.monotonic() > end:
                raise
        time.sleep(0.02)


def opened_for_http(endpoint: Endpoint, section: str) -> socket.socket:
    """A listening socket; `section` of the config says where.  Raises `OfficeError`."""
    try:
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        return socket.create_server((endpoint.host, endpoint.port), family=family, backlog=256)
    except OSError as error:
        raise OfficeError(
            f"can't listen for {section} on {endpoint} ({error.strerror}): change {section}.listen, or set "
            'it to "" for none'
        ) from None


def _for_figures(config: Config) -> socket.socket | None:
    """A port that another role of this office has is no reason to take no mail."""
    where = config.metrics.listen
    if where is None:
        return None
    try:
        return opened_for_http(where, "metrics")
    except OfficeError as error:
        log.event("metrics-not-served", reason=error)
        return None


def _passed() -> dict[str, list[socket.socket]]:
    """Listening sockets from systemd, by name: FileDescriptorName=smtp or submission.

    An unnamed one is taken for smtp.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[socket.socket]] = {}
    for at in range(count):
        name = names[at] if at < len(names) else ""
        kind = "submission" if "submission" in name else "smtp"
        passed = socket.socket(fileno=_FIRST_PASSED + at)
        passed.setblocking(False)
        found.setdefault(kind, []).append(passed)
    return found


def _endpoint(one: socket.socket) -> Endpoint:
    name = one.getsockname()
    return Endpoint(str(name[0]), int(name[1])) if isinstance(name, tuple) else Endpoint(str(name), 0)
