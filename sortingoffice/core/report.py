"""A leak as a folder that a regulator can read: report.txt, report.json, messages/*.eml; and its proof.

Promise: `verify(files)` needs nothing but the folder: no database, no network, no word of this office.  It
recomputes the chain, the hash of each file, and each DKIM signature with the key record as it was fetched.
Whatever was changed in any file is told, unless report.json was sealed anew.

Sources: RFC 6376 §6 (verifying); RFC 8259 §4 (members named twice); RFC 8601; `core.evidence` (the chain).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sortingoffice.core import evidence
from sortingoffice.core.binding import Stranger
from sortingoffice.core.evidence import Evidence
from sortingoffice.frozen import dataclass
from sortingoffice.mail import asking, dkim, trace
from sortingoffice.mail.asking import Answer, Outcome, Question
from sortingoffice.mail.message import Message

FORMAT = "sortingoffice-leak-report/1"
TEXT, DATA, MESSAGES = "report.txt", "report.json", "messages"
_NESTED = f"{DATA} is nested more deeply than any report"
_NAME = re.compile(rf"{MESSAGES}/[^/\\]+\.eml")


_HOW = (
    "  Each message's SHA-256 is that of its file. Of one larger than a mebibyte the file holds the header",
    '  alone, whose SHA-256 is "file_sha256" in report.json. Each entry there carries a hash: the SHA-256 of',
    "  the previous entry's hash followed by the entry as JSON with sorted keys and no blanks; the first one",
    '  follows the hash of "issued". The seal of report.json is the SHA-256 of all of it but the seal, in',
    "  the same form, with this text's own SHA-256 in it. A folder alone can't tell that it was not made",
    "  anew as a whole; the seal can, where it was noted elsewhere. The office wrote it into its chained log",
    "  when it made the report; who was told it then compares. DKIM signatures verify with the",
    '  key records in "dns_records", as they were in DNS when the message came. `sortingoffice leaks verify',
    "  FOLDER --seal SEAL` does all of it, without any access to the office that made the report.",
)

_MEANING: Mapping[str, str] = {
    Stranger.AUTHENTICATED: "a sender whose own domain vouches for the message, and who is not that party",
    Stranger.UNAUTHENTICATED: "a sender for whom no domain vouches",
    Stranger.FORGED: "a sender who uses that party's name without its proof",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What a report is about.

    issued    as `evidence.issuing` gives it: where the chain begins
    named     what the person calls the party that the address was given to, and its site
    aliases   every address of the relationship, with the time of its issuing
    known     identities that count as this party
    log       lines of the office's log: (time, what, detail)
    """

    issued: Mapping[str, Any]
    named: str
    site: str
    aliases: tuple[tuple[str, datetime], ...]
    known: tuple[str, ...]
    log: tuple[tuple[datetime, str, str], ...]
    kept: tuple[Evidence, ...]
    made: datetime


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was verified, and whether it holds."""

    what: str
    holds: bool
    said: str


class Unreadable(Exception):
    """This folder is no report; str() says why."""


# ---- writing ---------------------------------------------------------------------------------------------


def write(case: Case) -> dict[str, bytes]:
    """The folder's files by name."""
    names = {each.id: f"{MESSAGES}/{n:03d}-{each.message}.eml" for n, each in enumerate(case.kept, 1)}
    data = {
        "format": FORMAT,
        "made": evidence.moment(case.made),
        "issued": dict(case.issued),
        "given_to": {"name": case.named, "site": case.site, "identities": list(case.known)},
        "aliases": [{"alias": alias, "issued": evidence.moment(at)} for alias, at in case.aliases],
        "log": [{"at": evidence.moment(at), "what": what, "detail": said} for at, what, said in case.log],
        "evidence": [
            {
                "entry": evidence.entry(each),
                "previous": each.previous,
                "hash": each.hash,
                "file": names[each.id],
                "file_sha256": hashlib.sha256(each.raw).hexdigest(),
                "odds_one_in": evidence.one_in(each.recipient, each.guesses),
            }
            for each in case.kept
        ],
    }
    files = {names[each.id]: each.raw for each in case.kept}
    files[TEXT] = ("\n".join(_text(case, names)) + "\n").encode()
    data["text_sha256"] = hashlib.sha256(files[TEXT]).hexdigest()
    data["seal"] = _seal(data)
    files[DATA] = json.dumps(data, indent=2, ensure_ascii=True).encode("ascii") + b"\n"
    return files


