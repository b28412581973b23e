"""Files that a command writes for a person: new ones, which they alone can read.

Promise: nothing is written over, and no folder made: where a stick isn't there, readable card values would
land on the disk under its name.
"""

from __future__ import annotations

from pathlib import Path

from sortingoffice.errors import OfficeError
from sortingoffice.flows.office import write_private


def may_stand(file: Path) -> None:
    """Raises `OfficeError` where it can't: before anybody is asked for a passphrase."""
    if file.exists():
        raise OfficeError(f"{file} is there already: name another file")
    if not file.absolute().parent.is_dir():
        raise OfficeError(f"the folder of {file} is not there")


def write(file: Path, octets: bytes) -> None:
    """Raises `OfficeError`."""
    may_stand(file)
    try:
        write_private(file.absolute(), octets)
    except OSError as error:
        raise OfficeError(f"{file} can't be written ({error.strerror})") from None
