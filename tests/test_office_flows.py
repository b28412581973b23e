"""The flows of a person's office on both databases, without the command line around them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from sortingoffice import config
from sortingoffice.core.model import Account, Domain
from sortingoffice.core.relationship import Action
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import accounts, closing, issue, overview, relationships
from sortingoffice.flows.issue import Wish
from sortingoffice.flows.office import Keys, Office
from sortingoffice.net.resolver import Resolver
from sortingoffice.store import domains
from sortingoffice.store.database import Database

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def office(db: Database, tmp_path: Path) -> Office:
    read = config.from_tables({"hostname": "mx.sort.example"}, tmp_path / "office.toml")
    keys = Keys(os.urandom(32), os.urandom(32), {})
    made = Office(read, db, keys, cast("Resolver", None), lambda: NOW, os.urandom)
    db.call(domains.add, Domain(0, "sort.example", NOW))
    return made


@pytest.fixture
def anna(office: Office) -> Account:
    return office.db.call(
        accounts.add_with_mailbox, office, "anna", "anna@home.example", admin=True, actor="test"
    )


def _act(office: Office, account: Account, text: str, action: Action) -> bool:
    return office.db.call(relationships.act, office, account, text, action, actor="test").changed


def _shown(office: Office, account: Account, text: str) -> dict[str, Any]:
    return office.db.view(overview.named, office, account, text)


def test_a_relationship_lives_on_either_database(office: Office, anna: Account) -> None:
    made = office.db.call(issue.issue, office, anna, Wish("Lamp Shop", site="lampshop.example"), actor="test")
    _, contact = office.db.call(
        issue.contact, office, anna, "lamp-shop", "orders@lampshop.example", actor="test"
    )
    turned = office.db.call(issue.rotate, office, anna, "lamp-shop", actor="test")
    assert _act(office, anna, made["alias"], Action.REVOKE)
    assert _act(office, anna, "lamp-shop", Action.PAUSE)
    assert not _act(office, anna, "lamp-shop", Action.PAUSE)
    shown = _shown(office, anna, turned["alias"])
    assert shown["state"] == "muted"
    assert shown["bindings"] == ["lampshop.example"]
    assert shown["older_aliases"] == [{"alias": made["alias"], "state": "revoked"}]
    assert [each["reverse_alias"] for each in shown["contacts"]] == [contact.reverse_alias]


def test_a_refused_wish_leaves_nothing_on_either_database(office: Office, anna: Account) -> None:
    with pytest.raises(OfficeError):
        office.db.call(issue.issue, office, anna, Wish("Shop", local="postmaster"), actor="test")
    assert office.db.view(overview.every, office, anna) == []


def test_an_account_without_a_mailbox_gets_no_alias(office: Office) -> None:
    bert = office.db.call(accounts.add, office, "bert", admin=False, actor="test")
    with pytest.raises(OfficeError, match="no mailbox"):
        office.db.call(issue.issue, office, bert, Wish("Shop"), actor="test")


def test_an_account_is_removed_on_either_database(office: Office, anna: Account) -> None:
    bert = office.db.call(
        accounts.add_with_mailbox, office, "bert", "bert@home.example", admin=False, actor="test"
    )
    alias = office.db.call(issue.issue, office, bert, Wish("Shop"), actor="test")["alias"]
    ended = office.db.call(closing.remove, office, bert, actor="test")
    assert ended.wrapped_key is None
    assert _shown(office, bert, alias)["state"] == "revoked"
    with pytest.raises(NotThere):
        _shown(office, anna, alias)


def test_many_at_once_get_slugs_of_their_own(office: Office, anna: Account) -> None:
    def one(_: int) -> str:
        made = office.db.call(issue.issue, office, anna, Wish("Shop"), actor="test")
        return str(made["relationship"])

    with ThreadPoolExecutor(8) as threads:
        slugs = list(threads.map(one, range(24)))
    assert sorted(slugs) == sorted(["shop", *(f"shop-{n}" for n in range(2, 25))])


def test_pocket_aliases_are_all_different(office: Office, anna: Account) -> None:
    made = office.db.call(issue.pocket, office, anna, 50, actor="test")
    assert len({each["alias"] for each in made}) == 50
    assert len({each["relationship"] for each in made}) == 50
