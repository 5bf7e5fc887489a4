"""How unevenly keys may lie by chance alone."""

import random

import pytest

from memagent.survey.chance import bounds


def test_what_chance_gives_is_within_them():
    chance, part, n_keys = random.Random(7), 0.3, 2_000
    low, high = bounds(part, n_keys, 1_000_000)
    shares = [sum(chance.random() < part for _ in range(n_keys)) / n_keys for _ in range(300)]
    assert sum(low <= share <= high for share in shares) >= 297
    assert min(shares) < part - (part - low) / 2


def test_more_keys_make_them_narrow_as_far_as_the_ring_is_known():
    few, many, most = (bounds(0.5, n_keys, 20_000) for n_keys in (100, 100_000, 10**12))
    assert few[0] < many[0] < most[0] < 0.5 < most[1] < many[1] < few[1]
    assert most == pytest.approx((0.4894, 0.5106), abs=0.0001)


def test_no_more_than_all_and_no_less_than_nothing():
    assert bounds(0.01, 5, 1000)[0] == 0
    assert bounds(0.99, 5, 1000)[1] == 1
    assert bounds(1.0, 5, 1000) == (1, 1)
