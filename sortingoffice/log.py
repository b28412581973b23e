"""Log lines: one per event, `name key=value …`, to standard error.

Promise: one call is one line, whatever the values hold: line breaks, control characters
and terminal escapes are escaped, so nobody can write a line of ours.  A mailbox's address
is given to `debug` alone.

The time is added only where nobody else adds it: systemd's journal has its own.

Sources: logfmt, as it is commonly written.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import traceback

_logger = logging.getLogger("sortingoffice")

# C0, DEL, C1, line and paragraph separators, bidi controls, surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BARE = re.compile(r'[^\s"=\\]+')
_LONGEST = 500
_LINE_END = "\n"


def start(*, debug: bool = False) -> None:
    """Send our lines to standard error, and silence aiosmtpd's logger: it names addresses."""
    handler = logging.StreamHandler(sys.stderr)
    journal = bool(os.environ.get("JOURNAL_STREAM"))
    handler.setFormatter(logging.Formatter("%(message)s") if journal else _Timed("%(asctime)s %(message)s"))
    # What no line of ours shows is not found out for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    _logger.handlers[:] = [handler]
    _logger.setLevel(logging.DEBUG if debug else logging.INFO)
    _logger.propagate = False
    logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)


class _Timed(logging.Formatter):
    """As its parent, with the time of day worked out once for each second."""

    _last = 0, ""  # the second, and how it is shown; replaced as one

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        known, shown = self._last
        if second != known:
            shown = time.strftime(self.default_time_format, self.converter(second))
            self._last = second, shown
        return f"{shown},{int(record.msecs):03d}"


def event(name: str, **fields: object) -> None:
    """Something that an operator may count on seeing."""
    if _logger.isEnabledFor(logging.INFO):
        _write(logging.INFO, line(name, fields))


def debug(name: str, **fields: object) -> None:
    """Detail that may name a person's address; off unless asked for."""
    if _logger.isEnabledFor(logging.DEBUG):
        _write(logging.DEBUG, line(name, fields))


def bug(name: str, error: BaseException, **fields: object) -> None:
    """An exception that is our mistake: one line, with the frames of our own code."""
    frames = [
        f"{frame.filename.rpartition('sortingoffice/')[2]}:{frame.lineno}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    shown = {**fields, "error": told(error), "at": " < ".join(reversed(frames[-6:]))}
    _write(logging.ERROR, line(name, shown))


def told(error: BaseException) -> str:
    """Its type and its words; a database's without statement, values and row, which may hold addresses."""
    kind, driver = type(error).__name__, getattr(error, "orig", None) or error  # orig: SQLAlchemy's
    said = getattr(getattr(driver, "diag", None), "message_primary", None)  # psycopg's
    if driver is not error:
        kind = f"{kind} ({type(driver).__name__})"
    elif said is None:
        return f"{kind}: {error}"
    return f"{kind}: {said or str(driver).partition(_LINE_END)[0]}"


def _write(level: int, text: str) -> None:
    """As `_logger.log`, which looks through the stack for a file and a line that no format of ours shows."""
    _logger.handle(logging.LogRecord(_logger.name, level, "", 0, text, (), None))


def line(name: str, fields: dict[str, object]) -> str:
    return " ".join([name, *(f"{key}={escape(value)}" for key, value in fields.items())])


def escape(value: object) -> str:
    """One value, quoted where it must be; at most 500 characters."""
    text = "" if value is None else str(value)
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    if _BARE.fullmatch(text) and not _UNSAFE.search(text):
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted) + '"'
