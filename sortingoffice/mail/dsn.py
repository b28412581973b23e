"""Delivery status notifications: the one we send, and those that come back.

Promise: `build` makes what RFC 3464 asks for and nothing about anybody but the recipient that it is
given.  `read` is total and bounded: any message is a `Report` or None, however broken.

What comes back is rarely by the book, so a message without a machine-readable part is still read as a
bounce where it plainly is one; what only might be one is not.

Sources: RFC 3464 (delivery-status), RFC 6522 (multipart/report), RFC 6533 (internationalised), RFC
3463 (codes), RFC 3834 §2 (automatic answers are no bounces), RFC 5321 §6.1 (null reverse-path).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers, html, mime
from sortingoffice.mail.address import Address
from sortingoffice.mail.classify import auto_submitted, report_type
from sortingoffice.mail.message import Field, Message

_MAX_DEPTH = 10
_MAX_PARTS = 50
_MAX_STATUS = 64 * 1024  # octets of a delivery-status part, or of a text, that are read
# Three numbers of an IP address or of a program's version are no status.
_STATUS = re.compile(r"(?<![\w.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\w|\.\d)")
_FAULT = re.compile(r"(?<![\w.])([45]\.[0-9]{1,3}\.[0-9]{1,3})(?!\w|\.\d)")
# Where a reply stands in prose: at the start of a line, after a bracket, a colon or a word for one, or before
# an enhanced code.  Anywhere else 450 is a number: of lamps, or a port.
_CODE = re.compile(
    r"(?im)(?:^[ \t]*+(?:<<<[ \t]*+)?|[:(\[<#][ \t]*+"
    r"|\b(?:error|code|status|said|returned|answered|repl(?:y|ied)|response|fehler|erreur)[ \t]++"
    r"|[ \t](?=[45][0-9]{2}[ -][45]\.[0-9]))"
    r"([45][0-57][0-9])(?: |-|:(?: |$)|(?=[.,;)\]]?[ \t]*+$))(?:([45]\.[0-9]{1,3}\.[0-9]{1,3})(?!\w|\.\d))?"
)
# What was taken, in prose; "250 recipients" in the middle of a line says nothing.
_TAKEN = re.compile(
    r"(?im)(?:^[ \t]*|[:(\[<][ \t]*)25[0-2][ -]|(?<![\w.])25[0-2][ -]ok\b"
    r"|(?<![\w.])2\.[0-7]\.[0-9]{1,3}(?!\w|\.\d)"
)
_TYPE = re.compile(r"[ \t]*[A-Za-z][A-Za-z0-9_-]*[ \t]*;")
_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_MAX_WORDS = 500


class Action(StrEnum):
    """RFC 3464 §2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


_ACTIONS = tuple(action.value for action in Action)  # the worst first


