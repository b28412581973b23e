"""A leak's report: whatever is changed in it afterwards is told, by its folder alone."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sortingoffice.core import evidence, report
from sortingoffice.core.evidence import Evidence
from sortingoffice.mail import dkim
from sortingoffice.mail.keys import SigningKey, generate_rsa
from sortingoffice.mail.message import Message
from tests.person import said

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALIAS = "lamp.shop1234@sort.example"
KEY = SigningKey.from_pem("spam.example", "mail", generate_rsa()[0])
PLAIN = (
    b"From: spam@evil.example\r\nTo: lamp.shop1234@sort.example\r\nSubject: buy now\r\n"
    b"Date: Sun, 1 Mar 2026 11:59:00 +0000\r\nMessage-ID: <1@evil.example>\r\n\r\nHello.\r\n"
)
SIGNED = b"".join(each.raw for each in dkim.sign(PLAIN, (KEY,), AT)) + PLAIN
LARGE = PLAIN.replace(b"buy now", b"buy all") + b"x" * 78 * 14_000
KEY_RECORD = {
    "name": f"mail._domainkey.{KEY.domain}",
    "type": "TXT",
    "octets": base64.b64encode(KEY.record.encode()).decode(),
    "for": "dkim",
}


def _case(*messages: bytes) -> report.Case:
    issued = evidence.issuing(ALIAS, "mx.sort.example", AT - timedelta(days=30))
    kept: list[Evidence] = []
    for number, octets in enumerate(messages, 1):
        message = Message.parse(octets)
        signed = b"DKIM-Signature" in octets
        made = Evidence(
            number,
            1,
            1,
            f"token{number}",
            AT + timedelta(hours=number),
            "authenticated stranger" if signed else "unauthenticated stranger",
            KEY.domain if signed else "",
            "accepted",
            "198.51.100.7 helo mail.evil.example",
            "spam@evil.example",
            ALIAS,
            f"mx.sort.example; dkim={'pass' if signed else 'none'}",
            json.dumps([KEY_RECORD] if signed else []),
            7,
            3,
            len(octets),
            evidence.digest(message),
            evidence.kept(message, len(octets)),
            kept[-1].hash if kept else evidence.start(issued),
            "",
        )
        kept.append(evidence.chained(made))
    return report.Case(
        issued=issued,
        named="Lamp Shop",
        site="lampshop.example",
        aliases=((ALIAS, AT - timedelta(days=30)),),
        known=("lampshop.example",),
        log=((AT - timedelta(days=30), "issued", ""), (AT, "bound", "lampshop.example")),
        kept=tuple(kept),
        made=AT + timedelta(days=1),
    )


FILES = report.write(_case(SIGNED, PLAIN, LARGE))
SEAL = report.seal(FILES)
DATA: dict[str, Any] = json.loads(FILES[report.DATA])
OF_SIGNED, OF_PLAIN, OF_LARGE = (each["file"] for each in DATA["evidence"])


def changed(**files: bytes) -> dict[str, bytes]:
    """The report with other files, by their names."""
    return {**FILES, **files}


def with_data(data: Mapping[str, Any]) -> dict[str, bytes]:
    return {**FILES, report.DATA: json.dumps(data, indent=2).encode()}


def resealed(data: dict[str, Any]) -> dict[str, bytes]:
    """As whoever holds the folder can make it."""
    said = {name: value for name, value in data.items() if name != "seal"}
    return with_data({**said, "seal": hashlib.sha256(evidence.canonical(said)).hexdigest()})


def told(files: Mapping[str, bytes], noted: str = SEAL) -> bool:
    """Whether anything is told of the report but that it is as it was."""
    try:
        return not all(each.holds for each in report.verify(files, noted))
    except report.Unreadable:
        return True


def says(files: Mapping[str, bytes], what: str) -> list[str]:
    """What doesn't hold of one file."""
    return [each.said for each in report.verify(files) if each.what == what and not each.holds]


def test_a_report_as_it_was_written_holds_with_and_without_its_seal() -> None:
    assert not told(FILES)
    assert not told(FILES, "")
    found = [each.said for each in report.verify(FILES)]
    assert "signed by spam.example, key mail" in found
    assert "a large message: its header, which alone was kept, as it was written" in found


