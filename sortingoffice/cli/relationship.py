"""Commands for relationships: new, list, show, set, pause, revoke and their kin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO

import click

from sortingoffice.cli import clipboard, complete
from sortingoffice.cli.counted import COUNT, COUNT_OR_NONE
from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.cli.when import UNTIL, UNTIL_OR_NEVER
from sortingoffice.core.model import RelationshipState, RemoteImages, Strangers, Unsubscribe, VendorKind
from sortingoffice.core.relationship import Action
from sortingoffice.errors import OfficeError
from sortingoffice.flows import issue, overview, relationships
from sortingoffice.flows.issue import Wish
from sortingoffice.flows.relationships import Change, Done
from sortingoffice.mail import address as addresses
from sortingoffice.mail.address import Address
from sortingoffice.store.database import Unavailable

_ACTOR = "cli"
_COLUMNS = ("relationship", "name", "alias", "state", "site", "received", "created")


def _words(enum: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([each.value for each in enum])


# ---- new -----------------------------------------------------------------------------------------


@click.command("new")
@click.argument("name")
@click.option(
    "--site", default="", metavar="DOMAIN", help="The vendor's domain: mail from there is the vendor's."
)
@click.option("--kind", type=_words(VendorKind), default=VendorKind.VENDOR.value, show_default=True)
@click.option("--label", default="", metavar="L", help="A readable beginning of the alias: L.<random>@…")
@click.option("--local", default="", metavar="PART", help="A local part of your own choice.")
@click.option("--domain", default="", metavar="DOMAIN", help="Which of the office's domains.")
@click.option("--mailbox", default="", metavar="ADDRESS", help="Deliver to this mailbox of yours.")
@click.option("--until", type=UNTIL, help="Takes mail until then.")
@click.option("--max", "most", type=COUNT, metavar="N", help="Takes this many messages.")
@click.option("--once", is_flag=True, help="Takes one message.")
@click.option("--gave", default="", metavar="CARD,…", help="Cards that you typed into the vendor's form.")
@click.option("--note", default="", metavar="TEXT")
@click.pass_obj
def new(
    terminal: Terminal,
    /,
    name: str,
    kind: str,
    most: int | None,
    once: bool,
    gave: str,
    **wished: Any,
) -> None:
    """Issue a fresh alias for NAME, and print it."""
    if once and most is not None:
        raise click.UsageError("--once is --max 1: give one of the two.")
    given = tuple(each for each in gave.split(",") if each.strip())
    wish = Wish(name, VendorKind(kind), max_messages=1 if once else most, gave=given, **wished)
    office = terminal.office
    made = office.db.call(issue.issue, office, terminal.account, wish, actor=_ACTOR)
    if terminal.json:
        terminal.data(made)
    else:
        click.echo(made["alias"])
        clipboard.offer(made["alias"])


@click.command("pocket")
@click.argument("number", metavar="[N]", type=click.IntRange(1, 1000), default=issue.POCKET)
@click.pass_obj
def pocket(terminal: Terminal, number: int) -> None:
    """Issue N aliases ahead (ten if left out), for vendors not yet known; print them.

    The first mail to one binds it to its sender.
    """
    office = terminal.office
    made = office.db.call(issue.pocket, office, terminal.account, number, actor=_ACTOR)
    if terminal.json:
        terminal.data(made)
        return
    for each in made:
        click.echo(each["alias"])


@click.command("rotate")
@click.argument("relationship", shell_complete=complete.relationships)
@click.pass_obj
def rotate(terminal: Terminal, relationship: str) -> None:
    """Issue a new alias for RELATIONSHIP, and print it; the old one goes on until it is revoked."""
    office, account = terminal.office, terminal.account
    made = office.db.call(issue.rotate, office, account, relationship, actor=_ACTOR)
    if terminal.json:
        terminal.data(made)
    else:
        click.echo(made["alias"])


@click.command("contact")
@click.argument("relationship", shell_complete=complete.relationships)
@click.argument("address")
@click.pass_obj
def contact(terminal: Terminal, relationship: str, address: str) -> None:
    """Print the address through which to write to ADDRESS as RELATIONSHIP's alias."""
    office, account = terminal.office, terminal.account
    of, made = office.db.call(issue.contact, office, account, relationship, address, actor=_ACTOR)
    if terminal.json:
        terminal.data({"relationship": of.slug, "address": made.written, "reverse_alias": made.reverse_alias})
    else:
        click.echo(made.reverse_alias)


# ---- looking -------------------------------------------------------------------------------------


@click.command("list")
@click.option("--state", type=_words(RelationshipState), help="Only those in this state.")
@click.option("--search", default="", metavar="T", help="Only those whose name, site, note or alias holds T.")
@click.pass_obj
def list_(terminal: Terminal, state: str | None, search: str) -> None:
    """List relationships, oldest first."""
    wanted = None if state is None else RelationshipState(state)
    office = terminal.office
    rows = office.db.view(overview.every, office, terminal.account, state=wanted, search=search)
    none = "No relationships yet: `sortingoffice new NAME` makes one."
    empty = "No relationship is like that." if state or search else none
    terminal.rows(rows, _COLUMNS, empty=empty, spare=("created", "received", "site", "name"))


