"""Who may come in by HTTP: API tokens, sessions, one-time secrets and passkeys, as frozen values.

Rows like those of `core.model`, with the same rules.  Whatever opens a door is stored as its
SHA-256 only: a secret here has at least 128 random bits, so that a plain hash is enough.

Sources: OWASP ASVS 5.0 chapter 7 (sessions); W3C Web Authentication Level 3.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass

# What password managers and browser extensions accept as a token of theirs.
TOKEN = re.compile(r"[A-Za-z0-9]{40,60}")


class Scope(StrEnum):
    """What a token may do; each but `new` holds for looking, too."""

    NEW = "new"  # make addresses, and see the options for it: enough for a password manager
    RELATIONSHIPS = "relationships"  # list, change, pause, revoke and restore them; their contacts
    CARDS = "cards"  # cards, grants, and who has what
    MAIL = "mail"  # held mail, the log, traces
    ACCOUNT = "account"  # mailboxes, tokens, settings, everything as an export


class Purpose(StrEnum):
    """What a one-time secret is for."""

    LINK = "link"  # a sign-in link, mailed
    PASSKEY = "passkey"  # the challenge of a sign-in by passkey
    REGISTER = "register"  # the challenge of a new passkey


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token for programs: a password manager, a browser extension, a script.

    hash     SHA-256 of the token
    scopes   names of `Scope`, separated by spaces
    expires  None: never
    """

    id: int
    account_id: int
    label: str
    hash: bytes
    scopes: str
    created: datetime
    expires: datetime | None
    last_used: datetime | None
    revoked: datetime | None

    def may(self, scope: Scope) -> bool:
        return scope.value in self.scopes.split()

    def in_force(self, now: datetime) -> bool:
        return self.revoked is None and (self.expires is None or self.expires > now)


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in.

    hash      SHA-256 of the cookie's secret; another one after each rotation
    previous  SHA-256 of the secret before that, good for the requests that were under way; None at first
    device    what the browser said of itself, in a few words: "Firefox on Android"
    how       "link" or "passkey"
    rotated   when the secret was last changed
    expires   then at the latest it ends; it ends earlier where it isn't used
    """

    id: int
    account_id: int
    hash: bytes
    previous: bytes | None
    device: str
    how: str
    created: datetime
    rotated: datetime
    last_used: datetime
    expires: datetime
    revoked: datetime | None


@dataclass(frozen=True, slots=True)
class OneTime:
    """A secret that opens one door once.

    account_id  None where it isn't known yet who will come (a passkey's challenge)
    hash        SHA-256 of the secret
    """

    id: int
    account_id: int | None
    purpose: Purpose
    hash: bytes
    created: datetime
    expires: datetime
    used: datetime | None


@dataclass(frozen=True, slots=True)
class Passkey:
    """A public key that an authenticator of the person's holds the private half of.

    credential  its id, as the authenticator gave it
    public      COSE key
    count       the authenticator's signature counter when last seen; 0 where it has none
    transports  "internal hybrid": how the browser may reach it
    """

    id: int
    account_id: int
    label: str
    credential: bytes
    public: bytes
    count: int
    transports: str
    created: datetime
    last_used: datetime | None
    revoked: datetime | None
