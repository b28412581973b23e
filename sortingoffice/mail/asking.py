"""Lookups as generators: a pure program asks, somebody else fetches.

A program is a generator that yields a `Question` and is sent an `Answer`, and
returns its result.  `net.resolver` drives it with DNS, a test with a dict; so
SPF, DKIM, DMARC and ARC are pure and yet able to ask.

Sources: RFC 1035, RFC 2308 (negative answers), RFC 7208 §4.4, RFC 6376 §6.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import StrEnum
from typing import TypeVar

from sortingoffice.frozen import dataclass

T = TypeVar("T")


class Outcome(StrEnum):
    FOUND = "found"
    NO_DATA = "no data"  # NOERROR with an empty answer
    NO_NAME = "no name"  # NXDOMAIN
    TEMPORARY = "temporary"  # time-out, SERVFAIL, refused, unreachable: never "absent"


@dataclass(frozen=True, slots=True)
class Question:
    """One DNS question.

    name  A-labels without the trailing dot, as the program wrote it
    type  "TXT", "A", "AAAA", "MX", "PTR", "TLSA"
    """

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    records  TXT: the strings of one record joined, octets (`bytes`); A/AAAA: textual address;
             MX: (preference, exchange without the trailing dot, "" for a null MX); PTR: name
    secure   the resolver vouches for the answer (AD flag)
    """

    outcome: Outcome
    records: tuple[object, ...] = ()
    secure: bool = False


Program = Generator[Question, Answer, T]


def run(program: Program[T], answer: Callable[[Question], Answer]) -> T:
    """Drive a program to its end with a synchronous answerer: a zone in a test."""
    try:
        question = next(program)
        while True:
            question = program.send(answer(question))
    except StopIteration as stop:
        result: T = stop.value
        return result
