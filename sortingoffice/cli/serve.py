"""`serve`: run the office, or a part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sortingoffice.cli.terminal import Terminal, say

if TYPE_CHECKING:
    from sortingoffice.daemon import Daemon


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
    from sortingoffice import daemon

    daemon.main(terminal.config, role, _announce)


def _announce(running: Daemon) -> None:
    """Where it listens, with the ports that the system chose."""
    if running.edge is not None:
        for kind, endpoints in (("smtp", running.edge.smtp), ("submission", running.edge.submission)):
            for endpoint in endpoints:
                say(f"listening for {kind} on {endpoint}")
    if running.pages is not None:
        say(f"listening for http on {running.pages.endpoint}")
    if running.figures is not None:
        say(f"listening for metrics on {running.figures.endpoint}")
    say(f"ready as {running.config.hostname}, role {running.role}")


commands = [serve]
