"""Cards in replies, on both databases: what leaves, what is refused, what the ledger says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sortingoffice.core.addressing import Problem
from sortingoffice.core.model import DeliveryState, GrantMode, RelationshipState, Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows.disclose import Resolved
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, refusal, text, waits


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    return open_desk(db, tmp_path)


@pytest.fixture
def lite(sqlite_db: Database, tmp_path: Path) -> Desk:
    """For what does not differ between databases."""
    return open_desk(sqlite_db, tmp_path)


LINES = """Name: Anna Example
Street: Lindenallee 5
Postcode: 10115
City: Berlin
Country: DE"""


def test_a_granted_card_stands_where_the_directive_stood(desk: Desk) -> None:
    desk.shipping()
    desk.grant("shipping")
    outcome = desk.send("Hello,\n\n#card shipping\n\nAnna\n")
    assert text(outcome) == f"Hello,\n\n{LINES}\n\nAnna\n"
    rows = desk.disclosures("lamp-shop")
    assert [(r["card"], r["field"], r["version"], r["via"], r["state"]) for r in rows] == [
        ("shipping", key, 1, "directive", "delivered")
        for key in ("name", "street", "postcode", "city", "country")
    ]


def test_an_ungranted_card_waits_for_the_persons_word(desk: Desk) -> None:
    desk.shipping()
    assert waits(desk.send("#card shipping\n")) == "card shipping is not granted to Lamp Shop"
    assert desk.disclosures() == []
    assert desk.states() == ["held"]


def test_a_message_that_asks_for_nothing_leaves_octet_for_octet(lite: Desk) -> None:
    lite.shipping()
    raw = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n#sale\r\n> #blah\r\n{{a.b}}\r\n\xff"
    outcome = lite.ask(raw)
    assert isinstance(outcome, Resolved)
    assert bytes(outcome.message) == raw
    assert outcome.filled == ()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("#card shipping name postcode", "Name: Anna Example\nPostcode: 10115"),
        ("#card shipping postcode name", "Postcode: 10115\nName: Anna Example"),
        ("#card shipping except name street country", "Postcode: 10115\nCity: Berlin"),
        ("#shipping city", "City: Berlin"),
        ("  #Card SHIPPING city  ", "City: Berlin"),
        ("#card\u00a0ship\u200bping\u00adcity".replace("\u00ad", " "), "City: Berlin"),
        ("＃ｃａｒｄ shipping city", "City: Berlin"),
        ("We live in {{ shipping.city }}, near", "We live in Berlin, near"),
        ("#card shipping city\n#card shipping name", "City: Berlin\nName: Anna Example"),
    ],
)
def test_each_way_of_asking_is_understood(lite: Desk, body: str, expected: str) -> None:
    lite.shipping()
    lite.grant("shipping")
    assert text(lite.ask(f"Hi\n{body}\nBye\n")) in (f"Hi\n{expected}\nBye\n", f"Hi\n  {expected}  \nBye\n")


@pytest.mark.parametrize(
    ("body", "rule", "subject", "hint"),
    [
        (
            "#card shiping",
            "known_card",
            'unknown card "shiping"',
            "Did you mean  #card shipping ?  Your cards: shipping.",
        ),
        (
            "#shiping",
            "readable",
            'unknown card "shiping"',
            "Did you mean  #card shipping ?  Your cards: shipping.",
        ),
        ("#card nothing", "known_card", 'unknown card "nothing"', "Your cards: shipping."),
        ("#card", "readable", '"#card" names no card', "#card NAME"),
        (
            "#card shipping region",
            "every_field_has_a_value",
            'card shipping has no value for "region"',
            "It has: name,",
        ),
        (
            "#card shipping citty",
            "every_field_has_a_value",
            'card shipping has no value for "citty"',
            '"city"',
        ),
        ("#card shipping except zip", "every_field_has_a_value", 'card shipping has no value for "zip"', ""),
        ("#card shipping city except city", "every_field_has_a_value", "leaves no field", ""),
        ("#card shipping as pdf", "readable", "form that isn't known", ""),
        ("#card shipping\n#card shipping", "exactly_once", 'found "#card shipping" twice', "once"),
        (
            "#card shipping\n> #card shipping",
            "exactly_once",
            'found "#card shipping" twice (once in quoted text)',
            "",
        ),
        (
            "#card shipping\n> #card shipping name",
            "exactly_once",
            'found "#card shipping name" in quoted text',
            "",
        ),
        ("> #card shipping", "exactly_once", 'found "#card shipping" in quoted text', ""),
        ("#card shipping " + "x " * 40, "readable", "is too long", ""),
        ("#card " + "x" * 10_000, "readable", "is too long", ""),
        ("{{shipping.region}}", "every_field_has_a_value", 'card shipping has no value for "region"', ""),
        ("{{shiping.city}}", "readable", 'unknown card "shiping"', "{{shipping.city}}"),
        (
            "in {{ Shipping . city }}",
            "readable",
            '"{{shipping . city}}" names no field',
            "{{shipping.FIELD}}",
        ),
        ("in {{shipping:city}}", "readable", "names no field", "{{shipping.FIELD}}"),
        ("in {{shipping}}", "readable", "names no field", "with a blank in { {"),
        ("- #card shipping city", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("   • #shipping", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("2) #card shipping", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("“#card shipping city”", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("*#card shipping*", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("(#shipping)", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("→ #card shipping", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("✅ #card shipping", "readable", "doesn't stand alone on its line", "alone on its line"),
        ("#cardshipping city", "readable", "can't be read", "Did you mean  #card shipping ?"),
        ("#card-shipping", "readable", "can't be read", "Did you mean  #card shipping ?"),
    ],
)
def test_what_is_not_clear_is_refused_in_words(
    lite: Desk, body: str, rule: str, subject: str, hint: str
) -> None:
    lite.shipping()
    lite.grant("shipping")
    outcome = lite.ask(f"Hi\n{body}\nBye\n")
    assert isinstance(outcome, Problem)
    assert outcome.rule == rule
    assert outcome.subject.startswith("Not sent: ")
    assert subject in outcome.subject
    assert hint in outcome.lines[0]
    assert outcome.lines[0].startswith("Nothing went to Lamp Shop.")


@pytest.mark.parametrize(
    "body",
    [
        "#love",
        "# Shipping",
        "## shipping news",
        "#shipping is late!",
        "#12",
        "a #card shipping",
        "- #love",
        "3. #12 is late",
        "“#card game”",
        "(#shipping is late!)",
        "*#* #",
        "#cardigans",
        "#discard-shipping",
        "Dear {{name}}, {{ first.name }}",
        "in { {shipping}}",
    ],
)
def test_an_ordinary_hashtag_is_ordinary_text(lite: Desk, body: str) -> None:
    lite.shipping()
    assert text(lite.ask(f"Hi\n{body}\n")) == f"Hi\n{body}\n"


def test_a_directive_that_a_client_cut_to_a_line_s_width_is_read_whole(lite: Desk) -> None:
    keys = ("passport", "birth-place", "eye-colour", "tax-office", "blood-type", "shoe-size", "ssn", "city")
    lite.set(*(f"person.{key}=value-{key}" for key in keys))
    lite.grant("person")
    asked = f"#card person except {' '.join(keys[:6])}"
    assert len(asked) > 70
    assert text(lite.ask(f"Hi\n{asked}\nssn\n\nBye\n")) == "Hi\nCity: value-city\n\nBye\n"
    assert 'no value for "bye"' in refusal(lite.ask(f"{asked}\nBye\n"))
    assert text(lite.ask("#card person city\nBye\n")) == "City: value-city\nBye\n"


@pytest.mark.parametrize("cut", ["{{\nshipping.city }}", "{{ shipping.city\n}}", "{{ \nshipping.city}}"])
@pytest.mark.parametrize("kind", ["text/plain", "text/plain; format=flowed"])
def test_an_inline_card_that_a_client_cut_to_a_line_s_width_is_read_whole(
    lite: Desk, cut: str, kind: str
) -> None:
    lite.shipping()
    lite.grant("shipping")
    words = "Please send the lamp by the slow and cheap way to"
    asked = f"Content-Type: {kind}\n\n{words} {cut} and\nnot {{{{ to }}}}\nme\n"
    assert text(lite.ask(asked)) == f"{words} Berlin and\nnot {{{{ to }}}}\nme\n"
    ordinary = f"{words} {{{{\nanywhere }}}}\n> {{{{\n> shipping.city }}}}\n"
    assert text(lite.ask(ordinary)) == ordinary


def test_a_doubled_sign_is_sent_as_one(lite: Desk) -> None:
    lite.shipping()
    assert text(lite.ask("Write\n##card shipping\n\nAnna\n")) == "Write\n#card shipping\n\nAnna\n"
    lite.grant("shipping")
    assert text(lite.ask("##shipping\n#shipping city\n")) == "#shipping\nCity: Berlin\n"


def test_a_line_that_the_vendor_wrote_is_never_taken_as_the_persons(desk: Desk) -> None:
    desk.shipping()
    desk.grant("shipping")
    desk.receive("Please confirm your address:\n#card shipping\n")
    outcome = desk.ask("Sure.\n\nPlease confirm your address:\n#card shipping\n")
    assert refusal(outcome).startswith('Not sent: "#card shipping" is in mail from Lamp Shop')
    assert text(desk.ask("#card shipping city\n")) == "City: Berlin\n"


@pytest.mark.parametrize(
    "planted",
    [
        "It is a long line that a client would wrap here, so: #card shipping andabsurdlylongwordthatwraps",
        "#card\nshipping",
        "> > #card shipping",
        "#CARD  ship\u200bping.",
        "Subject: Your order #card shipping\n\nHello\n",
        'From: "a #card shipping" <a@b.example>\nSubject: x\n\nHello\n',
        "Content-Type: text/html\n\n<p style='display:none'>#card <b>ship</b>ping</p>",
        "Content-Type: text/html\n\n<pre>x</pre><!-- --><div>&#35;card&nbsp;shipping</div>",
        "Content-Type: text/plain; name=a.txt\nContent-Disposition: attachment\n\n#card shipping",
        "Content-Type: message/rfc822\n\nSubject: y\n\n#card shipping",
        "Content-Type: text/plain; charset=no-such\n\n#card shipping",
    ],
)
def test_a_planted_line_is_known_wherever_the_vendor_hid_it(lite: Desk, planted: str) -> None:
    lite.shipping()
    lite.grant("shipping")
    lite.receive(planted)
    assert "is in mail from Lamp Shop" in refusal(lite.ask("Yes\n#card shipping\n"))


def test_a_vendor_who_plants_too_many_lines_to_remember_gets_nothing_by_directive(lite: Desk) -> None:
    lite.shipping()
    lite.grant("shipping")
    lite.receive("".join(f"#card x{n}\n" for n in range(4000)))
    assert "is in mail from Lamp Shop" in refusal(lite.ask("#card shipping\n"))


def test_the_echo_of_a_planted_line_in_quoted_text_does_not_stop_a_reply(lite: Desk) -> None:
    lite.shipping()
    lite.grant("shipping")
    lite.receive("#card shipping\n")
    assert text(lite.ask("No, thanks.\n\n> #card shipping\n")) == "No, thanks.\n\n> #card shipping\n"


def test_another_vendors_words_do_not_count(lite: Desk) -> None:
    lite.shipping()
    other = lite.relate("Other")
    lite.grant("shipping", "other")
    lite.receive("#card shipping\n")
    assert text(lite.ask("#card shipping city\n", other)) == "City: Berlin\n"


def test_a_denial_trumps_every_grant(lite: Desk) -> None:
    lite.shipping()
    lite.view("min", "shipping.city", "shipping.name")
    lite.grant("min")
    lite.grant("shipping")
    lite.grant("shipping", mode=GrantMode.NEVER, fields=("name",))
    assert "shipping.name is never given to Lamp Shop" in refusal(lite.ask("#card min\n"))
    assert text(lite.ask("#card shipping city\n")) == "City: Berlin\n"
    lite.grant("min", mode=GrantMode.NEVER, fields=("city",))
    assert "shipping.city is never given" in refusal(lite.ask("#card shipping city\n"))


def test_a_grant_of_some_fields_covers_no_other(lite: Desk) -> None:
    lite.shipping()
    lite.grant("shipping", fields=("city", "postcode"))
    assert text(lite.ask("#card shipping city\n")) == "City: Berlin\n"
    assert "is not granted" in waits(lite.ask("#card shipping city name\n"))


def test_a_grant_ends_at_its_date_and_after_its_uses(desk: Desk) -> None:
    desk.shipping()
    desk.grant("shipping", uses=1)
    assert "Berlin" in text(desk.send("#card shipping city\n"))
    assert "the grant of shipping to Lamp Shop is used up" in refusal(desk.send("#card shipping city\n"))
    desk.ungrant("shipping")
    desk.grant("shipping", until=desk.now[0].replace(day=2))
    desk.later(days=1)
    assert "expired on 2026-03-02" in refusal(desk.send("#card shipping name\n"))


def test_a_grant_begins_at_its_date(desk: Desk) -> None:
    desk.shipping()
    begins = desk.now[0] + timedelta(days=3)
    assert desk.grant("shipping", since=begins)["from"] == begins
    assert "hasn't begun yet" in refusal(desk.ask("#card shipping city\n"))
    desk.later(days=3)
    assert text(desk.ask("#card shipping city\n")) == "City: Berlin\n"
    with pytest.raises(OfficeError, match="end before it begins"):
        desk.grant("shipping", since=desk.now[0] + timedelta(days=9), until=desk.now[0] + timedelta(days=8))


def test_what_the_vendor_holds_already_needs_no_grant(desk: Desk) -> None:
    desk.shipping()
    desk.grant("shipping")
    desk.send("#card shipping\n")
    desk.ungrant("shipping")
    assert text(desk.send("#card shipping city\n")) == "City: Berlin\n"
    desk.set("shipping.city=Hamburg")
    assert "is not granted" in waits(desk.send("#card shipping city\n"))


@pytest.mark.parametrize("state", [DeliveryState.DROPPED, DeliveryState.RETURNED, DeliveryState.HELD])
def test_what_never_arrived_is_not_held(desk: Desk, state: DeliveryState) -> None:
    desk.shipping()
    desk.grant("shipping")
    desk.send("#card shipping\n", state)
    desk.ungrant("shipping")
    assert "is not granted" in waits(desk.send("#card shipping city\n"))


def test_a_short_value_held_under_another_card_says_nothing(lite: Desk) -> None:
    lite.set("club.member=yes", "health.member=yes")
    lite.grant("club")
    lite.send("#card club\n")
    assert "is not granted" in waits(lite.ask("#card health\n"))


@pytest.mark.parametrize("state", [s for s in RelationshipState if s is not RelationshipState.ACTIVE])
def test_only_an_active_relationship_gets_anything(lite: Desk, state: RelationshipState) -> None:
    lite.shipping()
    other = lite.relate("Other", state=state)
    lite.grant("shipping", "other")
    assert f"Not sent: Other is {state}" in refusal(lite.ask("#card shipping city\n", other))


def test_email_is_the_relationships_own_alias_unless_set(lite: Desk) -> None:
    lite.set("contact.phone=+49 30 1234567")
    lite.grant("contact", fields=("phone",))
    assert (
        text(lite.ask("#card contact phone email\n"))
        == "Phone: +49301234567\nEmail: lamp.shop1234@sort.example\n"
    )
    lite.set("contact.email=anna@other.example")
    assert "is not granted" in waits(lite.ask("#card contact email\n"))


def test_a_sensitive_card_without_a_grant_is_refused(lite: Desk) -> None:
    lite.set("bank.iban=DE89 3704 0044 0532 0130 00", sensitivity=Sensitivity.SENSITIVE)
    assert "bank.iban is sensitive and not granted to Lamp Shop" in refusal(lite.ask("#card bank\n"))


def test_who_has_tells_version_and_state_over_a_change(desk: Desk) -> None:
    desk.shipping()
    desk.grant("shipping", purpose="delivery")
    desk.send("#card shipping city\n")
    desk.later(days=1)
    desk.set("shipping.city=Hamburg")
    [row] = desk.who_has("shipping.city")
    assert (row["relationship"], row["version"], row["state"], row["current"]) == (
        "lamp-shop",
        1,
        "delivered",
        False,
    )
    assert row["purpose"] == "delivery"
    desk.send("#card shipping city\n", DeliveryState.QUEUED)
    assert [(r["version"], r["state"]) for r in desk.who_has("city")] == [(1, "delivered"), (2, "queued")]
    desk.send("#card shipping city\n")
    assert [(r["version"], r["state"]) for r in desk.who_has("shipping")] == [
        (1, "superseded"),
        (2, "queued"),
        (2, "delivered"),
    ]


def test_a_value_of_the_future_is_not_sent_yet(desk: Desk) -> None:
    desk.set("shipping.city=Berlin")
    desk.later(hours=1)
    desk.set("shipping.city=Hamburg", valid_from=desk.now[0].replace(month=12))
    desk.grant("shipping")
    assert text(desk.ask("#card shipping city\n")) == "City: Berlin\n"
    desk.later(days=300)
    assert text(desk.ask("#card shipping city\n")) == "City: Hamburg\n"


def test_no_value_stands_readable_in_the_database_file(sqlite_db: Database, tmp_path: Path) -> None:
    desk = open_desk(sqlite_db, tmp_path)
    desk.set("secret.word=Xylophonquartett", "secret.phone=+493012345678")
    desk.grant("secret")
    desk.send("nothing\n")
    outcome = desk.ask("#card secret\n")
    assert "Xylophonquartett" in text(outcome)
    octets = b"".join(path.read_bytes() for path in tmp_path.glob("office.sqlite*"))
    assert b"secret" in octets
    assert b"Xylophonquartett" not in octets
    assert b"493012345678" not in octets


def test_a_value_copied_to_another_row_does_not_open(desk: Desk) -> None:
    import sqlalchemy as sa

    from sortingoffice.errors import OfficeError
    from sortingoffice.store.schema import field_version

    desk.set("a.x=open value", "b.x=other value")

    def swap(tx: sa.Connection) -> None:
        first, second = tx.execute(sa.select(field_version.c.id, field_version.c.sealed).order_by("id")).all()
        tx.execute(field_version.update().where(field_version.c.id == first.id).values(sealed=second.sealed))

    desk.db.call(swap)
    desk.grant("a")
    with pytest.raises(OfficeError, match="changed or moved"):
        desk.ask("#card a\n")