@dataclass(frozen=True, slots=True)
class Failure:
    """What a DSN of ours says.

    recipient  as the sender wrote it: never where it was forwarded to
    status     enhanced code
    words      for a person, ASCII
    fields     of the sender's own message, by which they know it again
    arrived    when that message came to us
    """

    recipient: Address
    status: str
    words: tuple[str, ...]
    fields: tuple[Field, ...]
    arrived: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a DSN that came back says; its texts are a stranger's.

    status      "5.1.1"; "" where none was said
    diagnostic  the remote's words on one line, "" if none
    recipient   Final-Recipient's or Original-Recipient's address as written, "" if none
    """

    action: Action
    status: str = ""
    diagnostic: str = ""
    recipient: str = ""

    @property
    def final(self) -> bool:
        return self.action is Action.FAILED and not self.status.startswith("2")


# ---- ours ----------------------------------------------------------------------------------------


def build(failure: Failure, *, to: Address, author: Address, token: str, now: datetime) -> bytes:
    """The DSN as a message; it leaves with the null reverse-path.

    author  From: postmaster at a domain of ours, which is the Reporting-MTA, too
    token   unique; makes the Message-ID and the boundary
    """
    utf8 = not failure.recipient.ascii
    boundary = f"=_{token}"
    kind = "rfc822-headers" if all(f.raw.isascii() for f in failure.fields) else "global-headers"
    head = [
        b"From: " + headers.mailbox("Mail Delivery System", author),
        b"To: " + str(to).encode(),
        b"Subject: Undelivered mail returned to its sender",
        b"Date: " + format_datetime(now).encode("ascii"),
        f"Message-ID: <{token}@{author.domain}>".encode("ascii"),
        b"Auto-Submitted: auto-replied",  # RFC 3834 §3.1.7
        b"MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"'.encode(),
    ]
    text = _part(
        "text/plain; charset=us-ascii", "\r\n".join(failure.words).encode("ascii", "replace"), "7bit"
    )
    status = _status(failure, author.domain, utf8=utf8, now=now)
    original = b"".join(field.raw for field in failure.fields)
    parts = [
        text,
        _part(_STATUS_TYPES[utf8], status, "8bit" if utf8 else "7bit"),
        _part(
            f"{'message' if kind == 'global-headers' else 'text'}/{kind}",
            original,
            "8bit" if kind != "rfc822-headers" else "7bit",
        ),
    ]
    mark = b"\r\n--" + boundary.encode()
    return b"\r\n".join(head) + b"\r\n" + b"".join(mark + b"\r\n" + part for part in parts) + mark + b"--\r\n"


def _part(content_type: str, body: bytes, encoding: str) -> bytes:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def _status(failure: Failure, reporting: str, *, utf8: bool, now: datetime) -> bytes:
    kind = "utf-8" if utf8 else "rfc822"  # RFC 6533 §3
    arrived = [] if failure.arrived is None else [f"Arrival-Date: {format_datetime(failure.arrived)}"]
    lines = [
        f"Reporting-MTA: dns; {reporting}",
        *arrived,
        "",
        f"Final-Recipient: {kind}; {failure.recipient}",
        "Action: failed",
        f"Status: {failure.status}",
        f"Last-Attempt-Date: {format_datetime(now)}",
        "",
    ]
    return "\r\n".join(lines).encode()


# ---- what came back --------------------------------------------------------------------------------


def read(message: Message, *, null_sender: bool, about: str = "") -> Report | None:
    """The report in a message that came to a return path; None where it is no bounce.

    null_sender  its envelope sender was `<>`: without it only a well-formed report counts, for anybody
                 can write "delivery failed" in a Subject
    about        the Subject of what was sent: answering machines repeat it, and it says nothing
    """
    reported = report_type(message)
    if reported and reported not in ("delivery-status", "global-delivery-status"):
        return None  # a read receipt, a complaint: not about delivery
    if not reported and not null_sender:
        return None
    try:
        tree = mime.parse(message, _MAX_DEPTH, _MAX_PARTS)
    except mime.TooComplex:
        text = message.body[:_MAX_STATUS].decode("utf-8", "replace")
        return _prose(message, text, about) if null_sender else None
    for entity in tree.walk():
        if entity.content_type in _STATUS_TYPES:
            found = _machine(entity.octets()[:_MAX_STATUS])
            if found is not None:
                return found
    return _prose(message, _first_text(tree), about) if null_sender else None


def _machine(octets: bytes) -> Report | None:
    """A delivery-status part: groups of fields with blank lines between; the worst recipient counts."""
    found: list[Report] = []
    for group in _groups(octets):
        action = group.get("action", "").lower().split("(")[0].strip()
        status = _STATUS.search(group.get("status", ""))
        code = status[1] if status else ""
        if action not in _ACTIONS:
            if not code or "final-recipient" not in group:
                continue
            action = "failed" if code.startswith("5") else "delayed"
        recipient = group.get("final-recipient") or group.get("original-recipient") or ""
        diagnostic = group.get("diagnostic-code", "")
        found.append(Report(Action(action), code, _typed(diagnostic), _typed(recipient)))
    return min(found, key=lambda report: _ACTIONS.index(report.action), default=None)


def _groups(octets: bytes) -> Iterator[dict[str, str]]:
    lines: dict[str, str] = {}
    name = ""
    for raw in octets.splitlines():
        text = raw.decode("utf-8", "replace")
        if not text.strip():
            if lines:
                yield lines
            lines, name = {}, ""
        elif text[0] in " \t":
            if name:
                lines[name] = f"{lines[name]} {text.strip()}"[:_MAX_WORDS]
        else:
            key, colon, value = text.partition(":")
            name = key.strip().lower() if colon else ""
            if name:
                lines.setdefault(name, value.strip()[:_MAX_WORDS])
    if lines:
        yield lines


def _typed(value: str) -> str:
    """ "rfc822; anna@home.example" → the address; "smtp; 550 no" → the words, which may have a semicolon."""
    typed = _TYPE.match(value)
    return " ".join(value[typed.end() if typed else 0 :].split())


# ---- in prose ----------------------------------------------------------------------------------------


def _words(*each: str) -> re.Pattern[str]:
    return re.compile("|".join(each), re.IGNORECASE)


# Nothing more is tried: in a Subject, or in the words of one who is known to report.
_ENDED = _words(
    r"undeliver|delivery (?:failure|(?:has )?failed)|(?:mail|message) (?:delivery )?fail(?:ed|ure)",
    r"returned mail|return(?:ed)? to sender|failure notice|could(?: not|n['’]t) be delivered",
    r"mail system error|\(failure\)|fail(?:ed|ure) to deliver (?:your )?(?:e-?)?(?:mail|message)",
    r"unzustellbar|nicht zustellbar|nichtzustellung|zustell(?:ungs)?fehler|(?<!noch )nicht zugestellt",
    r"zustellung (?:ist )?(?:fehlgeschl|gescheit)",
    r"non.?remis|non distribu|échec d(?:e (?:la )?|['’])(?:remise|distribution|livraison|envoi)",
    r"no se (?:puede|pudo|ha podido) entregar|no entregado|(?:error|fallo) (?:de|en la) entrega",
    r"mancat[ao] (?:consegna|recapito)|impossibile (?:consegnare|recapitare)|não (?:foi )?entregue",
    r"falha na entrega|onbestelbaar|kon niet worden (?:bezorgd|afgeleverd)|niedostarcz|nie można dostarczyć",
    r"kunde inte levereras|kunne ikke leveres|недоставл|не (?:был[ао]? |может быть )?доставлен",
    r"配信(?:不能|できま|エラー|に失敗)|送信できません|エラーメール|退信|(?:无法|無法)(?:投递|投遞|送达|送達|傳遞)",
    r"반송 ?메일|메일 ?전송 ?실패",
)
# The same, in a text alone.
_GIVEN_UP = _words(
    r"\b(?:failed|rejected) permanently|permanent(?:ly)? (?:fatal )?(?:error|fail|reject)|giv(?:en|ing) up",
    r"gave up|(?:was|were|been)(?: not|n['’]t) (?:delivered|accepted)",
    r"(?:mail|delivery)[^.\n]{0,40} (?:stopp|block)ed\b",
    r"unable to deliver|can(?:not|['’]t) be delivered|no such (?:user|recipient|mailbox)|unknown user",
    r"user unknown|too long in the queue|in the queue too long|endgültig (?:fehlgeschl|gescheit|nicht)",
    r"pas (?:pu être |été )(?:remis|distribué)|erreur (?:définitive|permanente)",
)
# It is tried again: in a Subject, and in a text.
_LATE = _words(
    r"warn(?:ing|ung)|delay|still being retried|deferred|verz(?:ö|oe|o)ger|retard|différ|retras[oa]",
    r"ritard[oa]|atrasad|vertraagd|vertraging|opóźni|försen|forsink|задерж|отложен|遅延|遅れ|延迟|延遲|지연",
)
_RETRIED = _words(
    r"will be retried|will (?:keep|continue) (?:on )?(?:try|to try|to attempt|attempt)",
    r"attempts will continue|still (?:being retried|trying)|not yet (?:been )?delivered",
    r"not been delivered yet|warning message only|no action is required|not need to re-?send",
    r"wird (?:weiter|erneut)|noch nicht zugestellt|pas encore|tentatives (?:se )?(?:continu|poursuiv)",
    r"aún no|nog niet|ещё не доставлен",
)
_OPEN = _words(r"delivery (?:status|problem)")  # says neither failed nor late
_SPEAKS = _words(r"deliver|zu(?:ge)?stell|remise|entreg|consegn|bezorg|достав|配信|投递|投遞")
_ARRIVED = _words(r"\W*(?:delivered|relayed|success|zugestellt|weitergeleitet|remis\b|entregado)")
_NUMBERED = re.compile(r"[245][0-9]{2}|[245]\.[0-9]")
_DAEMON = re.compile(rb"(?i)\b(?:mailer-?daemon|mail-daemon|postmaster|mail delivery (?:sub)?system)\b")
_ANSWERED = re.compile(r"(?:[A-Za-z]{2,3} ?: ?)*")  # "Re:", "AW:", "Fwd:"
# What a text holds of the sender's own mail: its Subject, quoted lines, and all behind a copy's head.
_ITS_SUBJECT = re.compile(
    r"(?im)^[ \t|*]*+(?:the )?"
    r"(?:subject|betreff|objet|asunto|oggetto|assunto|onderwerp|temat|тема|件名|主题|主旨)"
    r"(?: of (?:the|your) (?:message|mail)(?: is)?)?[ \t]*+[:：].*$"
)
_COPY = re.compile(
    r"(?im)^[ \t]*+-{2,}+[^\n]{0,60}?(?:original|copy|unsent|below this line|ursprüngliche|copie|copia)"
)


def _prose(message: Message, text: str, about: str) -> Report | None:
    """A bounce in prose: its code, if there is one, and the line where that stands; else its first words.

    What nothing but its author's name makes a bounce is a ticket system's answer, or somebody's mail: None.
    """
    about = _ANSWERED.sub("", " ".join(about[:_MAX_WORDS].split()), count=1)
    subject = _subject(message, about)
    named = message.first("X-Failed-Recipients") is not None
    daemon = _is_daemon(message)
    if not (named or daemon or _says_so(message, subject)):
        return None
    own = _own_words(text, about)
    line, code, status = _coded(own)
    action = _action(subject, own, code, status, reported=named)
    if _over(subject) is None and not _SPEAKS.search(subject):
        if _replied(message) and not (named or status or code.startswith("5")):
            return None  # an answer, and its words may be those that it answers
    elif action is None and daemon:
        action = Action.DELIVERED if _ARRIVED.match(subject) else Action.FAILED
    if action is None:
        return None
    return Report(action, status, " ".join((line or text[:_MAX_WORDS]).split())[:_MAX_WORDS])


def _is_daemon(message: Message) -> bool:
    """A bounce by its author, and no automatic answer (which RFC 3834 §5 marks)."""
    answer = _replied(message) and message.first("In-Reply-To") is not None
    return not answer and bool(_DAEMON.search((message.value("From") or b"")[:_MAX_WORDS]))


def _says_so(message: Message, subject: str) -> bool:
    """The same by its Subject."""
    status = bool(_OPEN.search(subject)) and not auto_submitted(message)  # a shop's, of a parcel
    return (bool(_ENDED.search(subject)) or status) and not _replied(message)


def _replied(message: Message) -> bool:
    return (message.value("Auto-Submitted") or b"").lower().startswith(b"auto-replied")


def _subject(message: Message, about: str) -> str:
    """Its own words: of what it is about, only what could be taken for them has to leave."""
    said = headers.decode((message.value("Subject") or b"")[: 2 * _MAX_WORDS])[:_MAX_WORDS]
    said = " ".join(said.split())
    if any(each.search(about) for each in (_ENDED, _LATE, _OPEN)):
        before, _, after = said.rpartition(about)
        return f"{before} {after}"
    return said.removesuffix(about) if _SPEAKS.search(about) else said


def _own_words(text: str, about: str) -> str:
    """A text without what it repeats of the mail that it is about."""
    if any(each.search(about) for each in (_NUMBERED, _ENDED, _GIVEN_UP, _RETRIED)):
        repeated = r"\s++".join(map(re.escape, about.split()))
        text = re.sub(rf"(?<!\w){repeated}(?!\w)", "", text)
    copy = _COPY.search(text)
    if copy is not None and text[: copy.start()].strip():
        text = text[: copy.start()]
    text = _ITS_SUBJECT.sub("", text)
    return "\n".join(line for line in text.splitlines() if not line.startswith(">"))


_HTML = ("<html", "<!doctype")


def _first_text(tree: mime.Entity) -> str:
    for leaf in tree.leaves():
        if leaf.content_type in ("text/plain", "text/html"):
            text = (leaf.text() or "")[:_MAX_STATUS]
            if leaf.content_type == "text/html" or text.lstrip()[:9].lower().startswith(_HTML):
                text = "\n".join(line.text for line in html.visual_lines(text) if not line.hidden)
            if text.strip():
                return text
    return ""


def _coded(text: str) -> tuple[str, str, str]:
    """The first line with a code of a failure, the code, and its enhanced one."""
    for line in text.splitlines():
        replied, named = _CODE.search(line), _FAULT.search(line)
        if replied or named:
            status = (replied[2] if replied else "") or (named[1] if named else "") or ""
            return line, replied[1] if replied else status, status
    return "", "", ""


def _action(subject: str, text: str, code: str, status: str, *, reported: bool) -> Action | None:
    """What has become of it; None where nothing is said of that.

    A Subject counts for more than a code: what was refused with a 4xx for days has failed, too, and a warning
    may quote anything.
    """
    over = _over(subject)
    retried = _RETRIED.search(text) is not None
    given_up = not retried and _GIVEN_UP.search(text) is not None
    if over is not None:
        return Action.FAILED if over or given_up else Action.DELAYED
    if retried:
        return Action.DELAYED
    if given_up or _ENDED.search(text) or code.startswith("5") or reported:
        return Action.FAILED
    if not (status or _SPEAKS.search(subject) or _SPEAKS.search(text)):
        return None  # 450 or 250 may be a number of anything
    if code:
        return Action.DELAYED
    return Action.DELIVERED if _TAKEN.search(text) else None


def _over(subject: str) -> bool | None:
    """Whether a Subject says that nothing more is tried, or that something is; None where neither.

    What it says first counts: the sender's own may stand behind it.
    """
    ended, late = _ENDED.search(subject), _LATE.search(subject)
    if ended and late:
        return ended.start() < late.start()
    return None if ended is late else ended is not None
