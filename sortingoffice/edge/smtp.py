"""SMTP on port 25: the commands of a transaction, and nothing that is policy.

    EHLO → MAIL → RCPT … → DATA → content → one reply

Promise: an address reaches a hook only as an `Address` that our own parser made from the octets
on the wire; a message only as the octets between 354 and CR LF . CR LF; 2xx after the content
only if the hook said so.

Sources: RFC 5321 §3.3, §4.1; RFC 1870 (SIZE), RFC 2034, RFC 2920, RFC 6152 (8BITMIME),
RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from aiosmtpd.smtp import Envelope as Aiosmtpd

from sortingoffice import failpoint, log
from sortingoffice import transaction as transactions
from sortingoffice.core.model import Envelope
from sortingoffice.edge import proxy, replies
from sortingoffice.edge.content import Content
from sortingoffice.edge.peer import helo, listed
from sortingoffice.edge.reader import Hangup
from sortingoffice.edge.session import Command, Session
from sortingoffice.mail import token
from sortingoffice.mail.address import Address, Path, parse_path
from sortingoffice.mail.reply import Reply

_SIZE = re.compile(r"[0-9]{1,20}")


class Transaction(Aiosmtpd):
    """What MAIL and RCPT have said so far.

    asked       RCPTs that were answered, refused ones too
    recipients  the accepted ones and what they were told
    """

    def __init__(self) -> None:
        super().__init__()
        self.open = False
        self.sender: Address | None = None
        self.recipients: dict[Address, Reply] = {}
        self.asked = 0
        self.body_8bit = False
        self.utf8 = False


class Smtp(Session):
    """Port 25."""

    def _create_envelope(self) -> Transaction:
        return Transaction()

    @property
    def transaction(self) -> Transaction:
        assert isinstance(self.envelope, Transaction)
        return self.envelope

    # ---- greeting ----------------------------------------------------------------------------------

    async def helo(self, argument: bytes) -> None:
        if self._introduced(argument, esmtp=False):
            self.say(Reply(250, "", self.hostname))

    async def ehlo(self, argument: bytes) -> None:
        if self._introduced(argument, esmtp=True):
            lines = [self.hostname, *self.extensions()]
            heads = ["250-"] * (len(lines) - 1) + ["250 "]
            self._out.append("".join(f"{h}{line}\r\n" for h, line in zip(heads, lines, strict=True)).encode())

    def _introduced(self, argument: bytes, *, esmtp: bool) -> bool:
        name = helo(argument)
        if name is None:
            self.fault(replies.BAD_HELO)
            return False
        self.reset()
        self.peer = replace(self.peer, helo=name, esmtp=esmtp)
        return True

    def extensions(self) -> list[str]:
        """What EHLO lists; only what works."""
        offered = ["PIPELINING", f"SIZE {self.door.most}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.door.context is not None and not self.peer.tls:
            offered.append("STARTTLS")
        if listed(self.connected, self.door.xclients):
            offered.append("XCLIENT " + " ".join(proxy.ATTRIBUTES))
        return offered

    async def xclient(self, argument: bytes) -> None:
        if not listed(self.connected, self.door.xclients):
            self.fault(replies.NOT_FOR_YOU)
            return
        if self.transaction.open:
            self.fault(replies.NOT_WHILE_MAIL)
            return
        peer = proxy.xclient(replace(self.peer, helo="", account_id=None), argument)
        if peer is None:
            self.fault(replies.BAD_XCLIENT)
            return
        self.peer = peer
        self.reset()
        if self.enter():
            self.greet()  # as if it had just connected

    # ---- MAIL --------------------------------------------------------------------------------------

    async def mail(self, argument: bytes) -> None:
        refusal = self.ready_for_mail()
        if refusal is not None:
            self.fault(refusal)
            return
        path = parse_path(argument[5:]) if argument[:5].upper() == b"FROM:" else None
        if path is None:
            self.fault(replies.BAD_SENDER if argument[:5].upper() == b"FROM:" else replies.BAD_MAIL)
            return
        refusal = self._parameters(path, argument)
        if refusal is not None:
            self.fault(refusal)
            return
        if int(path.parameters.get("SIZE", "0")) > self.door.most:  # RFC 1870 §6.1
            self.say(self.counted("mail", replies.TOO_LARGE))
            return
        size = int(path.parameters.get("SIZE", "0"))
        if self.peer.account_id is None and self.door.sated(self.peer.ip, self.loop.time(), size):
            log.event("mail.refused", ip=self.peer.ip, rule="peer_bytes_per_hour")
            self.say(self.counted("mail", replies.TOO_MUCH))
            return
        refusal = await self.judge_sender(path.address)
        if refusal is not None:
            self.say(refusal)
            return
        transactions.begin(token.fresh(os.urandom(10)))
        transaction = self.transaction
        transaction.open = True
        transaction.sender = path.address
        transaction.body_8bit = path.parameters.get("BODY", "").upper() == "8BITMIME"
        transaction.utf8 = "SMTPUTF8" in path.parameters
        self.say(replies.SENDER_OK)

    def ready_for_mail(self) -> Reply | None:
        """Why no transaction may begin now."""
        if not self.peer.helo:
            return replies.HELO_FIRST
        return replies.NESTED_MAIL if self.transaction.open else None

    async def judge_sender(self, sender: Address | None) -> Reply | None:
        """Port 25 judges no sender before RCPT: who may write is decided per recipient."""
        return None

    parameters: ClassVar[frozenset[str]] = frozenset({"SIZE", "BODY", "SMTPUTF8"})

    def _parameters(self, path: Path, argument: bytes) -> Reply | None:
        given = path.parameters
        if given and (not self.peer.esmtp or not self.parameters.issuperset(given)):
            return replies.UNKNOWN_PARAMETER
        if not _SIZE.fullmatch(given.get("SIZE", "0")):
            return replies.BAD_PARAMETER
        if given.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME") or given.get("SMTPUTF8"):
            return replies.BAD_PARAMETER
        if not argument.isascii() and "SMTPUTF8" not in given:
            return replies.NEEDS_SMTPUTF8  # RFC 6531 §3.5
        return None

    # ---- RCPT --------------------------------------------------------------------------------------

    async def rcpt(self, argument: bytes) -> None:
        transaction = self.transaction
        if not transaction.open:
            self.fault(replies.MAIL_FIRST)
            return
        if argument[:3].upper() != b"TO:":
            self.fault(replies.BAD_RCPT)
            return
        path = parse_path(argument[3:], hostname=self.hostname)
        if path is None:
            self.fault(replies.BAD_RECIPIENT)
        elif path.address is None:
            self.fault(replies.NULL_RECIPIENT)
        elif path.parameters:
            self.fault(replies.UNKNOWN_PARAMETER)
        elif not argument.isascii() and not transaction.utf8:
            self.fault(replies.NEEDS_SMTPUTF8)
        elif (
            len(transaction.recipients) >= self.door.limits.recipients
            and path.address not in transaction.recipients
        ):
            self.say(self.counted("rcpt", replies.TOO_MANY_RECIPIENTS))  # RFC 5321 §4.5.3.1.10
        else:
            if transaction.recipients:
                failpoint.at("between-rcpts")
            transaction.asked += 1
            reply = await self.door.hooks.rcpt(self.peer, transaction.sender, path.address)
            if reply.accepted:
                transaction.recipients[path.address] = reply
            else:  # named before, and revoked since
                transaction.recipients.pop(path.address, None)
            self.say(reply)

    # ---- DATA --------------------------------------------------------------------------------------

    async def data(self, argument: bytes) -> None:
        transaction = self.transaction
        if argument:
            self.fault(replies.NO_ARGUMENT)
        elif not transaction.open:
            self.fault(replies.MAIL_FIRST)
        elif not transaction.recipients:
            self.fault(replies.NO_RECIPIENTS if transaction.asked else replies.RCPT_FIRST)
        else:
            self.reset()
            self.say(replies.START_MAIL)
            limits = self.door.limits
            content = Content(most=self.door.most, most_line=limits.line_bytes, folder=self.door.folder)
            try:
                await self._receive(content)
                await self._hand_over(content, transaction)
            finally:
                self._receiving = False
                content.close()
                self.door.received(self.peer.ip, content.received, self.loop.time())

    async def _receive(self, content: Content) -> None:
        limits = self.door.limits
        self._receiving = True
        begun = self.loop.time()
        failpoint.at("after-354")
        while True:
            rest = content.feed(self.reader.take())
            if rest is not None:
                self.reader.give_back(rest)
                return
            if content.heavy:
                self.reader.pause()  # or a hundred that wait for the disk would each hold as much again
                await self.loop.run_in_executor(self.door.threads, content.spill)
                continue  # more may have come meanwhile
            if content.received > 2 * self.door.most + limits.line_bytes:
                raise Hangup(Reply(421, "4.3.4", "message far beyond the size limit, closing"))
            if content.received:
                failpoint.at("mid-data")
            await self.more(self._patience(content, begun))

    def _patience(self, content: Content, begun: float) -> float:
        """Seconds until the next octets are due: a chunk's time, and the least rate over the whole."""
        limits = self.door.limits
        if not limits.least_bytes_per_second:
            return limits.data_chunk_seconds
        due = begun + limits.data_chunk_seconds + content.received / limits.least_bytes_per_second
        return min(limits.data_chunk_seconds, due - self.loop.time())

    async def _hand_over(self, content: Content, transaction: Transaction) -> None:
        failpoint.at("content-complete")
        refusal = content.refusal
        if refusal is not None:
            log.event(
                "content.refused",
                message=transactions.message(),
                ip=self.peer.ip,
                reply=refusal,
                octets=content.received,
            )
            self.say(self.counted("data", refusal))
            return
        envelope = Envelope(
            transaction.sender, tuple(transaction.recipients), transaction.body_8bit, transaction.utf8
        )
        if not content.in_file:
            reply = await self.door.hooks.data(self.peer, envelope, content.octets())
        else:
            async with self.door.room.hold(content.size):
                reply = await self._large(content, envelope)
        if reply.accepted:
            failpoint.at("before-250")
            self._commands = 0  # the limit is on what leads nowhere
        self.say(reply)

    async def _large(self, content: Content, envelope: Envelope) -> Reply:
        try:
            raw = await self.loop.run_in_executor(self.door.threads, content.octets)
        except OSError:
            return self.counted("data", replies.NO_STORAGE)
        content.close()
        answer = self.door.hooks.data(self.peer, envelope, raw)
        del raw  # whoever answers lets go of it in time
        return await answer

    # ---- the rest ----------------------------------------------------------------------------------

    async def rset(self, argument: bytes) -> None:
        if argument:
            self.fault(replies.NO_ARGUMENT)
        else:
            self.reset()
            self.say(replies.OK)

    async def noop(self, argument: bytes) -> None:
        self.say(replies.OK)

    async def help(self, argument: bytes) -> None:
        self.say(replies.HELP)

    async def vrfy(self, argument: bytes) -> None:
        self.say(replies.CANNOT_VERIFY)

    async def expn(self, argument: bytes) -> None:
        self.say(replies.NO_LISTS)

    async def quit(self, argument: bytes) -> None:
        if argument:
            self.fault(replies.NO_ARGUMENT)
        else:
            self.say(replies.BYE)
            self._over = self._bye = True

    commands: ClassVar[Mapping[bytes, Command]] = {
        b"HELO": helo,
        b"EHLO": ehlo,
        b"STARTTLS": Session.starttls,
        b"MAIL": mail,
        b"RCPT": rcpt,
        b"DATA": data,
        b"RSET": rset,
        b"NOOP": noop,
        b"HELP": help,
        b"VRFY": vrfy,
        b"EXPN": expn,
        b"QUIT": quit,
        b"XCLIENT": xclient,
    }