def seal(files: Mapping[str, bytes]) -> str:
    """The seal of a report that was written here."""
    return str(json.loads(files[DATA])["seal"])


def _seal(data: Mapping[str, Any]) -> str:
    """Over everything that the report says, but for the seal itself."""
    said = {name: value for name, value in data.items() if name != "seal"}
    return hashlib.sha256(evidence.canonical(said)).hexdigest()


def _text(case: Case, names: Mapping[int, str]) -> Iterable[str]:
    alias, issued = case.aliases[0]
    yield "Report on the disclosure of a mail address"
    yield "=========================================="
    yield ""
    yield f"Address    {_shown(alias)}"
    yield f"Issued     {_when(issued)}, and written down before it was shown to anybody"
    yield (
        f"Given to   {_shown(case.named)}"
        + (f" ({_shown(case.site)})" if case.site else "")
        + ", and to nobody else"
    )
    if case.known:
        yield f"Its mail   proves to come from {', '.join(map(_shown, case.known))}"
    for other, at in case.aliases[1:]:
        yield f"Also       {_shown(other)}, issued {_when(at)}"
    yield ""
    yield f"Others wrote to it. {len(case.kept)} of their messages are kept as evidence:"
    for standing in dict.fromkeys(each.standing for each in case.kept):
        yield f"  ({standing}: {_MEANING.get(standing, 'somebody else')})"
    for each in case.kept:
        yield ""
        yield f"  {_when(each.at)}  {each.standing}" + (f": {_shown(each.identity)}" if each.identity else "")
        yield f"    from the host   {_shown(each.peer)}"
        yield f"    as sender       {_shown(each.sender) or '(none)'}"
        yield f"    to              {_shown(each.recipient)}"
        yield f"    found by us     {_shown(each.results)}"
        yield f"    SHA-256         {each.sha256} ({each.size} octets)"
        yield f"    the message     {names[each.id]}" + (", its header" if _header_only(each.size) else "")
    yield ""
    yield "Could it have been guessed?"
    if case.kept:
        yield "  " + evidence.odds(case.kept[0].recipient, case.kept[0].guesses)
    yield ""
    yield "What the office wrote down about this address:"
    for at, what, said in case.log:
        yield f"  {_when(at)}  {_shown(what)}  {_shown(said)}".rstrip()
    yield ""
    yield "How to check this report"
    yield from _HOW
    if case.kept:
        yield f"  The chain ends in {case.kept[-1].hash}"
    yield f"  Made {_when(case.made)}."


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _shown(text: str) -> str:
    """A stranger's text without what a terminal or an editor would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


# ---- verifying -------------------------------------------------------------------------------------------


def verify(files: Mapping[str, bytes], noted: str = "") -> tuple[Checked, ...]:
    """Everything that can be checked, each with its outcome.  Raises Unreadable.

    noted  the seal as somebody was told it when the report was made; "" where nobody was
    """
    data = _read(files)
    try:
        return (*_checked(data, files), *_compared(data, noted))
    except RecursionError:
        raise Unreadable(_NESTED) from None
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Unreadable(f"{DATA} is not complete ({type(error).__name__}: {str(error)[:80]})") from None


def _read(files: Mapping[str, bytes]) -> dict[str, Any]:
    if DATA not in files:
        raise Unreadable(f"there is no {DATA} in it")
    try:  # decoded here: `json` would take UTF-16, and a byte order mark
        text = files[DATA].decode()
        data = json.loads(text, object_pairs_hook=_once, parse_float=_no_number, parse_constant=_no_number)
    except RecursionError:
        raise Unreadable(_NESTED) from None
    except ValueError:
        raise Unreadable(f"{DATA} is no JSON") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise Unreadable(f"{DATA} is not of the format {FORMAT}")
    return data


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two members of one name we would see the last, and another reader the first."""
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise Unreadable(f'{DATA} says "{_shown(name[:80])}" twice in one object')
        found[name] = value
    return found


def _no_number(text: str) -> Any:
    raise Unreadable(f"{DATA} has the number {text[:20]}, as no report has one")


