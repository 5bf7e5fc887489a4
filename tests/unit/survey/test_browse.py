"""Keys by prefix and pattern, in pages and groups."""

import base64
from collections.abc import Iterable
from typing import Any

import pytest

from memagent.inspection.places import Places
from memagent.snapshot import State
from memagent.survey.browse import Browse, pattern_of
from tests.unit.survey.listed import NOW_S, line, lines, places_of

UP: tuple[State, ...] = ("up",) * 9
KEYS = [b"user:%d:%b" % (number, what) for number in range(50) for what in (b"name", b"mail")]


def browse(places: Places, states: tuple[State, ...] = UP, **wish: Any) -> Browse:
    return Browse(places, states[: len(places.holders)], now_s=lambda: NOW_S, **wish)


def result_of(browse: Browse, keys: Iterable[bytes]) -> dict[str, Any]:
    """Where every server lists all of them."""
    keys = list(keys)
    for at in browse.wanted:
        browse.take(at, lines(keys[:30]))
        browse.take(at, lines(keys[30:]))
        browse.done(at)
    return browse.result()


def names(found: dict[str, Any]) -> list[str]:
    return [each["key"] for each in found["keys"]]


def test_each_key_counts_once_at_its_owner():
    places = places_of(3, 2)
    made = browse(places)
    assert list(made.wanted) == [0, 1, 2]
    found = result_of(made, KEYS)
    assert found["matched"] == {"keys": 100, "bytes": 10_000}
    assert names(found) == sorted(key.decode() for key in KEYS)
    assert not found["more"]
    for each in found["keys"]:
        owner, _ = places.of(base64.b64decode(each["key_base64"]))
        assert (each["server"], each["backup"]) == (owner.name, False)


def test_where_an_owner_is_not_up_its_copies_count():
    for places in (places_of(3, 2), places_of(3, copies=2)):
        for state in ("down", "returning", "warming", "drained"):
            made = browse(places, ("up", state, *UP))  # type: ignore[arg-type]
            assert len(made.wanted) == len(places.holders)
            found = result_of(made, KEYS)
            assert found["matched"]["keys"] == 100
            assert "s1" not in {each["server"] for each in found["keys"]}


def test_without_a_copy_that_is_up_the_owner_counts():
    found = result_of(browse(places_of(2), ("up", "drained")), KEYS)
    assert {each["server"] for each in found["keys"]} == {"s0", "s1"}
    assert found["matched"]["keys"] == 100


def test_of_one_server_all_counts():
    made = browse(places_of(3, 2), only=4)
    assert list(made.wanted) == [4]
    found = result_of(made, KEYS)
    assert found["matched"]["keys"] == 100
    assert {(each["server"], each["backup"]) for each in found["keys"]} == {("b1", True)}


def test_by_prefix_and_pattern():
    places = places_of()
    assert names(result_of(browse(places, prefix=b"user:7:"), KEYS)) == ["user:7:mail", "user:7:name"]
    assert names(result_of(browse(places, pattern="*:?:mail"), KEYS)) == [f"user:{n}:mail" for n in range(10)]
    both = result_of(browse(places, prefix=b"user:4", pattern="*3:*"), KEYS)
    assert names(both) == ["user:43:mail", "user:43:name"]
    assert result_of(browse(places, prefix=b"USER"), KEYS)["matched"] == {"keys": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("*", [b"a", b"\n"], []),
        ("a?c", [b"abc", b"a\nc", b"a\xffc"], [b"ac", b"abbc", b"abcd", b"xabc"]),
        ("[a]*", [b"[a]", b"[a]b"], [b"a", b"ab"]),
        ("a.b", [b"a.b"], [b"axb"]),
        ("é*", ["é1".encode()], [b"\xe91"]),
        ("**a**", [b"a", b"xax"], [b"x"]),
        ("\\*", [b"\\x"], [b"x"]),
    ],
)
def test_patterns(pattern: str, fits: list[bytes], does_not: list[bytes]):
    matches = pattern_of(pattern)
    assert all(map(matches, fits))
    assert not any(map(matches, does_not))


def test_no_pattern_takes_for_ever():
    assert not pattern_of("*a" * 100 + "b")(b"a" * 250)


def test_page_after_page():
    places, seen, after = places_of(), [], b""
    for _ in range(20):
        found = result_of(browse(places, after=after, most_keys=7), KEYS)
        assert found["matched"]["keys"] == 100
        seen += names(found)
        after = base64.b64decode(found["keys"][-1]["key_base64"])
        if not found["more"]:
            break
    assert seen == sorted(key.decode() for key in KEYS)
    assert not result_of(browse(places, after=after), KEYS)["keys"]


def test_a_page_of_keys_that_come_in_the_worst_order():
    keys = [b"key%06d" % number for number in range(2000, 0, -1)]
    made = browse(places_of(1), most_keys=10)
    for key in keys:
        made.take(0, lines([key]))
    made.done(0)
    found = made.result()
    assert names(found) == [f"key{number:06}" for number in range(1, 11)]
    assert found["more"]


def test_groups_by_what_follows_the_prefix():
    keys = [*KEYS, b"user", b"session/1", b"a-b", b"\xff|x", b"user_x"]
    found = result_of(browse(places_of(1)), keys)
    assert found["groups"][0] == {
        "prefix": "user:",
        "prefix_base64": "dXNlcjo=",
        "keys": 100,
        "bytes": 10_000,
    }
    assert {each["prefix"] for each in found["groups"]} == {"user:", "session/", "a-", "\\xff|", "user_", ""}
    [without] = [each for each in found["groups"] if each["prefix_base64"] is None]
    assert (without["keys"], without["bytes"]) == (1, 100)
    deeper = result_of(browse(places_of(1), prefix=b"user:1"), keys)
    assert {each["prefix"]: each["keys"] for each in deeper["groups"]} == {
        "user:1:": 2,
        **{f"user:1{digit}:": 2 for digit in range(10)},
    }
    whole = result_of(browse(places_of(1), prefix=b"user:7:name"), keys)
    assert [each["prefix_base64"] for each in whole["groups"]] == [None]


def test_the_heaviest_groups_first_and_how_many_are_left_off():
    made = browse(places_of(1))
    made.take(0, [line(b"%d:x" % number, number) for number in range(1, 251)])
    made.done(0)
    found = made.result()
    assert [each["bytes"] for each in found["groups"]] == list(range(250, 150, -1))
    assert (found["groups_left_off"], found["groups_counted_whole"]) == (150, True)


def test_no_more_groups_than_there_is_room_for():
    found = result_of(browse(places_of(3), most_groups_known=10), (b"%d:x" % n for n in range(100)))
    assert (len(found["groups"]), found["groups_counted_whole"]) == (10, False)
    assert found["matched"]["keys"] == 100


def test_what_a_server_listed_before_it_failed_does_not_count():
    made = browse(places_of(2), most_keys=3)
    made.take(0, lines(KEYS))
    made.forget(0)
    made.take(1, lines(KEYS))
    made.done(1)
    found = made.result()
    assert {each["server"] for each in found["keys"]} == {"s1"}
    assert found["matched"]["keys"] == sum(each["keys"] for each in found["groups"]) < 100


def test_times():
    made = browse(places_of(1))
    listed = [line(b"a"), line(b"b", 1, NOW_S + 60, NOW_S - 5), line(b"c", 1, NOW_S - 1, NOW_S + 2)]
    made.take(0, listed)
    made.done(0)
    assert [(each["expires_in_s"], each["last_access_s_ago"]) for each in made.result()["keys"]] == [
        *((None, 0), (60, 5), (0, 0))
    ]