# ---- files -------------------------------------------------------------------------------------------


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of the report, with one octet replaced, put in or taken out."""
    name = draw(st.sampled_from(sorted(FILES)))
    octets = FILES[name]
    at = draw(st.integers(0, len(octets) - 1))
    fresh = draw(st.binary(max_size=1))
    return name, octets[:at] + fresh + octets[at + draw(st.integers(0, 1)) :]


@given(edits())
@settings(max_examples=400)
@example((report.DATA, b"\xef\xbb\xbf" + FILES[report.DATA]))
@example((report.TEXT, FILES[report.TEXT].replace(b"\n", b"\r\n")))
@example((report.TEXT, b"\xef\xbb\xbf" + FILES[report.TEXT]))
@example((OF_LARGE, FILES[OF_LARGE] + b"\r\n"))
def test_any_changed_octet_of_any_file_is_told(edit: tuple[str, bytes]) -> None:
    name, octets = edit
    if octets == FILES[name] or (name == report.DATA and _the_same(octets)):
        return  # a blank between two members says nothing
    assert told({**FILES, name: octets})
    assert told({**FILES, name: octets}, "")


def _the_same(octets: bytes) -> bool:
    """Whether any reader of JSON would read what was written."""
    members: list[int] = []

    def count(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members.append(len(pairs))
        return dict(pairs)

    try:
        data = json.loads(octets.decode(), object_pairs_hook=count)
    except ValueError:
        return False
    own = sum(members)
    members.clear()
    json.loads(FILES[report.DATA], object_pairs_hook=count)
    return own == sum(members) and evidence.canonical(data) == evidence.canonical(DATA)


@pytest.mark.parametrize(
    "octets",
    [
        b"From: boss@innocent.example\r\nTo: lamp.shop1234@sort.example\r\n\r\n",
        b"",
        b"\r\n",
        FILES[OF_LARGE].replace(b"evil", b"good"),
        LARGE,
    ],
    ids=["made up", "empty", "no header", "one word", "the whole message"],
)
def test_the_header_of_a_large_message_is_held_to_what_was_written(octets: bytes) -> None:
    assert says(changed(**{OF_LARGE: octets}), OF_LARGE) == [
        "it is not the file that was written: its SHA-256 differs"
    ]


def _older() -> dict[str, bytes]:
    """As it was written before files had hashes of their own."""
    data = json.loads(FILES[report.DATA])
    for each in data["evidence"]:
        del each["file_sha256"]
    return resealed(data)


def test_an_older_report_is_read_and_its_large_message_is_said_to_be_unproved() -> None:
    wrong = [each for each in report.verify(_older()) if not each.holds]
    assert [each.what for each in wrong] == [OF_LARGE]
    assert "this older report has no hash of it: it can't be proved" in wrong[0].said
    small = report.write(_case(SIGNED, PLAIN))
    data = json.loads(small[report.DATA])
    for each in data["evidence"]:
        del each["file_sha256"]
    assert all(each.holds for each in report.verify({**small, report.DATA: resealed(data)[report.DATA]}))


def test_in_an_older_report_the_whole_of_a_large_message_proves_itself() -> None:
    assert not says({**_older(), OF_LARGE: LARGE}, OF_LARGE)
    assert says({**_older(), OF_LARGE: LARGE + b"x"}, OF_LARGE)


def test_a_large_message_with_a_body_that_did_not_come_is_told_whatever_the_seal() -> None:
    data = json.loads(FILES[report.DATA])
    octets = FILES[OF_LARGE] + b"Send the money to me.\r\n"
    data["evidence"][2]["file_sha256"] = hashlib.sha256(octets).hexdigest()
    assert says({**resealed(data), OF_LARGE: octets}, OF_LARGE) == [
        "it is not the message that came: its SHA-256 differs"
    ]


def test_a_hash_that_was_taken_out_shows_by_the_seal() -> None:
    data = json.loads(FILES[report.DATA])
    del data["evidence"][2]["file_sha256"]
    assert says(with_data(data), report.DATA)


@pytest.mark.parametrize(
    "name",
    ["messages/004-more.eml", "messages/note.txt", "messages/deep/1.eml", "report.html", ".hidden", "a/b"],
)
def test_a_file_that_the_report_does_not_name_is_told(name: str) -> None:
    assert says(changed(**{name: b"From: x\r\n\r\n"}), name) == ["the report knows nothing of this file"]


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_missing_is_told(name: str) -> None:
    assert told({each: octets for each, octets in FILES.items() if each != name})


@pytest.mark.parametrize(
    "name",
    ["../001.eml", "messages/../report.txt", "messages/a/b.eml", "/etc/hosts", "report.txt", "report.json"],
)
def test_an_entry_that_names_another_place_is_told_whatever_the_seal(name: str) -> None:
    data = json.loads(FILES[report.DATA])
    data["evidence"][1]["file"] = name
    files = {**resealed(data), name: FILES[OF_PLAIN]} if name != report.DATA else resealed(data)
    files.pop(OF_PLAIN)
    assert "no message of a report has such a name" in says(files, name)


def test_two_entries_that_name_one_file_are_told_whatever_the_seal() -> None:
    twice = report.write(_case(PLAIN, PLAIN))
    data = json.loads(twice[report.DATA])
    gone = data["evidence"][1]["file"]
    data["evidence"][1]["file"] = data["evidence"][0]["file"]
    files = {**twice, report.DATA: resealed(data)[report.DATA]}
    del files[gone]
    assert says(files, data["evidence"][0]["file"]) == ["two entries name this file"]


# ---- report.json -------------------------------------------------------------------------------------


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to each member of each object, and to each place of each list."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield (*path, name)
        yield from _places(each, (*path, name))


PLACES = tuple(_places(DATA))
MEMBERS = tuple(each for each in PLACES if isinstance(each[-1], str))


def _written(value: Any, at: tuple[str | int, ...], put: str, path: tuple[str | int, ...] = ()) -> str:
    """The value as JSON, in which `put` stands in front of the member at `at`."""
    if isinstance(value, dict):
        parts = []
        for name, each in value.items():
            own = (*path, name)
            parts.append((put if own == at else "") + f"{json.dumps(name)}:{_written(each, at, put, own)}")
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(each, at, put, (*path, n)) for n, each in enumerate(value)) + "]"
    return json.dumps(value)


def test_any_member_that_stands_there_twice_is_refused_at_any_depth() -> None:
    assert not told(changed(**{report.DATA: _written(DATA, (), "").encode()}))
    assert len(MEMBERS) > 60
    for place in MEMBERS:
        name = str(place[-1])
        for spelled in (json.dumps(name), f'"\\u{ord(name[0]):04x}{name[1:]}"'):
            octets = _written(DATA, place, f"{spelled}:null,").encode()
            with pytest.raises(report.Unreadable, match=f'says "{name}" twice'):
                report.verify(changed(**{report.DATA: octets}))


def _other(value: Any) -> Any:
    if isinstance(value, bool | None):
        return 1
    return value + 1 if isinstance(value, int) else f"{value}." if isinstance(value, str) else [value]


@pytest.mark.parametrize("do", ["take out", "replace", "double"])
def test_anything_taken_out_replaced_or_doubled_in_it_is_told(do: str) -> None:
    for place in PLACES:
        data = json.loads(FILES[report.DATA])
        of = data
        for step in place[:-1]:
            of = of[step]
        last: Any = place[-1]
        if do == "take out":
            del of[last]
        elif do == "replace":
            of[last] = _other(of[last])
        elif isinstance(of, list):
            of.insert(last, of[last])
        else:
            of[f"{last}2"] = of[last]
        assert told(with_data(data), ""), place


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.pop(),
        lambda rows: rows.pop(0),
        lambda rows: rows.clear(),
        lambda rows: rows.reverse(),
        lambda rows: rows.append(rows[0]),
    ],
    ids=["the last dropped", "the first dropped", "all dropped", "turned round", "one more"],
)
def test_rows_dropped_or_put_in_another_order_are_told_by_the_seal(
    change: Callable[[list[Any]], object],
) -> None:
    data = json.loads(FILES[report.DATA])
    change(data["evidence"])
    assert says(with_data(data), report.DATA)
    anew = resealed(data)
    named = {each["file"] for each in data["evidence"]}
    trimmed = {n: o for n, o in anew.items() if n in named or not n.startswith(report.MESSAGES)}
    assert [each.said for each in report.verify(trimmed, SEAL) if each.what == "seal"] == [
        "another seal was noted"
    ]


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "7.0", "7e0", "1e-5"])
def test_a_number_that_no_report_has_is_refused(number: str) -> None:
    octets = FILES[report.DATA].replace(
        b'"wrong_guesses_before": 7', f'"wrong_guesses_before": {number}'.encode()
    )
    assert octets != FILES[report.DATA]
    with pytest.raises(report.Unreadable, match="has the number"):
        report.verify(changed(**{report.DATA: octets}))


def test_a_number_of_more_digits_than_anybody_reads_is_refused() -> None:
    octets = FILES[report.DATA].replace(
        b'"wrong_guesses_before": 7', b'"wrong_guesses_before": ' + b"7" * 10_000
    )
    with pytest.raises(report.Unreadable):
        report.verify(changed(**{report.DATA: octets}))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_than_utf_8_is_refused(encoding: str) -> None:
    octets = FILES[report.DATA].decode().encode(encoding)
    with pytest.raises(report.Unreadable, match="no JSON"):
        report.verify(changed(**{report.DATA: octets}))


_LIMIT = sys.getrecursionlimit()


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("place", ['"format":', '"file":', '"previous":', '"dns_records":'])
@pytest.mark.parametrize(
    "depths",
    [range(50, 60), range(_LIMIT - 300, _LIMIT + 5), range(10**5, 10**5 + 1)],
    ids=["deep", "as deep as we read, or as we write", "abysmal"],
)
def test_however_deeply_it_is_nested_it_is_refused_and_no_more(
    opening: str, place: str, depths: range
) -> None:
    before, _, after = FILES[report.DATA].decode().partition(place)
    for depth in depths:
        deep = opening * depth + "0" + ("]" if opening == "[" else "}") * depth
        octets = f'{before}"deep": {deep}, {place}{after}'.encode()
        assert told(changed(**{report.DATA: octets}), ""), depth


# ---- at the command line -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "leak"
    (made / report.MESSAGES).mkdir(parents=True)
    for name, octets in FILES.items():
        (made / name).write_bytes(octets)
    return made


def _verified(folder: Path) -> tuple[int, dict[str, str]]:
    """The exit status, and what doesn't hold."""
    answer = said("--config", "/nonexistent", "leaks", "verify", folder, "--seal", SEAL, "--json")
    found = json.loads(answer.out) if answer.out else []
    return answer.status, {each["what"]: each["said"] for each in found if not each["holds"]}


