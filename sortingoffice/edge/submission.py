"""Submission: the same transactions, for those who have proved by name and app password who they are.

    TLS → AUTH → MAIL …

Promise: no credentials are read before TLS, no MAIL is taken before AUTH, and guessing is slow:
three tries a session, a delay after each, a lock per peer.  The password is checked by the flow,
in a thread.

Sources: RFC 6409 (submission), RFC 4954 (AUTH), RFC 4616 (PLAIN), RFC 8314 (implicit TLS);
draft-murchison-sasl-login (LOGIN).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from sortingoffice import log
from sortingoffice.edge import replies
from sortingoffice.edge.reader import Hangup
from sortingoffice.edge.session import Command
from sortingoffice.edge.smtp import Smtp
from sortingoffice.mail.address import Address
from sortingoffice.mail.reply import Reply

LINE = 12288  # octets of an AUTH line, RFC 4954 §4
TRIES = 3


class _Broken(Exception):
    """The exchange came to nothing; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Submission(Smtp):
    """The submission port, with STARTTLS or with TLS from the first octet."""

    line_limit: ClassVar[int] = LINE
    parameters: ClassVar[frozenset[str]] = Smtp.parameters | {"AUTH"}  # RFC 4954 §5: taken, not used
    _failed = 0

    def extensions(self) -> list[str]:
        offered = super().extensions()
        return [*offered, "AUTH PLAIN LOGIN"] if self.peer.tls else offered

    def ready_for_mail(self) -> Reply | None:
        if not self.peer.tls:
            return replies.STARTTLS_FIRST
        if self.peer.account_id is None:
            return replies.AUTH_FIRST
        return super().ready_for_mail()

    async def judge_sender(self, sender: Address | None) -> Reply | None:
        return await self.door.hooks.mail(self.peer, sender)

    # ---- AUTH --------------------------------------------------------------------------------------

    async def auth(self, argument: bytes) -> None:
        refusal = self._ready_for_auth()
        if refusal is not None:
            self.fault(refusal)
            return
        words = argument.split()
        mechanism = words[0].upper() if words else b""
        if mechanism not in (b"PLAIN", b"LOGIN"):
            self.fault(replies.UNKNOWN_MECHANISM if words else replies.BAD_AUTH)
            return
        if len(words) > 2:
            self.fault(replies.BAD_AUTH)
            return
        initial = words[1] if len(words) == 2 else None
        try:
            name, password = await (self._plain(initial) if mechanism == b"PLAIN" else self._login(initial))
        except _Broken as broken:
            self.fault(broken.reply)
            return
        await self._decide(name, password)

    def _ready_for_auth(self) -> Reply | None:
        if not self.peer.tls:
            return replies.ENCRYPTION_NEEDED
        if not self.peer.helo or not self.peer.esmtp:
            return replies.EHLO_FIRST
        if self.peer.account_id is not None:
            return replies.ALREADY_AUTHENTICATED
        return replies.NOT_WHILE_MAIL if self.transaction.open else None

    async def _plain(self, initial: bytes | None) -> tuple[str, bytes]:
        """RFC 4616: [authzid] NUL authcid NUL passwd."""
        octets = await self._challenge(b"") if initial is None else _decoded(initial)
        parts = octets.split(b"\0")
        if len(parts) != 3:
            raise _Broken(replies.BAD_AUTH)
        authorized, name, password = parts
        if authorized not in (b"", name):  # nobody may act as somebody else
            name = b""
        return _text(name), password

    async def _login(self, initial: bytes | None) -> tuple[str, bytes]:
        name = await self._challenge(b"Username:") if initial is None else _decoded(initial)
        return _text(name), await self._challenge(b"Password:")

    async def _challenge(self, words: bytes) -> bytes:
        self._out.append(b"334 " + base64.b64encode(words) + b"\r\n")
        while (line := self.reader.line(LINE)) is None:
            await self.more(self.door.limits.command_seconds)
        if not line:
            raise _Broken(replies.AUTH_TOO_LONG)
        if not line.endswith(b"\r\n"):
            raise _Broken(replies.BAD_LINE_END)
        if line == b"*\r\n":
            raise _Broken(replies.AUTH_CANCELLED)
        return _decoded(line[:-2])

    async def _decide(self, name: str, password: bytes) -> None:
        ip = self.peer.ip
        if self.door.gate.locked(ip, self.loop.time()):
            raise Hangup(replies.TOO_MANY_TRIES)
        async with self.door.logins:
            account_id = await self.door.hooks.authenticate(self.peer, name, password) if name else None
        if account_id is not None:
            self.door.gate.succeeded(ip)
            self.peer = replace(self.peer, account_id=account_id)
            self.say(replies.AUTHENTICATED)
            return
        self._failed += 1
        self.door.gate.failed(ip, self.loop.time())
        log.event("submission.failed", ip=ip, tries=self._failed)
        await asyncio.sleep(self.door.login_delay * self._failed)
        self.say(replies.WRONG_PASSWORD)
        if self._failed >= TRIES:
            self.say(replies.TOO_MANY_TRIES)

    commands: ClassVar[Mapping[bytes, Command]] = {**Smtp.commands, b"AUTH": auth}


def _decoded(word: bytes) -> bytes:
    """Base64, strictly; "=" alone is the empty response (RFC 4954 §4)."""
    if word == b"=":
        return b""
    try:
        return base64.b64decode(word, validate=True)
    except binascii.Error:
        raise _Broken(replies.BAD_AUTH) from None


def _text(name: bytes) -> str:
    """A name as text; "" for what is none, which nobody is called."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return ""
