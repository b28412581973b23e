"""The own API against its own document: requests made out of it, right and wrong, for each operation."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from sortingoffice import config
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import office as offices
from sortingoffice.web.api import OPERATIONS
from sortingoffice.web.app import application
from sortingoffice.web.operations import Operation
from tests.person import Person


@pytest.fixture(scope="module")
def described(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    """The document of an office in which something happened already."""
    folder = tmp_path_factory.mktemp("described") / "office"
    shutil.copytree(furnished, folder)
    person = Person(folder)
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("card", "set", "shipping.name=Anna", "shipping.city=Berlin")
    person.out("grant", "lamp-shop", "shipping")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    person.spooled("lamp-shop", DeliveryState.DELIVERED)
    token = person.out("admin", "token", "new")
    office = offices.open(config.load(person.config), "web")
    ticks = itertools.count()
    # Ten seconds between any two looks at the clock: nobody asks too often.
    office = replace(office, clock=lambda: offices.now() + timedelta(seconds=10 * next(ticks)))
    schema = schemathesis.openapi.from_asgi("/api/office/openapi.json", application(lambda: office))
    schema.config.update(headers={"Authorization": f"Bearer {token}"})
    yield schema
    office.db.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_every_operation_is_as_the_document_says(
    described: schemathesis.BaseSchema, operation: Operation, mode: GenerationMode
) -> None:
    found = described[operation.path.replace(":int}", "}")][operation.method]
    try:
        cases = found.as_strategy(generation_mode=mode)
    except Unsatisfiable:
        return

    @given(case=cases)
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def holds(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate()

    try:
        holds()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing about it can be wrong"
