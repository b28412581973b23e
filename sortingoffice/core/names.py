"""What a person keeps to themselves besides their mailboxes: names, as they marked them.

`core.secrets.names` says how they are recognised.

Sources: the design, "The leak guard".
"""

from __future__ import annotations

from enum import StrEnum

from sortingoffice.frozen import dataclass

MOST = 50  # marked names of one account
LONGEST = 100  # characters


class Mark(StrEnum):
    NAME = "name"
    LOGIN = "login"  # the account's name
    DISPLAY = "display-name"  # what the person's mail client writes beside the mailbox


@dataclass(frozen=True, slots=True)
class PrivateName:
    """name: as the person wrote it; "" for the other marks."""

    id: int
    account_id: int
    mark: Mark
    name: str
