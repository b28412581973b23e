"""What the edge asks of the flows: four callables, bound to the office by the daemon.

The edge knows no database and no DNS.  Whatever a hook raises is answered `451 4.3.0` and
logged once as our bug; what is in `unavailable` is the world's fault, answered the same and
logged without its frames.  A hook is never cancelled because a client went away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sortingoffice.core.model import Envelope, Peer
from sortingoffice.frozen import dataclass
from sortingoffice.mail.address import Address
from sortingoffice.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Hooks:
    """The four questions.

    rcpt          may this recipient be written to?  sender is None for the null reverse-path
    data          take this message: raw is the content as octets, dots unstuffed, lines ending in
                  CR LF; a reply in the 200s means committed
    authenticate  the account's id, or None; hashing does not happen on the event loop
    mail          submission only: a refusal of this sender, or None
    unavailable   exceptions that mean "the database is gone for now", not "we have a bug"
    """

    rcpt: Callable[[Peer, Address | None, Address], Awaitable[Reply]]
    data: Callable[[Peer, Envelope, bytes], Awaitable[Reply]]
    authenticate: Callable[[Peer, str, bytes], Awaitable[int | None]]
    mail: Callable[[Peer, Address | None], Awaitable[Reply | None]]
    unavailable: tuple[type[Exception], ...] = ()
