"""Real clients' requests, as recorded files: each finds in the answer what it reads there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sortingoffice.core.access import TOKEN
from tests.web import Site

_FOLDER = Path(__file__).parent / "clients"


def _found(answer: Any, path: str) -> Any:
    """`data.0.email` in the answer; KeyError and the like where it isn't there."""
    for step in path.split("."):
        answer = answer[int(step)] if step.isdigit() else answer[step]
    return answer


def _filled(value: Any, kept: dict[str, Any]) -> Any:
    """What the recording names in capitals, put in."""
    if isinstance(value, str):
        for name, known in kept.items():
            if value == name:
                return known
            value = value.replace(name, str(known)) if name in value else value
        return value
    if isinstance(value, list):
        return [_filled(each, kept) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, kept) for key, each in value.items()}
    return value


@pytest.mark.parametrize("name", ["bitwarden", "simplelogin-extension", "addy-extension"])
async def test_an_unmodified_client_gets_what_it_reads(site: Site, name: str) -> None:
    client = site.client()
    kept: dict[str, Any] = {"TOKEN": site.token()}
    assert TOKEN.fullmatch(kept["TOKEN"])
    for step in yaml.safe_load((_FOLDER / f"{name}.yaml").read_text()):
        body = _filled(step.get("body"), kept)
        answer = await client.request(
            step["method"],
            _filled(step["path"], kept),
            headers=_filled(step["headers"], kept),
            content=None if body is None else json.dumps(body),
        )
        told = f"{step['what']}: {answer.status_code} {answer.text[:500]}"
        assert answer.status_code == step["status"], told
        if step["status"] == 204:
            assert not answer.content
            continue
        assert answer.headers["Content-Type"] == "application/json", told
        found = answer.json()
        for path in step.get("reads", []):
            assert _found(found, path) not in (None, ""), f"{path} in {told}"
        for path, wanted in step.get("equals", {}).items():
            assert _found(found, path) == _filled(wanted, kept), f"{path} in {told}"
        kept |= {key: _found(found, path) for key, path in step.get("keep", {}).items()}
        if "site" in step:
            alias = found.get("alias") or found["data"]["email"]
            assert site.person.json("show", alias)["site"] == step["site"], told
