"""The running state as a value, and its way through JSON."""

import dataclasses
import json
from typing import Any

import pytest

from memagent.snapshot import (
    Limits,
    PoolSnapshot,
    ServerSnapshot,
    Snapshot,
    WarmSnapshot,
    WorkerSnapshot,
    as_json,
    from_json,
)

WARM = WarmSnapshot(
    state="running",
    started_s=5.0,
    ended_s=None,
    sources=("b:1", "c:1"),
    keys_total=None,
    keys_done=3,
    keys_copied=2,
    bytes_copied=100,
    keys_per_s=1.5,
    per_cent=0.0,
    eta_s=None,
    reason="",
)
SERVER = ServerSnapshot(
    number=0,
    pool="main",
    name="a",
    address="a:11211",
    backup=False,
    weight=1,
    state="warming",
    since_s=4.0,
    reason="restarted",
    outage=2,
    emptied=True,
    held=False,
    journal_keys=0,
    journal_bytes=0,
    journal_overflows=0,
    connections=2,
    in_flight=0,
    replaced=False,
    warm=WARM,
)
BACKUP = dataclasses.replace(SERVER, number=1, name="b", backup=True, state="up", warm=None)
WHOLE = Snapshot(
    version="1",
    pid=7,
    now_s=10.0,
    started_s=1.0,
    listen=("127.0.0.1:11211",),
    draining=False,
    limits=Limits(4096, 65536, 67108864),
    latency_metrics=True,
    workers=(WorkerSnapshot(0, 8, 0), WorkerSnapshot(1, 0, 3)),
    pools=(PoolSnapshot(0, "main", "ketama", True, (SERVER, BACKUP)),),
    migrations=(),
)


def test_json_and_back():
    assert from_json(Snapshot, json.loads(json.dumps(as_json(WHOLE)))) == WHOLE
    assert from_json(ServerSnapshot, as_json(BACKUP)) == BACKUP


def test_servers_in_the_order_of_their_numbers():
    assert WHOLE.servers() == (SERVER, BACKUP)


def test_another_version_may_say_more_but_not_less():
    assert from_json(WorkerSnapshot, {**as_json(WHOLE.workers[0]), "mood": "good"}) == WHOLE.workers[0]
    less: list[Any] = [{"number": 0, "pid": 1}, [], None]
    for value in less:
        with pytest.raises(ValueError, match="WorkerSnapshot"):
            from_json(WorkerSnapshot, value)


@pytest.mark.parametrize(
    "other",
    [{"state": "asleep"}, {"state": []}, {"since_s": "now"}, {"name": None}, {"warm": 5}, {"weight": 1.5}],
)
def test_a_value_that_this_version_does_not_know(other):
    with pytest.raises(ValueError, match=r"cannot be|WarmSnapshot: not an object"):
        from_json(ServerSnapshot, {**as_json(SERVER), **other})


def test_no_list_where_there_should_be_one():
    for workers in (5, None, "ab"):
        with pytest.raises(ValueError, match="not a list"):
            from_json(Snapshot, {**as_json(WHOLE), "workers": workers})
