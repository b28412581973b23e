"""Moving out: everything of a person's as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from typing import Any

from sortingoffice.core.model import Account
from sortingoffice.core.relationship import state_at
from sortingoffice.flows import accounts as account_flows
from sortingoffice.flows import cards, grants, history, ledger, relationships
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts
from sortingoffice.store import cards as card_rows
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction

_COLUMNS = ("alias", "name", "site", "state", "created", "note", "received", "mailbox", "relationship")
# What a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def addresses_csv(tx: Transaction, office: Office, account: Account) -> str:
    """A line for each relationship; no cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for of in rows.every(tx, account.id):
        view = relationships.view(tx, office, of)
        writer.writerow([_cell(view[name]) for name in _COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> str:
    text = value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def everything_json(tx: Transaction, office: Office, account: Account) -> str:
    """All that the account owns, card values included, as one document."""
    now = office.clock()
    every = rows.every(tx, account.id)
    document = {
        "sortingoffice": 1,
        "exported": now,
        "account": {"name": account.name, "trigger": account.trigger, "created": account.created},
        "mailboxes": [account_flows.describe(each) for each in accounts.mailboxes(tx, account.id)],
        "relationships": [relationships.view(tx, office, of) for of in every],
        "cards": [
            {**each, "values": cards.show(tx, office, account, each["card"], reveal=True)}
            for each in cards.listing(tx, account, now)
        ],
        "grants": [grants.grant_row(each, of) for of in every for each in card_rows.grants(tx, of.id)],
        "disclosures": ledger.disclosures(tx, office, account, ""),
        "log": history.log(tx, account, "", 1_000_000),
        "states": {of.slug: state_at(of, now).value for of in every},
    }
    return json.dumps(document, ensure_ascii=False, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
