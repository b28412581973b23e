"""Text without its disguises, and the way back to where each letter stood."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import folding
from sortingoffice.mail.folding import Folding

# Longer than what is folded in one go; letters that vanish, stay, or become several are among them.
LONG = st.builds(
    lambda text, number: text * number,
    st.text(alphabet="aB.@+ ä½ﬃ㎏\u200bａ٣", max_size=40),
    st.integers(1, 60),
)


@given(LONG | st.text())
def test_each_letter_of_a_skeleton_leads_back_to_the_one_it_came_from(text: str) -> None:
    table = Folding()
    skeleton, origins = folding.mapped(text, table)
    assert skeleton == folding.skeleton(text)
    came_from = [origins[at] for at in range(len(skeleton))]
    assert came_from == sorted(came_from)
    told = "".join(folding.skeleton(text[index]) for index in sorted(set(came_from)))
    assert told == skeleton, "each letter whole, none twice, none left out"


def test_disguises_leave_the_same_skeleton() -> None:
    for disguised in ("Ａnna . P@HOME.example", "аnna.p@home\u200b.example"):
        assert folding.skeleton(disguised) == "annap@homeexample"


def test_the_way_back_does_not_depend_on_what_was_asked_before() -> None:
    text = "x" * 5000 + "½" + "y" * 5000
    _, there = folding.mapped(text, Folding())
    _, back = folding.mapped(text, Folding())
    every = range(len(folding.skeleton(text)))
    assert [there[at] for at in every] == list(reversed([back[at] for at in reversed(every)]))
