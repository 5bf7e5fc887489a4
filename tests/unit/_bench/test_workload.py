import math
from collections import Counter
from typing import Any

import pytest

from memagent._bench.workload import VERBS, Workload


def workload(**changes: Any) -> Workload:
    settings = {
        "mix": {"get": 1.0},
        "keys": 1000,
        "key_prefix": b"bench-",
        "key_bytes": 12,
        "value_bytes": 10,
        **changes,
    }
    return Workload(**settings)


def test_the_bytes_of_each_verb() -> None:
    load = workload()
    value = load.value_of(7)
    assert load.request("get", [7]) == b"get bench-000007\r\n"
    assert load.request("gets", [999]) == b"gets bench-000999\r\n"
    assert load.request("set", [7]) == b"set bench-000007 0 0 10\r\n" + value + b"\r\n"
    assert load.request("delete", [7]) == b"delete bench-000007\r\n"
    assert load.request("incr", [7]) == b"incr bench-000007n 1\r\n"
    assert load.request("touch", [7]) == b"touch bench-000007 0\r\n"


def test_multiget() -> None:
    load = workload(multiget=3)
    assert load.request("get", [1, 0, 1]) == b"get bench-000001 bench-000000 bench-000001\r\n"


def test_an_empty_prefix_and_an_empty_value() -> None:
    load = workload(key_prefix=b"", key_bytes=3, value_bytes=0)
    assert load.request("set", [42]) == b"set 042 0 0 0\r\n\r\n"


def test_a_name_and_its_number() -> None:
    load = workload()
    assert load.number_of(b"bench-000007") == 7
    for other in (b"bench-00007", b"bench-0000070", b"bunch-000007", b"bench-00000x", b"bench-001000", b""):
        assert load.number_of(other) == -1


def test_neighbouring_keys_have_different_values() -> None:
    load = workload(value_bytes=20)
    assert len({load.value_of(key) for key in range(200)}) == 200
    assert all(len(load.value_of(key)) == 20 and load.value_of(key).isalpha() for key in range(200))


def test_sizes_from_a_range() -> None:
    load = workload(value_bytes=5, value_bytes_max=8, value_shape="range")
    assert {len(load.value_of(key)) for key in range(1000)} == {5, 6, 7, 8}
    assert load.largest_value_bytes == 8


def test_lognormal_sizes_have_the_median_and_the_bound_asked_for() -> None:
    load = workload(keys=20_000, value_bytes=200, value_bytes_max=2000, value_shape="lognormal")
    sizes = sorted(len(load.value_of(key)) for key in range(20_000))
    assert sizes[10_000] == pytest.approx(200, rel=0.05)
    # one sigma above the median is the 84th percentile
    assert sizes[16_827] == pytest.approx(200 * math.e, rel=0.07)
    assert sizes[0] >= 1
    assert sizes[-1] == 2000


def test_the_mix_has_its_shares() -> None:
    seen = Counter(verb for verb, _ in workload(mix={"get": 90.0, "set": 9.0, "incr": 1.0}).sample(100_000))
    assert set(seen) == {"get", "set", "incr"}
    assert seen["get"] == pytest.approx(90_000, rel=0.03)
    assert seen["set"] == pytest.approx(9_000, rel=0.1)
    assert seen["incr"] == pytest.approx(1_000, rel=0.25)


def test_a_share_too_small_for_the_table_still_happens() -> None:
    assert "touch" in {verb for verb, _ in workload(mix={"get": 1e6, "touch": 1.0}).sample(50_000)}


def test_uniform_keys() -> None:
    seen = Counter(key for _, key in workload(keys=10).sample(100_000))
    assert sorted(seen) == list(range(10))
    assert all(count == pytest.approx(10_000, rel=0.1) for count in seen.values())


@pytest.mark.parametrize("exponent", [0.5, 0.99, 1.5])
def test_zipf_keys(exponent: float) -> None:
    seen = Counter(key for _, key in workload(keys=1000, zipf=exponent).sample(200_000))
    total = sum(n**-exponent for n in range(1, 1001))
    for key in (0, 1, 9):
        assert seen[key] == pytest.approx(200_000 * (key + 1) ** -exponent / total, rel=0.15)


def test_the_seed_decides() -> None:
    assert workload(seed=3).sample(50) == workload(seed=3).sample(50)
    assert workload(seed=3).sample(50) != workload(seed=4).sample(50)


def test_counters_are_used_only_by_incr() -> None:
    assert workload(mix={"incr": 1.0}).uses_counters
    assert not workload(mix={"get": 1.0, "incr": 0.0}).uses_counters


def test_no_such_request() -> None:
    load = workload()
    for verb, keys in (("set", [1, 2]), ("get", [1, 2]), ("get", [1000]), ("mn", [1])):
        with pytest.raises(ValueError, match=r"."):
            load.request(verb, keys)
    with pytest.raises(ValueError, match="numbered 0-999"):
        load.value_of(1000)


def test_every_verb_fits_the_room_that_is_reserved() -> None:
    load = workload(multiget=50, key_bytes=20, key_prefix=b"", value_bytes=3000)
    for verb in VERBS:
        keys = [999] * (50 if verb in ("get", "gets") else 1)
        assert load.request(verb, keys).endswith(b"\r\n")
