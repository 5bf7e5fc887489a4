"""Who guesses tokens waits, and nobody else does."""

import itertools

import pytest

from memagent.admin.guesses import (
    ALL_AT_ONCE,
    ALL_EACH_S,
    AT_ONCE,
    EACH_S,
    MOST_PEERS,
    Guesses,
    HeldError,
)

PEER, OTHER = "10.1.1.1:99", "10.1.1.2:99"
_numbers = itertools.count()


def guess(guesses: Guesses, peer: str, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        guesses.check(peer, now_s)
        guesses.note(peer, b"%d" % next(_numbers), now_s)


def held_s(guesses: Guesses, peer: str, now_s: float) -> int:
    """0: it is not held."""
    try:
        guesses.check(peer, now_s)
    except HeldError as error:
        return error.wait_s
    return 0


def test_a_few_at_once_and_then_one_after_the_other():
    guesses = Guesses()
    guess(guesses, PEER, 100, AT_ONCE)
    assert held_s(guesses, PEER, 100) == EACH_S
    assert held_s(guesses, PEER, 100 + EACH_S - 1) == 1
    guess(guesses, PEER, 100 + EACH_S)
    assert held_s(guesses, PEER, 100 + EACH_S) == EACH_S
    guess(guesses, PEER, 1000, AT_ONCE)
    with pytest.raises(HeldError, match="try again in 5 s"):
        guess(guesses, PEER, 1000)


def test_nobody_else_is_held():
    guesses = Guesses()
    for number in range(MOST_PEERS):
        guess(guesses, f"10.2.{number // 256}.{number % 256}:1", 100)
    guess(guesses, PEER, 100, 1)
    assert held_s(guesses, PEER, 100) > 0, "all together have guessed too often"
    assert held_s(guesses, OTHER, 100) == 0


def test_all_together_are_bounded_for_as_long_as_they_guess():
    guesses = Guesses()
    for number in range(ALL_AT_ONCE):
        guess(guesses, f"10.2.0.{number}:1", 100)
    assert held_s(guesses, "10.2.0.1:1", 100) == 1
    assert held_s(guesses, "10.2.0.1:1", 100 + ALL_EACH_S) == 0
    assert held_s(guesses, "10.2.0.1:1", 100 + EACH_S) == 0


def test_the_same_wrong_token_is_one_guess():
    guesses = Guesses()
    for second in range(10 * AT_ONCE):
        guesses.check(PEER, 100 + second / 100)
        guesses.note(PEER, b"an old one", 100 + second / 100)
    guess(guesses, PEER, 101, AT_ONCE - 1)
    assert held_s(guesses, PEER, 101) > 0


@pytest.mark.parametrize(
    ("one", "another", "is_same"),
    [
        ("10.1.1.1:5", "10.1.1.1:6", True),
        ("10.1.1.1:5", "10.1.1.2:5", False),
        ("[2001:db8::1]:5", "[2001:db8::ffff:2]:6", True),
        ("[2001:db8::1]:5", "[2001:db8:0:1::1]:5", False),
        ("[::ffff:10.1.1.1]:5", "[::ffff:10.1.1.2]:5", False),
        ("[::ffff:10.1.1.1]:5", "10.1.1.1:5", True),
        ("unix uid 5 pid 7", "unix uid 5 pid 8", True),
        ("unix uid 5 pid 7", "unix uid 6 pid 7", False),
        ("unix", "unix", True),
    ],
)
def test_who_is_the_same_peer(one: str, another: str, is_same: bool):
    guesses = Guesses()
    guess(guesses, one, 100, AT_ONCE)
    assert (held_s(guesses, another, 100) > 0) is is_same


def test_memory_is_bounded_and_who_guesses_is_remembered():
    guesses = Guesses()
    for number in range(3 * MOST_PEERS):
        guesses.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:1", b"x", 100)
        guesses.note(PEER, b"%d" % number, 100)
    assert len(guesses._debts) == MOST_PEERS
    assert len(guesses._debts["10.1.1.1"].seen) == AT_ONCE
    for number in range(2000):
        guesses.remember(b"%d" % number)
    assert len(guesses._known) == 1024
    assert guesses.knows(b"1999")
    assert not guesses.knows(b"900")
    assert held_s(guesses, PEER, 100) > 0
