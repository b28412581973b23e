"""Who wrote this, through a running office: forwarders whom it trusts, strangers, processors, near misses."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.cli.stage import MAILBOX, ORDERS, VENDOR, until
from sortingoffice.core import report as leak_report
from sortingoffice.flows.strangers import MOST_PROCESSORS
from sortingoffice.mail import arc, dkim
from sortingoffice.store import relationships
from sortingoffice.store import writers as writer_rows
from sortingoffice.store.database import Database, Transaction
from tests.office import Office, Relationship, opened, written

LIST = "lists.example"
OTHER = "other.example"


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with opened() as stage:
        stage.configure(authentication=f'trusted_sealers = ["{LIST}"]')
        stage.publish(LIST, "127.0.0.2")
        stage.publish(OTHER, "127.0.0.2")
        stage.init()
        stage.start()
        yield Office(stage)
        assert stage.stop() == 0, stage.log
        assert "Traceback" not in stage.log


def sealed(office: Office, message: bytes, results: str, by: str = LIST) -> bytes:
    """As a forwarder passes a message on that it has changed: no signature of the author's holds any more."""
    told = f"mx.{by}; {results}; arc=none"
    fields = arc.seal(message, office.stage.keys[by], told, datetime.now(UTC))
    return b"".join(each.raw for each in fields) + message


def through(office: Office, to: str, message: bytes, by: str = LIST) -> tuple[int, str]:
    """The answer to a message that a forwarder hands in, under its own envelope sender."""
    with office.stage.client(by) as client:
        client.ehlo_or_helo_if_needed()
        client.mail(f"bounces@{by}")
        client.rcpt(to)
        code, text = client.data(message)
    return code, text.decode()


# ---- forwarders whom the config trusts -----------------------------------------------------------------

PASSED = f"dmarc=pass header.from={VENDOR}"


