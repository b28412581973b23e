"""What the log says of a request that came to nothing: its path, and nobody's name in it."""

from __future__ import annotations

import logging
import sqlite3

import pytest

from sortingoffice.mail import token
from tests.person import MAILBOX
from tests.web import Site


async def test_a_path_is_logged_without_whom_it_names_and_without_a_links_secret(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api = site.client(site.person.out("admin", "token", "new", "--label", "x"), dialect="addy")
    secret = token.leaving(site.office.keys.token, 1)
    (file,) = site.person.folder.rglob("*.db")
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        for client, path in (
            (api, f"/api/office/mailboxes/{MAILBOX}/prefer"),
            (site.client(), f"/leave/{secret}"),
        ):
            assert (await client.post(path)).status_code == 503
    finally:
        lock.close()
    told = [each.getMessage() for each in caplog.records if "web-unavailable" in each.getMessage()]
    assert len(told) == 2
    assert "/api/office/mailboxes/{" in told[0]
    assert "/leave/{secret}" in told[1]
    assert not any(MAILBOX in line or secret in line for line in told)
