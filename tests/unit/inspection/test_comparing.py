"""The same or not: every part of an item, and what counts as a write in between."""

from dataclasses import replace

import pytest

from memagent.inspection.client import FOREVER, Item
from memagent.inspection.comparing import Pair, knows_ttl

ITEM = Item(5, 0, 100, 17, "aa")


@pytest.mark.parametrize(
    ("pair", "finding"),
    [
        (Pair(ITEM, ITEM), "agree"),
        (Pair(ITEM, None), "missing_copy"),
        (Pair(None, ITEM), "missing_owner"),
        (Pair(None, None), "gone"),
        (Pair(ITEM, replace(ITEM, digest="bb")), "differ"),
    ],
)
def test_findings(pair, finding):
    assert pair.finding() == finding


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        ({"cas": 18}, ()),
        ({"digest": "bb"}, ("value",)),
        ({"size_bytes": 6}, ("value",)),
        ({"flags": 1}, ("flags",)),
        ({"ttl_s": 98}, ()),
        ({"ttl_s": 102}, ()),
        ({"ttl_s": 97}, ("ttl",)),
        ({"ttl_s": FOREVER}, ("ttl",)),
        ({"ttl_s": None}, ()),
        ({"is_stale": True}, ("stale",)),
        ({"flags": 1, "digest": "bb", "ttl_s": 1}, ("value", "flags", "ttl")),
    ],
)
def test_what_differs(change, differences):
    other = replace(ITEM, **change)
    assert Pair(ITEM, other).differences() == differences
    assert Pair(other, ITEM).differences() == differences


def test_a_life_about_to_end_is_not_one_for_ever():
    assert Pair(replace(ITEM, ttl_s=0), replace(ITEM, ttl_s=FOREVER)).differences() == ("ttl",)


def test_two_looks():
    other = replace(ITEM, digest="bb")
    different = Pair(ITEM, other)
    assert different.is_as_before(different)
    assert not different.is_as_before(Pair(ITEM, replace(other, cas=99)))
    assert not different.is_as_before(Pair(replace(ITEM, digest="cc"), other))
    assert not different.is_as_before(Pair(ITEM, None))
    # a holder that has nothing has had no write, whatever came to the other one
    assert Pair(ITEM, None).is_as_before(Pair(replace(ITEM, cas=1), None))
    # and a life that is running out is no write
    assert different.is_as_before(Pair(replace(ITEM, ttl_s=99), other))


def test_is_the_time_to_live_known():
    assert knows_ttl(Pair(ITEM, ITEM))
    assert not knows_ttl(Pair(ITEM, replace(ITEM, ttl_s=None)))
    assert not knows_ttl(Pair(ITEM, None))
