"""Which lines of a reply are the person's new words, and which their mail client put there.

    new prose · attribution line · quoted text · signature · forwarded-header block · what OpenPGP signed

Reads the layouts of Gmail, Apple Mail, Outlook, Thunderbird and phones, in plain text and HTML, in
the languages that their users have.  A convenience, never a security boundary: what is taken for a
quote is only ever *turned round* there, and the leak guard reads everything.

Promise: `kinds` gives one kind for each line, in linear time; what is not recognised is prose.

Sources: RFC 3676 §4.3 (signature), §4.5 (quoting); RFC 9580 §7 (cleartext signatures); layouts as the
clients write them (tests).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate

from sortingoffice.frozen import dataclass
from sortingoffice.mail import html

_MOST_ATTRIBUTION_LINES = 5
_MOST_LINES = 100_000  # lines that are told apart; what follows them is as the last one
_MOST_FIELDS = 8  # lines of a header block in a language that the table doesn't have
_MOST_LINE = 1000  # characters of one line that are looked at


class Kind(StrEnum):
    PROSE = "prose"
    ATTRIBUTION = "attribution"
    QUOTE = "quote"
    SIGNATURE = "signature"
    FORWARD = "forward"  # a separator, or the header block of the message that follows
    SIGNED = "signed"  # a signature within the text covers it, whoever wrote it


UNTOUCHED = frozenset({Kind.PROSE, Kind.SIGNED})  # where no address is rewritten, only told


@dataclass(frozen=True, slots=True)
class Stretch:
    """source[start:end] is of one kind."""

    kind: Kind
    start: int
    end: int


# "On … wrote:" in the languages of the clients: how it begins, and how it ends.
_BEGINS = re.compile(
    r"(?:On|At|Am|Le|El|Il|Op|Em|No dia|Den|Dne|Dňa|Dnia|W dniu|Pe|La|Az?|Kl\.?|På|Sunt|Na|Data|Il giorno|V|"
    r"Vào|Sun|Mon|Tue|Wed|Thu|Fri|Sat|Tarihinde|Pada|[Вв]|[Пп]н|[Вв]т|[Сс]р|[Чч]т|[Пп]т|[Сс]б|[Вв]с|Στις|ב|في|"
    r"ในวันที่)[\s,.־-]|\d{1,4}[./ 年-]",
    re.IGNORECASE,
)
_VERBS = (
    "wrote|writes|said|schrieb|geschrieben|a écrit|écrit|escribió|escreveu|ha scritto|scrive|schreef|skrev|"
    "kirjoitti|napisał|napisał\\(a\\)|napísal|napsal|napsal\\(a\\)|írta|a scris|написал|написал\\(а\\)|"
    "пишет|пише|έγραψε|yazdı|şunu yazdı|viết|menulis|đã viết|written|のメール|書きました|寫道|写道|작성|"
    "님이 작성|geschreven|كتب|כתב|เขียน"
)
_ENDS = re.compile(rf"(?:{_VERBS})[^\n]{{0,120}}[:：]\s*\Z|(?:{_VERBS})\s*\Z", re.IGNORECASE)
_LOOSE_END = re.compile(r"[:：]\s*\Z")
_DIGIT = re.compile(r"\d")
_CLOCK = re.compile(r"\d{1,2}[:.h]\d{2}")
_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")  # a letter may follow: 2026年

# A header block as Outlook and every "forward" writes it: label → what the field is.
_LABELS = {
    "from": "from von de da van från fra od от lähettäjä kimden feladó από 发件人 寄件者 差出人 보낸사람 từ "
    "dari",
    "date": "date sent datum gesendet envoyé enviado data inviato fecha verzonden skickat sendt wysłano дата "
    "отправлено lähetetty gönderilen tarih 发送时间 日期 送信日時 보낸날짜 gửi odesláno elküldve trimis "
    "datum ημερομηνία",
    "to": "to an à para a aan till til do кому vastaanottaja kime címzett προς 收件人 宛先 받는사람 đến komu",
    "subject": "subject betreff objet asunto assunto oggetto onderwerp ämne emne temat тема aihe konu tárgy "
    "θέμα 主题 主旨 件名 제목 chủđề předmět subiect",
    "other": "cc bcc kopie copie copia kopia reply-to antwort attachments anlagen importance",
}
_LABEL_OF = {word: role for role, words in _LABELS.items() for word in words.split()}
_LABEL = re.compile(r"[*_ \t]{0,4}([^\s:：*_<>@\"]{1,20}(?: [^\s:：*_<>@\"]{1,20})?)[*_ \t\xa0]{0,4}[:：]")
_SEPARATOR = re.compile(
    r"\s*(?:[-_=—–]{2,}\s*(?:[^\s\-_=][^\n]{0,160}?)\s*[-_=—–]{2,}|_{10,}|-{20,}|Begin forwarded message:|"
    r"Anfang der weitergeleiteten (?:Nachricht|E-Mail):|"
    r"Début du (?:message|mail|courrier) (?:réexpédié|transféré) ?:|"
    r"Inicio del mensaje reenviado:|Inizio messaggio inoltrato:|Begin doorgestuurd bericht:|"
    r"Vidarebefordrat mejl:|Início da mensagem reencaminhada:|Начало переадресованного сообщения:|"
    r"下面是被转发的邮件：|転送されたメッセージ：)\s*"
)
_NAMED_SEPARATOR = re.compile(
    r"message|nachricht|mensaje|mensagem|messaggio|bericht|meddelande|melding|besked|wiadomo|сообщени|письмо|"
    r"viesti|zpráva|správa|üzenet|μήνυμα|ileti|mesaj|メッセージ|邮件|郵件|메시지|forward|original|weitergeleit|"
    r"transf|inoltr",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"--[ \t\xa0]?")
CLEARSIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_CLEARSIGNED_ENDS = "-----END PGP SIGNATURE-----"
_PHONE = re.compile(
    r"(?:Sent (?:from|via|with)|Get Outlook for|Von meinem|Gesendet (?:von|mit)|"
    r"Diese Nachricht wurde von meinem|Envoyé (?:de(?:puis)?|à partir)|Enviado (?:desde|do|de|a partir)|"
    r"Inviato (?:da|con)|Verstuurd vanaf|Verzonden vanaf|Skickat från|Sendt fra|Lähetetty|Wysłane z|"
    r"Odesláno z|Odoslané z|Отправлено (?:с|из)|iPhone(?:'|’)?dan gönderildi|iPhoneから送信|从我的|發自我的|"
    r"나의 iPhone)",
    re.IGNORECASE,
)
# The Bat! puts the author's initials before each line.
_QUOTE_SIGN = re.compile(r"[ \t]{0,3}(?:[>»›]|\|[ \t]|[A-ZА-ЯЁ]{1,3}>(?=[ \t>]|\Z))")
# GroupWise: ">>> Lamp Shop <orders@lampshop.example> 22.11.2026 10:00 >>>", and the message below, unmarked.
_BETWEEN_SIGNS = re.compile(
    r">>> [^\n]{1,160} \d{1,4}[./-]\d{1,2}[./-]\d{2,4} \d{1,2}[:.]\d{2}(?::\d{2})?(?: [AP]M)? >>>"
)

_BY_MARK = (
    (Kind.SIGNATURE, ("signature", "k9mail")),
    (Kind.ATTRIBUTION, ("gmail_attr", "moz-cite-prefix")),
    (Kind.FORWARD, ("divrplyfwdmsg", "outlookmessageheader", "moz-email-headers-table")),
    (Kind.QUOTE, ("yahoo_quoted", "protonmail_quote", "moz-forward-container", "zmail_extra", "mailquote")),
    (Kind.QUOTE, ("reference-message-container",)),
)


def kinds(lines: Sequence[str], marks: Sequence[Kind | None]) -> list[Kind]:
    """One kind per line.

    lines  as a reader sees them, without their ends
    marks  what the markup says of each; None where it says nothing
    """
    found = [
        mark or (Kind.QUOTE if _QUOTE_SIGN.match(line) else None)
        for line, mark in zip(lines, marks, strict=True)
    ]
    _whole_rest(lines, found)
    _clearsigned(lines, found)
    _attributions(lines, found)
    _signatures(lines, found)
    return [kind or Kind.PROSE for kind in found]


def of_text(source: str) -> tuple[Stretch, ...]:
    """The stretches of a plain text, which they cover; each is whole lines with their ends."""
    lines = source.split("\n", _MOST_LINES)
    if not lines[-1]:
        lines.pop()
    ends = list(accumulate(len(line) + 1 for line in lines))
    found = kinds([line.rstrip("\r\n") for line in lines], [None] * len(lines))
    stretches: list[Stretch] = []
    first = start = 0
    for number in range(1, len(found) + 1):
        if number == len(found) or found[number] is not found[first]:
            end = min(ends[number - 1], len(source))  # the last line may have no end
            stretches.append(Stretch(found[first], start, end))
            first, start = number, end
    return tuple(stretches)


def of_html(lines: Sequence[html.Line]) -> list[Kind]:
    """One kind per visual line; what is hidden is nobody's new prose."""
    return kinds([line.text.strip() for line in lines], [_html_mark(line) for line in lines])


