"""Who is this vendor: bindings of a relationship, and what a stranger is.

A relationship binds to organizational domains that proved themselves, or were named when
it was made; at a public mailbox provider a full address binds, since its domain is
everybody's.

Promise: classify() is total, and only authenticated identities make anyone the vendor.

Sources: the design, "Authentication, strangers, evidence"; RFC 7489 §3.2 (organizational domain).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sortingoffice.mail.address import Address
from sortingoffice.mail.publicsuffix import organizational

# Domains at which a mailbox proves nothing about its neighbours.
PUBLIC_PROVIDERS = frozenset(
    """aol.com bluewin.ch fastmail.com fastmail.fm free.fr gmail.com gmx.at gmx.ch gmx.com gmx.de
    gmx.net googlemail.com hey.com hotmail.co.uk hotmail.com hotmail.fr hotmail.it icloud.com laposte.net
    libero.it live.com mac.com mail.com mail.ru mailbox.org me.com msn.com naver.com orange.fr outlook.com
    outlook.de pm.me posteo.de proton.me protonmail.com qq.com rambler.ru rocketmail.com seznam.cz sfr.fr
    t-online.de tuta.com tutanota.com wanadoo.fr web.de wp.pl yahoo.co.jp yahoo.co.uk yahoo.com yahoo.de
    yahoo.fr yandex.com yandex.ru ymail.com zoho.com 126.com 163.com""".split()
)


class Stranger(StrEnum):
    """What the author of a message is to a relationship."""

    VENDOR = "same organisation"
    PROCESSOR = "its processor"
    AUTHENTICATED = "authenticated stranger"
    UNAUTHENTICATED = "unauthenticated stranger"
    FORGED = "forged vendor"


@dataclass(frozen=True, slots=True)
class Identities:
    """What is known of a message's author.

    author         the From address; None where there is none to read
    authenticated  organizational domains that passed an aligned check for it
    signers        organizational domains of every passing DKIM signature, aligned or not
    """

    author: Address | None
    authenticated: frozenset[str]
    signers: frozenset[str]


def identity(author: Address) -> str:
    """What binds for this author: the organizational domain, or the address at a public provider."""
    domain = organizational(author.domain) or author.domain
    return author.normal if domain in PUBLIC_PROVIDERS else domain


def proven(identities: Identities) -> str:
    """The identity that the message proves to come from; "" when it proves none."""
    if identities.author is None:
        return ""
    domain = organizational(identities.author.domain) or identities.author.domain
    return identity(identities.author) if domain in identities.authenticated else ""


def classify(bound: Iterable[str], identities: Identities) -> Stranger:
    """The author's class for a relationship bound to `bound` (identities, see `identity`)."""
    known = frozenset(bound)
    who = proven(identities)
    if who and who in known:
        return Stranger.VENDOR
    if identities.signers & known:  # a list or mailer that the vendor signs through
        return Stranger.PROCESSOR
    if who:
        return Stranger.AUTHENTICATED
    if identities.author is not None and identity(identities.author) in known:
        return Stranger.FORGED
    return Stranger.UNAUTHENTICATED
