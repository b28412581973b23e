"""The id of the message that an SMTP transaction is about: one from MAIL on, in each line of the log, in the
answer to the content and in `trace`.

The edge draws it; it belongs to the task that runs the session, so that who is asked at RCPT and after DATA
finds it without each question carrying it.
"""

from __future__ import annotations

from contextvars import ContextVar

_message: ContextVar[str] = ContextVar("message", default="")


def begin(name: str) -> None:
    """From here on it is about the message of this name."""
    _message.set(name)


def message() -> str:
    """The message's id; "" where no transaction has begun."""
    return _message.get()
