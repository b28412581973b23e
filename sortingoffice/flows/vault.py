"""An account's keys, opened for the length of one transaction.

Promise: a value leaves here only sealed for the one row it is for, and opens only from there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable

from sortingoffice.core import fields
from sortingoffice.core.model import Account, FieldType
from sortingoffice.errors import OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import cipher
from sortingoffice.mail.cipher import Place


@dataclass(frozen=True, slots=True)
class Vault:
    """repr shows no key: it may stand in a traceback.

    data_keys  the account's generations, oldest first: the last seals, the first recognises, so that what a
               vendor was given before a rotation is no news to it afterwards
    """

    account_id: int
    data_keys: tuple[bytes, ...]
    random: Callable[[int], bytes]

    @property
    def data_key(self) -> bytes:
        return self.data_keys[-1]

    @property
    def _root(self) -> bytes:
        return self.data_keys[0]

    def __repr__(self) -> str:
        return f"Vault(account {self.account_id})"

    def seal(self, place: Place, text: str) -> bytes:
        return cipher.seal(self.data_key, place, text.encode(), self.random(cipher.NONCE))

    def open(self, place: Place, sealed: bytes) -> str:
        """Raises OfficeError where the row was changed, or belongs elsewhere."""
        return self.open_octets(place, sealed).decode()

    def open_octets(self, place: Place, sealed: bytes) -> bytes:
        """Raises OfficeError likewise."""
        names = {cipher.name_of(key): key for key in self.data_keys}
        try:
            return cipher.open_(names.get(cipher.key_id(sealed), self.data_key), place, sealed)
        except cipher.Unreadable as error:
            raise OfficeError(
                f"a stored value can't be opened ({error}): the database was changed from outside, "
                "or the key file is another one"
            ) from None

    def mac(self, type: FieldType, key: str, value: str) -> bytes:
        """Equal for equal values of fields of one name."""
        return cipher.mac(cipher.mac_key(self._root), fields.comparable(type, key, value))

    def line_macs(self, lines: Iterable[str]) -> dict[bytes, str]:
        """Of directives in normal form, with the lines; never comparable with a value's."""
        key = cipher.derive(self._root, "inbound lines")
        return {cipher.mac(key, line): line for line in lines}

    def likeness_key(self) -> bytes:
        """What sealed values are known by is made with it; never comparable with a MAC."""
        return cipher.derive(self._root, "likeness")

    def uid(self, relationship_id: int) -> str:
        """An identifier of the person that only one relationship sees: a shared one would track them."""
        digest = cipher.mac(cipher.derive(self._root, "contact uid"), str(relationship_id))
        return f"urn:uuid:{uuid.UUID(bytes=digest, version=5)}"

    def version(self, field_id: int, number: int) -> Place:
        return Place("field_version", "sealed", f"{field_id}.{number}", self.account_id)

    def item(self, disclosure_id: int, card: str, field: str) -> Place:
        return Place("disclosure_item", "sealed", f"{disclosure_id}.{card}.{field}", self.account_id)


def open_for(office: Office, account: Account) -> Vault:
    """Raises OfficeError where this process holds no office key, or the account was shredded."""
    if office.keys.card is None:
        raise OfficeError("the office's key can't be read here: run this as the account that owns the keys")
    if account.wrapped_key is None:
        raise OfficeError(f"the cards of {account.name} were shredded: nothing can open them")
    try:
        data_keys = cipher.unwrap(office.keys.card, account.wrapped_key, account.id)
    except cipher.Unreadable:
        raise OfficeError(
            "the office's key is not the one that the cards were stored under: put that one back, "
            "or where it was rotated, restart this process"
        ) from None
    return Vault(account.id, data_keys, office.random)
