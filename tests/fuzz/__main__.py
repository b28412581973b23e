"""`python -m tests.fuzz --minutes N`: each entry in turn until the time is over; status 1 at a finding."""

from __future__ import annotations

import argparse
import importlib
import logging
import random
import subprocess
import sys
import tempfile
import time
import traceback

if "--corpus" in sys.argv:  # coverage is laid into modules as they are imported
    import atheris

    with atheris.instrument_imports(include=["sortingoffice"]):
        importlib.import_module("tests.fuzz.entries")

from tests.fuzz.entries import ENTRIES
from tests.fuzz.run import Tally, by_atheris, by_hypothesis

_EXAMPLES = 300  # in one go


def main() -> int:
    asked = _asked()
    names = [asked.only] if asked.only else list(ENTRIES)
    if asked.corpus:
        by_atheris(names[0], Tally(), seconds=asked.minutes * 60, corpus=asked.corpus)
        return 0
    logging.getLogger("mail.debug").disabled = True  # aiosmtpd's: it tells of every broken PROXY header
    tallies = {name: Tally() for name in names}
    begun = time.monotonic()
    while (left := asked.minutes * 60 - (time.monotonic() - begun)) > 0:
        for count, name in enumerate(names):
            if asked.engine == "atheris":
                _atheris(name, tallies[name], left / (len(names) - count))
            else:
                _hypothesis(name, tallies[name])
            left = asked.minutes * 60 - (time.monotonic() - begun)
            if left < 0:
                break
    return _told(tallies, time.monotonic() - begun)


def _asked() -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz")
    reader.add_argument("--minutes", type=float, default=5.0)
    reader.add_argument("--only", choices=sorted(ENTRIES))
    reader.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    reader.add_argument("--corpus", help=argparse.SUPPRESS)  # of the process that atheris ends
    return reader.parse_args()


def _hypothesis(name: str, tally: Tally) -> None:
    number = random.randrange(2**32)
    try:
        by_hypothesis(name, tally, examples=_EXAMPLES, number=number)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        said = "".join(traceback.format_exception(error))
        if said.splitlines()[-1] not in {each.splitlines()[-1] for each in tally.findings}:
            tally.findings.append(said)
            print(f"== {name}, seed {number}\n{said}", flush=True)


def _atheris(name: str, tally: Tally, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--only",
            name,
            "--engine",
            "atheris",
            "--corpus",
            corpus,
        ]
        done = subprocess.run(
            [*command, "--minutes", str(seconds / 60)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    for line in done.stderr.splitlines():
        if line.startswith("stat::number_of_executed_units:"):
            tally.calls += int(line.split()[-1])
        if line.startswith("stat::slowest_unit_time_sec:"):
            tally.slowest = max(tally.slowest, float(line.split()[-1]))
    if done.returncode:
        said = done.stderr[-4000:] + done.stdout[-2000:]
        tally.findings.append(said)
        print(f"== {name}\n{said}", flush=True)


def _told(tallies: dict[str, Tally], seconds: float) -> int:
    print(f"{'entry':<14} {'calls':>10} {'slowest':>9} findings")
    for name, tally in tallies.items():
        print(f"{name:<14} {tally.calls:>10,} {tally.slowest:>7.3f} s {len(tally.findings)}")
    print(f"{sum(each.calls for each in tallies.values()):,} calls in {seconds / 60:.0f} minutes")
    return int(any(each.findings for each in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
