"""What binds a relationship: an organisation, or one mailbox where the domain is everybody's."""

from __future__ import annotations

import pytest

from sortingoffice.core import binding
from sortingoffice.core.binding import Identities, Stranger
from sortingoffice.mail.address import Address


@pytest.mark.parametrize(
    "domain", ["gmail.com", "hotmail.es", "outlook.com.br", "yahoo.com.mx", "gmx.us", "inbox.ru", "duck.com"]
)
def test_a_neighbour_at_a_mailbox_provider_is_a_stranger(domain: str) -> None:
    known = binding.identity(Address("Jim", domain))
    neighbour = Identities(Address("joe", domain), frozenset({domain}), frozenset({domain}))
    assert binding.classify({known}, neighbour) is Stranger.AUTHENTICATED
    assert known == f"jim@{domain}"


@pytest.mark.parametrize("domain", ["mail.outlooks.example", "live.shop.example", "notyahoo.com"])
def test_an_organisation_whose_name_holds_a_providers_is_one(domain: str) -> None:
    assert "@" not in binding.identity(Address("orders", domain))
