"""Lines that repeat."""

from memagent.repeats import MOST, WINDOW_S, Repeats


def test_the_first_are_said_and_the_others_counted():
    repeats = Repeats[str]()
    assert [repeats.allows("a", 0.1 * n) for n in range(MOST + 3)] == [True] * MOST + [False] * 3
    assert repeats.allows("b", 2)
    assert repeats.due(WINDOW_S - 0.1) == []
    assert repeats.due(WINDOW_S) == [("a", 3)]
    assert repeats.due(WINDOW_S) == []


def test_a_new_window_begins_and_the_old_one_is_not_lost():
    repeats = Repeats[str]()
    said = sum(repeats.allows("a", 0.0) for _ in range(MOST + 5))
    said += sum(repeats.allows("a", WINDOW_S) for _ in range(MOST + 7))
    assert said == 2 * MOST
    assert repeats.due(WINDOW_S) == [("a", 5)]
    assert repeats.rest() == [("a", 7)]
    assert repeats.rest() == []


def test_nothing_is_kept_of_what_was_said_rarely():
    repeats = Repeats[int]()
    assert all(repeats.allows(number, 0.01 * number) for number in range(1000))
    assert repeats.due(100) == []
    assert not repeats._windows
