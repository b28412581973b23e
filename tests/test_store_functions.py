"""Accounts, domains, relationships, contacts, references and events: each function on both databases."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from sortingoffice.core import naming
from sortingoffice.core.model import (
    Account,
    AccountState,
    Alias,
    AliasState,
    AppPassword,
    Binding,
    Contact,
    DkimKey,
    Domain,
    Mailbox,
    MailboxState,
    Relationship,
    RelationshipState,
)
from sortingoffice.errors import NotThere
from sortingoffice.store import accounts, contacts, domains, events, references, relationships
from sortingoffice.store.database import Database, Transaction
from tests.test_store_spool import relationship

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Rows:
    db: Database
    anna: Account
    bert: Account

    def of(self, name: str, account: Account | None = None, **changes: object) -> Relationship:
        new = replace(
            relationship((account or self.anna).id, naming.slug(name)),
            name=name,
            **changes,  # type: ignore[arg-type]
        )
        return self.db.call(relationships.add, new)

    def alias(self, of: Relationship, address: str, state: AliasState = AliasState.LIVE) -> Alias:
        new = Alias(0, of.id, address, naming.canonical(address), state, NOW)
        return self.db.call(relationships.add_alias, new)

    def contact(self, of: Relationship, address: str, reverse: str) -> Contact:
        new = Contact(0, of.id, address, address, "", reverse, naming.canonical(reverse), NOW)
        return self.db.call(contacts.get_or_add, of.id, new)

    def mailbox(self, address: str, **changes: object) -> Mailbox:
        new = Mailbox(0, self.anna.id, address, MailboxState.VERIFIED, True, False, None, "", None, None, NOW)
        return self.db.call(accounts.add_mailbox, replace(new, **changes))  # type: ignore[arg-type]


@pytest.fixture
def rows(db: Database) -> Rows:
    anna = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, False, b"\0key", "card", NOW))
    bert = db.call(accounts.add, Account(0, "bert", AccountState.ACTIVE, True, None, "card", NOW))
    return Rows(db, anna, bert)


# ---- accounts ------------------------------------------------------------------------------------


def test_an_account_is_found_as_it_was_stored(rows: Rows) -> None:
    assert rows.db.view(accounts.by_id, rows.anna.id) == rows.anna
    assert rows.db.view(accounts.by_name, "anna") == rows.anna
    assert rows.db.view(accounts.by_name, "nobody") is None
    assert rows.db.view(accounts.every) == (rows.anna, rows.bert)
    assert rows.db.view(accounts.admin) == rows.bert


def test_an_account_is_changed(rows: Rows) -> None:
    changed = replace(rows.anna, state=AccountState.SUSPENDED, wrapped_key=None)
    rows.db.call(accounts.update, changed)
    assert rows.db.view(accounts.by_id, rows.anna.id) == changed
    assert rows.db.view(accounts.by_id, rows.bert.id) == rows.bert


def test_an_account_s_name_is_its_own(rows: Rows) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        rows.db.call(accounts.add, replace(rows.anna, id=0))


def test_the_only_account_need_not_be_named(db: Database) -> None:
    with pytest.raises(NotThere, match="init"):
        db.view(accounts.the_only)
    anna = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, True, b"key", "card", NOW))
    assert db.view(accounts.the_only) == anna
    db.call(accounts.add, replace(anna, id=0, name="gone", wrapped_key=None))  # one that was removed
    assert db.view(accounts.the_only) == anna
    db.call(accounts.add, replace(anna, id=0, name="bert"))
    with pytest.raises(NotThere, match="--account: anna, bert"):
        db.view(accounts.the_only)


def test_times_keep_their_microseconds_and_their_zone(rows: Rows) -> None:
    found = rows.db.view(accounts.by_id, rows.anna.id)
    assert found is not None
    assert found.created == NOW
    assert found.created.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_a_bug(rows: Rows) -> None:
    with pytest.raises(sa.exc.StatementError, match="without a zone"):
        rows.db.call(accounts.update, replace(rows.anna, created=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_mailboxes_are_found_by_account_and_address(rows: Rows) -> None:
    one = rows.mailbox("anna@home.example", verify_hash=b"h", verify_expires=NOW)
    two = rows.mailbox("second@home.example")
    theirs = rows.mailbox("anna@home.example", account_id=rows.bert.id)
    assert rows.db.view(accounts.mailboxes, rows.anna.id) == (one, two)
    assert rows.db.view(accounts.mailboxes_by_address, "anna@home.example") == (one, theirs)
    assert rows.db.view(accounts.mailbox_by_id, two.id) == two
    changed = replace(two, state=MailboxState.FAILING, dkim_seen=NOW, proof="dkim")
    rows.db.call(accounts.set_mailbox, changed)
    assert rows.db.view(accounts.mailbox_by_id, two.id) == changed


def test_mail_goes_to_the_relationship_s_mailbox_or_the_preferred_one_and_never_to_an_unverified_one(
    rows: Rows,
) -> None:
    def goes_to(mailbox_id: int | None) -> Mailbox | None:
        return rows.db.view(accounts.mailbox_for, replace(of, mailbox_id=mailbox_id))

    of = rows.of("Lamp Shop")
    pending = rows.mailbox("pending@home.example", state=MailboxState.PENDING, preferred=True)
    assert goes_to(None) is None
    rows.mailbox("identity@home.example", delivers=False, preferred=True)
    assert goes_to(None) is None
    first = rows.mailbox("first@home.example")
    failing = rows.mailbox("preferred@home.example", preferred=True, state=MailboxState.FAILING)
    assert goes_to(None) == failing, "its mail is held, not sent elsewhere"
    assert goes_to(first.id) == first
    assert goes_to(pending.id) == failing


def test_a_password_is_used_and_revoked_once(rows: Rows) -> None:
    stored = rows.db.call(
        accounts.add_password, AppPassword(0, rows.anna.id, "phone", "$a$", NOW, None, None)
    )
    rows.db.call(accounts.touch_password, stored.id, NOW + DAY)
    assert rows.db.call(accounts.revoke_password, stored.id, NOW + DAY)
    assert not rows.db.call(accounts.revoke_password, stored.id, NOW + 2 * DAY)
    (found,) = rows.db.view(accounts.passwords, rows.anna.id)
    assert found == replace(stored, last_used=NOW + DAY, revoked=NOW + DAY)
    assert rows.db.view(accounts.passwords, rows.bert.id) == ()


# ---- domains -------------------------------------------------------------------------------------


def test_domains_and_their_keys(db: Database) -> None:
    one = db.call(domains.add, Domain(0, "sort.example", NOW))
    two = db.call(domains.add, Domain(0, "other.example", NOW))
    assert db.view(domains.by_name, "sort.example") == one
    assert db.view(domains.by_name, "none.example") is None
    assert db.view(domains.every) == (one, two)
    key = db.call(domains.add_key, DkimKey(0, one.id, "s1", "rsa-sha256", "AAAA", NOW, None))
    assert db.view(domains.keys, one.id) == (key,)
    assert db.view(domains.keys, two.id) == ()
    assert db.call(domains.retire_key, key.id, NOW + DAY)
    assert not db.call(domains.retire_key, key.id, NOW + 2 * DAY)
    assert db.view(domains.keys, one.id) == (replace(key, retired=NOW + DAY),)


# ---- relationships -------------------------------------------------------------------------------


def test_a_relationship_is_found_as_it_was_stored_and_changed(rows: Rows) -> None:
    of = rows.of("Lamp Shop", until=NOW + DAY, max_messages=3)
    assert rows.db.view(relationships.by_id, of.id) == of
    assert rows.db.view(relationships.by_slug, rows.anna.id, "lamp-shop") == of
    assert rows.db.view(relationships.by_slug, rows.bert.id, "lamp-shop") is None
    changed = replace(of, state=RelationshipState.MUTED, muted_until=NOW)
    rows.db.call(relationships.update, changed)
    assert rows.db.call(relationships.by_id, of.id) == changed
    assert rows.db.call(relationships.by_slug, rows.anna.id, "lamp-shop") == changed


@pytest.mark.parametrize(
    "text",
    [
        "lamp-shop",
        "LAMP-shop",
        " lamp-shop ",
        "Lamp Shop",
        "lamp sh",
        "lunar.otter4821@sort.example",
        "LunarOtter4821@Sort.example",
    ],
)
def test_a_person_s_words_find_a_relationship(rows: Rows, text: str) -> None:
    of = rows.of("Lamp Shop & Söhne", slug="lamp-shop")
    rows.of("Bücher")
    rows.alias(of, "lunar.otter4821@sort.example")
    assert rows.db.view(relationships.find, rows.anna.id, text) == of


def test_a_name_s_case_does_not_matter_in_any_alphabet(rows: Rows) -> None:
    of = rows.of("BÜCHER")
    assert rows.db.view(relationships.find, rows.anna.id, "büch") == of


def test_an_exact_name_wins_over_a_part_of_another(rows: Rows) -> None:
    of = rows.of("Shop", slug="s1")
    rows.of("Shop Two", slug="s2")
    assert rows.db.view(relationships.find, rows.anna.id, "shop") == of


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("shop", "fits several relationships: lamp-shop, shop-two; say which"),
        ("nothing", "no relationship fits 'nothing'"),
        ("", "no relationship fits"),
        ("theirs", "no relationship fits"),
        ("their@sort.example", "no relationship fits"),
        ("unknown@sort.example", "no relationship fits"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(rows: Rows, text: str, sentence: str) -> None:
    rows.of("Lamp Shop")
    rows.of("Shop Two")
    rows.alias(rows.of("Theirs", rows.bert), "their@sort.example")
    with pytest.raises(NotThere, match=sentence):
        rows.db.view(relationships.find, rows.anna.id, text)


@pytest.mark.parametrize("search", ["LAMP", "lampshop.ex", "lunar.ot", "a note", "lamp-s"])
def test_a_search_looks_into_name_site_note_slug_and_alias(rows: Rows, search: str) -> None:
    of = rows.of("Lamp Shop", site="lampshop.example", note="A note")
    rows.alias(of, "lunar.otter4821@sort.example")
    rows.of("Other")
    rows.of("Lamp Shop", rows.bert)
    assert rows.db.view(relationships.every, rows.anna.id, None, search) == (of,)


def test_relationships_are_listed_by_account_and_state(rows: Rows) -> None:
    one, two = rows.of("One"), rows.of("Two", state=RelationshipState.REVOKED)
    rows.of("Three", rows.bert)
    assert rows.db.view(relationships.every, rows.anna.id) == (one, two)
    assert rows.db.view(relationships.every, rows.anna.id, RelationshipState.REVOKED) == (two,)


def test_a_taken_slug_gets_a_number(rows: Rows) -> None:
    free = []
    for _ in range(4):
        slug = rows.db.view(relationships.free_slug, rows.anna.id, "shop")
        free.append(slug)
        rows.of("Shop", slug=slug)
    assert free == ["shop", "shop-2", "shop-3", "shop-4"]
    assert rows.db.view(relationships.free_slug, rows.bert.id, "shop") == "shop"
    rows.of("Shop Window", slug="window-9")
    assert rows.db.view(relationships.free_slug, rows.anna.id, "window") == "window"


@pytest.mark.parametrize(
    ("lapsing", "over", "changes"),
    [
        (True, False, {"until": NOW}),
        (False, False, {"until": NOW + DAY}),
        (False, False, {"until": NOW, "state": RelationshipState.REVOKED}),
        (False, True, {"muted_until": NOW, "state": RelationshipState.MUTED}),
        (False, True, {"closing_until": NOW, "state": RelationshipState.CLOSING}),
        (False, False, {"muted_until": NOW + DAY, "state": RelationshipState.MUTED}),
    ],
)
def test_the_clock_finds_what_is_over(
    rows: Rows, lapsing: bool, over: bool, changes: dict[str, object]
) -> None:
    rows.of("Lamp Shop", None, **changes)
    assert bool(rows.db.view(relationships.lapsed, NOW)) is lapsing
    assert bool(rows.db.view(relationships.over, NOW)) is over


def test_an_alias_is_issued_once_in_any_spelling(rows: Rows) -> None:
    of = rows.of("Lamp Shop")
    alias = rows.alias(of, "lunar.otter4821@sort.example", AliasState.REVOKED)
    assert rows.db.view(relationships.alias_by_canonical, "lunarotter4821@sort.example") == alias
    with pytest.raises(sa.exc.IntegrityError):
        rows.alias(of, "lunarotter.4821@sort.example")
    assert rows.db.view(relationships.canonical_taken, "lunarotter4821@sort.example")
    assert not rows.db.view(relationships.canonical_taken, "lunarotter4822@sort.example")


def test_a_reverse_alias_takes_its_canonical_form_too(rows: Rows) -> None:
    rows.contact(rows.of("Lamp Shop"), "orders@lampshop.example", "orders.lampshop.5v8k2m9q@sort.example")
    assert rows.db.view(relationships.canonical_taken, "orderslampshop5v8k2m9q@sort.example")


def test_aliases_of_a_relationship_and_those_that_live(rows: Rows) -> None:
    of = rows.of("Lamp Shop")
    old = rows.alias(of, "old@sort.example", AliasState.ROTATED)
    new = rows.alias(of, "new@sort.example")
    gone = rows.alias(of, "gone@sort.example")
    rows.db.call(relationships.set_alias, replace(gone, state=AliasState.REVOKED))
    assert [a.id for a in rows.db.view(relationships.aliases, of.id)] == [old.id, new.id, gone.id]
    assert rows.db.view(relationships.live_aliases) == 2


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (relationships._BY_CANONICAL, "sqlite_autoindex_alias_1"),
        (relationships._LAPSED, "ix_relationship_until"),
        (relationships._OVER[0], "ix_relationship_muted_until"),
        (relationships._OVER[1], "ix_relationship_closing_until"),
        (relationships._TAKEN, "sqlite_autoindex_relationship_1"),
    ],
    ids=["alias", "lapsed", "muted", "closing", "slug"],
)
def test_a_million_relationships_are_not_read_to_find_one(
    sqlite_db: Database, statement: sa.Select[Any], index: str
) -> None:
    def plan(tx: Transaction) -> list[str]:
        asked: sa.Select[Any] = statement.with_only_columns(sa.literal_column("1"))
        sql = re.sub(r"IN \(.*?\)", "IN (?)", str(asked.compile(dialect=tx.dialect)))
        rows = tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, tuple([1] * sql.count("?")))
        return [row[3] for row in rows]

    (step,) = sqlite_db.view(plan)
    assert step.startswith("SEARCH")
    assert index in step


def test_a_binding_stands_once_and_its_how_may_change(rows: Rows) -> None:
    of = rows.of("Lamp Shop")
    for how in ("learned", "refused"):
        rows.db.call(relationships.bind, Binding(0, of.id, "lampshop.example", how, NOW))
    (found,) = rows.db.view(relationships.bindings, of.id)
    assert (found.identity, found.how) == ("lampshop.example", "refused")
    assert rows.db.call(relationships.unbind, of.id, "lampshop.example")
    assert not rows.db.call(relationships.unbind, of.id, "lampshop.example")
    assert rows.db.view(relationships.bindings, of.id) == ()


def test_an_alias_of_no_relationship_is_refused_by_the_database(rows: Rows) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        rows.db.call(
            relationships.add_alias, Alias(0, 999, "a@b.example", "a@b.example", AliasState.LIVE, NOW)
        )


# ---- contacts ------------------------------------------------------------------------------------


def test_a_contact_is_made_once_per_relationship(rows: Rows) -> None:
    of, other = rows.of("Lamp Shop"), rows.of("Other")
    one = rows.contact(of, "orders@lampshop.example", "r1@sort.example")
    again = rows.contact(of, "orders@lampshop.example", "r2@sort.example")
    elsewhere = rows.contact(other, "orders@lampshop.example", "r3@sort.example")
    assert one == again
    assert elsewhere.id != one.id
    assert rows.db.view(contacts.every, of.id) == (one,)
    assert rows.db.view(contacts.by_reverse, "r1@sort.example") == one
    assert rows.db.view(contacts.by_reverse, "r2@sort.example") is None
    assert rows.db.view(contacts.by_address, of.id, "orders@lampshop.example") == one
    assert rows.db.view(contacts.by_id, one.id) == one
    rows.db.call(contacts.update, replace(one, name="Orders"))
    assert rows.db.view(contacts.by_id, one.id) == replace(one, name="Orders")


def test_two_contacts_never_share_a_reverse_alias(rows: Rows) -> None:
    of = rows.of("Lamp Shop")
    rows.contact(of, "orders@lampshop.example", "r1@sort.example")
    with pytest.raises(sa.exc.IntegrityError):
        rows.contact(of, "help@lampshop.example", "r.1@sort.example")


# ---- references ----------------------------------------------------------------------------------


def test_references_are_mapped_both_ways_within_one_relationship(rows: Rows) -> None:
    of, other = rows.of("Lamp Shop"), rows.of("Other")

    def fill(tx: Transaction) -> None:
        references.remember(tx, of.id, "<in1@home>", "<out1@sort>", NOW)
        references.remember(tx, of.id, "<in2@home>", "<out2@sort>", NOW)
        references.remember(tx, of.id, "<in1@home>", "<later@sort>", NOW)
        references.remember(tx, other.id, "<in1@home>", "<other@sort>", NOW)

    rows.db.call(fill)
    ids = ["<in1@home>", "<in2@home>", "<never@home>"]
    assert rows.db.view(references.outside_of, of.id, ids) == {
        "<in1@home>": "<out1@sort>",
        "<in2@home>": "<out2@sort>",
    }
    assert rows.db.view(references.inside_of, of.id, ("<out2@sort>", "<other@sort>")) == {
        "<out2@sort>": "<in2@home>"
    }
    assert rows.db.view(references.outside_of, of.id, ()) == {}


def test_of_several_insides_the_first_is_told(rows: Rows) -> None:
    of = rows.of("Lamp Shop")
    for inside in ("<first>", "<second>"):
        rows.db.call(references.remember, of.id, inside, "<same@vendor>", NOW)
    assert rows.db.view(references.inside_of, of.id, ["<same@vendor>"]) == {"<same@vendor>": "<first>"}


def test_an_id_was_carried_by_this_relationship_by_another_or_by_none_of_the_account(rows: Rows) -> None:
    lamps, books, theirs = rows.of("Lamp Shop"), rows.of("Books"), rows.of("Lamp Shop", rows.bert)
    rows.db.call(references.remember, lamps.id, "<in>", "<out>", NOW)
    assert rows.db.view(references.carried, books, "<out>") == (lamps.id, "<in>")
    assert rows.db.view(references.carried, lamps, "<in>") is None
    assert rows.db.view(references.carried, theirs, "<out>") is None
    rows.db.call(references.remember, books.id, "<own>", "<out>", NOW)
    assert rows.db.view(references.carried, books, "<out>") == (books.id, "<own>")
    assert rows.db.view(references.carried, lamps, "<out>") == (lamps.id, "<in>")


def test_old_references_are_forgotten(rows: Rows) -> None:
    of = rows.of("Lamp Shop")
    for n in range(4):
        rows.db.call(references.remember, of.id, f"<{n}>", f"<{n}>", NOW + n * DAY)
    assert rows.db.call(references.prune, NOW + 3 * DAY, 2) == 2, "no more than a batch"
    assert rows.db.call(references.prune, NOW + 3 * DAY, 2) == 1
    assert rows.db.call(references.prune, NOW + 3 * DAY, 2) == 0
    assert list(rows.db.view(references.outside_of, of.id, ["<0>", "<3>"])) == ["<3>"]


# ---- events --------------------------------------------------------------------------------------


def test_events_are_told_in_their_order(rows: Rows) -> None:
    of = rows.of("Lamp Shop")

    def fill(tx: Transaction) -> None:
        events.add(tx, at=NOW, actor="cli", what="issued", account_id=rows.anna.id, relationship_id=of.id)
        events.add(
            tx, at=NOW, actor="smtp", what="accepted", rule="vendor", relationship_id=of.id, message="tok"
        )
        events.add(tx, at=NOW, actor="smtp", what="refused", message="other", detail="why")

    rows.db.call(fill)
    assert [e.what for e in rows.db.view(events.of_relationship, of.id)] == ["issued", "accepted"]
    assert [(e.what, e.rule) for e in rows.db.view(events.of_message, "tok")] == [("accepted", "vendor")]
    assert rows.db.view(events.of_message, "") == ()
    assert [e.what for e in rows.db.view(events.every)] == ["issued", "accepted", "refused"]
    assert [e.what for e in rows.db.view(events.every, None, 2)] == ["accepted", "refused"]
    assert [e.what for e in rows.db.view(events.every, rows.anna.id)] == ["issued"]
