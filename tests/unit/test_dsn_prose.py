"""Bounces in prose: what became of the mail, whatever numbers and words of the sender's own stand there."""

from __future__ import annotations

import time
from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import dsn
from sortingoffice.mail.dsn import Action, Report
from sortingoffice.mail.message import Message

DAEMON = "Mail Delivery System <mailer-daemon@shop.example>"
MAILSERVER = "Mailserver <mailserver@shop.example>"  # of no name by which bounces are known


def mail(subject: str, text: str, *, author: str = DAEMON, more: str = "") -> bytes:
    words = subject if subject.isascii() else Header(subject, "utf-8").encode()
    kind = "" if "Content-Type" in more else "Content-Type: text/plain; charset=utf-8\n"
    return f"From: {author}\nSubject: {words}\n{kind}{more}\n{text}".replace("\n", "\r\n").encode()


def read(raw: bytes, about: str = "My lamp") -> Report | None:
    return dsn.read(Message.parse(raw), null_sender=True, about=about)


def action(raw: bytes, about: str = "My lamp") -> Action | None:
    found = read(raw, about)
    return None if found is None else found.action


# ---- what the sender wrote itself ---------------------------------------------------------------------

DOMINO = "Ihre Nachricht\n\n  Betreff: {}\n\nwurde nicht zugestellt an support@shop.example.\n"
NUMBERS = ("Order of 20 lamps", "Order of 450 lamps", "Order of 500 lamps", "250 lamps please", "450: lamps")


@pytest.mark.parametrize("about", NUMBERS)
@pytest.mark.parametrize("subject", ["Nichtzustellung: User lampe", "User lampe nicht im Verzeichnis"])
def test_a_number_in_the_senders_own_subject_is_no_code(subject: str, about: str) -> None:
    for text in (DOMINO.format(about), DOMINO.replace("  Betreff: {}", about)):
        found = read(mail(subject, text), about)
        assert found is not None
        assert (found.action, found.status) == (Action.FAILED, "")
        assert "wurde nicht zugestellt" in found.diagnostic, "the words, not the line with the number"


@pytest.mark.parametrize(
    "name", ["Subject", "Betreff", "Objet", "Asunto", "The subject of the message is", "件名"]
)
def test_nor_is_one_where_the_subject_is_not_known_any_more(name: str) -> None:
    text = f"It has gone on.\n  {name}: 450 lamps\n"
    assert action(mail("Mail", text), "") is None
    assert action(mail("Mail", f"{text}Delivered: 250 ok\n"), "") is Action.DELIVERED


def test_a_subject_that_the_bounce_folds_is_known_again() -> None:
    text = "Your message\n\n  Order of\n  450 lamps\n\nwas not delivered.\n"
    assert action(mail("Mail", text), "Order of 450 lamps") is Action.FAILED


@pytest.mark.parametrize(
    "head", ["--- original", "--- Below this line is a copy of the message.", "----- Kopie/copy"]
)
def test_what_the_senders_own_text_says_is_no_code_either(head: str) -> None:
    text = f"It was delivered to support@shop.example. 250 2.0.0 ok\n\n{head}\nYou said: 550 5.1.1 unknown.\n"
    assert action(mail("Delivery Notification", text)) is Action.DELIVERED
    quoted = text.replace(head, "").replace("You said", "> You said")
    assert action(mail("Delivery Notification", quoted)) is Action.DELIVERED


def test_a_line_of_its_own_subject_hides_no_code_of_the_servers() -> None:
    text = "host mx said: 550 5.7.1 Message refused because of Subject: lamps\n"
    found = read(mail("Returned mail", text))
    assert found is not None
    assert (found.status, found.diagnostic) == ("5.7.1", text.strip())


# ---- the end, and no end -------------------------------------------------------------------------------

ENDS = {
    "failure in brackets": (
        "Delivery Status Notification (Failure)",
        "The error that the other server returned was:\n451 4.7.1 Greylisting in action\n",
    ),
    "failed permanently": (
        "Delivery Status Notification",
        "Delivery to this recipient failed permanently:\n\n451 4.7.1 Greylisting in action\n",
    ),
    "a port": ("Mail problem", "We could not reach port 465 for 3 days. We have given up.\n"),
    "was not delivered": ("Mail problem", "It was not delivered.\n451 4.4.1 no answer\n"),
    "minutes": ("Returned", "I tried for 400 minutes: user unknown.\n"),
    "a warning of a virus": ("Warning: virus found", "Your message was not delivered.\n"),
}


