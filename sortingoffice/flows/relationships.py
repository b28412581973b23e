"""What a person does to a relationship: find it, change, allow, pause, revoke, restore.

Each function is one transaction and writes its event there.  What may follow on what is
`core.relationship`'s table; an action that changes nothing writes nothing.  New addresses are
`flows.issue`'s.

Sources: the design, "States of a relationship".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sortingoffice.core import naming
from sortingoffice.core.model import (
    Account,
    Alias,
    AliasState,
    Binding,
    DeliveryState,
    Relationship,
    RelationshipState,
    RemoteImages,
    Strangers,
    Unsubscribe,
    VendorKind,
)
from sortingoffice.core.relationship import Action, No, after, state_at
from sortingoffice.core.text import one_line, quoted
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import accounts, released
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import address as addresses
from sortingoffice.mail.publicsuffix import organizational
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import domains, events, spool
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Change:
    """What `set` changes; None leaves a thing as it is.

    until, max_messages  a value, or the empty text to lift the limit
    """

    name: str | None = None
    kind: VendorKind | None = None
    site: str | None = None
    strangers: Strangers | None = None
    remote_images: RemoteImages | None = None
    unsubscribe: Unsubscribe | None = None
    mailbox: str | None = None
    display_name: str | None = None
    note: str | None = None
    until: datetime | str | None = None
    max_messages: int | str | None = None
    pinned: bool | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """An action's outcome.

    changed   False when it was so already
    released  held messages that it let go
    alias     the one alias that was revoked or restored, where it was not the whole relationship
    """

    relationship: Relationship
    changed: bool
    released: int = 0
    alias: str = ""


# ---- finding -------------------------------------------------------------------------------------


def find(tx: Transaction, account: Account, text: str) -> Relationship:
    """By slug, alias or a unique part of the name; `NotThere` with what may have been meant."""
    try:
        return rows.find(tx, account.id, text)
    except NotThere as error:
        if "several" in str(error) or not text.strip():
            raise
        near = accounts.nearest(naming.slug(text), _spellings(tx, account))
        if not near:
            raise
        raise NotThere(f"no relationship fits {quoted(text)}{near}") from None


def _spellings(tx: Transaction, account: Account) -> list[str]:
    """What relationships may be called: their slugs, and the words of them."""
    slugs = [each.slug for each in rows.every(tx, account.id)]
    return slugs + [word for slug in slugs for word in slug.split("-") if len(word) > 2]


# ---- changing ------------------------------------------------------------------------------------


def change(tx: Transaction, office: Office, account: Account, text: str, wish: Change, *, actor: str) -> Done:
    """Apply `set`; naming the vendor of a pocket alias also binds it."""
    now = office.clock()
    made = of = find(tx, account, text)
    if wish.unsubscribe is Unsubscribe.OFFICE and not office.config.http.base_url:
        raise OfficeError("the office has no address on the web for such a link: set http.base_url first")
    if wish.name is not None:
        name = one_line(wish.name, "the name")
        if not name:
            raise OfficeError("the name can't be empty")
        made = replace(made, name=name)
    if wish.site is not None:
        made = replace(made, site=parse_site(tx, wish.site))
    if wish.mailbox is not None:
        made = replace(made, mailbox_id=_mailbox_id(tx, account, wish.mailbox))
    if isinstance(wish.until, datetime) and wish.until <= now:
        raise OfficeError("the end lies in the past: give a later date, or `revoke` it now")
    if wish.until is not None:
        made = replace(made, until=wish.until if isinstance(wish.until, datetime) else None)
    if wish.max_messages is not None:
        made = replace(made, max_messages=wish.max_messages if isinstance(wish.max_messages, int) else None)
    if wish.display_name is not None:
        made = replace(made, display_name=_display_name(tx, account, wish.display_name))
    if wish.note is not None:
        made = replace(made, note=one_line(wish.note, "the note", most=1000))
    made = replace(
        made,
        strangers=wish.strangers or made.strangers,
        remote_images=wish.remote_images or made.remote_images,
        unsubscribe=wish.unsubscribe or made.unsubscribe,
        kind=wish.kind or made.kind,
        pinned=made.pinned if wish.pinned is None else wish.pinned,
    )
    if made.state is RelationshipState.UNBOUND and (wish.name or wish.site):
        made = replace(made, state=RelationshipState.ACTIVE)
    if made == of:
        return Done(of, changed=False)
    if made.site != of.site:
        _rebind_site(tx, office, of, made)
    rows.update(tx, made)
    changed = [
        field for field in Relationship.__dataclass_fields__ if getattr(made, field) != getattr(of, field)
    ]
    write_event(tx, office, made, actor, "changed", detail=", ".join(changed))
    return Done(made, changed=True)


def parse_site(tx: Transaction, text: str) -> str:
    """A vendor's domain, also from a URL pasted whole; "" for none."""
    if not text.strip():
        return ""
    host = text.strip().partition("://")[2] or text.strip()
    host = host.partition("/")[0].partition(":")[0].rpartition("@")[2].rstrip(".")
    domain = addresses.domain(host.removeprefix("www."))
    if not domain or "." not in domain or domain.startswith("[") or domain.rpartition(".")[2].isdigit():
        raise OfficeError(f'"{text}" is no site: write its domain, such as lampshop.example')
    if domains.by_name(tx, domain) is not None:
        raise OfficeError(f"{domain} is a domain of this office, not a vendor's site")
    return domain


