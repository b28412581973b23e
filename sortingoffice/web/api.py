"""The office's own API, below /api/office: every operation, in one table."""

from __future__ import annotations

from sortingoffice.web import (
    api_account,
    api_cards,
    api_mail,
    api_others,
    api_papers,
    api_relationships,
    api_self,
)

OPERATIONS = (
    *api_relationships.OPERATIONS,
    *api_cards.OPERATIONS,
    *api_papers.OPERATIONS,
    *api_mail.OPERATIONS,
    *api_account.OPERATIONS,
    *api_others.OPERATIONS,
    *api_self.OPERATIONS,
)
