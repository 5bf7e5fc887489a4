"""How keys spread, and which are not where they should be."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from memagent.inspection.places import Places
from memagent.survey.distribution import Distribution
from tests.support.memcached import Memcached
from tests.unit.inspection.pools import places as real_places
from tests.unit.inspection.pools import store
from tests.unit.survey.listed import lines, places_of

KEYS = [b"key:%d" % number for number in range(2000)]


def result_of(
    places: Places, listed: dict[int, Iterable[bytes]], forget: Iterable[int] = (), **more: Any
) -> dict[str, Any]:
    made = Distribution(places, 1.0, pause=lambda _: None, **more)
    for at in made.wanted:
        made.take(at, lines(listed.get(at, ())))
        if at in forget:
            made.forget(at)
        else:
            made.done(at)
    return made.result()


def at_home(places: Places, keys: Iterable[bytes] = KEYS) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {at: [] for at in range(len(places.holders))}
    for key in keys:
        for at in places.positions_of(key):
            if at >= 0:
                found[at].append(key)
    return found


@pytest.mark.parametrize("places", [places_of(3), places_of(3, 2), places_of(3, copies=2)])
def test_keys_that_are_all_where_they_should_be(places: Places):
    found = result_of(places, at_home(places))
    copies = 2 if places.pool.has_copies else 1
    assert found["totals"] == {
        "keys": copies * 2000,
        "bytes": copies * 200_000,
        "owners": 2000,
        "no_copy": 0,
        "only_copy": 0,
        "strays": 0,
    }
    assert (found["sampled_one_in"], found["sampled"]) == (1, copies * 2000)
    assert found["has_copies"] == (copies == 2)
    assert found["looked_at"] == {"keys": 0, "confirmed": 0}
    for backup in {each["backup"] for each in found["holders"]}:
        of_class = [each for each in found["holders"] if each["backup"] == backup]
        for share in ("keys_share", "bytes_share", "ring_share"):
            assert sum(each[share] for each in of_class) == pytest.approx(1)
        for each in of_class:
            assert each["expected_low"] <= each["keys_share"] <= each["expected_high"]
            assert each["expected_high"] - each["expected_low"] < 0.15


def test_a_heavy_server_is_outside_of_what_chance_allows():
    places = places_of(3)
    listed = at_home(places)
    listed[1] = listed[1][:300]
    [a, b, c] = result_of(places, listed)["holders"]
    assert b["keys_share"] < b["expected_low"]
    assert (a["name"], a["keys"], a["bytes"]) == ("s0", len(listed[0]), 100 * len(listed[0]))
    assert c["bytes_share"] == pytest.approx(c["keys_share"])


def test_strays():
    places = places_of(3, 2)
    owner, copy = places.positions_of(b"lost")
    [elsewhere] = {3, 4} - {copy}
    found = result_of(places, {owner: [b"lost"], copy: [b"lost"], elsewhere: [b"lost"]})
    assert found["totals"]["strays"] == found["holders"][elsewhere]["strays"] == 1
    assert found["examples"]["strays"] == [
        {"key": "lost", "key_base64": "bG9zdA==", "server": places.holders[elsewhere].name}
    ]


def test_what_was_not_read_is_not_known():
    places = places_of(3, 2)
    found = result_of(places, at_home(places), forget=[1, 3])
    for at in (1, 3):
        told = found["holders"][at]
        assert {name for name, value in told.items() if value is None} == {
            *("keys", "bytes", "keys_share", "bytes_share", "expected_low", "expected_high"),
            *("no_copy", "only_copy", "strays"),
        }
        assert told["ring_share"] > 0
    # What the others lack may be there.
    assert found["totals"]["strays"] == found["totals"]["no_copy"] == found["totals"]["only_copy"] == 0
    assert found["holders"][0]["keys_share"] + found["holders"][2]["keys_share"] == pytest.approx(1)
    assert found["holders"][0]["expected_low"] > found["holders"][0]["ring_share"]


def test_nothing_at_all():
    found = result_of(places_of(2, 1), {})
    assert all(each["keys"] == 0 and each["keys_share"] is None for each in found["holders"])
    assert all(each["expected_low"] is None for each in found["holders"])


def test_keys_that_go_by_a_tag_stay_together_and_chance_says_nothing():
    places = places_of(2, hash_tag="{}")
    assert all(each["expected_low"] is None for each in result_of(places, at_home(places))["holders"])


def test_a_sample_is_the_same_everywhere():
    places = places_of(3, 2)
    found = result_of(places, at_home(places), sample_bytes=500 * 110)
    assert found["totals"]["keys"] == 4000
    assert 8 <= found["sampled_one_in"] <= 16
    assert found["totals"]["owners"] * 2 == found["sampled"] <= 520
    assert found["totals"]["no_copy"] == found["totals"]["only_copy"] == 0


class Real:
    """Two servers and a backup which have really got what they have."""

    def __init__(self, start: Callable[..., Memcached]) -> None:
        self.servers, self.backup = [start() for _ in range(2)], start()
        self.places = real_places(self.servers, [self.backup])

    def store(self, key: bytes) -> None:
        store(self.servers, [self.backup], self.places, key)

    def forget(self, at: int, *keys: bytes) -> None:
        with [*self.servers, self.backup][at].connect() as wire:
            for key in keys:
                wire.expect(b"delete %b\r\n" % key, b"DELETED\r\n")


@pytest.fixture
def real(memcached_factory: Callable[..., Memcached]) -> Real:
    return Real(memcached_factory)


def test_keys_that_lack_a_copy_or_an_owner(real: Real):
    keys = KEYS[:40]
    for key in keys:
        real.store(key)
    listed = at_home(real.places, keys)
    owned = {at: [key for key in keys if real.places.positions_of(key)[0] == at] for at in (0, 1)}
    without_copy, without_owner = owned[0][:3], owned[1][:2]
    real.forget(2, *without_copy)
    real.forget(1, *without_owner)
    # And what looks as if, because it was written or has expired while servers were listed.
    fresh, expired = owned[0][5], owned[1][5]
    real.forget(0, *[key for key in (expired,) if key in owned[0]])
    real.forget(1, expired)
    real.forget(2, expired)
    listed[2] = [key for key in listed[2] if key not in (*without_copy, fresh, expired)]
    listed[1] = [key for key in listed[1] if key not in without_owner]
    found = result_of(real.places, listed)
    assert (found["totals"]["no_copy"], found["totals"]["only_copy"]) == (3, 2)
    assert found["looked_at"] == {"keys": 7, "confirmed": 5}
    assert {each["key"].encode() for each in found["examples"]["no_copy"]} == set(without_copy)
    assert {each["key"].encode() for each in found["examples"]["only_copy"]} == set(without_owner)
    assert {each["server"] for each in found["examples"]["only_copy"]} == {"b0"}
    assert [each["no_copy"] for each in found["holders"]] == [3, 0, 0]
    assert [each["only_copy"] for each in found["holders"]] == [0, 0, 2]


def test_of_many_some_are_looked_at_and_stand_for_all(real: Real):
    keys = KEYS[:200]
    for key in keys:
        real.store(key)
    listed = at_home(real.places, keys)
    really = listed[0][::2] + listed[1][::2]
    real.forget(2, *really)
    listed[2] = []
    found = result_of(real.places, listed, looked_at=100)
    assert found["looked_at"]["keys"] == 100
    assert 60 < found["totals"]["no_copy"] < 140
    assert len(found["examples"]["no_copy"]) == 20
    assert {each["key"].encode() for each in found["examples"]["no_copy"]} <= set(really)


def test_keys_that_no_request_can_name_are_not_asked_for(real: Real):
    found = result_of(real.places, {0: [b"a b", b"\n"], 1: [b"a b", b"\n"]})
    assert found["looked_at"]["keys"] == 0
    assert found["totals"]["no_copy"] == 2


def test_servers_that_do_not_answer_any_more_clear_nobody(real: Real):
    real.backup.kill()
    listed = at_home(real.places, KEYS[:10])
    listed[2] = []
    found = result_of(real.places, listed)
    assert (found["looked_at"]["keys"], found["totals"]["no_copy"]) == (0, 10)
