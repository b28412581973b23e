"""There is one gate: whatever a vendor gets was looked through, whoever wrote it."""

from __future__ import annotations

import ast
import base64
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import sortingoffice
from sortingoffice.core import guard
from sortingoffice.core.checked import Checked, Found
from sortingoffice.core.decide import Verdict
from sortingoffice.core.model import DeliveryState, Direction, Envelope, Peer, SpooledMessage
from sortingoffice.core.names import Mark, PrivateName
from sortingoffice.flows import gate, notify, receive, returned
from sortingoffice.flows.arrival import Arrival
from sortingoffice.mail import token
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication, DkimResult, DmarcResult, Result
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply
from sortingoffice.store import names, schema, spool
from sortingoffice.store.database import Database
from tests import leaks
from tests.desk import MAILBOX, Desk, open_desk
from tests.test_store_spool import message, to

SOURCE = Path(sortingoffice.__file__).parent
# Who may put mail into the spool: towards a person, and the gate.
_SPOOLERS = {"flows/gate.py", "flows/inward.py", "flows/notices.py"}


def sources() -> dict[str, str]:
    return {
        str(path.relative_to(SOURCE)): path.read_text("utf-8")
        for path in SOURCE.rglob("*.py")
        if "migrations" not in path.parts
    }


def ways_round(files: dict[str, str]) -> list[str]:
    """What would let mail to a vendor past the gate, as "file:line what"."""
    found = []
    for name, source in files.items():
        tree = ast.parse(source)
        imported = {
            each.rpartition(".")[2]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for each in (getattr(node, "module", None) or "", *(name.name for name in node.names))
        }
        for node in ast.walk(tree):
            said = _way_round(name, node, checked="checked" in imported)
            if said:
                found.append(f"{name}:{getattr(node, 'lineno', 0)} {said}")
    return found


def _way_round(name: str, node: ast.AST, *, checked: bool) -> str:
    """What this node does that only the gate may; checked: whether core.checked is imported there."""
    if isinstance(node, ast.ImportFrom):
        names = {each.name for each in node.names}
        if (node.module or "").endswith("store.spool") and "put" in names:
            return "imports spool.put by its bare name"
        if (node.module or "").endswith("core.checked") and any(each.asname for each in node.names):
            return "renames what core.checked gives"
    if isinstance(node, ast.Attribute) and node.attr == "put" and _is(node.value, "spool"):
        return "" if name in _SPOOLERS else "uses spool.put"
    if isinstance(node, ast.Call):
        if checked and _is(node.func, "Checked") and name != "core/guard.py":
            return "makes a Checked of its own"
        if name != "flows/gate.py" and _is(node.func, "put") and _towards_vendor(node):
            return "spools towards a vendor"
        if _is(node.func, "insert") and name != "store/spool.py" and _of_messages(node):
            return "inserts into the table of messages"
    return ""


def _is(node: ast.AST, name: str) -> bool:
    """Whether it is that name, or an attribute of it."""
    return (isinstance(node, ast.Name) and node.id == name) or (
        isinstance(node, ast.Attribute) and node.attr == name
    )


def _of_messages(call: ast.Call) -> bool:
    table = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    rows = [ast.unparse(each) for each in call.args[1:]]
    return table.endswith(("schema.message", "_message")) or any(
        row == "message" or "SpooledMessage(" in row for row in rows
    )


def _towards_vendor(call: ast.Call) -> bool:
    written = ast.unparse(call)
    return ast.unparse(call.func) == "spool.put" and (
        "Direction.OUTWARD" in written or "Direction.RETURN" in written or len(call.args) > 3
    )


