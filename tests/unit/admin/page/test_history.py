"""The last hour: bounded, and what is gone is gone."""

from dataclasses import replace

import pytest

from memagent.admin.page.history import COLUMNS, History
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
        "p99_us": [1235, 1235],
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
