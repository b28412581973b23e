"""Switching off any one rule of the guard or of the rewriting lets something out, or mangles or holds it.

The rules stand in tables, by name; those of the rewriting are functions.  A new one that no case of the
battery needs makes a test fail: it is either unproved, or not needed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from sortingoffice.core import cleansed, guard, outward, reports, turned, ways
from sortingoffice.mail import embedded, inside, layers, pages
from sortingoffice.mail.message import Message
from tests import attacks, disguises, leaks, outsiders
from tests.leaks import HEAD, HELLO, MAILBOX, REVERSE, mixed, part, text_part
from tests.test_guard import FACTS, gated, judged

HOME = MAILBOX.partition("@")[2]


def prose(disguise: str) -> bytes:
    written = disguises.DISGUISES | disguises.UNICODE | attacks.DISGUISES | attacks.UNICODE
    written |= outsiders.DISGUISES
    return leaks.TEXT_PLACES["prose"](written[disguise](MAILBOX), "utf-8", "8bit")


def markup(disguise: str) -> bytes:
    text = (disguises.MARKUP | attacks.MARKUP | outsiders.MARKUP)[disguise](MAILBOX)
    return leaks.HTML_PLACES["HTML prose"](text, "utf-8", "8bit")


def place(name: str) -> bytes:
    return (leaks.BINARY_PLACES | attacks.PLACES | outsiders.PLACES)[name](MAILBOX)


def headed(head: bytes) -> bytes:
    return leaks.attached("application/octet-stream", head + bytes(range(128, 200)))


def _back_reference() -> bytes:
    """ "anna@home.example" whose second half a dictionary gives: "home.example" stood there before."""
    start = len(inside._RTF_START)
    literal = b"home.example\\par anna@"
    pieces = b"".join(b"\0" + literal[at : at + 8] for at in range(0, 16, 8))
    token = ((start << 4) | (12 - 2)).to_bytes(2, "big")
    packed = pieces + bytes((1 << (len(literal) - 16),)) + literal[16:] + token
    return leaks.attached("application/ms-tnef", b"\x78\x9f\x3e\x22" + bytes(8) + b"LZFu" + bytes(4) + packed)


# Rule → a message in which nothing but this rule finds the address.
TOLD: dict[str, bytes] = {
    "character references": prose("decimal references"),
    "percent, by another sign": prose("a gateway's link"),
    "percent": prose("percent all"),
    "quoted-printable": prose("quoted-printable"),
    "escapes": prose("JSON escapes"),
    "other escapes": leaks.TEXT_PLACES["prose"]("anna\\u64?home\\u46?example", "utf-8", "8bit"),
    "LDAP's escapes": prose("LDAP, before a letter"),
    "overrides": prose("partly from right to left"),
    "encoded words": prose("encoded words in pieces"),
    "ISO-2022": place("escapes of ISO-2022 in a charset we don't know"),
    "IMAP's UTF-7": prose("IMAP's UTF-7"),
    "UTF-7": prose("UTF-7 at"),
    "tags": prose("tags in plain text"),
    "comments": prose("comments"),
    "base64": prose("base64"),
    "base32": prose("base32"),
    "hexadecimal": prose("hexadecimal"),
    "character codes": prose("character codes"),
    "digits": prose("as bits"),
    "Morse": prose("Morse"),
    "radio alphabet": prose("spelled by words"),
    "uuencode": place("uuencoded"),
    "yEnc": prose("yEnc"),
    "ASCII85": prose("ascii85"),
    "Cloudflare": markup("veiled by Cloudflare"),
    "zip": place("a zip"),
    "deflated": place("what OpenPGP has packed"),
    "iWork": place("a Pages document"),
    "compressed RTF": _back_reference(),
    "zlib and gzip": place("gzip"),
    "bzip2": place("bzip2"),
    "xz and LZMA": place("xz"),
    **{said: headed(head) for head, said in inside._HEADED},
    "self-extracting archives": place("a 7z archive that unpacks itself"),
    "members of archives": place("a Zstandard file in a tar archive"),
    "encrypted files": place("an age file"),
    "S/MIME": place("S/MIME, encrypted"),
    "Office": place("an encrypted document"),
    "PDF": place("an encrypted PDF"),
    "entries of an archive": place("an encrypted zip"),
    "backwards": prose("backwards"),
    "hash": prose("MD5"),
    "blanks as plus": prose("plus for blank"),
    "return paths and links": prose("VERP"),
    "in words": prose("in words"),
    "in asides": prose("asides in a language that nobody knows"),
    "decoys": prose("a decoy in the local part"),
    "at a provider": leaks.TEXT_PLACES["prose"]("a.private at gmail", "utf-8", "8bit"),
    "with a password": prose("a page behind a password"),
    "names of a directory": prose("a directory's name"),
    "digits for letters": prose("digits for letters"),
    "upside down": prose("upside down"),
    "ROT13": prose("ROT13"),
    "names of fields": place("a field's name"),
    "between the parts": place("the preamble"),
    "what can't be read": place("EBCDIC"),
    "what a decoder passes over": place("plain text that claims base64"),
    "octets": place("a zip"),
    "HTML": markup("split by tags"),
    "HTML as it is shown": markup("hidden letters between"),
    "text": prose("as it is"),
}
TABLES: tuple[tuple[Any, str], ...] = (
    (layers, "LAYERS"),
    (embedded, "EMBEDDINGS"),
    (inside, "RULES"),
    (inside, "SHUT"),
    (ways, "WAYS"),
    (guard, "PLACES"),
)
BY_NAME = [(module, table, each.name) for module, table in TABLES for each in getattr(module, table)]


@pytest.mark.parametrize(("module", "table", "name"), BY_NAME, ids=[name for _, _, name in BY_NAME])
def test_each_rule_of_reading_finds_what_no_other_does(
    module: ModuleType, table: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "fields":
        raw = f"{HEAD}Subject: from {MAILBOX}\r\n\r\nhello\r\n".encode()
        assert ok_gone(bytes(gated(raw)[0]))
    else:
        raw = TOLD[name]
        assert gated(raw)[1], "with all rules it is found"
    monkeypatch.setattr(module, table, tuple(e for e in getattr(module, table) if e.name != name))
    message, found = gated(raw)
    assert found == ()
    assert name != "fields" or not ok_gone(bytes(message))


# ---- the rewriting -------------------------------------------------------------------------------


def ok_gone(octets: bytes) -> bool:
    """Whether no reader sees the mailbox or its domain, and the alias stands there."""
    shown = "\n".join(judged(Message.parse(octets)))
    return HOME not in shown and FACTS.alias.local in shown


def rewritten(raw: bytes) -> bool:
    """Whether the rewriting alone does it, before the guard looks."""
    return ok_gone(bytes(outward.rewrite(Message.parse(raw), FACTS)))


def cleaned(raw: bytes) -> bool:
    """Whether what the guard cleanses passes without a question."""
    message, found = gated(raw)
    return found == () and ok_gone(bytes(message))


def quoted(text: str, subtype: str = "plain") -> bytes:
    return leaks.alone(text_part(subtype, text, "utf-8", "8bit"))


def beside(*fields: str, body: bytes = b"hello") -> bytes:
    return mixed(HELLO, part("\r\n".join(("text/plain", *fields)), body, "8bit"))


def report(kind: str, text: str) -> bytes:
    return mixed(HELLO, part(kind, text.replace("\n", "\r\n").encode(), "7bit"))


def turns(raw: bytes) -> bool:
    """Whether the reverse alias has become the contact."""
    octets = bytes(outward.rewrite(Message.parse(raw), FACTS)).decode()
    return REVERSE not in octets and "orders@lampshop.example" in octets


def dated(raw: bytes) -> bool:
    return b"14:00:00 +0000" in bytes(outward.rewrite(Message.parse(raw), FACTS))


def unlinked(raw: bytes) -> bool:
    return b"References" not in bytes(outward.rewrite(Message.parse(raw), FACTS))


def kept(raw: bytes) -> bool:
    """Whether an attached mail still has its header."""
    return b"Subject: s\r\n" in bytes(outward.rewrite(Message.parse(raw), FACTS))


def automatic(raw: bytes) -> bool:
    return cleaned(raw) and rewritten(raw)


TURNED = f'<p>Yes</p><blockquote>you, <a href="mailto:{MAILBOX}">{MAILBOX}</a></blockquote>'
ATTACHED_MAIL = f"X-Mailer: {HOME}\r\nFrom: <{MAILBOX}>\r\nSubject: s\r\n\r\nhello\r\n".encode()
SHOWN_ID = f'<p>x</p><img src="cid:p1@{HOME}">'
WITH_ID = mixed(
    text_part("html", SHOWN_ID, "utf-8", "8bit"),
    part("image/png", b"x", "8bit", f"Content-ID: <p1@{HOME}>\r\n"),
    kind="related",
)
REPLY = mixed(
    text_part("plain", f"{MAILBOX} has accepted\n", "utf-8", "8bit"),
    part("text/calendar; method=REPLY", f"BEGIN:VCALENDAR\r\nATTENDEE:mailto:{MAILBOX}\r\n".encode(), "8bit"),
)
COMMENTED = attacks.REWRITTEN["a comment in a field"](MAILBOX)
IN_PIECES = attacks.REWRITTEN["a file name in four pieces"](MAILBOX)
SPLIT = MAILBOX.replace("@", "\u200b@")
# Function → what it becomes when it is off, the message that needs it, and what holds while it is on.
Case = tuple[Callable[..., Any], bytes, Callable[[bytes], bool]]
SWITCHES: dict[tuple[Any, str], Case] = {
    (outward, "_recipients"): (
        lambda message, facts: iter([f for f in message.fields if f.is_named("To")]),
        quoted("hi\n"),
        turns,
    ),
    (outward, "_date"): (lambda message, now: now.replace(year=2020, hour=1), quoted("hi\n"), dated),
    (outward, "_mapped"): (
        lambda message, name, references: [each.value.strip() for each in message.all(name)],
        f"{HEAD}References: <1@{HOME}>\r\n\r\nhello\r\n".encode(),
        unlinked,
    ),
    (outward, "_unnamed"): (
        lambda root, message, facts: root,
        (
            f"{HEAD}Content-Type: multipart/mixed; boundary=_0_{HOME}_\r\n\r\n"
            f"--_0_{HOME}_\r\n\r\nhi\r\n--_0_{HOME}_--\r\n"
        ).encode(),
        lambda raw: HOME not in bytes(outward.rewrite(Message.parse(raw), FACTS)).decode(),
    ),
    (outward, "_describes"): (lambda field: True, beside(f"X-From: {MAILBOX}"), rewritten),
    (outward, "_part_fields"): (
        lambda entity, facts, turn: entity.message.fields,
        beside(f"X-From: {MAILBOX}"),
        rewritten,
    ),
    (outward, "_automatic"): (lambda root: False, REPLY, automatic),
    (outward, "_content_ids"): (lambda root, facts: {}, WITH_ID, rewritten),
    (outward, "_identified"): (lambda old, turn: old, WITH_ID, rewritten),
    (outward, "_is_message"): (
        lambda entity: False,
        mixed(HELLO, b"Content-Type: message/rfc822\r\n\r\n" + ATTACHED_MAIL),
        kept,
    ),
    (outward, "_leaf"): (lambda leaf, facts, turn: leaf, quoted(f"Yes\n\n> {MAILBOX}\n"), rewritten),
    (turned, "plain"): (lambda text, turn: text, quoted(f"Yes\n\n> {MAILBOX}\n"), rewritten),
    (turned, "markup"): (lambda source, turn: source, quoted(TURNED, "html"), rewritten),
    (turned, "_may_change"): (
        lambda change, kind, turn: True,
        quoted(f"-----BEGIN PGP SIGNED MESSAGE-----\n\n> {REVERSE}\n-----END PGP SIGNATURE-----\n"),
        lambda raw: f"> {REVERSE}" in bytes(outward.rewrite(Message.parse(raw), FACTS)).decode(),
    ),
    (turned, "_in_attributes"): (lambda source, turn: iter(()), quoted(TURNED, "html"), rewritten),
    (turned, "in_source"): (lambda line, change: iter(()), quoted(TURNED, "html"), rewritten),
    (turned, "invitation"): (
        lambda text, turn: text,
        mixed(HELLO, text_part("calendar", f"BEGIN:VCALENDAR\nATTENDEE:mailto:{MAILBOX}\n", "utf-8", "8bit")),
        rewritten,
    ),
    (turned, "business_card"): (
        lambda text, turn: text,
        mixed(HELLO, text_part("vcard", f"BEGIN:VCARD\nEMAIL:{MAILBOX}\nEND:VCARD\n", "utf-8", "8bit")),
        rewritten,
    ),
    (reports, "header_text"): (
        lambda text, turn, references: text,
        report("text/rfc822-headers", f"To: {MAILBOX}\n"),
        rewritten,
    ),
    (reports, "delivery_status"): (
        lambda text, turn, references: text,
        report("message/delivery-status", f"X-By: x\n\nFinal-Recipient: rfc822;{MAILBOX}\n"),
        rewritten,
    ),
    (reports, "disposition_notification"): (
        lambda text, turn, references: text,
        report("message/disposition-notification", f"Final-Recipient: rfc822;{MAILBOX}\n"),
        rewritten,
    ),
    (reports, "nested"): (
        lambda fields, turn, references: fields,
        mixed(HELLO, b"Content-Type: message/rfc822\r\n\r\n" + ATTACHED_MAIL),
        rewritten,
    ),
    (pages, "shown"): (
        lambda octets, budget: iter(()),
        place("what a PDF shows by glyphs"),
        lambda raw: bool(gated(raw)[1]),
    ),
    (cleansed._Clean, "field"): (lambda self, old: old, COMMENTED, cleaned),
    (cleansed._Clean, "parameters"): (lambda self, value: value, IN_PIECES, cleaned),
    (cleansed._Clean, "text"): (
        lambda self, text, *, exact=True: text,
        attacks.REWRITTEN["a comment in a field"](MAILBOX),
        cleaned,
    ),
    (cleansed._Clean, "plain"): (lambda self, text: text, quoted(f"Yes\n\n> {SPLIT}\n"), cleaned),
    (cleansed._Clean, "markup"): (
        lambda self, source: source,
        quoted(f"<p>Yes</p><blockquote>{SPLIT}</blockquote>", "html"),
        cleaned,
    ),
    (cleansed._Clean, "tags"): (
        lambda self, source: iter(()),
        quoted(f"<p>Yes</p><!-- {MAILBOX} -->", "html"),
        cleaned,
    ),
    (cleansed._Clean, "attribute"): (
        lambda self, value: value,
        quoted(f"<p title='{SPLIT}'>Yes</p>", "html"),
        cleaned,
    ),
}
# What only serves the others: looks, finds or writes down what they decide.
NO_RULES = {
    outward: {"rewrite", "strangers", "ids", "_top", "_contact", "_with_line_end", "_open", "_part"},
    turned: {"applied", "by_type", "_at_domains", "_unicode", "_ascii", "_longer", "_run", "_shown_before"},
    reports: {"_turned", "_mailboxes", "_ids", "_renamed", "_report", "_report_line"},
    cleansed._Clean: {"__init__", "entity", "hits", "changes"},
}


@pytest.mark.parametrize(("where", "name"), SWITCHES, ids=[name for _, name in SWITCHES])
def test_each_rule_of_the_rewriting_is_needed(where: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    off, raw, holds = SWITCHES[where, name]
    assert holds(raw), "with all rules"
    monkeypatch.setattr(where, name, off)
    if where is reports:  # the table of reports holds the function itself
        table = {kind: off if each.__name__ == name else each for kind, each in outward._REPORTS.items()}
        monkeypatch.setattr(outward, "_REPORTS", table)
    assert not holds(raw)


def test_no_rule_of_the_rewriting_is_without_its_case() -> None:
    for where, known in NO_RULES.items():
        module = where.__name__ if inspect.ismodule(where) else where.__module__
        functions = {
            name for name, each in inspect.getmembers(where, inspect.isfunction) if each.__module__ == module
        }
        cased = {name for each, name in SWITCHES if each is where}
        assert functions == known | cased, functions ^ (known | cased)