def test_nothing_but_the_gate_spools_for_a_vendor() -> None:
    assert ways_round(sources()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from sortingoffice.store import spool\nspool.put(tx, message, deliveries, checked)",
        "from sortingoffice.store import spool as s\nfrom sortingoffice.store.spool import put\n",
        "from sortingoffice.store import spool\nother = spool.put\n",
        "from sortingoffice.core.checked import Checked\nc = Checked(raw)",
        "from sortingoffice.core import checked\nc = checked.Checked(raw)",
        "from sortingoffice.core.checked import Checked as C\n",
        "from sortingoffice.store import schema\nschema.insert(tx, message)",
        "from sortingoffice.store import schema\ntx.execute(schema.message.insert().values(x))",
    ],
)
def test_a_second_path_is_seen(source: str) -> None:
    assert ways_round({"flows/second.py": source})


def test_a_spooler_of_mail_to_persons_can_t_spool_for_a_vendor() -> None:
    written = "spool.put(tx, rows.message(raw, direction=Direction.OUTWARD), deliveries)"
    assert ways_round({"flows/inward.py": written})


# ---- at run time ---------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [Direction.OUTWARD, Direction.RETURN])
def test_the_spool_takes_nothing_for_a_vendor_unchecked(sqlite_db: Database, direction: Direction) -> None:
    stored = message(direction=direction)
    with pytest.raises(ValueError, match="through the gate"):
        sqlite_db.call(spool.put, stored, (to("a.example"),))
    other = guard.as_written(Message.parse(b"Subject: other\r\n\r\n"), ())
    with pytest.raises(ValueError, match="through the gate"):
        sqlite_db.call(spool.put, stored, (to("a.example"),), other)


def test_the_spool_takes_no_finding_that_does_not_wait(sqlite_db: Database) -> None:
    stored = message(direction=Direction.OUTWARD)
    found = Checked(stored.raw, (Found("the text", "your address", safe=False),))
    with pytest.raises(ValueError, match="waits for the person's word"):
        sqlite_db.call(spool.put, stored, (to("a.example"),), found)
    sqlite_db.call(gate.put, stored, (to("a.example"),), found)
    [delivery] = sqlite_db.view(lambda tx: spool.deliveries(tx, 1))
    assert delivery.state is DeliveryState.HELD


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.set("contact.email=old@shop.example", "contact.city=Berlin")
    return desk


@contextmanager
def watched(desk: Desk) -> Iterator[list[str]]:
    """Which function of ours put each message for a vendor into the database."""
    seen: list[str] = []

    def install(tx: sa.Connection) -> None:
        connection = tx.connection.driver_connection
        assert connection is not None
        connection.create_function("noticed", 0, lambda: seen.append(_through()))
        connection.execute(
            "CREATE TEMP TRIGGER watch AFTER INSERT ON message WHEN NEW.direction IN ('outward', 'return')"
            " BEGIN SELECT noticed(); END"
        )

    desk.db.call(install)
    yield seen
    desk.db.call(lambda tx: tx.exec_driver_sql("DROP TRIGGER watch"))


def _through() -> str:
    frame = sys._getframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("sortingoffice.flows"):
            return f"{module.removeprefix('sortingoffice.')}.{frame.f_code.co_name}"
        assert frame.f_back is not None
        frame = frame.f_back
    raise AssertionError


def for_vendors(desk: Desk) -> list[tuple[SpooledMessage, str]]:
    """What waits to leave, with its delivery's state."""
    found = sa.select(schema.message).where(
        schema.message.c.direction.in_((Direction.OUTWARD, Direction.RETURN)), schema.message.c.rule != "test"
    )

    def read(tx: sa.Connection) -> list[tuple[SpooledMessage, str]]:
        rows = schema.every(SpooledMessage, tx.execute(found))
        return [(row, spool.deliveries(tx, row.id)[0].state.value) for row in rows]

    return desk.db.view(read)


def _reply(desk: Desk) -> None:
    desk.post(f"hello, {MAILBOX} is mine\n\n> quoted {MAILBOX}\n")


def _from_the_alias(desk: Desk) -> None:
    desk.post(f"Reply-To: {MAILBOX}\nSender: {MAILBOX}\nContent-Type: text/plain\n\nnew mail\n")


