"""Ordinary replies, as people write them to shops, doctors and authorities: nothing in them must be held."""

from __future__ import annotations

import base64
import gzip
import zlib

from tests import leaks
from tests.leaks import HELLO, alone, attached, mixed, part, text_part

TEXTS: dict[str, str] = {
    "thanks": "Thank you, that works for me.\n\nBest\nAnna\n",
    "an order": "Hello,\n\norder 2026-10-00731 has not arrived. The parcel number is 00340434161094042557.\n",
    "a meeting": "Let's meet at home. For example at 5 pm, or at noon. Point 3 on the list is done, dot.\n",
    "an invitation": "Come and see me at home, or write to me at work.\n",
    "prices": "2 x 19,99 EUR = 39,98 EUR (incl. 19 % VAT)\nIBAN: GB33 BUKB 2020 1555 5555 55\n",
    "numbers": "12 15 18 21 24 27 30 33 36 39 42 45 48 51 54 57 60\n10, 20, 30, 40, 50, 60, 70, 80, 90\n",
    "a phone number": "Call me: +49 30 1234567, or 030 / 123 45 67 between 9 and 12 at the office.\n",
    "a link": "See https://lampshop.example/orders/view?id=731&token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3MzEifQ\n",
    "a tracking link": "https://t.lampshop.example/ls/click?upn=u001.YnFzZ2RmZ2hqa2xxd2VydHl1aW9w-2Bd-2FMM\n",
    "others' addresses": "Write to orders@lampshop.example or jim@other.example (he is at other.example).\n",
    "a list's return path": "It came from bounces+jim=other.example@lists.lampshop.example, it says.\n",
    "code": 'def at(home):\n    return home["example"] + "." + str(home)  # anna, home, example\n',
    "JavaScript": "var x = 'a' + 'b' + \"c\"; String.fromCharCode(65,66,67); // \\u00e9 \\x41 \\n\n",
    "a diff": "--- a/x.py\n+++ b/x.py\n@@ -1,3 +1,3 @@\n-old = 1\n+new = 2\n",
    "a log": "2026-11-22T10:00:00Z host7 sshd[123]: Accepted publickey for root from 192.0.2.1\n",
    "a hash": "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  file.iso\n",
    "a key": "-----BEGIN CERTIFICATE-----\n"
    + base64.encodebytes(bytes(range(200))).decode()
    + "-----END CERTIFICATE-----\n",
    "a table": "| name | at | dot |\n|---|---|---|\n| Anna | home | example |\n",
    "German": "Guten Tag,\n\nim Anhang der Vertrag. Der Punkt auf Seite 3 ist offen.\n\nMit Grüßen\n",
    "French": "Bonjour,\n\nle point est que le colis n'est pas arrivé chez moi. Merci et à bientôt.\n",
    "Turkish": "Merhaba, et ve nokta hakkında. Teşekkürler.\n",
    "Japanese": "お世話になっております。よろしくお願いいたします。\n",
    "Chinese": "您好，请问我的订单什么时候发货？这一点很重要。\n",
    "emoji": "Super 👍🏽 🇩🇪🇫🇷 ❤️‍🔥 ok\n",
    "percent": "100% sure, 50%40 is no number; a=3D b=40 &amp; &copy; 5 < 6 > 4 (see [1])\n",
    "format flowed": "This is a line that \ngoes on and on at the \nend of which there is a dot.\n",
    "a long text": "The quick brown fox jumps over the lazy dog at home, for example. " * 300 + "\n",
}
_TOKEN = base64.urlsafe_b64encode(bytes((n * 37) % 256 for n in range(300))).decode()
HTMLS: dict[str, str] = {
    "a newsletter": '<html><head><style>.x{display:none} p::before{content:"\\201C"}</style></head><body>'
    + '<table><tr><td><a href="https://t.example/c?u='
    + _TOKEN
    + '"><img src="https://t.example/o.gif?u=1" width=1 height=1></a></td></tr></table>' * 20
    + "</body></html>",
    "Outlook": "<!--[if mso]><p>&nbsp;</p><![endif]--><p class=MsoNormal>Thanks<o:p></o:p></p>",
    "a phone": '<div dir="auto">Yes, at 5 pm.<div dir="auto"><br></div><div>Sent from my phone</div></div>',
}


def _photo() -> bytes:
    return b"\xff\xd8\xff\xe1\x00\x20Exif\0\0II*\0Canon EOS 5D\0" + bytes(
        (n * n * 31 + n) % 256 for n in range(40_000)
    )


def _pdf() -> bytes:
    stream = zlib.compress(b"BT /F1 12 Tf (Invoice 731 at home) Tj [(An) -20 (na)] TJ ET " * 40)
    return b"%PDF-1.7\n1 0 obj<</Length 9/Filter/FlateDecode>>stream\n" + stream + b"\nendstream\n%%EOF"


FILES: dict[str, bytes] = {
    "a photo": attached("image/jpeg", _photo(), name="IMG_0731.jpg"),
    "a PDF": attached("application/pdf", _pdf(), name="invoice.pdf"),
    "a docx": attached("application/zip", leaks.zipped("<w:t>Hello at home</w:t>"), name="letter.docx"),
    "a gzip": attached("application/gzip", gzip.compress(b"log line\n" * 500), name="log.gz"),
    "random octets": attached(
        "application/octet-stream", bytes((n * 7919 + n // 256) % 256 for n in range(60_000))
    ),
    "a spreadsheet": mixed(
        HELLO, text_part("csv", "".join(f"{n};{n * 7};{n * n}\n" for n in range(3000)), "utf-8", "base64")
    ),
    "a signature": mixed(
        HELLO,
        part("application/pgp-signature", b"-----BEGIN PGP SIGNATURE-----\r\n\r\niQEz\r\n", "7bit"),
        kind="signed",
    ),
}


def replies() -> dict[str, bytes]:
    found = {
        name: alone(text_part("plain", text, "utf-8", "quoted-printable")) for name, text in TEXTS.items()
    }
    for name, text in TEXTS.items():
        quoted = "".join(f"> {line}\n" for line in text.split("\n"))
        answered = f"Yes.\n\nOn 1 Nov 2026, at 10:00, Lamp Shop wrote:\n{quoted}"
        found[f"{name}, quoted"] = alone(text_part("plain", answered, "utf-8", "8bit"))
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>\n")
        found[f"{name}, in HTML"] = mixed(
            text_part("plain", text, "utf-8", "8bit"),
            text_part("html", f"<html><body><p>{escaped}</p></body></html>", "utf-8", "quoted-printable"),
            kind="alternative",
        )
    found |= {
        name: alone(text_part("html", source, "utf-8", "quoted-printable")) for name, source in HTMLS.items()
    }
    return found | FILES
