"""`sortingoffice init`: set the office up, and print what to publish in DNS."""

from __future__ import annotations

from pathlib import Path

import click

from sortingoffice import config
from sortingoffice.cli.terminal import Terminal, at_the_end, interactive, say
from sortingoffice.core.records import zone_lines
from sortingoffice.errors import OfficeError
from sortingoffice.flows import domains
from sortingoffice.flows import init as setting_up


@click.command("init")
@click.option("--domain", metavar="DOMAIN", help="The domain of the aliases, such as sort.example.")
@click.option("--mailbox", metavar="ADDRESS", help="Where your mail goes, such as anna@home.example.")
@click.option("--hostname", metavar="HOST", default="", help="This machine's name; mx.DOMAIN if left out.")
@click.pass_obj
def init(terminal: Terminal, domain: str | None, mailbox: str | None, hostname: str) -> None:
    """Set the office up: config, database, keys, the first account, its mailbox and domain.

    Each is made only if it is missing, so it can be run again.  Prints the DNS records.
    """
    domain = _asked(domain, "--domain", "Domain of the aliases")
    mailbox = _asked(mailbox, "--mailbox", "Your own mail address")
    path = _config_path(terminal)
    outcome = setting_up.run(path, setting_up.Wish(domain, mailbox, terminal.account_name, hostname))
    office = outcome.office
    at_the_end(office.db.close)
    found = office.db.view(domains.dns, office, outcome.domain)
    advice = domains.advice(office)
    if terminal.json:
        terminal.data(
            {
                "config": str(path),
                "made": [step.what for step in outcome.steps if step.made],
                "kept": [step.what for step in outcome.steps if not step.made],
                "records": [{"name": each.name, "type": each.type, "value": each.value} for each in found],
                "advice": list(advice),
            }
        )
        return
    for step in outcome.steps:
        say(f"{'made' if step.made else 'kept'}  {step.what}")
    if not any(step.made for step in outcome.steps):
        say("Everything was there already: nothing has changed.")
    say(f"Publish these records for {outcome.domain.name}:")
    for line in zone_lines(found):
        click.echo(line)
    for sentence in advice:
        say(sentence)


def _asked(value: str | None, option: str, question: str) -> str:
    """An option's value, asked for where somebody sits there."""
    if value:
        return value
    if not interactive():
        raise click.UsageError(f"Missing option '{option}'.")
    return str(click.prompt(question, err=True))


def _config_path(terminal: Terminal) -> Path:
    """The config to use or to write; on a terminal the person may say no."""
    found = config.find(terminal.config_file)
    if found is not None:
        return found
    path = Path(config.FILE_NAME).absolute()
    if interactive() and not click.confirm(f"Write a config file to {path}?", default=True, err=True):
        raise OfficeError("no config was written; name where it should be with --config")
    return path


commands: list[click.Command] = [init]