def _checked(data: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterable[Checked]:
    links = [(each["entry"], each["previous"], each["hash"]) for each in data["evidence"]]
    wrong = evidence.broken(evidence.start(data["issued"]), links)
    said = f"the link at {wrong} does not hold" if wrong else f"{len(links)} links, from the issuing on"
    yield Checked("chain", not wrong, said)
    whole = data["seal"] == _seal(data)
    yield Checked(
        DATA, whole, f"seal {data['seal']}" if whole else "something in it was changed: not its seal"
    )
    if TEXT not in files:
        yield Checked(TEXT, False, "the file is missing")
    else:
        same = hashlib.sha256(files[TEXT]).hexdigest() == data["text_sha256"]
        yield Checked(TEXT, same, "as it was written" if same else "it is not the text that was written")
    issued = datetime.fromisoformat(data["issued"]["issued"])
    expected = {DATA, TEXT}
    for each in data["evidence"]:
        name = str(each["file"])
        if not _NAME.fullmatch(name):
            yield Checked(_shown(name), False, "no message of a report has such a name")
        elif name in expected:
            yield Checked(_shown(name), False, "two entries name this file")
        expected.add(name)
        if datetime.fromisoformat(each["entry"]["at"]) < issued:
            yield Checked(_shown(name), False, "it came before the address was issued")
        yield from _message(_shown(name), each, files.get(name))
    for name in sorted(files):
        if name not in expected:
            yield Checked(_shown(name), False, "the report knows nothing of this file")


def _message(name: str, row: Mapping[str, Any], raw: bytes | None) -> Iterable[Checked]:
    """Whether the file is what came, or as much of it as was kept.

    row  of report.json; one that was written by an older version has no "file_sha256"
    """
    if raw is None:
        yield Checked(name, False, "the file is missing")
        return
    entry, written, found = row["entry"], row.get("file_sha256"), hashlib.sha256(raw).hexdigest()
    if written not in (None, found):
        yield Checked(name, False, "it is not the file that was written: its SHA-256 differs")
    elif found == entry["sha256"]:
        yield Checked(name, True, "it is the message that came")
        yield from _signatures(name, entry, raw)
    elif not _header_only(int(entry["size"])) or raw.partition(b"\r\n\r\n")[2]:
        yield Checked(name, False, "it is not the message that came: its SHA-256 differs")
    elif written is None:
        said = "only a large message's header, and this older report has no hash of it: it can't be proved"
        yield Checked(name, False, said)
    else:
        yield Checked(name, True, "a large message: its header, which alone was kept, as it was written")


def _header_only(size: int) -> bool:
    """Whether of a message of so many octets the header alone was kept."""
    return size > evidence.MOST_OCTETS


def _compared(data: Mapping[str, Any], noted: str) -> Iterable[Checked]:
    """Whoever makes a folder anew can seal it anew, too: only a seal that was noted elsewhere tells."""
    if noted:
        same = data["seal"] == "".join(noted.split()).lower()
        yield Checked("seal", same, "it is the seal that was noted" if same else "another seal was noted")


def _signatures(name: str, entry: Mapping[str, Any], raw: bytes) -> Iterable[Checked]:
    """Verify again what we said passed, with the keys as fetched."""
    fetched: dict[str, bytes] = {}
    for each in entry["dns_records"]:
        if each["for"] == "dkim":
            try:
                fetched[each["name"].lower()] = base64.b64decode(each["octets"], validate=True)
            except binascii.Error:
                yield Checked(name, False, f"the key record of {_shown(each['name'])} is not base64")

    def answer(question: Question) -> Answer:
        record = fetched.get(question.name.lower())
        return Answer(Outcome.NO_NAME) if record is None else Answer(Outcome.FOUND, (record,))

    at = datetime.fromisoformat(entry["at"])
    told = trace.results(str(entry["authentication_results"]))
    claimed = sum(words[0] == "dkim=pass" for words in told if words)
    found = asking.run(dkim.verify(Message.parse(raw), at), answer)
    passed = [each for each in found if each.passed]
    for each in passed:
        yield Checked(name, True, f"signed by {_shown(each.domain)}, key {_shown(each.selector)}")
    if len(passed) < claimed:
        yield Checked(name, False, f"{claimed} signatures were said to pass, {len(passed)} do")
