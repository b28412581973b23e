"""Pages, sessions and the API on PostgreSQL: the promises of the other files of tests, kept there too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests import test_web_api as api
from tests import test_web_dialects as dialects
from tests import test_web_forged as forged
from tests import test_web_office as office
from tests import test_web_others as others
from tests import test_web_self as own
from tests import test_web_signin as signin
from tests.web import Site, arrives

PROMISES: tuple[Callable[[Site], Awaitable[None]], ...] = (
    signin.test_a_mailed_link_signs_in_once,
    signin.test_a_link_runs_out_and_a_newer_one_ends_it,
    signin.test_a_stranger_is_told_the_same_as_the_person,
    signin.test_pending_mailboxes_and_suspended_accounts_get_no_link,
    forged.test_another_session_s_form_token_does_nothing,
    office.test_a_relationship_lives_its_life,
    office.test_lists_are_searched_filtered_and_cut,
    office.test_cards_are_set_shown_granted_and_taken_back,
    office.test_held_mail_is_shown_released_and_dropped,
    office.test_tokens_and_app_passwords_are_made_shown_once_and_revoked,
    api.test_an_ending_of_an_address_can_t_be_forged_or_used_by_another,
    dialects.test_what_passed_is_counted_and_listed,
    dialects.test_a_contact_is_switched_off_and_on_and_never_deleted,
    dialects.test_at_once_means_only_those_that_it_changes_and_only_one_s_own,
    dialects.test_recipients_are_added_asked_again_and_filtered_by,
    dialects.test_a_list_is_sorted_both_ways_and_ends,
    dialects.test_a_name_and_an_app_password_give_an_extension_its_token,
)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.__name__.removeprefix("test_"))
async def test_it_holds_on_postgresql(
    postgresql_site: Site, promise: Callable[[Site], Awaitable[None]]
) -> None:
    await promise(postgresql_site)


async def test_what_is_one_s_own_holds_on_postgresql(postgresql_site: Site) -> None:
    client = postgresql_site.client(postgresql_site.token())
    await own.test_strangers_leaks_and_slips_are_told(postgresql_site, client)
    await own.test_sessions_are_listed_ended_one_by_one_and_all_at_once(postgresql_site, client)
    await own.test_the_by_mail_contacts_and_the_address_book(client)


async def test_papers_are_given_and_taken_on_postgresql(postgresql_site: Site) -> None:
    client = postgresql_site.client(postgresql_site.token())
    await own.test_papers_are_given_and_taken(postgresql_site, client)


async def test_every_page_opens_on_postgresql(postgresql_site: Site) -> None:
    person = postgresql_site.person
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("card", "set", "phone.mobile=+49 30 901820")
    person.out("disclosed", "lamp-shop", "phone", "--via", "paper")
    arrives(person, "lamp-shop", "orders@lampshop.example", "your lamp")
    arrives(person, "lamp-shop", "deals@spam.example", "You won")
    tab = await signin.signed_in(postgresql_site)
    pages: tuple[str, ...] = (
        "/",
        "/?search=lamp",
        "/new",
        "/r/lamp-shop",
        "/cards",
        "/cards/phone",
        "/ledger?what=phone",
    )
    pages += ("/held", "/strangers", "/leaks", "/devices", "/settings", "/log", "/leaks/lamp-shop/report.zip")
    for path in (*pages, "/export/everything.json", "/export/addresses.csv", "/r/lamp-shop/qr.svg"):
        answer = await tab.get(path)
        assert answer.status_code == 200, path
    done = await others.press(tab, "/strangers/refuse", relationship="lamp-shop", sender="spam.example")
    assert done.status_code == 303


async def test_two_clients_at_once_get_two_addresses_of_the_same_site(postgresql_site: Site) -> None:
    client = postgresql_site.client(postgresql_site.token())
    path = "/api/alias/random/new?hostname=shop.example"
    answers = await asyncio.gather(*(client.post(path) for _ in range(6)))
    assert {each.status_code for each in answers} == {201}
    assert len({each.json()["alias"] for each in answers}) == 6
