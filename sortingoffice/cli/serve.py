"""`serve`: run the office, or a part of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click

from sortingoffice.cli.terminal import Terminal, say

if TYPE_CHECKING:
    from sortingoffice.values import Endpoint


@click.command()
@click.option(
    "--role",
    type=click.Choice(["all", "smtp", "queue", "web"]),
    default="all",
    show_default=True,
    help="Which part this process runs; the database is what they share.",
)
@click.pass_obj
def serve(terminal: Terminal, role: str) -> None:
    """Run the office until SIGTERM; SIGHUP re-reads the config and the certificates."""
    # It would end a process that doesn't hear it yet: it waits until somebody does.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from sortingoffice import daemon

    config = terminal.config

    def announce(listens: list[tuple[str, Endpoint]], processes: int) -> None:
        """Where it listens, with the ports that the system chose."""
        for kind, endpoint in listens:
            say(f"listening for {kind} on {endpoint}")
        number = "1 process" if processes == 1 else f"{processes} processes"
        say(f"ready as {config.hostname}, role {role}, {number}")

    daemon.main(config, role, announce)


commands = [serve]
