"""Names: sayable, hard to guess, and matched however a clerk spells them."""

from __future__ import annotations

import hashlib
import math
import re
from itertools import combinations, count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import naming

octets = st.binary(min_size=64, max_size=64)


def source(seed: bytes) -> naming.Random:
    """Randomness that never ends, and is the same for the same seed."""
    numbers = count()
    return lambda n: hashlib.shake_256(seed + next(numbers).to_bytes(8, "big")).digest(n)


# ---- the words -----------------------------------------------------------------------------------


def test_there_are_1024_words_of_four_to_seven_letters() -> None:
    assert len(naming.words()) == len(set(naming.words())) == 1024
    assert [word for word in naming.words() if not re.fullmatch("[a-z]{4,7}", word)] == []


def test_no_two_words_are_within_one_edit() -> None:
    """Two words within one edit share a form in which at most one letter of each is left out."""
    short: dict[str, set[str]] = {}
    for word in naming.words():
        for form in {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}:
            short.setdefault(form, set()).add(word)
    near = {
        pair for words in short.values() for pair in combinations(sorted(words), 2) if _distance(*pair) < 2
    }
    assert near == set()


def _distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_no_two_pairs_of_words_join_to_the_same_letters() -> None:
    """Matching ignores the dot, so a shared spelling would cost randomness."""
    joined = {a + b for a in naming.words() for b in naming.words()}
    assert len(joined) == 1024 * 1024


# ---- canonical -----------------------------------------------------------------------------------


@given(st.text())
def test_canonical_is_idempotent(text: str) -> None:
    once = naming.canonical(text)
    assert naming.canonical(once) == once


@pytest.mark.parametrize(
    "spelled",
    [
        "lunar.otter4821",
        "LUNAR.OTTER4821",
        "lunar-otter4821",
        "lunar_otter.4821",
        "lunarotter4821",
        "l.u.n.a.r-otter4821",
    ],
)
def test_a_clerk_s_spelling_still_arrives(spelled: str) -> None:
    assert naming.canonical(f"{spelled}@Sort.Example") == "lunarotter4821@sort.example"


def test_the_domain_keeps_its_dots_and_hyphens() -> None:
    assert naming.canonical("a.b@my-sort.example") == "ab@my-sort.example"


@pytest.mark.parametrize(
    "local", ["postmaster", "Post-Master", "ABUSE", "mailer-daemon", "mailer.daemon", "yes", "no"]
)
def test_the_office_s_own_names_are_reserved_in_any_spelling(local: str) -> None:
    assert naming.reserved(local)


def test_reserved_names_are_canonical() -> None:
    assert {naming.canonical(name) for name in naming.RESERVED} == naming.RESERVED


# ---- making names --------------------------------------------------------------------------------


@given(octets)
def test_an_alias_is_two_words_and_four_digits(seed: bytes) -> None:
    local = naming.alias_local(source(seed), 0)
    match = re.fullmatch(r"([a-z]+)\.([a-z]+)(\d{4})", local)
    assert match is not None
    assert {match[1], match[2]} <= set(naming.words())
    assert len(local) <= 24


@pytest.mark.parametrize(("live", "words"), [(0, 2), (1, 2), (600, 2), (601, 3), (600_000, 3), (700_000, 4)])
def test_more_live_aliases_take_more_words(live: int, words: int) -> None:
    assert naming.alias_local(source(b""), live).count(".") == words - 1


@given(st.integers(0, 10**9))
def test_an_alias_is_as_hard_to_guess_as_promised(live: int) -> None:
    words = naming.alias_local(source(b""), live).count(".") + 1
    assert words * 10 + math.log2(10_000) >= math.log2(max(live, 1)) + 24


def test_every_word_and_every_digit_comes_up() -> None:
    random = source(b"even")
    made = [naming.alias_local(random, 0) for _ in range(8_000)]
    first = {local.split(".")[0] for local in made}
    digits = [int(local[-4:]) for local in made]
    assert len(first) == 1024
    assert min(digits) < 20
    assert max(digits) > 9_979
    assert abs(sum(digits) / len(digits) - 5_000) < 150


def test_a_label_stands_before_the_random_part() -> None:
    assert re.fullmatch(r"myshop\.[0-9a-hjkmnp-tv-z]{9}", naming.labelled("My Shop!", source(b"")))


@given(st.text(), octets)
def test_a_labelled_local_part_is_plain_and_short(label: str, seed: bytes) -> None:
    local = naming.labelled(label, source(seed))
    assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9]+)*", local)
    assert len(local) <= 24


@pytest.mark.parametrize(
    ("contact", "readable"),
    [
        ("support@lampshop.example", "support.lampshop"),
        ("Support+4711@mail.lamp-shop.co.uk", "support.lampshop"),
        ("bounces-123=anna=home.example@lists.example", "bounces123.lists"),
        ("müller@bücher.example", "muller.bucher"),
        ('"odd one"@[192.0.2.1]', "oddone.192"),
    ],
)
def test_a_reverse_alias_is_readable(contact: str, readable: str) -> None:
    local = naming.reverse_local(contact, source(b""))
    assert re.fullmatch(re.escape(readable) + r"\.[0-9a-hjkmnp-tv-z]{8}", local)


@given(st.text(min_size=1), st.text(min_size=1), octets)
def test_a_reverse_alias_fits_a_local_part_whatever_the_contact(local: str, domain: str, seed: bytes) -> None:
    made = naming.reverse_local(f"{local}@{domain}", source(seed))
    assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9]+)*", made)
    assert len(made) <= 64


@given(
    st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.from_regex(r"[a-z]{1,20}\.(com|co\.uk)", fullmatch=True)
)
def test_a_reverse_alias_never_contains_the_whole_address(local: str, domain: str) -> None:
    made = naming.canonical(naming.reverse_local(f"{local}@{domain}", source(b"")))
    assert naming.canonical(f"{local}.{domain}") not in made


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Lamp Shop", "lamp-shop"),
        ("  Müller & Söhne GmbH ", "muller-sohne-gmbh"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("日本酒", "日本酒"),
        ("ランプ屋", "ランプ屋"),
        ("हिन्दी दुकान", "हिन्दी-दुकान"),
        ("한국", "한국"),
        ("a_b", "a-b"),
        ("!!!", "vendor"),
        ("", "vendor"),
    ],
)
def test_a_slug_is_what_one_would_type(name: str, slug: str) -> None:
    assert naming.slug(name) == slug


@given(st.text())
def test_a_slug_is_its_own_slug_and_never_empty(name: str) -> None:
    slug = naming.slug(name)
    assert slug
    assert len(slug) <= 40
    assert naming.slug(slug) == slug
