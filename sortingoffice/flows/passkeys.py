"""Passkeys: signing in with what the person's device holds, without any secret of ours.

Promise: a challenge is good once and for five minutes; the device has verified its person (a finger, a
face, a PIN); a passkey works at this office's own address only; whoever asks for a challenge learns
nothing about who is here, since it is the same for everybody.

Sources: W3C Web Authentication Level 3 §7.1, §7.2; the `webauthn` library.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sortingoffice.core.access import Passkey, Purpose
from sortingoffice.core.model import Account, AccountState
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import signin
from sortingoffice.flows.office import Office
from sortingoffice.flows.tokens import digest
from sortingoffice.frozen import dataclass
from sortingoffice.store import accounts, events
from sortingoffice.store import sessions as rows
from sortingoffice.store.database import Transaction

CHALLENGE_FOR = timedelta(minutes=5)
MOST = 20
_LONGEST = 16_384  # characters of a browser's answer
_NO = "that passkey opens nothing here"


@dataclass(frozen=True, slots=True)
class Party:
    """Whom a passkey is for: this office, by its address.

    id      the host name
    origin  scheme, host and port, as a browser tells it
    """

    id: str
    origin: str


def party(base: str) -> Party | None:
    """This office as browsers know it; None where they allow no passkeys: at an IP address, or without TLS
    anywhere but on the person's own machine."""
    parts = urlsplit(base)
    host = (parts.hostname or "").lower()
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return None
    if not host or (parts.scheme != "https" and host != "localhost" and not host.endswith(".localhost")):
        return None
    return Party(host, f"{parts.scheme}://{parts.netloc.lower()}")


# ---- a new one -----------------------------------------------------------------------------------


def offer(tx: Transaction, office: Office, account: Account, at: Party) -> dict[str, Any]:
    """What the browser is given to make a passkey."""
    import webauthn
    from webauthn.helpers import structs

    known = rows.passkeys(tx, account.id)
    if len(known) >= MOST:
        raise OfficeError(f"{account.name} has {MOST} passkeys already: remove one of them first")
    challenge = signin.issue_once(tx, office, Purpose.REGISTER, CHALLENGE_FOR, account.id)
    options = webauthn.generate_registration_options(
        rp_id=at.id,
        rp_name="Sorting Office",
        user_id=_handle(office, account),
        user_name=account.name,
        challenge=challenge.encode(),
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.REQUIRED,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=each.credential) for each in known],
    )
    return _plain(webauthn.options_to_json(options))


def _handle(office: Office, account: Account) -> bytes:
    """What an authenticator knows the account by: opaque, and the same each time."""
    return hmac.digest(office.keys.token, f"passkey\0{account.id}".encode(), "sha256")


def register(
    tx: Transaction,
    office: Office,
    account: Account,
    at: Party,
    answer: str,
    *,
    label: str,
    actor: str,
) -> Passkey:
    """Take the browser's answer.  Raises `OfficeError` where it is no answer to a challenge of ours."""
    import webauthn
    from webauthn.helpers.exceptions import WebAuthnException

    given, challenge = _parsed(answer)
    asked = rows.once(tx, Purpose.REGISTER, digest(challenge), office.clock())
    if asked is None or asked.account_id != account.id or not rows.use(tx, asked.id, office.clock()):
        raise OfficeError("that took too long: try again")
    try:
        made = webauthn.verify_registration_response(
            credential=given,
            expected_challenge=challenge.encode(),
            expected_rp_id=at.id,
            expected_origin=at.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise OfficeError("the browser's answer can't be right: try again") from None
    if rows.credential_known(tx, made.credential_id):
        raise OfficeError("this passkey is known already")
    transports = given.get("response", {}).get("transports", [])
    told = " ".join(each for each in transports if isinstance(each, str) and each.isalnum())[:60]
    now = office.clock()
    named = one_line(label, "the label", most=60) or "Passkey"
    stored = rows.add_passkey(
        tx,
        Passkey(
            0,
            account.id,
            named,
            made.credential_id,
            made.credential_public_key,
            made.sign_count,
            told,
            now,
            None,
            None,
        ),
    )
    _event(tx, office, stored, actor, "passkey added")
    return stored


# ---- signing in ----------------------------------------------------------------------------------


def challenge(tx: Transaction, office: Office, at: Party) -> dict[str, Any]:
    """What the browser is given to sign in; it names nobody."""
    import webauthn
    from webauthn.helpers import structs

    secret = signin.issue_once(tx, office, Purpose.PASSKEY, CHALLENGE_FOR, None)
    options = webauthn.generate_authentication_options(
        rp_id=at.id,
        challenge=secret.encode(),
        user_verification=structs.UserVerificationRequirement.REQUIRED,
    )
    return _plain(webauthn.options_to_json(options))


def sign_in(tx: Transaction, office: Office, at: Party, answer: str, *, device: str) -> str | None:
    """The secret of a new session; None, whatever the reason, where the answer opens nothing."""
    import webauthn
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        given, challenge = _parsed(answer)
    except OfficeError:
        return None
    asked = rows.once(tx, Purpose.PASSKEY, digest(challenge), office.clock())
    if asked is None or not rows.use(tx, asked.id, office.clock()):
        return None
    try:
        credential = webauthn.base64url_to_bytes(str(given.get("id", "")))
        known = rows.passkey_by_credential(tx, credential)
        account = accounts.by_id(tx, known.account_id) if known is not None else None
        if known is None or account is None or account.state is not AccountState.ACTIVE:
            return None
        seen = webauthn.verify_authentication_response(
            credential=given,
            expected_challenge=challenge.encode(),
            expected_rp_id=at.id,
            expected_origin=at.origin,
            credential_public_key=known.public,
            credential_current_sign_count=known.count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return None
    rows.set_passkey(tx, replace(known, count=seen.new_sign_count, last_used=office.clock()))
    return signin.begin(tx, office, account, device=device, how="passkey")


def remove(tx: Transaction, office: Office, account: Account, passkey_id: int, *, actor: str) -> Passkey:
    """Raises `NotThere`."""
    found = next((each for each in rows.passkeys(tx, account.id) if each.id == passkey_id), None)
    if found is None:
        raise NotThere("there is no such passkey")
    ended = replace(found, revoked=office.clock())
    rows.set_passkey(tx, ended)
    _event(tx, office, ended, actor, "passkey removed")
    return ended


def describe(each: Passkey) -> dict[str, Any]:
    return {"id": each.id, "label": each.label, "created": each.created, "last_used": each.last_used}


def _plain(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def _parsed(answer: str) -> tuple[dict[str, Any], str]:
    """A browser's answer and the challenge that it says it answers.  Raises `OfficeError`."""
    import webauthn

    try:
        if len(answer) > _LONGEST:
            raise ValueError("too long")
        given = json.loads(answer)
        told = json.loads(webauthn.base64url_to_bytes(given["response"]["clientDataJSON"]))
        return dict(given), webauthn.base64url_to_bytes(told["challenge"]).decode("ascii")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise OfficeError("the browser's answer can't be right: try again") from None


def _event(tx: Transaction, office: Office, of: Passkey, actor: str, what: str) -> None:
    detail = f"#{of.id} {of.label}"
    events.add(tx, at=office.clock(), actor=actor, what=what, account_id=of.account_id, detail=detail)