@click.command("show")
@click.argument("relationship", shell_complete=complete.relationships)
@click.pass_obj
def show(terminal: Terminal, relationship: str) -> None:
    """Show one relationship: its addresses, contacts and settings."""
    office = terminal.office
    found = office.db.view(overview.named, office, terminal.account, relationship)
    if terminal.json:
        terminal.data(found)
    else:
        terminal.sheet(_readable(found))


def _readable(found: Mapping[str, Any]) -> dict[str, Any]:
    """The view with its inner rows as text, and without what isn't set."""
    told = dict(found)
    told["contacts"] = [f"{each['address']} through {each['reverse_alias']}" for each in found["contacts"]]
    told["writers"] = [
        f"{each['identity'] or 'unproved'} ({each['class']}), {each['messages']} messages"
        for each in found["writers"]
    ]
    told["older_aliases"] = [f"{each['alias']} ({each['state']})" for each in found["older_aliases"]]
    return {name: value for name, value in told.items() if value not in (None, "", [])}


@click.command("explain")
@click.option("--from", "sender", metavar="A", help="The sender; <> for none.")
@click.option("--to", "recipient", metavar="B", help="One address of this office.")
@click.option("--peer", default="", metavar="IP", help="Where it would come from; SPF is looked up for it.")
@click.option(
    "--reply",
    "--message",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help="A mail of yours, or with --from and --to its text; - is standard input.",
)
@click.pass_obj
def explain(
    terminal: Terminal, sender: str | None, recipient: str | None, peer: str, file: BinaryIO | None
) -> None:
    """Say what would happen to a mail from A to B, and by which rule.  Nothing is sent or stored.

    With --reply: to a mail that you write, rule by rule, as if your provider had proved it to be yours.
    """
    if file is not None:
        _explain_reply(terminal, file, sender, recipient)
        return
    if sender is None or recipient is None:
        raise click.UsageError("give --from and --to, or a mail of yours with --reply")
    from sortingoffice.flows import receive

    author = None if sender in ("", "<>") else _address(sender)
    try:
        decision = asyncio.run(receive.explain(terminal.office, author, _address(recipient), _ip(peer)))
    except Unavailable as error:
        raise OfficeError(f"the database cannot be read: {error}") from error
    told = {"decision": decision.verdict.value, "rule": decision.rule, "reply": str(decision.reply)}
    if terminal.json:
        terminal.data(told)
    else:
        terminal.sheet(told)


def _explain_reply(terminal: Terminal, file: BinaryIO, sender: str | None, recipient: str | None) -> None:
    from sortingoffice.flows import explaining

    office, account = terminal.office, terminal.account
    most = office.config.smtp.max_message_bytes
    octets = file.read(most + 1)
    if len(octets) > most:
        raise OfficeError(f"a mail has at most {most} octets, this one has more")
    found = explaining.shown(
        explaining.reply(
            office,
            account,
            octets,
            _address(sender) if sender else None,
            _address(recipient) if recipient else None,
        )
    )
    if terminal.json:
        terminal.data(found)
        return
    rules = found.pop("rules")
    terminal.sheet({name: value for name, value in found.items() if value})
    click.echo()
    terminal.rows(rules, ("rule", "result", "said"), empty="")


def _address(text: str) -> Address:
    parsed = addresses.parse(text.strip().removeprefix("<").removesuffix(">"))
    if parsed is None:
        raise OfficeError(f'"{text}" is no mail address: write it like orders@lampshop.example')
    return parsed