def _autoreply(desk: Desk) -> None:
    away = f'Auto-Submitted: auto-replied; owner-email="{MAILBOX}"\nContent-Type: text/plain\n\n'
    desk.post(f"{away}I am away, write to {MAILBOX}\n", sender=None)


def _receipt(desk: Desk) -> None:
    fields = f"Reporting-UA: home.example; x\r\nFinal-Recipient: rfc822;{MAILBOX}\r\nDisposition: "
    report = leaks.mixed(
        leaks.text_part("plain", f"Your mail to {MAILBOX} was displayed.\n", "utf-8", "8bit"),
        leaks.part(
            "message/disposition-notification", f"{fields}manual-action; displayed\r\n".encode(), "7bit"
        ),
        kind='report"; report-type="disposition-notification',
    )
    desk.post(report.partition(b"Subject: hello\r\n")[2])


def _calendar(desk: Desk) -> None:
    said = f"BEGIN:VCALENDAR\nMETHOD:REPLY\nATTENDEE;CN={MAILBOX}:mailto:{MAILBOX}\nEND:VCALENDAR\n"
    part = leaks.text_part("calendar; method=REPLY", said, "utf-8", "8bit")
    desk.post(leaks.mixed(leaks.HELLO, part).partition(b"Subject: hello\r\n")[2])


def _return_path(desk: Desk) -> None:
    """The mailbox's server answers to the return path of what we delivered to it."""
    delivery = _inward(desk)
    path = token.return_path(desk.office.keys.token, delivery.id)
    desk.post(f"I am away, {MAILBOX}\n", to=f"{path}@sort.example", sender=None)


def _inward(desk: Desk) -> Any:
    raw = f"Subject: for {MAILBOX}\r\nMessage-ID: <1@lamp-shop.example>\r\n\r\nhello\r\n".encode()
    stored = message(
        direction=Direction.INWARD,
        account_id=desk.account.id,
        relationship_id=desk.shop.id,
        sender="clerk@lamp-shop.example",
        authenticated=True,
        rule="test",
        size=len(raw),
        raw=raw,
    )
    delivery = replace(
        to("home.example"),
        account_id=desk.account.id,
        relationship_id=desk.shop.id,
        contact_id=desk.clerk.id,
        recipient=MAILBOX,
        state=DeliveryState.DELIVERED,
    )
    made = desk.db.call(spool.put, stored, (delivery,))
    return desk.db.view(lambda tx: spool.deliveries(tx, made.id))[0]


def _notify(desk: Desk) -> None:
    desk.give("lamp-shop", "contact", ["email", "city"])
    desk.later(minutes=1)
    desk.set(f"contact.email={MAILBOX}")
    desk.db.call(notify.send, desk.office, desk.account, "contact", actor="test")


def _withdrawal(desk: Desk) -> None:
    desk.grant("contact")
    desk.give("lamp-shop", "contact", ["city"])
    desk.db.call(notify.ungrant, desk.office, desk.account, "lamp-shop", "contact", actor="test")


def _return(desk: Desk, fields: str = f"Subject: for {MAILBOX}\r\nMessage-ID: <1@lamp-shop.example>") -> None:
    """The mailbox's server refused: the vendor is told."""
    delivery = replace(_inward(desk), state=DeliveryState.RETURNED, reason="refused")
    refused = Reply(550, "5.1.1", f"no such user {MAILBOX}")

    def fail(tx: sa.Connection) -> None:
        stored = spool.by_id(tx, delivery.message_id)
        assert stored is not None
        raw = f"{fields}\r\n\r\nhello\r\n".encode()
        returned.failed(tx, desk.office, replace(stored, raw=raw), delivery, refused, desk.now[0])

    desk.db.call(fail)


WAYS: tuple[Callable[[Desk], None], ...] = (
    _reply,
    _from_the_alias,
    _autoreply,
    _receipt,
    _calendar,
    _return_path,
    _notify,
    _withdrawal,
    _return,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__).strip("_"))
