"""The certificate that the office makes for itself: one pair, whoever wants it at the same time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.daemon import server_context
from tests.person import Person


@pytest.fixture
def pair(person: Person) -> tuple[Path, Path]:
    with person.office() as office:
        server_context(office.config, office)
        folder = office.config.data_dir / "tls"
        return folder / f"{office.config.hostname}.crt", folder / f"{office.config.hostname}.key"


def test_processes_that_find_it_past_its_half_life_at_the_same_time_make_one(
    person: Person, pair: tuple[Path, Path]
) -> None:
    with person.office() as office, ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            os.utime(pair[0], (0, 0))
            before = pair[0].read_bytes()
            for made in [pool.submit(server_context, office.config, office) for _ in range(8)]:
                made.result()
            assert pair[0].read_bytes() != before
            server_context(office.config, office)
    assert {path.name for path in pair[0].parent.iterdir()} == {path.name for path in pair}
    assert [path.stat().st_mode & 0o777 for path in pair] == [0o600, 0o600]


def test_a_key_that_is_not_the_certificates_and_half_a_file_are_made_anew(
    person: Person, pair: tuple[Path, Path]
) -> None:
    with person.office() as office:
        config = replace(office.config, hostname="other.example")
        server_context(config, office)
        for path, octets in (
            (pair[1], (pair[0].parent / "other.example.key").read_bytes()),
            (pair[0], pair[0].read_bytes()[:100]),
        ):
            path.write_bytes(octets)
            server_context(office.config, office)


def test_one_that_is_good_stays(person: Person, pair: tuple[Path, Path]) -> None:
    before = [path.read_bytes() for path in pair]
    with person.office() as office:
        server_context(office.config, office)
    assert [path.read_bytes() for path in pair] == before
