"""The clipboard of the desk that somebody sits at, where there is one.

Promise: nothing is copied when a program reads our output; a clipboard that isn't there, or hangs,
costs nobody their command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from sortingoffice.cli.terminal import say

# The program, its arguments, and what shows that its clipboard is there ("" where it always is).
_PROGRAMS = (
    ("pbcopy", (), ""),
    ("wl-copy", (), "WAYLAND_DISPLAY"),
    ("xclip", ("-selection", "clipboard"), "DISPLAY"),
    ("xsel", ("--clipboard", "--input"), "DISPLAY"),
)
_PATIENCE = 2.0  # seconds


def offer(text: str) -> bool:
    """Copy the text if somebody sits at a terminal with a clipboard, and say so; whether it was copied."""
    return sys.stdout.isatty() and copy(text)


def copy(text: str) -> bool:
    for name, arguments, shown_by in _PROGRAMS:
        path = shutil.which(name)
        if path is None or (shown_by and not os.environ.get(shown_by)):
            continue
        try:
            done = subprocess.run(
                [path, *arguments],
                input=text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            say("Copied to the clipboard.")
            return True
    return False
