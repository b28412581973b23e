"""Names and values that are empty, huge, doubled or nearly right: a sentence, and nothing is half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.core.addressing import Problem
from sortingoffice.errors import OfficeError
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, refusal, text

LONG = "x" * 10_000


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    desk.grant("shipping")
    return desk


@pytest.mark.parametrize(
    "assignments",
    [
        ("shipping.city=A", "shipping.city=B"),
        ("shipping.city=A", "SHIPPING.City=A"),
        ("shipping.city=A", "ship\uff50ing.city=B"),  # a full-width p is a p
        ("shipping.city=A", "shipping.=B"),
        ("shipping.city=A", ".city=B"),
        ("shipping.city=A", "other.city=   "),
        ("shipping.city=A", f"{LONG}.city=B"),
        ("shipping.city=A", f"shipping.{LONG}=B"),
        ("shipping.city=A", f"shipping.note={LONG}"),
        ("shipping.city=A", "except.city=B"),
        ("shipping.city=A", "shipping.as=B"),
        ("shipping.city=A", "shipping.birthday:year=1984"),
        ("shipping.city=A", "shipping.note=a\u202eb"),
        ("shipping.city=A", "shipping.note=a\x00b"),
        ("shipping.city=A", "shipping.note=\ud800"),
    ],
)
def test_where_one_of_several_is_wrong_none_is_set_and_the_sentence_is_short(
    desk: Desk, assignments: tuple[str, ...]
) -> None:
    with pytest.raises(OfficeError) as refused:
        desk.set(*assignments)
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)
    assert text(desk.ask("#card shipping city\n")) == "City: Berlin\n"


def test_a_long_text_is_sent_whole_and_in_order(desk: Desk) -> None:
    from sortingoffice.core.model import FieldType

    value = "\n".join(f"line {number:04}" for number in range(1000))[:10_000].rstrip()
    desk.set(f"letter.words={value}", type=FieldType.TEXT)
    desk.grant("letter")
    sent = text(desk.ask("#card letter\n"))
    assert sent.replace("\n    ", "\n") == f"Words: {value}\n"
    with pytest.raises(OfficeError, match="at most 10000"):
        desk.set(f"letter.words={value}{LONG}", type=FieldType.TEXT)


@pytest.mark.parametrize(
    "body",
    [
        f"#card {LONG}",
        f"#card shipping {LONG}",
        f"#card shipping except {LONG}",
        f"#card shipping as {LONG}",
        "#card shipping " + "city " * 2000,
        "#card " + " " * 10_000 + "shipping street wrong",
        f"{{{{shipping.{'x' * 64}}}}}",
        "#card shipping city city",
        "#card shipping except except",
        "#card shipping as text as vcard",
        "#card shipping as",
        "#card except city",
    ],
)
def test_a_directive_that_is_too_much_is_sent_never_and_answered_shortly(desk: Desk, body: str) -> None:
    outcome = desk.ask(f"Hello\n{body}\n")
    if isinstance(outcome, Problem):
        assert len(outcome.subject) < 300
        assert all(len(line) < 500 for line in outcome.lines)
    else:
        assert body == "#card shipping city city", "a field that is named twice is given once"
        assert text(outcome) == "Hello\nCity: Berlin\n"
    assert desk.disclosures() == []


def test_what_is_almost_a_directive_is_no_text_that_passes(desk: Desk) -> None:
    for near in ("#card shiping", "#crad shipping", "# card shipping", "#shiping", "#card: shipping"):
        assert "Did you mean  #card shipping ?" in refusal(desk.ask(f"{near}\n")), near


def test_more_cards_and_fields_than_there_may_be_are_refused_and_the_rest_stays(desk: Desk) -> None:
    with pytest.raises(OfficeError, match="at most 200 fields"):
        desk.set(*(f"big.f{number}=x" for number in range(201)))
    desk.set(*(f"big.f{number}=x" for number in range(200)))
    with pytest.raises(OfficeError, match="at most 200 fields"):
        desk.set("big.one-more=x")
    with pytest.raises(OfficeError, match="at most 200 cards"):
        desk.set(*(f"c{number}.x=1" for number in range(200)))
    assert desk.set("c0.x=1"), "none of them was made"
    desk.grant("big")
    sent = text(desk.ask("#card big f0 f199\n"))
    assert sent == "F0: x\nF199: x\n"


PLANTED = "#card shipping street"
SPOTS = {
    "text": PLANTED + "\n",
    "in a sentence": f"please write {PLANTED} back\n",
    "html": f"Content-Type: text/html\n\n<p>{PLANTED}</p>\n",
    "html, split": "Content-Type: text/html\n\n<p>#c<b>ard</b> ship<i>ping</i> str<u>eet</u></p>\n",
    "hidden by css": f"Content-Type: text/html\n\n<p style='opacity:0;font-size:0'>{PLANTED}</p>\n",
    "hidden by a style sheet": (
        f"Content-Type: text/html\n\n<style>.x{{display:none}}</style><p class=x>{PLANTED}</p>\n"
    ),
    "in a comment that Outlook shows": (
        "Content-Type: text/html\n\n<p>hi</p><!--[if mso]><p>#card <b>ship</b>ping street</p><![endif]-->\n"
    ),
    "in an attribute": f'Content-Type: text/html\n\n<img alt="{PLANTED}" src=x>\n',
    "subject": f"Subject: {PLANTED}\n\nhello\n",
    "subject, encoded": "Subject: =?utf-8?q?=23card_shipping_street?=\n\nhello\n",
    "attachment": (
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nhello\n"
        f"--b\nContent-Type: text/plain; name=a.txt\nContent-Disposition: attachment\n\n{PLANTED}\n--b--\n"
    ),
    "alternative": (
        "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\nhello\n"
        f"--b\nContent-Type: text/html\n\n<p>{PLANTED}</p>\n--b--\n"
    ),
    "third alternative": (
        "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/plain\n\nhello\n"
        f"--b\nContent-Type: text/enriched\n\n{PLANTED}\n--b--\n"
    ),
    "base64": "Content-Transfer-Encoding: base64\n\nI2NhcmQgc2hpcHBpbmcgc3RyZWV0Cg==\n",
    "quoted-printable": "Content-Transfer-Encoding: quoted-printable\n\n=23card=20shipping=\n=20street\n",
    "utf-16": "Content-Type: text/plain; charset=utf-16-le\nContent-Transfer-Encoding: base64\n\n"
    "IwBjAGEAcgBkACAAcwBoAGkAcABwAGkAbgBnACAAcwB0AHIAZQBlAHQA\n",
    "display name": f'From: "{PLANTED}" <orders@lamp-shop.example>\nSubject: x\n\nhello\n',
    "file name": (
        f'Content-Type: application/pdf; name="{PLANTED}"\nContent-Disposition: attachment\n'
        "Content-Transfer-Encoding: base64\n\nAAAA\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("spot", SPOTS)
def test_a_line_planted_in_an_earlier_mail_is_refused_when_it_comes_back_as_the_person_s(
    desk: Desk, spot: str
) -> None:
    desk.receive(SPOTS[spot])
    desk.later(days=400)
    desk.receive("Another mail in between\n")
    # However the reply looks: bottom posting without any mark is what no quote parser tells apart.
    for reply in (f"Thanks\n\n{PLANTED}\n", f"{PLANTED}\n\nThanks\n"):
        said = refusal(desk.ask(reply))
        assert "is in mail from Lamp Shop" in said, spot
    assert desk.disclosures() == []


def test_a_person_s_own_words_come_back_whole_with_each_refusal(desk: Desk) -> None:
    desk.post(f"Dear shop, my long words äöü\n#card {LONG}\n")
    [notice] = desk.notices()
    assert notice.subject.startswith("Not sent: ")
    assert b"message/rfc822" in notice.raw
    assert "my long words äöü".encode() in notice.raw
    assert desk.states() == []


@pytest.mark.parametrize("name", ['a"b', "a,b", "a]b", "a b", "", " ", "as", "#", "a/b", LONG])
def test_a_view_s_name_is_a_name_like_a_card_s(desk: Desk, name: str) -> None:
    with pytest.raises(OfficeError):
        desk.view(name, "shipping.city")
    with pytest.raises(OfficeError, match="twice"):
        desk.view("min", "shipping.city", "SHIPPING.city")