def _html_mark(line: html.Line) -> Kind | None:
    if line.quoted or line.hidden:
        return Kind.QUOTE
    for kind, words in _BY_MARK:
        if any(word in mark for mark in line.marks for word in words):
            return kind
    return None


# ---- what begins somewhere and goes on to the end ------------------------------------------------


def _whole_rest(lines: Sequence[str], found: list[Kind | None]) -> None:
    """A forwarded-header block, and the unmarked message below it."""
    roles = [_role(line) for line in lines]
    for number, line in enumerate(lines):
        announced = line.startswith(">>>") and _BETWEEN_SIGNS.fullmatch(line) is not None
        if not announced and (found[number] is Kind.QUOTE or not line):
            continue
        block = 1 if announced else _header_block(lines, roles, number)
        if not block and _separates(line) and line.strip() != CLEARSIGNED:
            following = _next_text(lines, number + 1)
            block = _header_block(lines, roles, following) if following < len(lines) else 0
            if block or _NAMED_SEPARATOR.search(line) or _ENDS.search(line.strip("-=—– ")[-400:]):
                block += following - number
        if block:
            for index in range(number, len(lines)):
                if found[index] is None:
                    found[index] = Kind.FORWARD if index < number + block else Kind.QUOTE
            return


def _separates(text: str) -> bool:
    return len(text) < 200 and _SEPARATOR.fullmatch(text) is not None


