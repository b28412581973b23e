"""A published client in a process of its own: a line it is given is one call, a line it prints the outcome.

Arguments: which client (addy, simplelogin), the server's address, a token.  The client's code is as it was
published; only the address of its server is ours.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def addy(base: str, token: str) -> Callable[..., Any]:
    """pyaddy's command line; its answer is what it prints."""
    from click.testing import CliRunner

    url = importlib.import_module("pyaddy.API.url").AddyURL
    theirs = url.__init__

    def ours(self: Any) -> None:
        theirs(self)
        self.base_url = self.base_url.replace("https://app.addy.io", base)

    url.__init__ = ours
    command = importlib.import_module("pyaddy.__main__").cli

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
        shown = done.output.partition("{")
        return json.loads(shown[1] + shown[2]) if shown[1] else done.output

    run("load-key", token)
    return run


def simplelogin(base: str, token: str) -> Callable[..., Any]:
    """The SimpleLogin client of proton-workflow-connector, which has a setting for its server."""
    os.environ |= {"SIMPLELOGIN_BASE_URL": base, "SIMPLELOGIN_API_KEY": token}
    settings = importlib.import_module("proton_mail_mcp.config").load_settings()
    client = importlib.import_module("proton_mail_mcp.simplelogin_client").SimpleLoginClient(settings)
    return lambda method, *given, **named: getattr(client, method)(*given, **named)


if __name__ == "__main__":
    call = {"addy": addy, "simplelogin": simplelogin}[sys.argv[1]](*sys.argv[2:])
    for line in sys.stdin:
        given, named = json.loads(line)
        try:
            outcome = {"is": call(*given, **named)}
        except Exception as error:
            outcome = {"error": str(error)}
        print(json.dumps(outcome), flush=True)
