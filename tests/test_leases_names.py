"""The names by which processes hold leases: one for each that lives, whatever its host is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sortingoffice import leases
from sortingoffice.errors import OfficeError

_TAKES = """
import socket, sys, time
from pathlib import Path
from sortingoffice import leases
if len(sys.argv) > 2:
    socket.sethostname(sys.argv[2])
print(leases.take(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def _process(folder: Path, *how: str, within: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*within, sys.executable, "-c", _TAKES, str(folder), *how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _named(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_that_start_together_have_names_of_their_own_and_a_successor_has_the_dead_ones(
    tmp_path: Path,
) -> None:
    together = [_process(tmp_path) for _ in range(6)]
    try:
        names = [_named(each) for each in together]
        assert len(set(names)) == 6
        assert len({name.partition(":")[0] for name in names}) == 1
        together[2].kill()
        together[2].wait()
        together.append(_process(tmp_path))
        assert _named(together[-1]) == names[2]
    finally:
        for each in together:
            each.communicate()


def test_two_data_dirs_have_two_names_though_host_and_path_are_alike(tmp_path: Path) -> None:
    """Two containers of one image, each with a volume of its own, mounted at the same place."""
    names = []
    for volume in ("one", "two"):
        (tmp_path / volume).mkdir()
        at = tmp_path / "data"
        at.unlink(missing_ok=True)
        at.symlink_to(tmp_path / volume)
        names.append(str(leases.take(at)))
    assert names[0] != names[1]


def test_a_container_made_anew_under_another_host_name_has_its_predecessors_name(tmp_path: Path) -> None:
    names = []
    root = () if os.getuid() == 0 else ("--map-root-user",)
    for host in ("first", "second"):
        process = _process(tmp_path, host, within=("unshare", "--uts", *root))
        names.append(_named(process))
        process.communicate()
    assert names[0] == names[1] != ""


def test_half_an_id_is_drawn_anew(tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "volume").write_bytes(b"\xff\x00")
    name = str(leases.take(tmp_path))
    assert name.endswith(":0")
    assert len(name) == 18


def test_a_data_dir_that_can_t_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(OfficeError, match="let the office's account own data_dir"):
        leases.take(tmp_path)
