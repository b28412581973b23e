"""What a peer's network may try: guesses, and who is punished for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import naming, rejects
from sortingoffice.core.limits import Peers, network

MOST = 20


def guess(peers: Peers, ip: str, wrong: int, right: int = 0, now: float = 0.0) -> None:
    for unknown in [True] * wrong + [False] * right:
        peers.asked(ip, now, unknown=unknown)


def wait(peers: Peers, ip: str, now: float = 0.0) -> float | None:
    return peers.wait(ip, now, most_unknown=MOST)


def test_who_guesses_waits_longer_and_longer_and_is_shut_out() -> None:
    peers = Peers()
    waits = []
    for _ in range(25):
        waits.append(wait(peers, "192.0.2.1"))
        guess(peers, "192.0.2.1", 1)
    assert waits[:11] == [0.0] * 11, "a few slips cost nothing"
    assert waits[11] == 0.5
    assert waits[20] == 5.0, "and not for ever"
    assert waits[21:] == [None] * 4
    assert wait(peers, "192.0.2.2") == 0.0, "nobody else does"


def test_a_newsletter_host_with_some_wrong_recipients_never_waits() -> None:
    peers = Peers()
    guess(peers, "192.0.2.1", wrong=500, right=501)
    assert wait(peers, "192.0.2.1") == 0.0


def test_a_relationship_that_is_known_makes_room_for_so_much_in_the_hour_and_no_more() -> None:
    peers = Peers()
    for hour in range(2):
        for _ in range(10 * MOST):
            peers.named("192.0.2.1", 4000.0 * hour, (1, 1), most=MOST)
        guess(peers, "192.0.2.1", MOST, now=4000.0 * hour)
        assert wait(peers, "192.0.2.1", 4000.0 * hour) == 0.0, "as many as it was named"
        guess(peers, "192.0.2.1", 1, now=4000.0 * hour)
        assert wait(peers, "192.0.2.1", 4000.0 * hour) is None
    peers.named("192.0.2.1", 4000.0, (1, 2), most=MOST)
    assert wait(peers, "192.0.2.1", 4000.0) == 0.0, "another one makes room of its own"


def test_the_hour_ends() -> None:
    peers = Peers()
    guess(peers, "192.0.2.1", 50)
    assert wait(peers, "192.0.2.1", 3599.0) is None
    assert wait(peers, "192.0.2.1", 3601.0) == 0.0
    guess(peers, "192.0.2.1", 1, now=3601.0)
    assert wait(peers, "192.0.2.1", 3601.0) == 0.0, "it begins anew"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_a_peer_is_an_ipv4_address_or_a_64(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same


def test_a_guesser_that_changes_its_address_within_its_network_gains_nothing() -> None:
    peers = Peers()
    for number in range(30):
        guess(peers, f"2001:db8::{number:x}", 1)
    assert wait(peers, "2001:db8::abcd") is None


def test_who_guesses_over_several_processes_is_one() -> None:
    peers = Peers(processes=2)
    for number in range(15):
        guess(peers.of(number % 2), "192.0.2.1", 2)
    assert wait(peers.of(0), "192.0.2.1") is None
    assert wait(peers.of(1), "192.0.2.1") is None


def test_messages_of_a_network_are_bounded_only_where_a_limit_is_set() -> None:
    peers = Peers()
    assert all(peers.sent("192.0.2.1", 0.0, most=0) for _ in range(1000))
    assert [peers.sent("192.0.2.1", 0.0, most=3) for _ in range(5)] == [True] * 3 + [False] * 2
    assert peers.sent("192.0.2.1", 3601.0, most=3)


LOCAL = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=24)


@given(LOCAL, st.data())
def test_every_single_slip_is_near(local: str, data: st.DataObject) -> None:
    alias = f"{local}@sort.example"
    at = data.draw(st.integers(0, len(local) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789"))
    slips = {
        local[:at] + letter + local[at:],
        local[:at] + letter + local[at + 1 :],
        local[:at] + local[at + 1 :],
        local[:at] + local[at + 1 : at + 2] + local[at] + local[at + 2 :],
    } - {local, ""}
    for slip in slips:
        assert alias in rejects.near(naming.canonical(f"{slip}@sort.example"))


def test_a_very_long_recipient_costs_nothing() -> None:
    assert rejects.near("a" * 64 + "@sort.example") == ()
