"""Reply layouts as mail clients write them, in text: which lines are the person's own.

In each layout the letter before the bar says what the line is: P prose, A attribution, Q quote,
S signature, F forwarded header, C covered by a signature within the text.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import quoting
from sortingoffice.mail.quoting import Kind

LETTERS = {Kind.PROSE: "P", Kind.ATTRIBUTION: "A", Kind.QUOTE: "Q", Kind.SIGNATURE: "S", Kind.FORWARD: "F"}
LETTERS[Kind.SIGNED] = "C"

TEXT = {
    "Gmail": """\
P|Yes, please send it.
P|
A|On Thu, Nov 5, 2026 at 9:12 AM Lamp Shop <
A|orders.lampshop.5v8k2m9q@sort.example> wrote:
P|
Q|> Dear Anna,
Q|>
Q|> your lamp is ready.
P|
""",
    "Gmail, German": """\
P|Ja, bitte.
P|
A|Am Do., 5. Nov. 2026 um 09:12 Uhr schrieb Lamp Shop <
A|orders.lampshop.5v8k2m9q@sort.example>:
P|
Q|> Liebe Anna,
""",
    "Gmail, French": """\
P|Oui.
P|
A|Le jeu. 5 nov. 2026 à 09:12, Lamp Shop <orders@sort.example> a
A|écrit :
P|
Q|> Chère Anna,
""",
    "Apple Mail": """\
P|Yes.
P|
A|> On 5. Nov 2026, at 09:12, Lamp Shop <orders@sort.example> wrote:
Q|>
Q|> Dear Anna,
P|
""".replace("A|>", "Q|>"),
    "Apple Mail, Spanish": """\
P|Sí.
P|
A|El 5 nov 2026, a las 9:12, Lamp Shop <orders@sort.example> escribió:
P|
Q|> Querida Anna:
""",
    "Thunderbird, below and between": """\
A|On 05.11.26 09:12, Lamp Shop wrote:
Q|> Dear Anna,
Q|> which colour?
P|
P|Red, please. My address is a@b.example.
P|
Q|> And which size?
P|
P|Large.
P|
S|--\x20
S|Anna
S|a@b.example
""",
    "Thunderbird, German": """\
A|Am 05.11.26 um 09:12 schrieb Lamp Shop:
Q|> Liebe Anna,
P|Rot.
""",
    "Outlook": """\
P|Yes, please.
P|
P|Anna
P|
F|From: Lamp Shop - orders at lampshop.example <orders@sort.example>
F|Sent: Thursday, November 5, 2026 9:12 AM
F|To: Anna <anna@home.example>
F|Subject: Your lamp
Q|
Q|Dear Anna,
Q|your lamp is ready.
""",
    "Outlook, old": """\
P|Yes.
P|
F|-----Original Message-----
F|From: Lamp Shop [mailto:orders@sort.example]
F|Sent: Thursday, November 5, 2026 9:12 AM
F|To: Anna; Bert; Carl;
F| Dora; Emil
F|Subject: Your lamp
Q|
Q|Dear Anna,
""",
    "Outlook, German": """\
P|Ja.
P|
F|Von: Lamp Shop <orders@sort.example>
F|Gesendet: Donnerstag, 5. November 2026 09:12
F|An: Anna <anna@home.example>
F|Betreff: Ihre Lampe
Q|
Q|Liebe Anna,
""",
    "Outlook on a phone": """\
P|Yes.
P|
S|Get Outlook for iOS<https://aka.ms/o0ukef>
F|________________________________
F|From: Lamp Shop <orders@sort.example>
F|Sent: Thursday, November 5, 2026 9:12:00 AM
F|To: Anna <anna@home.example>
F|Subject: Your lamp
Q|
Q|Dear Anna,
""",
    "iPhone": """\
P|Yes
P|
S|Sent from my iPhone
P|
A|On 5 Nov 2026, at 09:12, Lamp Shop <orders@sort.example> wrote:
P|
Q|> Dear Anna,
""",
    "iPhone, German": """\
