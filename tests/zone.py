"""The far end of DNS: a fixture with an authoritative server on loopback, its records a dict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sortingoffice.net.zone import ZoneServer


@pytest.fixture
def zone() -> Iterator[ZoneServer]:
    """`zone.set("shop.example", "MX", "10 mx.shop.example")`; `zone.endpoint` for [dns] nameservers."""
    with ZoneServer() as server:
        yield server
