"""What may go into the spool for a vendor: octets that the leak guard has looked through.

Promise: only `core.guard` makes a `Checked` (a test holds it to that), so who has one has been
through the gate; and what was found there goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sortingoffice.core.secrets import Kind, Secret
from sortingoffice.frozen import dataclass
from sortingoffice.mail import mime

UNREAD = "more than can be searched"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Found:
    """Something that must not leave, or that could not be searched.

    where   a phrase for the person: "the text", 'the attachment "a.pdf" (compressed)'
    what    what was found there, for the person
    safe    whether the guard rewrites it: no word of the person's own changes
    path    of the entity
    around  what stands there, one printable line with the finding in [[ ]]; "" where there is no one place
    secret  None where it could not be searched
    """

    where: str
    what: str
    safe: bool
    path: mime.Path = ()
    around: str = ""
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """octets: a whole message; found: what the person must be asked about before it leaves."""

    octets: bytes
    found: tuple[Found, ...] = ()


def shows(found: Iterable[Found]) -> str:
    """What a message would do, for the person: "it would show your address anna@home.example"."""
    named = tuple(dict.fromkeys(each.what for each in found if each.secret is not None))
    said = []
    if named:
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        said.append(f"it would show {', '.join(named[:_MOST_NAMED])}{more}")
    unread = tuple(dict.fromkeys(each.what for each in found if each.secret is None))
    if unread:
        said.append(f"it holds {', '.join(unread[:_MOST_NAMED])}")
    return ", and ".join(said)


def in_short(found: Iterable[Found]) -> str:
    """The same for a subject, which stands in lists: without the values themselves."""
    kinds = tuple(dict.fromkeys(each.secret.kind if each.secret is not None else None for each in found))
    words = {
        Kind.ADDRESS: "your own address",
        Kind.NAME: "your name",
        Kind.VALUE: "a value that is not for them",
        None: "something that can't be looked into",
    }
    return ", ".join(words[each] for each in kinds)