@pytest.mark.parametrize("which", ENDS)
def test_words_of_the_end_count_for_more_than_a_temporary_code(which: str) -> None:
    found = read(mail(*ENDS[which]))
    assert found is not None
    assert found.final


EXIM = """A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mx.shop.example.

The message identifier is:     1r6abc-0001Ab-2C
The subject of the message is: {}
The address to which the message has not yet been delivered is:

  support@shop.example
    Delay reason: {}

No action is required on your part. Delivery attempts will continue for
some time, and this warning may be repeated if the message remains undelivered.
"""


@pytest.mark.parametrize("subject", ["Warning: message 1r6abc-0001Ab-2C delayed 24 hours", "Mail"])
@pytest.mark.parametrize(
    "about", ["Order 500 lamps", "Your invoice: 599 EUR", "Undeliverable parcel", "a lamp"]
)
@pytest.mark.parametrize("reason", ["Connection timed out", "host mx [192.0.2.1]: 550 5.7.1 try later"])
def test_a_warning_is_no_end_whatever_it_quotes(subject: str, about: str, reason: str) -> None:
    more = "Auto-Submitted: auto-replied\n" if subject != "Mail" else ""
    raw = mail(subject, EXIM.format(about, reason), more=more)
    assert action(raw, about) is Action.DELAYED
    assert action(raw, "") is Action.DELAYED


@pytest.mark.parametrize(
    "subject",
    [
        "Zustellung verzögert",
        "Zustellung verzoegert: My lamp",
        "Remise différée (retard)",
        "Entrega retrasada",
        "Consegna in ritardo",
        "配信遅延のお知らせ",
        "Доставка задержана",
    ],
)
def test_so_is_one_in_another_language(subject: str) -> None:
    for text in ("…\n", "host mx said: 550 5.7.1 later\n", "451 4.4.1 no answer\n"):
        assert action(mail(subject, text)) is Action.DELAYED


@pytest.mark.parametrize(
    "text", ["Le message n'a pas encore été remis.", "Es wird weiter versucht.", "Will be retried."]
)
def test_what_is_tried_again_is_no_end_though_it_could_not_be_delivered(text: str) -> None:
    assert action(mail("Mail", f"It could not be delivered for 4 hours. {text}\n")) is Action.DELAYED


# ---- who reports ------------------------------------------------------------------------------------

WORDS = (
    "Zustellung fehlgeschlagen",
    "Nicht zustellbar: My lamp",
    "Échec de la remise",
    "Message non distribué",
    "配信不能のお知らせ",
    "No se puede entregar: My lamp",
    "系统退信",
    "Delivery Status Notification (Failure)",
    "Mail could not be delivered",
    "Failed to deliver mail",
    "Mail failure - no such user",
    "Mancata consegna",
    "Não entregue: My lamp",
    "Onbestelbaar: My lamp",
    "Недоставленное сообщение",
)


@pytest.mark.parametrize("subject", WORDS)
def test_a_bounce_in_any_language_is_one_whoever_it_is_from(subject: str) -> None:
    found = read(mail(subject, "550 5.1.1 <support@shop.example> ?\n", author=MAILSERVER))
    assert found is not None
    assert (found.final, found.status) == (True, "5.1.1")
    assert found.diagnostic == "550 5.1.1 <support@shop.example> ?"


NAMED = "X-Failed-Recipients: support@shop.example\n"


@pytest.mark.parametrize(
    "more",
    [NAMED, f"{NAMED}Auto-Submitted: auto-replied\nIn-Reply-To: <2@sort.example>\n"],
    ids=["", "an answer"],
)
def test_what_names_the_recipients_that_failed_is_a_bounce_in_whatever_words(more: str) -> None:
    for text in ("kézbesíthetetlen\n", "550 no\n", "450 4.2.0 no\n"):
        raw = mail("?", text, author=MAILSERVER, more=more)
        assert action(raw) is Action.FAILED
        assert dsn.read(Message.parse(raw), null_sender=False) is None
    assert action(mail("?", "Will be retried.\n", author=MAILSERVER, more=more)) is Action.DELAYED


