"""Who is this vendor: bindings of a relationship, and what a stranger is.

A relationship binds to organizational domains that proved themselves, or were named when
it was made; at a public mailbox provider a full address binds, since its domain is
everybody's.

Promise: classify() is total, and only authenticated identities make anyone the vendor.

Sources: the design, "Authentication, strangers, evidence"; RFC 7489 §3.2 (organizational domain).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from sortingoffice.frozen import dataclass
from sortingoffice.mail.address import Address
from sortingoffice.mail.publicsuffix import organizational

# Domains at which a mailbox proves nothing about its neighbours; those of forwarders among them.
_PROVIDERS = frozenset(
    """126.com 139.com 163.com 189.cn 8alias.com aim.com aleeas.com alice.it anonaddy.com anonaddy.me
    aol.com arcor.de atlas.cz azet.sk bk.ru bluewin.ch bol.com.br centrum.cz daum.net disroot.org
    duck.com email.cz email.de fastmail.com fastmail.fm foxmail.com free.fr freenet.de gazeta.pl
    gmail.com googlemail.com hanmail.net hey.com hushmail.com icloud.com ig.com.br inbox.lv inbox.ru
    interia.pl internet.ru inwind.it iol.it juno.com keemail.me laposte.net libero.it list.ru mac.com
    mail.bg mail.com mail.de mail.ee mail.fr mail.ru mailbox.org mailfence.com mailo.com me.com
    mozmail.com msn.com nate.com naver.com o2.pl onet.pl op.pl orange.fr passinbox.com passmail.net
    pm.me poczta.fm post.cz posteo.de proton.ch proton.me protonmail.ch protonmail.com qq.com rambler.ru
    rediffmail.com riseup.net rocketmail.com runbox.com sapo.pt seznam.cz sfr.fr simplelogin.com sina.cn
    sina.com slmail.me slmails.com sohu.com startmail.com t-online.de terra.com.br tin.it tlen.pl
    tuta.com tuta.io tutamail.com tutanota.com tutanota.de ukr.net uol.com.br virgilio.it volny.cz
    wanadoo.fr web.de wp.pl ya.ru yeah.net zoho.com zohomail.com zohomail.eu""".split()
)
# Providers that have a domain in many countries: whatever stands behind the first dot.
_EVERYWHERE = frozenset("gmx hotmail live outlook windowslive yahoo yandex ymail".split())


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


def public(organisation: str) -> bool:
    """Whether it is a mailbox provider's domain, which is everybody's."""
    return organisation in _PROVIDERS or organisation.partition(".")[0] in _EVERYWHERE


def identity(author: Address) -> str:
    """What binds for this author: the organizational domain, or the address at a public provider."""
    domain = organizational(author.domain) or author.domain
    return author.normal if public(domain) else domain


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
