"""`sortingoffice admin`: accounts, domains, mailboxes, signing keys, app passwords, API tokens."""

from __future__ import annotations

from typing import Any

import click

from sortingoffice.cli import rotate
from sortingoffice.cli.terminal import Terminal, interactive, say
from sortingoffice.cli.token import token
from sortingoffice.core.model import AccountState, FromForm
from sortingoffice.core.records import zone_lines
from sortingoffice.errors import OfficeError
from sortingoffice.flows import accounts, closing, domains, passwords, settings
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import domains as domain_rows

_ACTOR = "cli"
# Credentials are what they were at the service's start; where the keys are files, a second will do.
_HANDED_OVER = (
    "Does systemd hand the keys to the office? Then they sign after: systemctl restart sortingoffice"
)


@click.group("admin")
def admin() -> None:
    """Accounts, domains, mailboxes, keys, passwords, tokens."""


# ---- account -------------------------------------------------------------------------------------


@admin.group("account")
def account() -> None:
    """People who use the office."""


@account.command("add")
@click.argument("name")
@click.option("--mailbox", metavar="ADDRESS", help="Where their mail goes; it counts as verified.")
@click.option("--admin", "is_admin", is_flag=True, help="Gets what is written to postmaster.")
@click.pass_obj
def account_add(terminal: Terminal, name: str, mailbox: str | None, is_admin: bool) -> None:
    """Add an account."""
    office = terminal.office
    made = office.db.call(accounts.add_with_mailbox, office, name, mailbox, admin=is_admin, actor=_ACTOR)
    hint = (
        ""
        if mailbox
        else f" Give it a mailbox: sortingoffice admin mailbox add ADDRESS --account {made.name}"
    )
    terminal.done(f"Account {made.name} added.{hint}", accounts.describe_account(made))


@account.command("list")
@click.pass_obj
def account_list(terminal: Terminal) -> None:
    """List accounts."""
    rows = [accounts.describe_account(each) for each in terminal.office.db.view(account_rows.every)]
    columns = ("name", "state", "admin", "trigger", "created")
    terminal.rows(rows, columns, empty="No accounts yet: `sortingoffice init`.")


@account.command("set")
@click.argument("name", required=False)
@click.option("--trigger", metavar="WORD", help="The word after # that asks for a card: card, karte, fiche …")
@click.option(
    "--from-form",
    type=click.Choice([each.value for each in FromForm]),
    help="How From names a vendor: Lamp Shop - orders at lampshop.example, or the name or the address alone.",
)
@click.option(
    "--new-contacts/--no-new-contacts",
    default=None,
    help="Whom a submitted mail names beside a contact becomes one, too, instead of the mail coming back.",
)
@click.pass_obj
def account_set(
    terminal: Terminal,
    name: str | None,
    trigger: str | None,
    from_form: str | None,
    new_contacts: bool | None,
) -> None:
    """Change an account's settings; NAME may be left out where there is one."""
    if trigger is None and from_form is None and new_contacts is None:
        raise click.UsageError("Nothing to set: name at least one option, such as --trigger.")
    office = terminal.office
    owner = terminal.account if name is None else accounts.named(office, name)
    if trigger is not None:
        owner = office.db.call(settings.set_trigger, office, owner, trigger, actor=_ACTOR)
    if from_form is not None:
        owner = office.db.call(settings.set_from_form, office, owner, FromForm(from_form), actor=_ACTOR)
    if new_contacts is not None:
        owner = office.db.call(settings.set_new_contacts, office, owner, new_contacts, actor=_ACTOR)
    made = "becomes one, too" if owner.new_contacts else "is an outsider, and the mail comes back"
    terminal.done(
        f"#{owner.trigger} asks for a card of {owner.name}'s; From names vendors by {owner.from_form.value}; "
        f"whom a submitted mail names beside a contact {made}.",
        accounts.describe_account(owner),
    )


@account.command("suspend")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let it go on.")
@click.pass_obj
def account_suspend(terminal: Terminal, name: str, undo: bool) -> None:
    """Suspend an account: its addresses answer as if they had never existed."""
    office = terminal.office
    state = AccountState.ACTIVE if undo else AccountState.SUSPENDED
    done = office.db.call(accounts.suspend, office, name, actor=_ACTOR, state=state)
    terminal.done(f"Account {done.name} is {done.state.value}.", accounts.describe_account(done))


