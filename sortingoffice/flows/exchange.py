"""Cards out to files of others' formats, and in from them.

Promise: nothing that is left out is left out in silence.
"""

from __future__ import annotations

from typing import Any

from sortingoffice.core import exchange, fields
from sortingoffice.core.model import Account
from sortingoffice.errors import OfficeError
from sortingoffice.flows import cards, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.cards import Assignment
from sortingoffice.flows.office import Office
from sortingoffice.mail import vcard
from sortingoffice.store import accounts
from sortingoffice.store.database import Transaction


def export(tx: Transaction, office: Office, account: Account, name: str, form: str) -> bytes:
    """A card or a view as a file for the person; without an identifier.  Raises `OfficeError`."""
    now = office.clock()
    wanted = fields.name(name)
    wallet = wallets.of(tx, vaults.open_for(office, account), account, now)
    if wanted not in wallet.names:
        raise cards.unknown(tx, account, wanted)
    values = [value for value in wallet.members(wanted) if value.text is not None]
    if not values:
        raise OfficeError(f"card {wanted} has no values that can be written to a file")
    return exchange.write(form, values, uid="", otherwise=wanted)


def import_vcard(
    tx: Transaction, office: Office, account: Account, octets: bytes, *, actor: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """A vCard's values as cards; the rows that were set, and what was left out and why.

    A value that can't be stored is left out and said; the mailboxes' own addresses are left out, since
    `email` is each relationship's alias.
    """
    try:
        found = vcard.parse(octets)
    except ValueError as error:
        raise OfficeError(f"this is no vCard that can be read: {error}") from None
    if len(found) != 1:
        raise OfficeError(f"this file holds {len(found)} cards: export your own alone, and import that")
    own = {mailbox.address for mailbox in accounts.mailboxes(tx, account.id)}
    values, names = exchange.read(found[0])
    left_out = [f"{each}: it has no place on a card here" for each in names]
    rows_set: list[dict[str, Any]] = []
    for each in values:
        kind = exchange.type_of(each.key)
        try:
            if each.key == "email" and fields.normalise(kind, each.value).lower() in own:
                raise OfficeError("your mailbox is never given to a vendor; each gets its own alias")
            assignment = Assignment(each.card, each.key, each.value)
            rows_set += cards.set_fields(
                tx, office, account, [assignment], type=kind, provenance=cards.IMPORTED, actor=actor
            )
        except OfficeError as error:
            label = f"{each.card}.{each.key}: "
            left_out.append(label + str(error).removeprefix(label))
    if not rows_set:
        raise OfficeError("nothing of this vCard could be stored: " + "; ".join(left_out[:5]))
    return rows_set, left_out
