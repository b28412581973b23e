"""How long a database has been silent."""

from __future__ import annotations

from sortingoffice.core.silence import Silence


def test_a_refusal_alone_is_no_silence_and_what_was_long_is_one_until_it_is_over() -> None:
    silence = Silence(10.0, now=0.0)
    silence.answered(asked=1, now=1)
    silence.refused()
    assert not silence.long(10.9)
    assert silence.long(11)
    silence.answered(asked=12, now=12)
    assert silence.long(12), "an answer tells nothing of what the others could do"
    silence.over(13)
    assert not silence.long(13)
    assert silence.broken


def test_who_asks_nothing_hears_no_silence() -> None:
    silence = Silence(10.0, now=0.0)
    assert not silence.long(1000)


def test_an_answer_that_took_long_ends_a_silence_that_was_as_long() -> None:
    silence = Silence(10.0, now=0.0)
    silence.answered(asked=1, now=12)
    assert silence.long(12)


def test_a_short_outage_is_forgotten_with_the_next_answer() -> None:
    silence = Silence(10.0, now=0.0)
    silence.refused()
    away = silence.broken
    silence.answered(asked=5, now=5)
    assert (away, silence.broken) == (False, True)
    assert not silence.long(100)


def test_of_what_was_before_us_nobody_knows_how_long_it_was() -> None:
    silence = Silence(10.0, now=0.0)
    silence.unknown()
    assert silence.long(0)
    silence.over(1)
    assert not silence.long(1)
