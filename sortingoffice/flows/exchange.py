"""Cards out to files of others' formats, and in from them.

Promise: nothing that is left out is left out in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sortingoffice.core import exchange, fields
from sortingoffice.core.exchange import Found
from sortingoffice.core.model import Account
from sortingoffice.errors import OfficeError
from sortingoffice.flows import cards, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.cards import Assignment
from sortingoffice.flows.office import Office
from sortingoffice.mail import vcard
from sortingoffice.store import accounts
from sortingoffice.store import cards as rows
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

    An address is taken beside no part of another one that would stay.

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
    mixed = _mixed(tx, account, values)
    for card, old in mixed.items():
        parts = ", ".join(f"{card}.{key}" for key in old)
        left_out.append(
            f"{card}: its address would be mixed with the one that is there: remove {parts} first"
        )
    rows_set: list[dict[str, Any]] = []
    for each in values:
        if each.card in mixed and each.key in exchange.ADDRESS:
            continue
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


def _mixed(tx: Transaction, account: Account, values: Sequence[Found]) -> dict[str, list[str]]:
    """Card → the parts of its address that would stay beside a new one's: nobody lives at such an address."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(each.card for each in values if each.key in exchange.ADDRESS):
        card = rows.by_name(tx, account.id, name)
        given = {each.key for each in values if each.card == name and _storable(each)}
        stored = [] if card is None else [field.key for field in rows.fields(tx, card.id)]
        if old := [key for key in stored if key in exchange.ADDRESS and key not in given]:
            found[name] = old
    return found


def _storable(each: Found) -> bool:
    try:
        fields.normalise(exchange.type_of(each.key), each.value)
    except OfficeError:
        return False
    return True
