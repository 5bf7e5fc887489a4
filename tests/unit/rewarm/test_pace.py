"""How fast to copy, on a clock of the test's own."""

import pytest

from memagent.rewarm.pace import MOST_KEYS, Pace


def begun_in(pace: Pace, seconds: float, item_bytes: int, start_s: float = 0.0) -> tuple[int, int]:
    """Keys that begin within so much time, and the most within 20 ms."""
    now_s, end_s = start_s, start_s + seconds
    begun: list[tuple[float, int]] = []
    while now_s < end_s:
        wait_s = pace.wait_s(now_s)
        if wait_s:
            now_s += wait_s + 1e-6
            continue
        keys = pace.batch_keys()
        pace.begin(keys)
        pace.fetched(keys, keys * item_bytes)
        begun.append((now_s, keys))
        if len(begun) > 1_000_000:
            raise AssertionError("no limit at all")
    most = max(sum(n for at, n in begun if first <= at < first + 0.02) for first, _ in begun[:500])
    return sum(keys for _, keys in begun), most


def test_without_limits_nothing_waits() -> None:
    pace = Pace(0, 0, 0.0)
    for _ in range(1000):
        assert pace.wait_s(0.0) == 0.0
        pace.begin(MOST_KEYS)
    assert pace.batch_keys() == MOST_KEYS


@pytest.mark.parametrize("rate", [10, 1_000, 20_000, 150_000])
def test_keys_come_at_their_rate_and_smoothly(rate: int) -> None:
    keys, most = begun_in(Pace(rate, 0, 0.0), 10.0, 100)
    assert keys == pytest.approx(rate * 10, rel=0.02, abs=2)
    assert most <= 2 * rate * 0.02 + MOST_KEYS / 50 + 1


@pytest.mark.parametrize(("rate", "item_bytes"), [(100_000, 100), (1_000_000, 10_000), (1_000_000, 1 << 20)])
def test_bytes_come_at_their_rate(rate: int, item_bytes: int) -> None:
    keys, _ = begun_in(Pace(0, rate, 0.0, item_bytes), 30.0, item_bytes)
    assert keys * item_bytes == pytest.approx(rate * 30, rel=0.05, abs=2 * item_bytes)


def test_a_pause_is_not_made_up_for() -> None:
    pace = Pace(1_000, 0, 0.0)
    begun_in(pace, 1.0, 100)
    keys, _ = begun_in(pace, 1.0, 100, start_s=3600.0)
    assert keys <= 1_050


def test_a_rate_can_be_changed_under_way() -> None:
    pace = Pace(1_000, 0, 0.0)
    begun_in(pace, 1.0, 100)
    pace.set_rates(10_000, 0, 1.0)
    keys, _ = begun_in(pace, 1.0, 100, start_s=1.0)
    assert keys == pytest.approx(10_000, rel=0.05)
    pace.set_rates(0, 0, 2.0)
    assert pace.wait_s(2.0) == 0.0


def test_batches_of_large_items_are_small() -> None:
    pace = Pace(0, 0, 0.0, 1 << 20)
    assert pace.batch_keys() == 1
    for _ in range(2000):
        pace.fetched(pace.batch_keys(), pace.batch_keys() * 100)
    assert pace.batch_keys() > 100


def test_keys_that_are_there_already_cost_a_quarter() -> None:
    pace = Pace(1_000, 0, 0.0)
    pace.begin(100)
    whole_s = pace.wait_s(0.0)
    pace.asked(100)
    assert pace.wait_s(0.0) == pytest.approx(whole_s / 4)
