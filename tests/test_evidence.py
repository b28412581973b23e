"""Evidence and its chain: the odds by an alias's form, and reports from strangers' folders."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sortingoffice.core import evidence, naming, report
from sortingoffice.mail import token


@pytest.mark.parametrize(
    ("local", "bits"),
    [
        (lambda: naming.alias_local(lambda n: bytes(n), 10), 33),
        (lambda: naming.alias_local(lambda n: bytes(n), 5000), 43),
        (lambda: naming.labelled("shop", lambda n: bytes(range(n))), 45),
        (lambda: token.return_path(bytes(32), 7), 80),
        (lambda: "my.shop", None),
        (lambda: "anna1990", None),
        (lambda: "lampshop1234", None),
    ],
)
def test_the_odds_are_those_of_the_aliass_own_form(local: object, bits: int | None) -> None:
    assert callable(local)
    found = evidence.bits(f"{local()}@sort.example")
    assert (None if found is None else int(found)) == bits


def test_more_wrong_guesses_make_a_lucky_one_likelier() -> None:
    alias = f"{naming.alias_local(lambda n: bytes(n), 10)}@sort.example"
    few, many = evidence.one_in(alias, 0), evidence.one_in(alias, 10_000)
    assert few is not None
    assert many is not None
    assert few > many * 9_999
    assert "10,000 recipients" in evidence.odds(alias, 10_000)
    assert "chosen by its owner" in evidence.odds("my.shop@sort.example", 0)


def test_a_link_depends_on_all_before_it() -> None:
    issued = {"alias": "a@b.example"}
    start = evidence.start(issued)
    one, two = {"message": "1"}, {"message": "2"}
    first = evidence.link(start, one)
    chain = [(one, start, first), (two, first, evidence.link(first, two))]
    assert evidence.broken(start, chain) == ""
    assert evidence.broken(start, chain[1:]) == "2"
    assert evidence.broken(evidence.start({"alias": "c@b.example"}), chain) == "1"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {"entry": VALUES, "previous": VALUES, "hash": VALUES, "file": VALUES}, optional={"x": VALUES}
)
DATA = st.fixed_dictionaries(
    {"format": st.just(report.FORMAT)},
    optional={"issued": VALUES, "evidence": st.lists(ENTRY, max_size=3) | VALUES},
)


@given(DATA, st.binary(max_size=40))
@settings(deadline=None)
def test_a_folder_of_a_strangers_making_is_read_or_refused_never_more(data: object, message: bytes) -> None:
    files = {report.DATA: json.dumps(data).encode(), "messages/1.eml": message}
    try:
        found = report.verify(files)
    except report.Unreadable:
        return
    assert found


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_octets_are_no_report(octets: bytes) -> None:
    with pytest.raises(report.Unreadable):
        report.verify({report.DATA: octets})