@account.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def account_remove(terminal: Terminal, name: str, yes: bool) -> None:
    """Remove an account for ever: its aliases end, its cards can't be read again."""
    office = terminal.office
    found = accounts.named(office, name)
    if not yes:
        if not interactive():
            raise OfficeError(f"removing {found.name} can't be undone: add --yes to do it")
        click.confirm(
            f"Remove {found.name} and all that it owns? This can't be undone.", abort=True, err=True
        )
    done = office.db.call(closing.remove, office, found, actor=_ACTOR)
    terminal.done(f"Account {done.name} removed.", accounts.describe_account(done))


# ---- domain --------------------------------------------------------------------------------------


@admin.group("domain")
def domain() -> None:
    """Domains under which aliases are issued."""


@domain.command("add")
@click.argument("name", metavar="DOMAIN")
@click.pass_obj
def domain_add(terminal: Terminal, name: str) -> None:
    """Host a domain, make its signing keys, and print its DNS records."""
    office = terminal.office
    hosted, fresh = domains.add(office, name, actor=_ACTOR)
    say(f"{hosted.name} added: publish its records." if fresh else f"{hosted.name} was there already.")
    if fresh:
        say(_HANDED_OVER)
    _print_dns(terminal, hosted.name)


@domain.command("list")
@click.pass_obj
def domain_list(terminal: Terminal) -> None:
    """List domains."""
    rows = [
        {"domain": each.name, "created": each.created} for each in terminal.office.db.view(domain_rows.every)
    ]
    terminal.rows(
        rows, ("domain", "created"), empty="No domains yet: `sortingoffice admin domain add DOMAIN`."
    )


@domain.command("dns")
@click.argument("name", metavar="[DOMAIN]", default="")
@click.pass_obj
def domain_dns(terminal: Terminal, name: str) -> None:
    """Print the DNS records to publish, as lines of a zone file."""
    _print_dns(terminal, name)


def _print_dns(terminal: Terminal, name: str) -> None:
    office = terminal.office
    hosted = office.db.view(domains.named, name)
    found = office.db.view(domains.dns, office, hosted)
    if terminal.json:
        terminal.data([{"name": each.name, "type": each.type, "value": each.value} for each in found])
        return
    for line in zone_lines(found):
        click.echo(line)
    for sentence in domains.advice(office):
        say(sentence)


# ---- mailbox -------------------------------------------------------------------------------------


@admin.group("mailbox")
def mailbox() -> None:
    """An account's real addresses; never shown to a vendor."""


@mailbox.command("add")
@click.argument("address")
@click.option("--identity", is_flag=True, help="For sending only: nothing is delivered to it.")
@click.option("--preferred", is_flag=True, help="Deliver there what has no mailbox of its own.")
@click.option("--verify", is_flag=True, help="Don't take it as verified: ask its owner by mail.")
@click.pass_obj
def mailbox_add(terminal: Terminal, address: str, identity: bool, preferred: bool, verify: bool) -> None:
    """Add a mailbox to an account; one that an admin names counts as verified."""
    if identity and preferred:
        raise click.UsageError("--identity and --preferred contradict each other.")
    office, owner = terminal.office, terminal.account
    made = office.db.call(
        accounts.admit_mailbox,
        office,
        owner,
        address,
        delivers=not identity,
        preferred=preferred,
        verify=verify,
        actor=_ACTOR,
    )
    what = "a verification mail was sent to it" if verify else "it counts as verified"
    terminal.done(f"{made.address} added to {owner.name}: {what}.", accounts.describe(made))


@mailbox.command("verify")
@click.argument("address")
@click.option("--token", metavar="TOKEN", help="The token from the verification mail.")
@click.pass_obj
def mailbox_verify(terminal: Terminal, address: str, token: str | None) -> None:
    """Send a verification mail, whose answer also shows what proof the mailbox's mail carries.

    With --token, do what the answer would do.
    """
    office, owner = terminal.office, terminal.account
    if token is None:
        done = office.db.call(accounts.ask_mailbox, office, owner, address, actor=_ACTOR)
        terminal.done(f"A verification mail is on its way to {done.address}.", accounts.describe(done))
        return
    done = office.db.call(accounts.confirm_typed, office, owner, address, token, actor=_ACTOR)
    told = f"{done.address} is verified. {accounts.proof_sentence(done.proof)}"
    terminal.done(told, accounts.describe(done))


@mailbox.command("list")
@click.pass_obj
def mailbox_list(terminal: Terminal) -> None:
    """List an account's mailboxes."""
    found = terminal.office.db.view(account_rows.mailboxes, terminal.account.id)
    rows = [accounts.describe(each) for each in found]
    columns = ("address", "state", "delivers", "preferred", "proof", "created")
    terminal.rows(rows, columns, empty="No mailboxes yet: `sortingoffice admin mailbox add ADDRESS`.")