@pytest.mark.parametrize(
    "name", ["report.html", "messages/note.txt", "messages/more.eml", "messages/deep/more.eml", "more/a.eml"]
)
def test_a_file_more_is_told_wherever_it_lies(folder: Path, name: str) -> None:
    assert _verified(folder) == (0, {})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"From: x\r\n\r\n")
    assert _verified(folder) == (1, {name: "the report knows nothing of this file"})


def test_links_are_told_and_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "messages" / "more.eml").symlink_to("/etc/hostname")
    (folder / "more").symlink_to(tmp_path)
    (folder / OF_LARGE).rename(tmp_path / "large.eml")
    (folder / OF_LARGE).symlink_to(tmp_path / "large.eml")
    status, wrong = _verified(folder)
    assert (status, set(wrong)) == (1, {"messages/more.eml", "more", OF_LARGE})
    (folder / "report.json").rename(tmp_path / "report.json")
    (folder / "report.json").symlink_to(tmp_path / "report.json")
    answer = said("--config", "/nonexistent", "leaks", "verify", folder)
    assert (answer.status, "there is no report.json in it" in answer.err) == (1, True)


def test_a_folder_that_is_no_report_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)
    answer = said("--config", "/nonexistent", "leaks", "verify", tmp_path)
    assert "there is no report.json in it" in answer.err
    (tmp_path / "report.json").write_bytes(FILES[report.DATA])
    status, wrong = _verified(tmp_path)
    assert (status, "large" in wrong) == (1, True), "told by its name"
    (tmp_path / "large").rename(tmp_path / report.TEXT)
    answer = said("--config", "/nonexistent", "leaks", "verify", tmp_path)
    assert "report.txt is larger than any file of a report" in answer.err
