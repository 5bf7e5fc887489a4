"""The table of hot keys against exact counts: what it says a key has, it has."""

import math
import random
from collections import Counter
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._core.hot import HotKeys, hot_slots
from memagent._core.metrics import Block

NOW_US = 5_000_000_000
HALF_LIFE_S = 10
MOST_KEYS = 512
# after very long, one request that came just now adds this to a rate
PER_S = math.log(2) / HALF_LIFE_S
LONG_US = 10**12


def table(shared: bytearray | None = None, seed: int = 1) -> HotKeys:
    return HotKeys(Block(bytearray(8 * hot_slots()) if shared is None else shared, 0, hot_slots()), seed)


def counting(since_us: int = NOW_US - LONG_US, seed: int = 1) -> HotKeys:
    hot = table(seed=seed)
    hot.clear(since_us)
    return hot


def seen(hot: HotKeys, now_us: int = NOW_US) -> dict[bytes, tuple[float, float]]:
    """Of each key what it had at least and at most, in requests; what others may have had is under b''."""
    found = hot.read(now_us)
    assert found is not None
    keys, _, unseen = found
    shown = {
        key: ((reads + writes - spread) / PER_S, (reads + writes + before + spread) / PER_S)
        for key, reads, writes, before, spread, _ in keys
    }
    return {**shown, b"": (0.0, unseen / PER_S)}


def test_it_takes_as_little_memory_as_the_docs_say() -> None:
    """docs/guides/single-requests.md: 150 KiB a worker."""
    assert 8 * hot_slots() <= 150 * 1024


def test_it_counts_reads_and_writes_apart_and_says_which_server():
    hot = counting()
    for n in range(30):
        hot.add(b"a", NOW_US, is_write=n % 3 == 0, server=2)
    hot.add(b"b", NOW_US, server=1)
    found = hot.read(NOW_US)
    assert found is not None
    keys, total, unseen = found
    rows = {key: row for key, *row in keys}
    assert rows[b"a"] == [pytest.approx(20 * PER_S), pytest.approx(10 * PER_S), 0, 0, 2]
    assert rows[b"b"] == [pytest.approx(PER_S), 0, 0, 0, 1]
    assert (total, unseen) == (pytest.approx(31 * PER_S), 0)


@given(
    st.lists(st.integers(0, 3000).map(lambda n: b"k%d" % (n * n // 3000)), max_size=3000),
    st.integers(0, 2**64 - 1),
)
def test_what_a_key_has_is_between_what_it_is_said_to_have(stream: list[bytes], seed: int):
    hot = counting(seed=seed)
    for key in stream:
        hot.add(key, NOW_US)
    shown = seen(hot)
    for key, exact in Counter(stream).items():
        least, most = shown.get(key, shown[b""])
        assert least - 1e-6 <= exact <= most + 1e-6


def zipf(rng: random.Random, n_keys: int, n: int) -> list[int]:
    weights = list(accumulate(1 / (rank + 1) for rank in range(n_keys)))
    return rng.choices(range(n_keys), cum_weights=weights, k=n)


def test_the_hottest_keys_of_a_skewed_load_come_first_among_many_others():
    rng = random.Random(3)
    hot, exact = counting(), Counter[int]()
    for number in zipf(rng, 50_000, 100_000):
        hot.add(b"key:%d" % number, NOW_US)
        exact[number] += 1
    shown = seen(hot)
    ranked = sorted(shown, key=lambda key: shown[key][0], reverse=True)
    assert ranked[:10] == [b"key:%d" % number for number, _ in exact.most_common(10)]
    for number, count in exact.most_common(10):
        least, most = shown[b"key:%d" % number]
        assert least - 1e-6 <= count <= most + 1e-6
        assert least >= 0.9 * count
    assert len(shown) == MOST_KEYS + 1


def test_where_no_key_is_hot_none_is_said_to_be():
    hot = counting()
    for number in range(100_000):
        hot.add(b"key:%d" % number, NOW_US)
    shown = seen(hot)
    assert len(shown) == MOST_KEYS + 1
    assert max(least for key, (least, _) in shown.items()) == pytest.approx(1)


@pytest.mark.parametrize("past_s", [10, 20, 600, 1000, 100_000])
def test_what_was_hot_fades_by_half_in_ten_seconds(past_s: int):
    hot = counting()
    for _ in range(1000):
        hot.add(b"old", NOW_US)
    now_us = NOW_US + past_s * 1_000_000
    expected = 1000 * 0.5 ** (past_s / HALF_LIFE_S)
    assert seen(hot, now_us)[b"old"][0] == pytest.approx(expected)
    # the same if somebody counts: then all weights may be made small again
    hot.add(b"new", now_us)
    shown = seen(hot, now_us)
    assert shown[b"old"][0] == pytest.approx(expected)
    assert shown[b"new"][0] == pytest.approx(1)
    found = hot.read(now_us)
    assert found is not None
    assert found[1] / PER_S == pytest.approx(expected + 1)


@pytest.mark.parametrize("since_s", [0.5, 5, 50, 500])
def test_a_steady_rate_is_known_from_the_start(since_s: float):
    hot = counting(NOW_US)
    step_us = 2_000
    for n in range(int(since_s * 1_000_000 / step_us)):
        hot.add(b"steady", NOW_US + n * step_us)
    found = hot.read(NOW_US + int(since_s * 1_000_000))
    assert found is not None
    assert found[1] == pytest.approx(500, rel=0.01)


def test_a_sample_stands_for_many_and_the_spread_covers_what_that_may_hide():
    rng = random.Random(7)
    outside = 0
    for _ in range(40):
        hot = counting()
        for _ in range(5000):
            if rng.random() < 1 / 20:
                hot.add(b"hot" if rng.random() < 0.3 else b"k%d" % rng.randrange(400), NOW_US, every=20)
        least, most = seen(hot)[b"hot"]
        outside += not least <= 1500 <= most
    assert outside <= 4


def test_any_bytes_are_a_key_and_lengths_that_no_key_has_are_left_out():
    keys = [b"x" * 250, b"\xff\xfe\x80", b"\x1b[31mred", bytes(range(33, 256)), b"\xc2\x9b2J"]
    hot = counting()
    for key in (*keys, b"", b"y" * 251):
        hot.add(key, NOW_US)
    assert set(seen(hot)) == {*keys, b""}


def test_cleared_it_knows_nothing_and_off_it_shows_nothing():
    hot = counting()
    hot.add(b"a", NOW_US)
    hot.clear(NOW_US)
    assert hot.read(NOW_US) == ([], 0, 0)
    hot.clear(0)
    assert hot.read(NOW_US) is None


def test_a_reader_ends_also_where_the_writer_died_in_the_middle():
    shared = bytearray(8 * hot_slots())
    hot = table(shared)
    hot.clear(NOW_US - LONG_US)
    hot.add(b"a", NOW_US)
    shared[0] |= 1
    assert set(seen(table(shared))) == {b"a", b""}
    # and its successor starts anew
    hot.clear(NOW_US)
    assert shared[0] & 1 == 0
    assert hot.read(NOW_US) == ([], 0, 0)


def test_a_table_has_a_block_of_its_size():
    shared = bytearray(8 * (hot_slots() + 1))
    assert HotKeys(Block(shared, 1, hot_slots())).read(NOW_US) is None
    for wrong in (hot_slots() - 1, hot_slots() + 1):
        with pytest.raises(ValueError, match="no table of hot keys"):
            HotKeys(Block(shared, 0, wrong))