def _display_name(tx: Transaction, account: Account, text: str) -> str:
    """The name beside the alias; it goes to the vendor, so no mailbox of the account may stand in it."""
    name = one_line(text, "the display name", most=80)
    for each in account_rows.mailboxes(tx, account.id):
        if each.address in name.lower():
            raise OfficeError(
                f"vendors see the display name, and {each.address} is your mailbox: leave it out"
            )
    return name


def _mailbox_id(tx: Transaction, account: Account, text: str) -> int | None:
    """The mailbox of that address; None (the preferred one) for an empty text."""
    return accounts.delivering(tx, account, text).id if text else None


def judge(
    tx: Transaction, office: Office, account: Account, text: str, sender: str, *, allow: bool, actor: str
) -> tuple[Done, str]:
    """Let a sender write to the relationship, or turn it away; also the identity that was judged."""
    of = find(tx, account, text)
    identity = _identity(sender)
    how = "accepted" if allow else "refused"
    if any(each.identity == identity and each.how == how for each in rows.bindings(tx, of.id)):
        return Done(of, changed=False), identity
    rows.bind(tx, Binding(0, of.id, identity, how, office.clock()))
    write_event(tx, office, of, actor, "sender allowed" if allow else "sender refused", detail=identity)
    return Done(of, changed=True), identity


def _identity(sender: str) -> str:
    """What binds for an address or a domain.  Raises `OfficeError`."""
    from sortingoffice.core import binding

    parsed = addresses.parse(sender.strip())
    if parsed is not None:
        return binding.identity(parsed)
    domain = addresses.domain(sender.strip().lstrip("@").removeprefix("www."))
    if not domain or "." not in domain or domain.startswith("["):
        raise OfficeError(f'"{sender}" is no sender: write an address or a domain')
    organisation = organizational(domain) or domain
    if binding.public(organisation):
        raise OfficeError(f"{organisation} is everybody's: name the full address of the one you mean")
    return organisation


def _rebind_site(tx: Transaction, office: Office, of: Relationship, made: Relationship) -> None:
    """Another site: what was bound for the old one alone is bound no more."""
    for each in rows.bindings(tx, of.id):
        if each.how == "site":
            rows.unbind(tx, of.id, each.identity)
    if made.site:
        bind_site(tx, office, made)


def bind_site(tx: Transaction, office: Office, of: Relationship) -> None:
    """Bind the site's organisation; a public mailbox provider is nobody's and binds nothing."""
    from sortingoffice.core import binding

    organisation = organizational(of.site) or of.site
    if binding.public(organisation):
        return
    if all(each.identity != organisation for each in rows.bindings(tx, of.id)):
        rows.bind(tx, Binding(0, of.id, organisation, "site", office.clock()))


# ---- states --------------------------------------------------------------------------------------

_PAST = {
    Action.PAUSE: "paused",
    Action.RESUME: "resumed",
    Action.CLOSE: "closing",
    Action.REVOKE: "revoked",
    Action.RESTORE: "restored",
}


