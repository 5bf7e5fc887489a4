"""Which pool a key belongs to: the longest prefix decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._core.routes import Route, Routes
from tests.support.core import World

POOL = World().pool
OTHER = World().pool

# Few letters, so that prefixes begin with each other; the ends of the alphabet, and a zero byte.
TEXTS = st.lists(st.sampled_from([b"a", b"b", b"\xff", b"\0"]), max_size=6).map(b"".join)


def routes(*prefixes: bytes) -> Routes:
    return Routes([Route(prefix, POOL) for prefix in prefixes])


@given(prefixes=st.sets(TEXTS, max_size=12), keys=st.lists(TEXTS, min_size=1, max_size=20))
def test_the_longest_prefix_wins(prefixes: set[bytes], keys: list[bytes]) -> None:
    made = routes(*prefixes)
    for key in keys:
        expected = max((prefix for prefix in prefixes if key.startswith(prefix)), key=len, default=None)
        found = made.of(key)
        assert (found.prefix if found else None) == expected


@given(prefixes=st.lists(TEXTS, max_size=8, unique=True), chance=st.randoms(use_true_random=False))
def test_the_order_in_which_they_are_given_means_nothing(prefixes: list[bytes], chance: object) -> None:
    shuffled = sorted(prefixes, key=lambda _: chance.random())  # type: ignore[attr-defined]
    one, other = routes(*prefixes), routes(*shuffled)
    for key in [*prefixes, b"", b"ab", b"a\xff\xff"]:
        found, too = one.of(key), other.of(key)
        assert (found and found.prefix) == (too and too.prefix)


def test_two_routes_of_one_prefix_are_refused() -> None:
    with pytest.raises(ValueError, match="one prefix"):
        routes(b"a", b"b", b"a")


@pytest.mark.parametrize(
    ("given_", "only"),
    [
        ([Route(b"", POOL)], POOL),
        ([Route(b"", POOL), Route(b"a", POOL)], POOL),
        ([Route(b"a", POOL)], None),
        ([], None),
        ([Route(b"", POOL), Route(b"a", OTHER)], None),
        ([Route(b"", POOL), Route(b"a", POOL, strip=True)], None),
        ([Route(b"", POOL, strip=True)], POOL),  # there is nothing to strip
    ],
)
def test_where_keys_decide_nothing_nobody_looks_at_them(given_: list[Route], only: object) -> None:
    assert Routes(given_).only is only


def test_pools_are_there_once_in_the_order_given() -> None:
    assert Routes([Route(b"b", POOL), Route(b"a", OTHER), Route(b"c", POOL)]).pools == [POOL, OTHER]


def test_what_holds_can_change() -> None:
    made = routes(b"", b"a")
    made.configure([Route(b"b", OTHER)])
    assert made.of(b"a") is None
    found = made.of(b"b1")
    assert found is not None
    assert found.pool is OTHER
    with pytest.raises(ValueError, match="one prefix"):
        made.configure([Route(b"a", POOL), Route(b"a", POOL)])
    assert made.of(b"b1") is found
