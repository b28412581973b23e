"""How people write a day: "4.3.80", "March 4th, 1980", "4 de marzo de 1980", "1980年3月4日".

    numbers(day)  skeletons of what is written in numbers, to be found only with signs between: `parted`
    spoken(day)   some of those in words
    words(day)    all of them: a pattern over a skeleton

Promise: "431980" and "4380" are numbers like others; "4.3.1980" and "4/3/80" are the day.

Sources: ISO 8601; the months' names as the locales of Unicode CLDR have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date

from sortingoffice.mail.folding import Folding, skeleton

_MONTHS = tuple(
    names.split()
    for names in (
        "January Jan Januar janvier enero ene gennaio januari janeiro stycznia января leden ledna",
        "February Feb Februar février fév febrero febbraio februari fevereiro lutego февраля února",
        "March Mar März marzo mars maart marts março marca марта března",
        "April Apr avril abril aprile abr kwietnia апреля dubna",
        "May Mai mayo maggio mei maj maio maja мая května",
        "June Jun Juni juin junio giugno juni junho czerwca июня června",
        "July Jul Juli juillet julio luglio juli julho lipca июля července",
        "August Aug août agosto augustus augusti sierpnia августа srpna",
        "September Sep Sept septembre septiembre settembre setembro września сентября září",
        "October Oct Oktober Okt octobre octubre ottobre outubro października октября října",
        "November Nov novembre noviembre novembro listopada ноября listopadu",
        "December Dec Dezember Dez décembre diciembre dicembre dezembro grudnia декабря prosince",
    )
)
_PARTS = re.compile(r"(\d{1,4})[^\d\n]{1,3}(\d{1,2})[^\d\n]{1,3}(\d{1,4})")


def numbers(day: date) -> frozenset[str]:
    """Day, month and year, or month first, or year first; with and without zeros, and the century."""
    days = {f"{day.day}", f"{day.day:02}"}
    months = {f"{day.month}", f"{day.month:02}"}
    years = {f"{day.year:04}", f"{day.year % 100:02}"}
    found = {d + m + y for d in days for m in months for y in years}
    found |= {m + d + y for d in days for m in months for y in years}
    return frozenset(found | {f"{day.year:04}{m}{d}" for d in days for m in months})


def parted(text: str, day: date) -> bool:
    """Whether this is the day in numbers, with something between them."""
    match = _PARTS.fullmatch(text)
    if match is None:
        return False
    first, second, third = map(int, match.groups())
    years = (day.year, day.year % 100)
    if (first, second, third) == (day.year, day.month, day.day):
        return True
    return third in years and (first, second) in ((day.day, day.month), (day.month, day.day))


def spoken(day: date) -> Iterator[str]:
    """As most people say it, in each language."""
    for name in _MONTHS[day.month - 1]:
        yield f"{day.day} {name} {day.year:04}"
        yield f"{name} {day.day} {day.year:04}"


def words(day: date, table: Folding) -> re.Pattern[str]:
    names = _either(skeleton(each, table) for each in _MONTHS[day.month - 1])
    number = f"0?{day.day}"
    return re.compile(
        rf"{number}(?:st|nd|rd|th|er|o|e)?(?:of|de|di)?{names}(?:of|de|del)?{day.year:04}"
        rf"|{names}(?:the)?{number}(?:st|nd|rd|th)?(?:of)?{day.year:04}"
        rf"|{day.year:04}[年년]0?{day.month}[月월]{number}"
    )


def _either(names: Iterable[str]) -> str:
    return f"(?:{'|'.join(sorted(set(map(re.escape, names)), key=len, reverse=True))})"
