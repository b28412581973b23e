"""A mailbox is verified by mail, through a running office."""

from __future__ import annotations

import re
import sqlite3

from sortingoffice.cli.stage import HOME, MAILBOX, ORDERS, PATIENCE
from sortingoffice.mail.message import Message
from tests.office import Office, opened, written


def test_a_failing_mailbox_that_answers_is_verified_by_its_proof_and_gets_what_was_held() -> None:
    with opened() as stage:
        stage.init()
        stage.start()
        office = Office(stage)
        shop = office.fresh()
        path = next((stage.folder / "office").glob("*.db"))
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE mailbox SET state = 'failing'")
        connection.close()
        office.from_vendor(
            shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="kept for her")
        )
        assert [row["reason"] for row in stage.json("held", "list")] == ["mailbox_unusable"]

        stage.command("admin", "mailbox", "verify", MAILBOX)
        asked = stage.home.wait(1, PATIENCE)[0]
        assert asked.recipients == (MAILBOX,)
        found = re.search(rb"verify\.[0-9]+\.[a-z2-7]+@[a-z.]+", asked.octets)
        assert found is not None
        to = found[0].decode()
        away = written(f"From: {MAILBOX}", f"To: {to}", "Precedence: auto_reply", subject="I am away")
        stage.send(HOME, MAILBOX, to, away)
        assert stage.json("admin", "mailbox", "list")[0]["state"] == "failing", "nobody has read it"
        stage.send(HOME, MAILBOX, to, written(f"From: {MAILBOX}", f"To: {to}", subject="Re: verify"))

        assert Message.parse(office.arrived(stage.home, "kept for her")[0].octets).body == b"hello\r\n"
        row = stage.json("admin", "mailbox", "list")[0]
        assert (row["state"], row["proof"]) == ("verified", "dkim")
        assert stage.json("held", "list") == []