def _ip(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise OfficeError(f'"{text}" is no IP address: write it like 192.0.2.7 or 2001:db8::7') from None


# ---- changing ------------------------------------------------------------------------------------


@click.command("set")
@click.argument("relationship", shell_complete=complete.relationships)
@click.option("--name", metavar="N")
@click.option("--site", metavar="D", help="The vendor's domain.")
@click.option("--kind", type=_words(VendorKind))
@click.option("--strangers", type=_words(Strangers), help="What to do with mail from anyone else.")
@click.option(
    "--remote-images",
    type=_words(RemoteImages),
    help="Keep them; take out the pixels that only count who looks; or block them all.",
)
@click.option(
    "--unsubscribe",
    type=_words(Unsubscribe),
    help="Where that button of a mail program leads: to the vendor; or to the office, which mutes it, too.",
)
@click.option("--mailbox", metavar="M", help='Deliver to this mailbox of yours; "" for the usual one.')
@click.option("--display-name", metavar="TEXT", help="The name that the vendor sees beside the alias.")
@click.option("--until", type=UNTIL_OR_NEVER, help='Takes mail until then; "never" lifts it.')
@click.option("--max", "most", type=COUNT_OR_NONE, metavar="N", help="Takes N messages in all; 0 lifts it.")
@click.option("--note", metavar="T")
@click.option("--pinned/--not-pinned", default=None, help="On top of the lists.")
@click.pass_obj
def set_(
    terminal: Terminal,
    /,
    relationship: str,
    kind: str | None,
    strangers: str | None,
    remote_images: str | None,
    unsubscribe: str | None,
    most: int | None,
    **wished: Any,
) -> None:
    """Change a relationship's settings."""
    wish = Change(
        kind=None if kind is None else VendorKind(kind),
        strangers=None if strangers is None else Strangers(strangers),
        remote_images=None if remote_images is None else RemoteImages(remote_images),
        unsubscribe=None if unsubscribe is None else Unsubscribe(unsubscribe),
        max_messages="" if most == 0 else most,
        **wished,
    )
    if wish == Change():
        raise click.UsageError("Nothing to set: name at least one option, such as --name.")
    office, account = terminal.office, terminal.account
    done = office.db.call(relationships.change, office, account, relationship, wish, actor=_ACTOR)
    _report(terminal, done, "changed", "is so already")


def _judge(terminal: Terminal, relationship: str, sender: str, *, allow: bool) -> None:
    office, account = terminal.office, terminal.account
    done, identity = office.db.call(
        relationships.judge, office, account, relationship, sender, allow=allow, actor=_ACTOR
    )
    verb = "may write to" if allow else "is turned away from"
    if terminal.json:
        terminal.data(_view(terminal, done))
    else:
        say(f"{identity} {verb} {done.relationship.name} ({done.relationship.slug}).")


@click.command("allow")
@click.argument("relationship", shell_complete=complete.relationships)
@click.argument("sender")
@click.pass_obj
def allow(terminal: Terminal, relationship: str, sender: str) -> None:
    """Let SENDER, an address or a domain, write to RELATIONSHIP as its vendor."""
    _judge(terminal, relationship, sender, allow=True)


@click.command("refuse")
@click.argument("relationship", shell_complete=complete.relationships)
@click.argument("sender")
@click.pass_obj
def refuse(terminal: Terminal, relationship: str, sender: str) -> None:
    """Turn SENDER, an address or a domain, away from RELATIONSHIP."""
    _judge(terminal, relationship, sender, allow=False)


# ---- states --------------------------------------------------------------------------------------


def _act(terminal: Terminal, relationship: str, action: Action, until: datetime | None = None) -> Done:
    office, account = terminal.office, terminal.account
    return office.db.call(relationships.act, office, account, relationship, action, actor=_ACTOR, until=until)


def _report(terminal: Terminal, done: Done, did: str, already: str) -> None:
    """What was done, as a sentence or as the relationship's view."""
    if terminal.json:
        terminal.data(_view(terminal, done))
        return
    what = done.alias or f"{done.relationship.name} ({done.relationship.slug})"
    more = f"; {done.released} held message{'s' * (done.released != 1)} let go" if done.released else ""
    say(f"{what} {did if done.changed else already}{more}.")


def _view(terminal: Terminal, done: Done) -> dict[str, Any]:
    office = terminal.office
    return office.db.view(overview.named, office, terminal.account, done.relationship.slug)


@click.command("pause")
@click.argument("relationship", shell_complete=complete.relationships)
@click.option("--until", type=UNTIL, help="Resume by itself then.")
@click.pass_obj
def pause(terminal: Terminal, relationship: str, until: datetime | None) -> None:
    """Hold RELATIONSHIP's mail until `resume`."""
    done = _act(terminal, relationship, Action.PAUSE, until)
    _report(terminal, done, "paused: its mail is held", "was paused already")


@click.command("resume")
@click.argument("relationship", shell_complete=complete.relationships)
@click.pass_obj
def resume(terminal: Terminal, relationship: str) -> None:
    """End a pause, and let go the mail that it held."""
    _report(terminal, _act(terminal, relationship, Action.RESUME), "resumed", "was not paused")


@click.command("revoke")
@click.argument("relationship", shell_complete=complete.relationships)
@click.option("--properly", is_flag=True, help="Close over 45 days: answers to your requests still pass.")
@click.pass_obj
def revoke(terminal: Terminal, relationship: str, properly: bool) -> None:
    """Close RELATIONSHIP: its address answers as if it had never existed.

    An older alias of a rotated relationship names itself, and is revoked alone.
    """
    if properly:
        _report(terminal, _act(terminal, relationship, Action.CLOSE), "closing", "was closed already")
    else:
        _report(terminal, _act(terminal, relationship, Action.REVOKE), "revoked", "was revoked already")


@click.command("restore")
@click.argument("relationship", shell_complete=complete.relationships)
@click.pass_obj
def restore(terminal: Terminal, relationship: str) -> None:
    """Undo a revocation or an end."""
    _report(terminal, _act(terminal, relationship, Action.RESTORE), "restored", "takes mail already")


commands: list[click.Command] = [
    new,
    pocket,
    rotate,
    contact,
    list_,
    show,
    explain,
    set_,
    allow,
    refuse,
    pause,
    resume,
    revoke,
    restore,
]
