"""Leaks: addresses that others than their one holder wrote to, and the reports that prove it.

Promise: a report's seal stands in the log before anybody has the report, so that one made anew later shows.
"""

from __future__ import annotations

from typing import Any

from sortingoffice.core import evidence, report
from sortingoffice.core.model import Account
from sortingoffice.errors import NotThere
from sortingoffice.flows import relationships as relationships_flow
from sortingoffice.flows import strangers
from sortingoffice.flows.office import Office
from sortingoffice.store import events, rejects, relationships, writers
from sortingoffice.store.database import Transaction

# What the log says of an address, and may leave the house: nothing of other mail, no contacts.
_TOLD = (
    "issued",
    "rotated",
    "bound",
    "evidence kept",
    "sender allowed",
    "sender refused",
    "revoked",
    "restored",
)


def listed(tx: Transaction, account: Account) -> list[dict[str, Any]]:
    """Every writer of whose mail evidence is kept, by relationship and the address it was written to."""
    found = []
    for each in writers.leaks(tx, account.id):
        of = relationships.by_id(tx, each.relationship_id)
        assert of is not None, "a foreign key holds it"
        guesses = rejects.guessed(tx, each.recipient.rpartition("@")[2], of.created)
        found.append(
            {
                "relationship": of.slug,
                "alias": each.recipient,
                "class": each.standing,
                "identity": each.identity,
                "kept": each.number,
                "first": each.first,
                "last": each.last,
                "odds_one_in": evidence.one_in(each.recipient, guesses),
            }
        )
    return found


def made(tx: Transaction, office: Office, account: Account, text: str, *, actor: str) -> dict[str, bytes]:
    """The files of a report on one relationship; its seal is logged.  Raises NotThere."""
    of = relationships_flow.find(tx, account, text)
    kept = writers.kept(tx, of.id)
    if not kept:
        raise NotThere(f"nobody but {of.name} has written to it: there is nothing to report")
    bound = relationships.bindings(tx, of.id)
    case = report.Case(
        issued=strangers.issuing(tx, office, of),
        named=of.name,
        site=of.site,
        aliases=tuple((each.address, each.created) for each in relationships.aliases(tx, of.id)),
        known=tuple(each.identity for each in bound if each.how != "refused"),
        log=tuple(
            (each.at, each.what, each.detail)
            for each in events.of_relationship(tx, of.id)
            if each.what in _TOLD
        ),
        kept=kept,
        made=office.clock(),
    )
    files = report.write(case)
    events.add(
        tx,
        at=case.made,
        actor=actor,
        what="leak reported",
        account_id=of.account_id,
        relationship_id=of.id,
        detail=f"seal {report.seal(files)}",
    )
    return files
