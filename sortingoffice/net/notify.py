"""Telling the service supervisor that we are ready, alive, reloading or going.

Nothing happens where nobody asked: without NOTIFY_SOCKET every call is silent.

Sources: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5) (Type=notify-reload).
"""

from __future__ import annotations

import os
import socket
import time


def tell(*lines: str) -> None:
    """Send a state such as "READY=1"; a supervisor that is gone is no failure of ours."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.sendto("\n".join(lines).encode(), address)
    except OSError:
        return


def ready() -> None:
    tell("READY=1")


def reloading() -> None:
    tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    tell("STOPPING=1")


def alive() -> None:
    tell("WATCHDOG=1")


def watchdog_seconds() -> float | None:
    """How often `alive` must be called at least; None where no watchdog watches this process."""
    asked = os.environ.get("WATCHDOG_USEC", "")
    whom = os.environ.get("WATCHDOG_PID", "")
    if not asked.isdecimal() or (whom and whom != str(os.getpid())):
        return None
    return int(asked) / 1e6
