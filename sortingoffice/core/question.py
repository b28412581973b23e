"""The mail that asks the person about a held message, and those that tell how it ended.

Promise: whoever reads it sees every value that would leave, and what each answer does.
"""

from __future__ import annotations

from datetime import datetime

from sortingoffice.core import render
from sortingoffice.core.cards import Filled
from sortingoffice.core.checked import Found, in_short, shows
from sortingoffice.core.notice import Notice

MOST_PLACES = 20


def asked(
    vendor: str,
    subject: str,
    why: str,
    filled: tuple[Filled, ...],
    left_out: tuple[str, ...],
    found: tuple[Found, ...],
    route: str,
    expires: datetime,
    original: bytes,
) -> Notice:
    """What would leave, and what each answer does.

    why       a clause: "card shipping is not granted to Lamp Shop"; "" where only `found` is asked about
    left_out  fields of the asked cards that stay, as "card.field"
    found     what the leak guard found
    route     a sentence about TLS
    """
    both = [each for each in (why, shows(found)) if each]
    lines = [f"Your message {_quoted(subject)} to {vendor} waits for your word: {'; and '.join(both)}."]
    if filled:
        lines += ["It would give them:", "", *_table(_given(filled, vendor)), ""]
    if left_out:
        lines += [f"Not included: {', '.join(left_out)}.", ""]
    if found:
        lines += ["Found in it:", "", *_places(found)]
    lines += [
        route,
        "",
        "Answer this mail with one word on the first line:",
        f"  yes         sends it{', as it is, with all of this' if found else ''}",
        "  no          drops it",
    ]
    if found:
        lines += ["To change it: answer no, take out what should not leave, and send it again."]
    else:
        lines += [f"  yes always  sends it, and lets {vendor} have exactly these fields from now on"]
    lines += ["", f"Without an answer it is dropped on {expires:%Y-%m-%d at %H:%M} UTC, and you are told."]
    about = why or f"your mail to {vendor} would show {in_short(found)}"
    return Notice(f"Not sent: {about} (yes or no?)", tuple(lines), original)


def _given(filled: tuple[Filled, ...], vendor: str) -> list[tuple[str, str, str]]:
    return [
        (f"{value.card}: {label}", item.value.text or "", f"new to {vendor}" if item.new else "they have it")
        for each in filled
        for item, value, label in zip(
            each.items,
            (item.value for item in each.items),
            render.labels(tuple(item.value for item in each.items)),
            strict=True,
        )
    ]


def _places(found: tuple[Found, ...]) -> list[str]:
    """Where each finding stands, and the words around it."""
    lines: list[str] = []
    for each in found[:MOST_PLACES]:
        lines += [f"  {each.where}: {each.what}"]
        lines += [f"      {each.around}"] if each.around else []
        lines += [""]
    if len(found) > MOST_PLACES:
        lines += [f"  and {len(found) - MOST_PLACES} more like these", ""]
    return lines


def not_always(vendor: str) -> Notice:
    """ "yes always" to something that the leak guard found."""
    return Notice(
        f"Still waiting: your message to {vendor} needs a yes or a no",
        (
            '"yes always" is not offered for what was found in this message: what must not leave is asked'
            " about each time. Your message still waits.",
            "Answer the earlier mail with yes, and this one message goes as it is; or with no.",
        ),
    )


def refused(vendor: str, what: str, hint: str, original: bytes) -> Notice:
    """A yes came too late: something changed meanwhile."""
    return Notice(f"Not sent: {what}", (hint or f"Nothing went to {vendor}.",), original or None)


def dropped(vendor: str, subject: str, original: bytes) -> Notice:
    return Notice(
        f"Not sent: you dropped your message to {vendor}",
        (f"Nothing went to {vendor}. Your message {_quoted(subject)} is attached, for its words.",),
        original or None,
    )


def run_out(vendor: str, subject: str, original: bytes) -> Notice:
    return Notice(
        f"Not sent: no answer about your message to {vendor}",
        (
            f"Nothing went to {vendor}. Your message {_quoted(subject)} waited for three days.",
            "It is attached; send it again if you still want it to go.",
        ),
        original or None,
    )


def unclear(vendor: str) -> Notice:
    return Notice(
        f"Not understood: may your message go to {vendor}?",
        (
            "The first line of your answer is neither yes, no nor yes always. Your message still waits.",
            "Answer the earlier mail again, with one of these on a line of its own.",
        ),
    )


def _quoted(subject: str) -> str:
    return f'"{subject}"' if subject else "without a subject"


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    """Aligned as far as plain text can; further lines of a value stand under its first."""
    first = max((len(label) for label, _, _ in rows), default=0)
    second = min(max((len(line) for _, value, _ in rows for line in value.split("\n")), default=0), 40)
    lines: list[str] = []
    for label, value, note in rows:
        head, *rest = value.split("\n")
        lines.append(f"  {label:<{first}}  {head:<{second}}  {note}")
        lines += [f"  {'':<{first}}  {line}" for line in rest]
    return lines