@pytest.mark.parametrize(
    ("subject", "text", "more"),
    [
        ("[Ticket#55] My lamp", "We have received your message.\n", "Auto-Submitted: auto-replied\n"),
        ("[Ticket#55] My lamp", "You wrote:\nIt was not delivered.\n", "Auto-Submitted: auto-replied\n"),
        ("[Ticket#55] My lamp", "You wrote:\n450 lamps\n", "Auto-Submitted: auto-replied\n"),
        ("Re: My lamp", "This is the postmaster. Your order 4711 is fine.\n", ""),
        ("Re: My lamp", "450 lamps are there, and\n250 lamps more.\n", ""),
        ("Re: My lamp", "Fine.\n> It was not delivered\n", ""),
        ("Your message waits for review", "It is released by an administrator.\n", ""),
    ],
)
def test_what_says_nothing_of_a_delivery_is_no_report_of_one(subject: str, text: str, more: str) -> None:
    for author in ("Postmaster <postmaster@shop.example>", DAEMON):
        assert action(mail(subject, text, author=author, more=more)) is None


def test_an_answer_that_repeats_what_was_asked_about_a_delivery_is_no_report_of_one() -> None:
    for about in ("Delivery of my lamp", "Re: Delivery status", "450 lamps", "Delay of 250 lamps"):
        subject = f"[Ticket#55] {about.removeprefix('Re: ')}"
        assert action(mail(subject, f"We have it.\n{about}\n"), about) is None


def test_a_shops_mail_about_a_delivery_that_does_not_say_how_it_went_is_no_report() -> None:
    assert action(mail("Delivery status of parcel 4711", "It is on its way.\n", author=MAILSERVER)) is None


@pytest.mark.parametrize(
    "subject", ["Delivered: My lamp", "Zugestellt: My lamp", "Successful Mail Delivery Report"]
)
def test_prose_without_a_code_that_says_it_has_arrived_is_no_end(subject: str) -> None:
    assert action(mail(subject, "support@shop.example\n")) is Action.DELIVERED


# ---- its words ----------------------------------------------------------------------------------------

PAGE = """<html><head><style>p { color: red }</style><title>x</title></head><body>
<p><b>Your message to support@shop.example couldn&#39;t be delivered.</b></p>
<p>support wasn't found at shop.example.</p></body></html>
"""
SAID = "Your message to support@shop.example couldn't be delivered. support wasn't found at shop.example."


@pytest.mark.parametrize("kind", ["html", "plain"])
def test_a_bounce_in_html_without_a_code_is_told_in_its_words(kind: str) -> None:
    found = read(mail("Undeliverable: My lamp", PAGE, more=f"Content-Type: text/{kind}\n"))
    assert found == Report(Action.FAILED, "", SAID)


def test_a_code_in_html_is_told_without_the_tags() -> None:
    page = PAGE.replace("support wasn't", "<a href='x'>550 <b>5.1.1</b></a> it wasn't")
    found = read(mail("Undeliverable: My lamp", page, more="Content-Type: text/html\n"))
    assert found == Report(Action.FAILED, "5.1.1", "550 5.1.1 it wasn't found at shop.example.")


def test_a_text_that_begins_with_an_address_is_told() -> None:
    found = read(mail("Returned mail", "<support@shop.example>: no\n"))
    assert found == Report(Action.FAILED, "", "<support@shop.example>: no")


# ---- whatever comes -----------------------------------------------------------------------------------


@given(st.text(max_size=300), st.text(max_size=80), st.booleans(), st.sampled_from([DAEMON, MAILSERVER]))
def test_prose_is_read_whatever_it_is_about(text: str, about: str, named: bool, author: str) -> None:
    raw = mail("Delivery", text, author=author, more=NAMED if named else "")
    for subject in (about, f"{about} 450", f"Undeliverable {about}", text):
        found = read(raw, subject)
        assert found is None or isinstance(found.action, Action)


@pytest.mark.parametrize("kind", ["plain", "html"])
@pytest.mark.parametrize(
    "piece",
    [
        "mail was not ",
        "undelive",
        "-",
        "--\n",
        "subject ",
        "a ",
        "a\n",
        "error  ",
        ": ",
        "<a ",
        "<div>",
        "\u0415\u0301",
    ],
)
def test_hostile_prose_costs_little(piece: str, kind: str) -> None:
    raw = mail("?", piece * (2_000_000 // len(piece)), more=f"Content-Type: text/{kind}; charset=utf-8\n")
    began = time.process_time()
    read(raw, "a " * 200 + "450")
    read(raw, "a" * 100_000 + "450")
    assert time.process_time() - began < 2
