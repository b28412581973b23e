"""A letter to print: for vendors without a mail address, and for those who insist on paper.

One HTML page for a printer: window address field and fold of DIN 5008 form B on A4, nothing loaded
from anywhere, every value escaped.

Sources: DIN 5008:2020 (form B); CSS Paged Media §3; HTML §13.3 (escaping); CSP Level 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape

from sortingoffice.core.letter import Changed

_NOTHING_FROM_OUTSIDE = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
@page { size: A4; margin: 0 }
html { font: 11pt/1.45 Georgia, "Times New Roman", serif; color: #000; background: #fff }
body { box-sizing: border-box; width: 210mm; min-height: 297mm; margin: 0 auto; padding: 45mm 20mm 20mm 25mm }
address { height: 45mm; font-style: normal; white-space: pre-line }
.day { text-align: right; margin: 0 0 8mm }
h1 { font-size: 12pt; margin: 0 0 6mm }
table { border-collapse: collapse; width: 100%; margin: 4mm 0 6mm }
th, td { text-align: left; vertical-align: top; padding: 1.5mm 3mm 1.5mm 0; border-bottom: .3pt solid #666 }
td { overflow-wrap: anywhere }
tr, .end { break-inside: avoid }
.sign { margin-top: 18mm; border-top: .3pt solid #000; width: 70mm; padding-top: 1mm }
@media screen { html { background: #eee } body { background: #fff; margin: 8mm auto } }
"""


def page(subject: str, *, vendor: str, alias: str, person: str, changed: Sequence[Changed], day: date) -> str:
    """The whole document.

    alias   the address by which the vendor knows the person
    person  their name as the vendor has it; "" leaves room to sign only
    """
    rows = "".join(
        f'<tr><th scope="row">{_lines(each.label)}</th><td>{_lines(each.old)}</td>'
        f"<td>{_lines(each.new)}{f' (from {each.since:%Y-%m-%d})' if each.since else ''}</td></tr>"
        for each in changed
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_FROM_OUTSIDE}">'
        f"<title>{escape(subject)} - {escape(vendor)}</title><style>{_STYLE}</style></head><body>\n"
        f"<address>{escape(vendor)}</address>\n"
        f'<p class="day">{day:%Y-%m-%d}</p>\n<h1>{escape(subject)}</h1>\n'
        "<p>Hello,</p><p>please note this change of what I gave you. You know me by the address "
        f"<strong>{escape(alias)}</strong>.</p>\n"
        '<table><thead><tr><th scope="col">What</th><th scope="col">Until now</th>'
        f'<th scope="col">New</th></tr></thead><tbody>{rows}</tbody></table>\n'
        '<div class="end"><p>Please confirm with a short answer that your records are up to date.</p>'
        f'<p>Thank you</p><p class="sign">{escape(person)}</p></div>\n</body></html>\n'
    )


def _lines(value: str) -> str:
    return escape(value).replace("\n", "<br>")