def test_every_way_out_goes_through_the_gate_and_carries_no_mailbox(
    desk: Desk, way: Callable[[Desk], None]
) -> None:
    with watched(desk) as through:
        way(desk)
    waiting = for_vendors(desk)
    assert len(waiting) == 1, "this way leads out"
    assert through == ["flows.gate.put"]
    for stored, state in waiting:
        assert state == "held" or MAILBOX.encode() not in stored.raw, stored.raw


def test_a_return_names_nothing_that_the_guard_finds(desk: Desk) -> None:
    _return(desk)
    [(stored, state)] = for_vendors(desk)
    assert state == "queued"
    assert b"<1@lamp-shop.example>" not in stored.raw, "nor the vendor's other fields"
    assert b"could not be delivered" in stored.raw


def _shown(guess: str) -> dict[str, str]:
    """Fields with a guess of what an account keeps to itself."""
    at_sign = base64.b64encode(f"is it {guess}?".encode()).decode()
    return {
        "plain": f"Subject: is it {guess}?",
        "encoded": f"Subject: =?utf-8?B?{at_sign}?=",
        "disguised": "Subject: " + guess.replace("@", " at ").replace(".", " dot "),
        "base64": f"Subject: {at_sign}",
        "name": f"Subject: Dear {guess.partition('@')[0]}",
        "message-id": f"Message-ID: <{guess}>",
        "date": f"Date: {guess}",
        "twice": f"Subject: your order\r\nSubject: {guess}",
    }


@pytest.mark.parametrize("way", _shown(""))
def test_a_return_to_a_vendor_tells_it_of_no_guess_whether_it_was_right(desk: Desk, way: str) -> None:
    marked = PrivateName(0, desk.account.id, Mark.NAME, MAILBOX.partition("@")[0])
    desk.db.call(names.add, marked)
    said = []
    for guess in (MAILBOX, "nora@elsewhere.example"):
        _return(desk, _shown(guess)[way] + "\r\nMessage-ID: <1@lamp-shop.example>")
        stored, state = for_vendors(desk)[-1]
        fields = stored.raw.rpartition(b"-headers\r\n")[2]
        said.append((state, b"Subject:" in fields, b"Date:" in fields, b"Message-ID:" in fields))
    assert said[0] == said[1]
    assert said[0][0] == "queued"


def test_a_letter_of_the_office_in_which_something_is_found_waits_for_a_yes(desk: Desk) -> None:
    _notify(desk)
    assert desk.states() == ["held"]
    asked = desk.notices()[-1].raw.decode()
    assert f"[[{MAILBOX}]]" in asked
    desk.answer("yes")
    assert desk.states() == ["queued"]


def test_the_persons_mail_to_a_return_path_is_answered_with_what_becomes_of_it(desk: Desk) -> None:
    path = parse(f"{token.return_path(desk.office.keys.token, _inward(desk).id)}@sort.example")
    assert path is not None
    raw = f"From: <{MAILBOX}>\r\nTo: <{path}>\r\nSubject: away\r\n\r\nI am away.\r\n".encode()
    proof = DkimResult(
        Result.PASS, domain="home.example", selector="s", signed=("from", "to"), signature=b"x"
    )
    auth = Authentication(
        dkim=(proof,), dmarc=DmarcResult(Result.PASS, aligned_dkim=True), from_domain="home.example"
    )
    envelope = Envelope(parse(MAILBOX), (path,))
    arrival = Arrival(Peer("192.0.2.1"), envelope, Message.parse(raw), len(raw), auth, "r1", desk.now[0])
    limits = replace(desk.office.config.limits, account_messages_per_hour=0)
    strict = replace(desk.office, config=replace(desk.office.config, limits=limits))
    assert desk.db.call(receive.accept, strict, arrival).rule == "account_messages_per_hour"
    assert desk.db.call(receive.accept, desk.office, arrival).verdict is Verdict.ACCEPT
    assert len(desk.states()) > 1
