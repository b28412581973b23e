"""`admin key rotate --office` and `--account NAME`: the keys that cards are encrypted under."""

from __future__ import annotations

from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.flows import rotation
from sortingoffice.store import ledger

_ACTOR = "cli"


def office_key(terminal: Terminal, *, finish: bool, destroy: bool) -> None:
    """destroy: keep no copy of the old key."""
    office = terminal.office
    if not finish:
        number = rotation.rotate_office(office, actor=_ACTOR)
        sentence = (
            f"The office has a new key; it opens the cards of {number} accounts, and so does the old one. "
            "Restart every process of the office, then: sortingoffice admin key rotate --office --finish"
        )
        terminal.done(sentence, {"accounts": number, "state": "begun", "kept": None})
        return
    kept = rotation.finish_office(office, actor=_ACTOR, destroy=destroy)
    sentence = "The old key opens nothing in the database any more. " + (
        "It was destroyed: cards in backups made before can't be read again. Make a new backup now."
        if kept is None
        else f"Backups made before need it: it is {kept}. Keep it apart from them, or delete it."
    )
    terminal.done(sentence, {"accounts": None, "state": "finished", "kept": str(kept) if kept else None})


def data_key(terminal: Terminal) -> None:
    office, account = terminal.office, terminal.account
    done = rotation.rotate_account(
        office, account, actor=_ACTOR, watcher=lambda number: say(f"{number} values")
    )
    lines = office.db.view(ledger.items, account.id)
    sentence = (
        f"{done} values of {account.name} are sealed under a new key. {lines} lines of the ledger, "
        "which nothing may change, stay under the key of their day."
    )
    terminal.done(sentence, {"account": account.name, "values": done, "ledger": lines})
