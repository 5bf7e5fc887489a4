"""The last hour: bounded, and what is gone is gone."""

import tracemalloc
from dataclasses import replace

import pytest

from memagent.admin.page import history as module
from memagent.admin.page.history import COLUMNS, STEPS, History, packed, unpacked
from memagent.rates import Row, Traffic, View
from memagent.snapshot import ServerSnapshot
from tests.support.control_stand_in import SERVER, snapshot_of

B = replace(SERVER, name="b")


def view(at_s: float, per_s: float, *servers: ServerSnapshot) -> View:
    traffic = Traffic(per_s, 0.0, 1.0, None, 120.04, 1234.56)
    snapshot = replace(snapshot_of(*servers), now_s=at_s)
    return View(snapshot, traffic, 1, tuple(Row(each, Traffic(10 * per_s), 0) for each in servers))


def identity(server: ServerSnapshot) -> tuple[str, bool, str]:
    return server.pool, server.backup, server.name


def test_points_as_columns():
    history = History()
    assert history.last_s == 0
    assert history.since(0) == {"at_s": [], **{name: [] for name in COLUMNS}}
    history.add(view(100, 1, SERVER))
    history.add(view(105, 2, SERVER, B))
    assert history.last_s == 105
    assert history.since(0) == {
        "at_s": [100, 105],
        "requests_per_s": [1, 2],
        "hit_ratio": [None, None],
        "p50_us": [120, 120],
        "p99_us": [1234, 1234],
        "errors_per_s": [0, 0],
    }
    found = history.since(100, identity(SERVER))
    assert found is not None
    assert (found["at_s"], found["requests_per_s"], found["p50_us"]) == ([105], [20], [None])


def test_a_server_has_a_past_since_it_came_and_none_once_it_has_gone():
    history = History()
    history.add(view(100, 1, SERVER))
    history.add(view(105, 2, SERVER, B))
    found = history.since(0, identity(B))
    assert found is not None
    assert found["requests_per_s"] == [None, 20]
    history.add(view(110, 3, SERVER))
    assert history.since(0, identity(B)) is None
    history.add(view(115, 4, SERVER, B))
    found = history.since(0, identity(B))
    assert found is not None
    assert found["requests_per_s"] == [None, None, None, 40]


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_no_more_is_kept_than_there_is_room_for(steps: int):
    history = History(steps)
    for number in range(1, 20):
        history.add(view(number, number, SERVER))
    found = history.since(0)
    assert found is not None
    assert found["at_s"] == list(range(20 - steps, 20))
    assert found["requests_per_s"] == found["at_s"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((each, each) for each in (None, 0.0, 1.0, 0.5, 0.75, 7.0, 2047.0, 2048.0)),
        (0.9999, 0.9995),
        (0.0312, 0.03119),
        (4_194_304.0, 4_194_000.0),
        (1234.56, 1234.0),
        (56_789.0, 56_770.0),
        (1e-9, 0.0),
        (-1.0, 0.0),
        (1e30, 274_700_000_000.0),
        (1e300, 274_700_000_000.0),
    ],
)
def test_a_number_in_two_bytes(value: float | None, shown: float | None):
    assert 0 <= packed(value) < 2**16
    assert unpacked(packed(value)) == shown


def test_no_number_loses_more_than_a_thousandth():
    for power in range(-6, 11):
        for digits in range(100, 1000):
            value = digits * 10.0 ** (power - 2)
            assert unpacked(packed(value)) == pytest.approx(value, rel=1.5e-3)


def bytes_of(traffic: Traffic) -> float:
    """For each server, after more than an hour, at whose begin there was no traffic."""
    servers = [replace(SERVER, name=str(number)) for number in range(10)]
    snapshot = snapshot_of(*servers)
    history = History()
    tracemalloc.start()
    try:
        for number in range(STEPS + 10):
            now = traffic if number else Traffic(0.0, 0.0, 0.0)
            history.add(View(snapshot, Traffic(), 1, tuple(Row(each, now, 0) for each in servers)))
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, module.__file__)])
        return sum(each.size for each in own.statistics("filename")) / len(servers)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("traffic", "most_bytes"),
    [
        (Traffic(0.0, 0.0, 0.0), 1000),
        (Traffic(5.0, 0.0, 1.0, 0.9, 100.0, 200.0), 5800 + 1000),
        (Traffic(5.0, 1.0, 1.0, 0.9, 100.0, 200.0), 7200 + 1000),
    ],
)
def test_memory_is_bounded_and_taken_when_it_is_needed(traffic: Traffic, most_bytes: int):
    assert bytes_of(traffic) < most_bytes


def test_what_was_before_the_first_number_that_differs():
    history = History(5)
    quiet, busy = Traffic(0.0, 0.0, 0.0), Traffic(3.0, 0.0, 0.0)
    for number, now in enumerate([Traffic(), quiet, quiet, busy, quiet, quiet, quiet], start=1):
        snapshot = replace(snapshot_of(SERVER), now_s=number)
        history.add(View(snapshot, now, 1, (Row(SERVER, now, 0),)))
        found = history.since(0, identity(SERVER))
        assert found is not None
        expected = [None, 0, 0, 3, 0, 0, 0][:number][-5:]
        assert found["requests_per_s"] == expected
        assert found["p50_us"] == [None] * len(expected)
