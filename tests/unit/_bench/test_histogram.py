import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._bench.histogram import Histogram


def test_empty() -> None:
    latency = Histogram()
    assert (latency.count, latency.percentile_us(50), latency.max_us, latency.mean_us) == (0, 0, 0, 0)


def test_small_values_are_exact() -> None:
    latency = Histogram()
    for ns in range(64):
        latency.record(ns)
    assert latency.percentile_us(50) == 0.031
    assert latency.percentile_us(100) == 0.063


@given(
    st.lists(st.integers(0, 2**45), min_size=1, max_size=200), st.sampled_from([0, 1, 50, 90, 99, 99.9, 100])
)
def test_within_one_percent_of_the_sorted_list(values_ns: list[int], percent: float) -> None:
    latency = Histogram()
    for ns in values_ns:
        latency.record(ns)
    wanted = max(1, -(-len(values_ns) * percent // 100))
    exact_us = sorted(values_ns)[int(wanted) - 1] / 1000
    assert latency.percentile_us(percent) == pytest.approx(exact_us, rel=0.01)
    assert latency.max_us == max(values_ns) / 1000
    assert latency.min_us == min(values_ns) / 1000
    assert latency.mean_us == pytest.approx(sum(values_ns) / len(values_ns) / 1000)


def test_a_clock_that_went_back_counts_as_zero() -> None:
    latency = Histogram()
    latency.record(-5)
    assert (latency.count, latency.max_us) == (1, 0)


def test_the_largest_value_has_a_slot() -> None:
    latency = Histogram()
    latency.record(2**63 - 1)
    assert latency.percentile_us(50) == pytest.approx(2**63 / 1000, rel=0.01)


def test_clear() -> None:
    latency = Histogram()
    latency.record(1000)
    latency.clear()
    latency.record(5)
    assert (latency.count, latency.min_us, latency.max_us) == (1, 0.005, 0.005)


@pytest.mark.parametrize("percent", [-1, 100.1])
def test_no_such_percentile(percent: float) -> None:
    with pytest.raises(ValueError, match="0-100"):
        Histogram().percentile_us(percent)