P|Ja
P|
S|Von meinem iPhone gesendet
P|
A|Am 05.11.2026 um 09:12 schrieb Lamp Shop <orders@sort.example>:
P|
Q|> Liebe Anna,
""",
    "K-9": """\
P|Yes
P|
S|--\x20
S|Sent from my Android device with K-9 Mail. Please excuse my brevity.
""",
    "K-9, quoting": """\
P|Yes
P|
A|Am 5. November 2026 09:12:00 MEZ schrieb Lamp Shop <orders@sort.example>:
Q|>Liebe Anna,
Q|>
Q|>Ihre Lampe
""",
    "Samsung": """\
P|Yes
P|
S|Sent from my Galaxy
P|
F|-------- Original message --------
F|From: Lamp Shop <orders@sort.example>
F|Date: 05/11/2026 09:12 (GMT+01:00)
F|To: Anna <anna@home.example>
F|Subject: Your lamp
Q|
Q|Dear Anna,
""",
    "Yahoo": """\
P|Yes
P|
A|On Thursday, November 5, 2026 at 09:12:00 AM GMT+1, Lamp Shop <orders@sort.example> wrote:
Q|
Q|Dear Anna,
Q|your lamp
""",
    "mutt": """\
A|On Thu, Nov 05, 2026 at 09:12:00AM +0100, Lamp Shop wrote:
Q|> Dear Anna,
P|Yes.
""",
    "Gmail, forwarded": """\
P|See below.
P|
F|---------- Forwarded message ---------
F|From: Lamp Shop <orders@sort.example>
F|Date: Thu, Nov 5, 2026 at 9:12 AM
F|Subject: Your lamp
F|To: <anna@home.example>
Q|
Q|
Q|Dear Anna,
""",
    "Apple Mail, forwarded": """\
P|See below.
P|
F|Begin forwarded message:
F|
F|From: Lamp Shop <orders@sort.example>
F|Subject: Your lamp
F|Date: 5. November 2026 at 09:12:00 CET
F|To: anna@home.example
Q|
Q|Dear Anna,
""",
    "Thunderbird, forwarded": """\
P|
P|
F|-------- Weitergeleitete Nachricht --------
F|Betreff: \tIhre Lampe
F|Datum: \tThu, 5 Nov 2026 09:12:00 +0100
F|Von: \tLamp Shop <orders@sort.example>
F|An: \tanna@home.example
Q|
Q|Liebe Anna,
""",
    "Japanese": """\
P|はい
P|
A|2026年11月5日(木) 9:12 Lamp Shop <orders@sort.example>:
P|
Q|> こんにちは
""",
    "Russian": """\
P|Да
P|
A|чт, 5 нояб. 2026 г. в 09:12, Lamp Shop <orders@sort.example>:
P|
Q|> Здравствуйте
""",
    "Outlook, in a language that no table has": """\
P|Ναι.
P|
F|Από: Lamp Shop <orders@sort.example>
F|Στάλθηκε: Πέμπτη, 5 Νοεμβρίου 2026 9:12 πμ
F|Προς: Anna <anna@home.example>
F|Θέμα: Lamp
Q|
Q|Αγαπητή Anna
""",
    "Zoho": """\
P|Yes.
P|
F|---- On Thu, 05 Nov 2026 09:12:00 +0100 Lamp Shop <orders@sort.example> wrote ---
Q|
Q|Dear Anna,
""",
    "Gmail, Hungarian": """\
P|Igen.
P|
A|Anna Private <anna@home.example> ezt írta (időpont: 2026. nov. 5., Cs,
A|9:12):
P|
Q|> Kedves
""",
    "NetEase": """\
P|Yes.
P|
A|At 2026-11-05 09:12:00, "Lamp Shop" <orders@sort.example> wrote:
Q|
Q|Dear Anna,
""",
    "The Bat!": """\