# ---- key -----------------------------------------------------------------------------------------


@admin.group("key")
def key() -> None:
    """DKIM keys of a domain."""


_DOMAIN = click.option(
    "--domain", "name", default="", metavar="DOMAIN", help="May be left out where there is one."
)


@key.command("new")
@_DOMAIN
@click.pass_obj
def key_new(terminal: Terminal, name: str) -> None:
    """Make the next pair of keys; it signs after `rotate`.  Prints the records to publish first."""
    office = terminal.office
    hosted = office.db.view(domains.named, name)
    fresh = domains.make_keys(office, hosted, actor=_ACTOR, waiting=True)
    say(
        f"Publish these records, wait a day, then: sortingoffice admin key rotate --domain {hosted.name}"
        if fresh
        else f"{hosted.name} has its next keys already."
    )
    _print_keys(terminal, hosted.name)


@key.command("rotate")
@_DOMAIN
@click.option("--office", "of_office", is_flag=True, help="The key that cards are encrypted under.")
@click.option(
    "--finish", is_flag=True, help="With --office: every process was restarted; retire the old key."
)
@click.option(
    "--destroy", is_flag=True, help="With --finish: keep no copy of it; older backups lose their cards."
)
@click.pass_obj
def key_rotate(terminal: Terminal, name: str, of_office: bool, finish: bool, destroy: bool) -> None:
    """Let the next signing keys of a domain sign, and retire the old ones.

    Or, with --office, change the office's own key; with --account NAME, an account's data key.
    """
    if (of_office and (name or terminal.account_name)) or (name and terminal.account_name):
        raise click.UsageError("--domain, --office and --account go one at a time")
    if (finish and not of_office) or (destroy and not finish):
        raise click.UsageError("--finish goes with --office, and --destroy with --finish")
    if of_office:
        rotate.office_key(terminal, finish=finish, destroy=destroy)
        return
    if terminal.account_name:
        rotate.data_key(terminal)
        return
    office = terminal.office
    hosted = office.db.view(domains.named, name)
    domains.rotate(office, hosted, actor=_ACTOR)
    say("Leave the retired keys' records in DNS for a week: mail that they signed is still on its way.")
    say(_HANDED_OVER)
    _print_keys(terminal, hosted.name)


@key.command("list")
@_DOMAIN
@click.pass_obj
def key_list(terminal: Terminal, name: str) -> None:
    """List a domain's keys and what each does."""
    _print_keys(terminal, name)


def _print_keys(terminal: Terminal, name: str) -> None:
    office = terminal.office
    hosted = office.db.view(domains.named, name)
    rows: list[dict[str, Any]] = [
        {
            "domain": hosted.name,
            "selector": each.key.selector,
            "algorithm": each.key.algorithm,
            "state": each.state,
            "created": each.key.created,
            "retired": each.key.retired,
        }
        for each in office.db.view(domains.published, office, hosted)
    ]
    terminal.rows(rows, ("selector", "algorithm", "state", "created", "retired"), empty="No keys.")


# ---- password ------------------------------------------------------------------------------------


@admin.group("password")
def password() -> None:
    """App passwords, with which a mail client submits mail: one for each device."""


@password.command("new")
@click.option("--label", default="", metavar="TEXT", help="Which device it is for.")
@click.pass_obj
def password_new(terminal: Terminal, label: str) -> None:
    """Make an app password and print it; it is shown this once."""
    made = passwords.new(terminal.office, terminal.account, label, actor=_ACTOR)
    if terminal.json:
        terminal.data({"account": terminal.account.name, "label": label, "password": made})
    else:
        click.echo(made)


@password.command("list")
@click.pass_obj
def password_list(terminal: Terminal) -> None:
    """List app passwords that are in force."""
    found = terminal.office.db.view(passwords.live, terminal.account.id)
    rows = [
        {"id": each.id, "label": each.label, "created": each.created, "last_used": each.last_used}
        for each in found
    ]
    terminal.rows(rows, ("id", "label", "created", "last_used"), empty="No app passwords.")


@password.command("revoke")
@click.argument("which", metavar="ID|LABEL")
@click.pass_obj
def password_revoke(terminal: Terminal, which: str) -> None:
    """Revoke an app password."""
    office = terminal.office
    done = office.db.call(passwords.revoke, office, terminal.account, which, actor=_ACTOR)
    named = f"{done.id} ({done.label})" if done.label else str(done.id)
    terminal.done(
        f"App password {named} revoked.", {"id": done.id, "label": done.label, "revoked": done.revoked}
    )


admin.add_command(token)

commands: list[click.Command] = [admin]