def _next_text(lines: Sequence[str], at: int) -> int:
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


def _header_block(lines: Sequence[str], roles: Sequence[str], at: int) -> int:
    """How many lines from here are a header block: From, and at least two of Date, To, Subject."""
    if not roles[at]:
        return _unknown_block(lines, at)
    seen: set[str] = set()
    last = at
    for index in range(at, min(len(lines), at + 14)):
        if roles[index]:
            seen.add(roles[index])
            last = index
        elif (not lines[index].strip() and len(seen) >= 3) or index - last > 3:
            break  # a recipient list may run over a few lines
    if "from" in seen and len(seen & {"date", "to", "subject"}) >= 2:
        return last - at + 1
    return _unknown_block(lines, at)


def _unknown_block(lines: Sequence[str], at: int) -> int:
    """The same in a language that the table doesn't have: labelled lines, an address in the first, and in
    others a second one and a date with its time."""
    values: list[str] = []
    if "@" not in lines[at]:
        return 0
    for line in lines[at : at + _MOST_FIELDS]:
        match = _LABEL.match(line)
        if match is None:
            break
        values.append(line[match.end() : _MOST_LINE])
    if not values or "@" not in values[0] or not any("@" in value for value in values[1:]):
        return 0
    dated = any(_CLOCK.search(value) and _YEAR.search(value) for value in values[1:])
    return len(values) if dated else 0


def _role(text: str) -> str:
    match = _LABEL.match(text)
    return _LABEL_OF.get(match[1].casefold().replace(" ", ""), "") if match else ""


def _clearsigned(lines: Sequence[str], found: list[Kind | None]) -> None:
    """What the person signed within the text, its quoted lines included; not what stands in a quote."""
    inside = False
    for number, line in enumerate(lines):
        inside = inside or (found[number] is None and line.strip() == CLEARSIGNED)
        if inside:
            found[number] = Kind.SIGNED
            inside = line.strip() != _CLEARSIGNED_ENDS


# ---- attribution lines ---------------------------------------------------------------------------


def _attributions(lines: Sequence[str], found: list[Kind | None]) -> None:
    number = 0
    while number < len(lines):
        first = number
        while number < len(lines) and found[number] is None and lines[number].strip():
            number += 1
        if number > first:
            _attribution(lines, found, first, number)
        number = max(number, first + 1)


def _attribution(lines: Sequence[str], found: list[Kind | None], first: int, end: int) -> None:
    """The paragraph lines[first:end], where its last lines are an attribution.

    It counts where it stands above quoted text, or where its words leave no doubt; in that case
    what follows is quoted though nothing marks it.
    """
    following = _next_text(lines, end)
    above_quote = following < len(lines) and found[following] is Kind.QUOTE
    for start in range(end - 1, max(first, end - _MOST_ATTRIBUTION_LINES) - 1, -1):
        text = " ".join(line.strip()[:_MOST_LINE] for line in lines[start:end])
        if _BEGINS.match(text) and _ENDS.search(text[-400:]) and (above_quote or _certain(text)):
            found[start:end] = [Kind.ATTRIBUTION] * (end - start)
            if not above_quote:
                for index in range(end, len(lines)):
                    found[index] = found[index] or Kind.QUOTE
            return
    last = lines[end - 1][-_MOST_LINE:]
    if not above_quote or not _LOOSE_END.search(last):
        return
    if end - first <= _MOST_ATTRIBUTION_LINES:  # whichever way round the language has it
        text = " ".join(line.strip()[:_MOST_LINE] for line in lines[first:end])
        if "@" in text and _YEAR.search(text) and _certain(text):
            found[first:end] = [Kind.ATTRIBUTION] * (end - first)
            return
    if _ENDS.search(last) or "@" in last or _DIGIT.search(last):
        found[end - 1] = Kind.ATTRIBUTION


def _certain(text: str) -> bool:
    """A date and an address or a clock time: nobody writes that line by hand."""
    return len(text) < 400 and bool(_CLOCK.search(text)) and bool("@" in text or _YEAR.search(text))


# ---- signatures ----------------------------------------------------------------------------------


def _signatures(lines: Sequence[str], found: list[Kind | None]) -> None:
    """From "-- " to what follows of another kind; and the line that a phone adds."""
    inside = False
    for number, line in enumerate(lines):
        if found[number] is not None:
            inside = False
        elif inside or _SIGNED.fullmatch(line):
            inside = True
            found[number] = Kind.SIGNATURE
        elif line and len(line) < 120 and _PHONE.match(line.strip()):
            found[number] = Kind.SIGNATURE