P|Hello Lamp,
P|
A|Thursday, November 5, 2026, 9:12:00 AM, you wrote:
P|
Q|LS> Dear Anna,
Q|LS>> and before
P|
P|To> be is no quote.
""",
    "GroupWise": """\
P|Ja.
P|
Q|>>> Lamp Shop <orders@sort.example> 05.11.2026 09:12 >>>
Q|Liebe Anna,
Q|die Lampe ist da.
""",
    "signs of the person's own": """\
Q|>>> note to self 10:00 >>>
P|Liebe Anna,
""",
    "signed within the text": """\
P|Below.
P|
C|-----BEGIN PGP SIGNED MESSAGE-----
C|Hash: SHA512
C|
C|Yes.
C|
C|On Thu, Nov 5, 2026 at 9:12 AM Lamp Shop <orders@lampshop.example> wrote:
C|> Hello,
C|- --
C|Anna
C|-----BEGIN PGP SIGNATURE-----
C|
C|iQEz
C|-----END PGP SIGNATURE-----
P|Bye.
""",
    "an answer to what the other side signed within the text": """\
P|Yes.
P|
F|From: Lamp Shop
F|Sent: Thursday
F|To: Anna
F|Subject: Lamp
Q|
Q|-----BEGIN PGP SIGNED MESSAGE-----
Q|Hash: SHA512
Q|
Q|Dear Anna,
Q|-----BEGIN PGP SIGNATURE-----
Q|-----END PGP SIGNATURE-----
""",
    "a person's own list": """\
P|Please note:
P|Mail: a@b.example
P|Meeting: 5 November 2026 9:12
P|Place: Berlin
P|
P|Thanks
""",
    "a date above a quote": """\
P|I wrote on 5 November 2026, at 9:12,
P|what follows:
P|
Q|> Kedves
""",
    "prose with a colon": """\
P|Hello, I wrote to you: please
P|call me at 9:12 on 5 Nov 2026.
P|From: me, with love
P|To: you
P|
P|On Monday she wrote:
P|nothing.
P|-- not a signature
P|Sent by post.
""",
    "a table that is no header": """\
P|Name: Anna
P|To: Berlin
P|Date: Monday
""",
}


@pytest.mark.parametrize("client", TEXT)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_client_s_layout_is_read(client: str, end: str) -> None:
    lines = TEXT[client].split("\n")[:-1]
    source = "".join(line[2:] + end for line in lines)
    shown: list[str] = []
    for stretch in quoting.of_text(source):
        pieces = source[stretch.start : stretch.end].split("\n")
        shown += [f"{LETTERS[stretch.kind]}|{piece.rstrip(chr(13))}" for piece in pieces[:-1]]
    # A blank line belongs to nobody: only those with words are compared.
    assert [line for line in shown if line[2:].strip()] == [line for line in lines if line[2:].strip()]


@given(st.lists(st.sampled_from([*"".join(TEXT.values()).split("\n"), "> x", "", "-- ", "x:"]), max_size=20))
def test_the_stretches_cover_the_text(lines: list[str]) -> None:
    source = "\n".join(line[2:] for line in lines)
    at = 0
    for stretch in quoting.of_text(source):
        assert stretch.start == at < stretch.end
        at = stretch.end
    assert at == len(source)


@pytest.mark.parametrize(
    "source",
    [
        "On 1 Jan 2026 at 9:12 a\n" * 30_000,
        "From: a\n" * 60_000,
        "From: a\nTo: b\n" * 30_000,
        "-" * 1_000_000,
        "--- x" * 100_000,
        ("-" * 199 + "\n") * 3_000,
        "> \n\nx:\n" * 60_000,
        "a" * 1_000_000 + ":\n> x",
        "\n" * 1_000_000,
    ],
    ids=lambda source: repr(source[:20]),
)
def test_hostile_text_takes_linear_time(source: str) -> None:
    started = time.process_time()
    quoting.of_text(source)
    assert time.process_time() - started < 5