def test_a_changed_mail_passes_when_a_trusted_forwarder_saw_its_author_proved(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    mail = written(f"From: {ORDERS}", f"To: {shop.alias}", subject="[list] changed on the way")
    assert through(office, shop.alias, mail)[0] == 550, "its domain asks to reject it"
    assert through(office, shop.alias, sealed(office, mail, PASSED, OTHER))[0] == 550, (
        "nobody trusts that one"
    )
    failed = sealed(office, mail, f"dmarc=fail header.from={VENDOR}")
    assert through(office, shop.alias, failed)[0] == 550, "its author was not proved there either"
    assert through(office, shop.alias, sealed(office, mail, PASSED))[0] == 250
    assert office.home("[list] changed on the way")
    assert office.stage.json("log", shop.slug)[-1]["rule"] != "stranger_flagged"


def test_a_trusted_forwarder_is_no_proof_for_outward_mail(office: Office) -> None:
    """Only our own results say who may send as the person."""
    shop = office.fresh("--site", VENDOR)
    mail = written("From: anna@home.example", f"To: {shop.contact()}", subject="not by anna")
    vouched = sealed(office, mail, "dmarc=pass header.from=home.example")
    code, text = through(office, shop.contact(), vouched)
    assert (code, "5.1.1" in text) == (550, True)


def test_mail_that_is_proved_is_not_deferred_when_the_policy_cannot_be_looked_up(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    policy = office.stage.zone.records.pop((f"_dmarc.{VENDOR}", "TXT"))
    office.stage.zone.set(f"_dmarc.{VENDOR}", "TXT", "SERVFAIL")
    try:
        mail = written(f"From: {ORDERS}", f"To: {shop.alias}", subject="proved anyway")
        assert through(office, shop.alias, mail, VENDOR)[0] == 451, "unproved, it waits"
        office.from_vendor(shop.alias, mail)
        assert through(office, shop.alias, sealed(office, mail, PASSED))[0] == 250
    finally:
        office.stage.zone.records[f"_dmarc.{VENDOR}", "TXT"] = policy
    assert office.home("proved anyway")


def test_a_vendor_without_a_policy_whose_key_cannot_be_looked_up_is_not_turned_away_for_good(
    office: Office,
) -> None:
    """At a locked address only its proof lets it in, and the look-up may succeed at the next try."""
    domain = "simple.example"
    office.stage.publish(domain, "127.0.0.2")
    office.stage.zone.remove(f"_dmarc.{domain}", "TXT")
    office.stage.zone.set(f"slow._domainkey.{domain}", "TXT", "SERVFAIL")
    shop = office.fresh("--site", domain)
    office.stage.command("set", shop.slug, "--strangers", "lock")
    mail = written(f"From: a@{domain}", f"To: {shop.alias}", "Message-ID: <1@simple.example>", subject="slow")
    for selector, code in (("slow", 451), ("gone", 550), ("mail", 250)):
        key = replace(office.stage.keys[domain], selector=selector)
        raw = b"".join(each.raw for each in dkim.sign(mail, key, datetime.now(UTC))) + mail
        with office.stage.client(domain) as client:
            client.ehlo()
            client.mail(f"a@{domain}")
            client.rcpt(shop.alias)
            assert client.data(raw)[0] == code, selector
    assert [row["class"] for row in office.stage.json("strangers", shop.slug)] == ["forged vendor"]


def test_the_tree_walk_is_a_setting() -> None:
    with opened() as stage:
        stage.configure(authentication='dmarc_discovery = "tree walk"')
        stage.init()
        stage.start()
        office = Office(stage)
        shop = office.fresh("--site", VENDOR)
        mail = written(f"From: <news@a.b.{VENDOR}>", f"To: {shop.alias}", subject="walked")
        signed = b"".join(each.raw for each in dkim.sign(mail, [stage.keys[VENDOR]], datetime.now(UTC)))
        asked = len(stage.zone.asked)
        assert through(office, shop.alias, signed + mail, VENDOR)[0] == 250
        names = {name for name, _ in stage.zone.asked[asked:]}
        assert f"_dmarc.b.{VENDOR}" in names, "the list would have skipped it"


# ---- who wrote -----------------------------------------------------------------------------------------


def writers(office: Office, slug: str) -> dict[tuple[str, str], dict[str, object]]:
    return {(row["class"], row["identity"]): row for row in office.stage.json("show", slug)["writers"]}


def test_each_class_of_writer_is_counted_with_its_identity(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    office.stage.zone.set("soft.example", "TXT", "v=spf1 -all")
    for number in range(2):
        office.from_vendor(shop.alias, written(f"From: {ORDERS}", subject=f"own {number}"))
    office.stage.send(OTHER, f"x@{OTHER}", shop.alias, written(f"From: x@{OTHER}", subject="proved"))
    assert through(office, shop.alias, written("From: a@soft.example", subject="unproved"))[0] == 250
    assert through(office, shop.alias, written(f"From: {ORDERS}", subject="forged"))[0] == 550
    found = writers(office, shop.slug)
    assert {key: row["messages"] for key, row in found.items()} == {
        ("same organisation", VENDOR): 2,
        ("authenticated stranger", OTHER): 1,
        ("unauthenticated stranger", ""): 1,
        ("forged vendor", VENDOR): 1,
    }
    rows = office.stage.json("strangers", shop.slug)
    assert {row["identity"] for row in rows} == {OTHER, "", VENDOR}
    assert all(row["first"] and row["last_message"] for row in rows)


def co_signed(office: Office, *lines: str, subject: str, by: tuple[str, ...]) -> bytes:
    mail = written(*lines, subject=subject)
    keys = [office.stage.keys[each] for each in by]
    return b"".join(each.raw for each in dkim.sign(mail, keys, datetime.now(UTC))) + mail


def test_a_processor_is_learnt_from_the_vendors_own_mail_and_known_by_its_list(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    office.stage.command("set", shop.slug, "--strangers", "lock")
    lines = ("List-Id: Lamp news <news.lamps.other.example>",)
    early = co_signed(office, f"From: news@{OTHER}", *lines, subject="too early", by=(OTHER,))
    assert through(office, shop.alias, early, OTHER)[0] == 550, "nobody knows it yet"
    both = co_signed(office, f"From: {ORDERS}", *lines, subject="both", by=(VENDOR, OTHER))
    assert through(office, shop.alias, both, OTHER)[0] == 250, "the vendor signed it, too"
    row = writers(office, shop.slug)["its processor", OTHER]
    assert row["seen_with"] == ["list news.lamps.other.example"]
    assert row["word"] == "", "the person has not said yes or no"
    later = co_signed(office, f"From: news@{OTHER}", *lines, subject="later", by=(OTHER,))
    assert through(office, shop.alias, later, OTHER)[0] == 250
    foreign = co_signed(office, f"From: spam@{OTHER}", "List-Id: <x.other.example>", subject="f", by=(OTHER,))
    assert through(office, shop.alias, foreign, OTHER)[0] == 550, "another customer of the same provider"
    uncovered = b"List-Id: <news.lamps.other.example>\r\n" + co_signed(
        office, f"From: spam@{OTHER}", subject="u", by=(OTHER,)
    )
    assert through(office, shop.alias, uncovered, OTHER)[0] == 550, "its signature covers no List-Id"


def test_the_persons_word_on_a_processor_holds(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    office.stage.command("set", shop.slug, "--strangers", "lock")
    lines = ("List-Id: <n.other.example>",)
    both = co_signed(office, f"From: {ORDERS}", *lines, subject="one", by=(VENDOR, OTHER))
    assert through(office, shop.alias, both, OTHER)[0] == 250
    office.stage.command("refuse", shop.slug, OTHER)
    alone = co_signed(office, f"From: news@{OTHER}", *lines, subject="two", by=(OTHER,))
    assert through(office, shop.alias, alone, OTHER)[0] == 550
    assert writers(office, shop.slug)["its processor", OTHER]["word"] == "no"
    office.stage.command("allow", shop.slug, OTHER)
    without = co_signed(office, f"From: news@{OTHER}", subject="three", by=(OTHER,))
    assert through(office, shop.alias, without, OTHER)[0] == 250


def test_a_stranger_who_signs_for_itself_teaches_nothing(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    mail = co_signed(office, f"From: x@{OTHER}", "List-Id: <l>", subject="taught", by=(OTHER, LIST))
    assert through(office, shop.alias, mail, OTHER)[0] == 250
    assert [key for key in writers(office, shop.slug) if key[0] == "its processor"] == []


def test_a_vendor_teaches_a_bounded_number_of_processors(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    office.stage.command("set", shop.slug, "--strangers", "lock")
    db = Database(f"sqlite:///{office.stage.folder / 'office' / 'office.db'}")
    (of,) = [each for each in db.view(relationships.every, 1) if each.slug == shop.slug]

    def fill(tx: Transaction) -> None:
        for number in range(MOST_PROCESSORS):
            who = f"p{number}.example"
            writer_rows.note(tx, of.id, "its processor", who, now=datetime.now(UTC), token="t")

    db.call(fill)
    db.close()
    lines = ("List-Id: <more.other.example>",)
    both = co_signed(office, f"From: {ORDERS}", *lines, subject="one more", by=(VENDOR, OTHER))
    assert through(office, shop.alias, both, OTHER)[0] == 250
    alone = co_signed(office, f"From: news@{OTHER}", *lines, subject="unknown", by=(OTHER,))
    assert through(office, shop.alias, alone, OTHER)[0] == 550
    assert ("its processor", OTHER) not in writers(office, shop.slug)
    assert "most_processors" in office.stage.command("log", shop.slug)


# ---- recipients that never existed -----------------------------------------------------------------------


def test_a_slip_is_refused_listed_and_taken_once_the_person_says_so(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    local, _, domain = shop.alias.partition("@")
    slip = f"{local[:-1]}@{domain}"
    assert office.stage.rcpt(slip)[0] == 550
    assert office.stage.rcpt(f"nothing.like.it@{domain}")[0] == 550

    def near() -> list[dict[str, object]]:
        return [row for row in office.stage.json("rejects", "--near") if row["address"] == slip]

    row = until(near, "the slip to be noted")[0]
    assert (row["near"], row["relationship"], row["times"]) == (shop.alias, shop.slug, 1)
    listed = [row["address"] for row in office.stage.json("rejects")]
    assert f"nothing.like.it@{domain}" in listed
    office.stage.command("rejects", "accept", slip, shop.slug)
    assert near() == [], "it waits for no word any more"
    office.from_vendor(slip, written(f"From: {ORDERS}", f"To: {slip}", subject="slipped"))
    assert office.home("slipped")
    assert office.stage.json("show", shop.slug)["alias"] == shop.alias, "the alias that is shown stays"
    said = office.stage.run("rejects", "accept", f"never@{domain}", shop.slug)
    assert said.status == 1, "only what was refused can be taken"


def test_who_guesses_is_slowed_and_shut_out_whatever_the_recipient(office: Office) -> None:
    with opened() as stage:
        stage.configure(limits="unknown_recipients = 4")
        stage.init()
        stage.start()
        alias = stage.json("new", "Lamp Shop")["alias"]
        gone = stage.json("new", "Gone")["alias"]
        stage.command("revoke", gone)
        for _ in range(10):
            assert stage.rcpt(gone)[0] == 550, "a revoked alias is no guess"
        answers = []
        for number in range(30):
            answers.append(stage.rcpt(f"guess{number}@sort.example"))
            if answers[-1][0] == 421:
                break
        assert {code for code, _ in answers[:-1]} == {550}
        assert stage.rcpt(alias) == answers[-1] == stage.rcpt(gone), "one constant answer"
        assert "rule=unknown_address" in stage.log


# ---- the proof of a leak -----------------------------------------------------------------------------------


def leaked(office: Office) -> tuple[Relationship, Path]:
    """A relationship to which strangers wrote, and the report on it."""
    shop = office.fresh("--site", VENDOR)
    office.stage.send(OTHER, f"x@{OTHER}", shop.alias, written(f"From: x@{OTHER}", subject="buy now"))
    office.stage.command("set", shop.slug, "--strangers", "lock")
    mail = co_signed(office, f"From: y@{OTHER}", subject="\x1b[31mred", by=(OTHER,))
    assert through(office, shop.alias, mail, OTHER)[0] == 550
    folder = office.stage.folder / f"report-{shop.slug}"
    assert office.stage.command("leaks", "report", shop.slug, "--to", str(folder)) == str(folder)
    return shop, folder


def test_a_leak_is_listed_reported_and_verified_without_the_office(office: Office) -> None:
    shop, folder = leaked(office)
    (row,) = [row for row in office.stage.json("leaks") if row["relationship"] == shop.slug]
    assert (row["identity"], row["kept"]) == (OTHER, 2), "also of what was refused"
    assert row["odds_one_in"] > 10**6
    text = (folder / "report.txt").read_text()
    assert shop.alias in text
    assert MAILBOX not in text, "the person's own address is nobody's business"
    assert "proves to come from lampshop.example" in text
    assert "\x1b" not in text
    assert "(authenticated stranger: a sender whose own domain vouches" in text
    assert max(map(len, text.splitlines()[:5])) < 120
    found = verified(folder)
    assert found.returncode == 0, found.stderr
    assert f"signed by {OTHER}, key mail" in found.stdout
    assert office.stage.run("leaks", "report", shop.slug, "--to", str(folder)).status == 1, (
        "never overwritten"
    )
    other = office.stage.folder / f"other-{shop.slug}"
    other.mkdir()
    (other / "report.txt").write_text("mine")
    assert office.stage.run("leaks", "report", shop.slug, "--to", str(other)).status == 1
    assert [each.name for each in other.iterdir()] == ["report.txt"], "nor is anything put beside it"
    assert (other / "report.txt").read_text() == "mine"
    clean = office.fresh("--site", VENDOR)
    assert office.stage.run("leaks", "report", clean.slug).status == 1, "nothing to report"


def verified(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`leaks verify` where no office is."""
    command = [sys.executable, "-m", "sortingoffice", "--config", "/nonexistent", "leaks", "verify"]
    return subprocess.run(
        [*command, str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_report_that_is_made_anew_as_a_whole_shows_by_its_seal(office: Office) -> None:
    shop, folder = leaked(office)
    file = folder / "report.json"
    data = json.loads(file.read_text())
    noted = data["seal"]
    logged = [row["detail"] for row in office.stage.json("log", shop.slug) if row["what"] == "leak reported"]
    assert logged == [f"seal {noted}"], "outside of the folder, in the chained log"
    again = office.stage.run("leaks", "report", shop.slug, "--to", f"{folder}-2")
    assert re.search(r"^Seal [0-9a-f]{64}: note it", again.err, re.MULTILINE), again
    told = {
        each["what"]: each["holds"] for each in json.loads(verified(folder, "--seal", noted, "--json").stdout)
    }
    assert told["seal"]
    empty = verified(folder, "--seal", "")  # a variable of a script that was never set
    assert empty.returncode == 2, empty
    data["given_to"]["name"] = "Somebody Else"
    del data["seal"]
    data["seal"] = hashlib.sha256(
        json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    ).hexdigest()
    file.write_text(json.dumps(data))
    assert verified(folder).returncode == 0, "by itself it is whole"
    found = verified(folder, "--seal", noted.upper())
    assert (found.returncode, "another seal was noted" in found.stdout) == (1, True)


def test_whatever_is_changed_in_a_report_shows(office: Office) -> None:
    _, folder = leaked(office)
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    data = json.loads((folder / "report.json").read_text())
    first, second = (folder / each["file"] for each in data["evidence"])

    def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
        copy = json.loads(whole[folder / "report.json"])
        change(copy)
        return json.dumps(copy).encode()

    report = folder / "report.json"
    for path, octets in (
        (first, whole[first].replace(b"buy now", b"buy nuts")),
        (second, b""),
        (report, changed(lambda d: d["evidence"][0]["entry"].update(peer="innocent"))),
        (report, changed(lambda d: d["evidence"].pop(0))),
        (report, changed(lambda d: d["evidence"].reverse())),
        (report, changed(lambda d: d["issued"].update(issued="2020-01-01T00:00:00.000000Z"))),
        (report, changed(lambda d: d["evidence"][0]["entry"]["dns_records"].clear())),
        (report, changed(lambda d: d.pop("issued"))),
        (report, changed(lambda d: d["given_to"].update(name="Somebody Else"))),
        (report, changed(lambda d: d["log"].pop())),
        (report, changed(lambda d: d["aliases"][0].update(issued="2020-01-01T00:00:00.000000Z"))),
        (report, changed(lambda d: d["evidence"][0].update(odds_one_in=1))),
        (report, changed(lambda d: d.pop("seal"))),
        (folder / "report.txt", whole[folder / "report.txt"].replace(b"to nobody else", b"to others")),
        (report, b"[" * 100_000),
        (folder / "messages" / "003-more.eml", b"From: x\r\n\r\n"),
    ):
        files = {each.relative_to(folder).as_posix(): each.read_bytes() for each in whole}
        files[path.relative_to(folder).as_posix()] = octets
        with suppress(leak_report.Unreadable):
            assert not all(each.holds for each in leak_report.verify(files)), path
    report.write_bytes(whole[report].replace(b"lampshop", b"lampshup"))
    found = verified(folder)
    assert (found.returncode, "Traceback" in found.stderr) == (1, False)
    report.write_bytes(whole[report])
    assert verified(folder).returncode == 0


def test_evidence_of_one_writer_is_bounded(office: Office) -> None:
    shop = office.fresh("--site", VENDOR)
    for number in range(12):
        mail = written("From: a@soft.example", f"Message-ID: <{number}@soft.example>", subject="flood")
        assert through(office, shop.alias, mail)[0] == 250
    (row,) = [row for row in office.stage.json("leaks") if row["relationship"] == shop.slug]
    assert row["kept"] == 10
    assert writers(office, shop.slug)["unauthenticated stranger", ""]["messages"] == 12
