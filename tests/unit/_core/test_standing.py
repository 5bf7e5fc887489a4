"""One outage for all workers (behaviour section 3, across workers)."""

import pytest

from memagent._core.standing import Standing, standing_slots

UP, DOWN, RETURNING, WARMING = range(4)


def _rows(n_places: int) -> list[Standing]:
    """What each of the workers has in its hands."""
    shared = bytearray(8 * standing_slots(n_places))
    return [Standing(shared, 0, n_places, place) for place in range(n_places)]


def test_two_workers_that_find_it_dead_begin_one_outage() -> None:
    first, second = _rows(2)
    assert first.begin_outage(0) == 1
    assert second.begin_outage(0) == 1
    assert (first.outage, first.opened) == (1, 0)


def test_an_outage_after_one_that_was_joined_is_a_new_one() -> None:
    first, second = _rows(2)
    first.begin_outage(0)
    assert second.begin_outage(1) == 2
    assert first.outage == 2


def test_it_opens_once_and_never_falls_back() -> None:
    row = Standing()
    row.begin_outage(0)
    row.begin_outage(1)
    row.begin_opening(2)
    row.begin_opening(1)
    assert row.opened == 2


def test_an_outage_that_has_not_begun_cannot_be_over() -> None:
    with pytest.raises(ValueError, match="outage 1 has not begun yet"):
        Standing().begin_opening(1)


def test_words_of_all_places_are_their_own() -> None:
    rows = _rows(3)
    assert rows[0].word(2) == (False, 0, UP, False)
    rows[2].say_word(7, WARMING, True)
    rows[0].say_word(1 << 40, RETURNING)
    assert [rows[1].word(place) for place in range(3)] == [
        (True, 1 << 40, RETURNING, False),
        (False, 0, UP, False),
        (True, 7, WARMING, True),
    ]


def test_the_identity_is_shared() -> None:
    first, second = _rows(2)
    first.identity = 1 << 63
    assert second.identity == 1 << 63


def test_rows_are_whole_cache_lines() -> None:
    assert [standing_slots(n) for n in (1, 8, 9)] == [16, 16, 24]


@pytest.mark.parametrize("place", [-1, 2])
def test_a_place_that_is_not_there(place: int) -> None:
    with pytest.raises(ValueError, match=f"place {place} of 2"):
        Standing(None, 0, 2, place)
    with pytest.raises(IndexError, match=f"place {place} of 2"):
        Standing(None, 0, 2, 0).word(place)


class TestOpening:
    def test_it_waits_until_nobody_is_elsewhere(self) -> None:
        first, second = _rows(2)
        first.begin_outage(0)
        second.say_word(1, WARMING, elsewhere=True)
        first.begin_opening(1)
        assert first.opened == 0
        second.say_word(1, WARMING)
        first.begin_opening(1)
        assert second.opened == 1

    def test_called_off_it_stays_closed_until_it_is_begun_again(self) -> None:
        first, second = _rows(2)
        first.begin_outage(0)
        second.say_word(1, WARMING, elsewhere=True)
        for _ in range(100_000):  # attempts are counted in a few bits
            first.begin_opening(1)
            first.call_off_opening()
        second.say_word(1, WARMING)
        assert first.opened == 0
        first.begin_opening(1)
        assert first.opened == 1

    def test_one_that_is_over_cannot_be_called_off(self) -> None:
        row = Standing()
        row.begin_outage(0)
        row.begin_opening(1)
        row.call_off_opening()
        assert row.opened == 1

    def test_an_outage_that_begins_meanwhile_is_not_over_with_it(self) -> None:
        first, second = _rows(2)
        first.begin_outage(0)
        second.say_word(1, WARMING, elsewhere=True)
        first.begin_opening(1)
        assert first.begin_outage(1) == 2
        second.say_word(1, WARMING)
        first.begin_opening(1)
        assert (first.outage, first.opened) == (2, 1)

    def test_a_dead_worker_is_not_waited_for(self) -> None:
        first, second = _rows(2)
        first.begin_outage(0)
        second.say_word(1, WARMING, True, elsewhere=True)
        first.forget_elsewhere(1)
        assert first.word(1) == (True, 1, WARMING, True)
        first.begin_opening(1)
        assert first.opened == 1

    @pytest.mark.parametrize("place", [-1, 2])
    def test_a_place_that_is_not_there(self, place: int) -> None:
        with pytest.raises(IndexError, match=f"place {place} of 2"):
            Standing(None, 0, 2, 0).forget_elsewhere(place)


def test_a_place_that_is_left_has_no_word_any_more() -> None:
    standing = Standing(None, 0, 3, 1)
    standing.say_word(0, 1)
    standing.bury_place(1)
    assert standing.word(1) == (False, 0, 0, False)
    with pytest.raises(IndexError, match="place 3 of 3"):
        standing.bury_place(3)
