"""What the leak guard found in a held message: kept with the question, shown, and looked at again.

Only what the person was told of may leave at their yes.  The words around a finding are kept as
long as the question is open, and no longer (`confirmations.end`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sortingoffice.core.checked import Found
from sortingoffice.core.question import MOST_PLACES
from sortingoffice.core.secrets import Secret
from sortingoffice.flows import gate
from sortingoffice.frozen import dataclass
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Findings:
    """What stands in the question.

    shown  where, what, and the words around it, of the first ones
    told   everything that was found, each once, for the person: "your address anna@home.example"
    """

    shown: tuple[tuple[str, str, str], ...] = ()
    told: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.told)

    @property
    def rows(self) -> list[dict[str, str]]:
        """As `held show --json` gives them."""
        return [{"where": where, "what": what, "around": around} for where, what, around in self.shown]


def of(found: Iterable[Found]) -> Findings:
    every = tuple(found)
    return Findings(
        tuple((each.where, each.what, each.around) for each in every[:MOST_PLACES]),
        tuple(dict.fromkeys(each.what for each in every)),
    )


def written(findings: Findings) -> dict[str, Any]:
    """For JSON."""
    return {"shown": [list(each) for each in findings.shown], "told": list(findings.told)}


def read(stored: dict[str, Any]) -> Findings:
    return Findings(
        tuple((where, what, around) for where, what, around in stored.get("shown", ())),
        tuple(stored.get("told", ())),
    )


def new_ones(
    tx: Transaction,
    account_id: int,
    raw: bytes,
    findings: Findings,
    withheld: tuple[Secret, ...],
    known: frozenset[str],
) -> tuple[str, ...]:
    """What must not leave by now, and the person was not told of: a mailbox added since, a value denied.

    raw    the message as it waits
    known  what the vendor may see, as in `gate.written`
    """
    try:
        again = gate.composed(tx, account_id, Message.parse(raw), withheld, known).found
    except mime.TooComplex as error:
        return (str(error),)
    return tuple(dict.fromkeys(each.what for each in again if each.what not in findings.told))