def act(
    tx: Transaction,
    office: Office,
    account: Account,
    text: str,
    action: Action,
    *,
    actor: str,
    until: datetime | None = None,
) -> Done:
    """Do one thing to the relationship that `text` names.

    An older alias (a rotated one) names itself: revoke and restore then touch it alone.
    """
    of = find(tx, account, text)
    older = _older_alias(tx, of, text)
    if older is not None and action in (Action.REVOKE, Action.RESTORE):
        return _act_on_alias(tx, office, of, older, action, actor)
    now = office.clock()
    if until is not None and until <= now:
        raise OfficeError("that time is over already: give a later one, such as 14d")
    made = after(_as_of(of, now), action, now, until=until)
    if isinstance(made, No):
        raise OfficeError(f"{of.name} ({of.slug}) {made.why}")
    if made == of:
        return Done(of, changed=False)
    rows.update(tx, made)
    released = 0
    if action is Action.REVOKE:
        spool.cancel_relationship(tx, of.id, now)
    if of.state is RelationshipState.MUTED and made.state is RelationshipState.ACTIVE:
        released = release_muted(tx, office, of)
    write_event(
        tx,
        office,
        made,
        actor,
        _PAST[action],
        detail="" if until is None else f"until {until:%Y-%m-%d %H:%M}",
    )
    return Done(made, changed=True, released=released)


def _as_of(of: Relationship, now: datetime) -> Relationship:
    """The relationship as the clock has it: an ended one must be restored, whatever its row says."""
    return replace(of, state=state_at(of, now))


def _older_alias(tx: Transaction, of: Relationship, text: str) -> Alias | None:
    """The alias that the text spells, if it is not the relationship's current one."""
    canonical = naming.canonical(text.strip().lower()) if "@" in text else ""
    found = next((each for each in rows.aliases(tx, of.id) if each.canonical == canonical), None)
    return found if found is not None and found.id != current_alias(tx, of).id else None


def _act_on_alias(
    tx: Transaction, office: Office, of: Relationship, alias: Alias, action: Action, actor: str
) -> Done:
    state = AliasState.REVOKED if action is Action.REVOKE else AliasState.ROTATED
    if alias.state is state:
        return Done(of, changed=False, alias=alias.address)
    rows.set_alias(tx, replace(alias, state=state))
    write_event(tx, office, of, actor, f"alias {_PAST[action]}", detail=alias.address)
    return Done(of, changed=True, alias=alias.address)


def release_muted(tx: Transaction, office: Office, of: Relationship) -> int:
    """Let go what was held because the relationship was muted; how many."""
    held = spool.queue(tx, state=DeliveryState.HELD, relationship_id=of.id)
    muted = [each for each in held if each.delivery.reason == "muted"]
    return sum(released.let_go(tx, each, office.clock()) for each in muted)


def keep_time(tx: Transaction, office: Office) -> int:
    """End the pauses and closings whose time has come; how many.  Housekeeping asks now and then."""
    now = office.clock()
    ended = rows.over(tx, now)
    for of in ended:
        paused = of.state is RelationshipState.MUTED
        made = after(of, Action.RESUME if paused else Action.EXPIRE, now)
        assert not isinstance(made, No), "only muted and closing relationships have these times"
        rows.update(tx, made)
        if paused:
            release_muted(tx, office, of)
        write_event(tx, office, made, "clock", "resumed" if paused else "revoked")
    return len(ended)


def current_alias(tx: Transaction, of: Relationship) -> Alias:
    """The alias that is shown: the live one."""
    return newest(rows.aliases(tx, of.id))


def newest(aliases: Sequence[Alias]) -> Alias:
    live = [each for each in aliases if each.state is AliasState.LIVE]
    return max(live or aliases, key=lambda each: each.id)


def write_event(
    tx: Transaction, office: Office, of: Relationship, actor: str, what: str, *, detail: str = ""
) -> None:
    events.add(
        tx,
        at=office.clock(),
        actor=actor,
        what=what,
        rule="",
        account_id=of.account_id,
        relationship_id=of.id,
        detail=detail,
    )
