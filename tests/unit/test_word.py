"""A person's word on a held message: the first line of their own, and never the subject."""

from __future__ import annotations

import pytest

from sortingoffice.core import word
from sortingoffice.core.word import Word
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message


@pytest.mark.parametrize("answered", ["", "In-Reply-To: <1@x.example>\r\n"])
@pytest.mark.parametrize(
    ("subject", "body", "wanted"),
    [
        ("Re: Not sent", "yes\r\n", Word.YES),
        ("Re: Not sent", "\r\n Ja, immer.\r\n> yes or no?\r\n", Word.ALWAYS),
        ("yes", "no\r\n", Word.NO),
        ("yes", "> yes\r\n", None),
        ("yes", "yes, but without the phone\r\n", None),
        ("", "\ufeff\u201cYes\u201d\u200b\r\n", Word.YES),
        ("", "\u00a1S\u00ed!\r\n", Word.YES),
        ("", "yes?\r\n", None),
        ("", "-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nyes\r\n", Word.YES),
        ("yes", "", None),
    ],
)
def test_a_word_is_the_first_line_and_never_the_subject(
    answered: str, subject: str, body: str, wanted: Word | None
) -> None:
    raw = f"From: anna@home.example\r\nSubject: {subject}\r\n{answered}\r\n{body}".encode()
    assert word.said(mime.parse(Message.parse(raw))) is wanted
