"""Cards as contacts: tap Cc, type "ship", pick, for mail apps where typing a line is a chore.

    shipping.k7q2v9xm@…     name of a card or view, and a mark that only this office can make

The file for an address book also has the by-mail contacts (`flows.bymail`).

Promise: the address leads to its account's card and to nothing else; only mail that the account
itself wrote may use it; it is taken off before anything leaves.  Nothing is stored.

Sources: the cards document of the design, "Asking for a card"; RFC 2426 (the importable file).
"""

from __future__ import annotations

import base64
import hmac
import re

from sortingoffice.core.model import Account
from sortingoffice.errors import OfficeError
from sortingoffice.flows import bymail
from sortingoffice.flows.office import Office
from sortingoffice.mail import cipher, vcard
from sortingoffice.mail.address import Address
from sortingoffice.mail.vcard import Property
from sortingoffice.store import accounts, domains
from sortingoffice.store import cards as rows
from sortingoffice.store.database import Transaction

_MARK = 8  # base32 characters: 40 bits; who guesses one still has to be the account
_LOCAL = re.compile(rf"([a-z0-9][a-z0-9_-]{{0,54}})\.([a-z2-7]{{{_MARK}}})")


def find(tx: Transaction, office: Office, address: Address) -> tuple[Account, str] | None:
    """Whose card an address of ours stands for, and its name."""
    match = _LOCAL.fullmatch(address.local.lower())
    if match is None:
        return None
    for account_id in rows.accounts_with(tx, match[1]):
        if hmac.compare_digest(_mark(office, account_id, match[1]), match[2]):
            account = accounts.by_id(tx, account_id)
            return None if account is None else (account, match[1])
    return None


def address(office: Office, account: Account, name: str, domain: str) -> Address | None:
    """The address of a card; None where its name can't stand in one."""
    found = Address(f"{name}.{_mark(office, account.id, name)}", domain)
    return found if _LOCAL.fullmatch(found.local) else None


def file(tx: Transaction, office: Office, account: Account) -> bytes:
    """A vCard for each by-mail contact, card and view, to be imported into an address book."""
    hosted = domains.every(tx)
    if not hosted:
        raise OfficeError("no domain is hosted here yet: `sortingoffice admin domain add DOMAIN`")
    names = [card.name for card in rows.every(tx, account.id)]
    names += [view.name for view in rows.views(tx, account.id)]
    found = bymail.contacts(tx, office, account)
    for name in sorted(names):
        led = address(office, account, name, hosted[0].name)
        if led is not None:
            found[f"Card {name}"] = led
    return b"".join(_contact(called, led) for called, led in found.items())


def _contact(called: str, led: Address) -> bytes:
    properties = (
        Property("FN", (called,)),
        Property("N", (called, "", "", "", "")),
        Property("EMAIL", (str(led),), ("internet",)),
    )
    return vcard.serialize(properties, "3.0")


def _mark(office: Office, account_id: int, name: str) -> str:
    key = cipher.derive(office.keys.token, "card contact")
    digest = cipher.mac(key, f"{account_id}\0{name}")
    return base64.b32encode(digest[:5]).decode().lower()
