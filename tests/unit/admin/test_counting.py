"""What the shared counters say now: over all workers, for every server of the snapshot."""

import dataclasses
import gc
import time
from collections.abc import Iterator

import pytest

from memagent._core.metrics import Block
from memagent.admin.counting import count
from memagent.counters import SERVER_COUNTERS, SERVER_INDEX, WORKER_COUNTERS, WORKER_INDEX
from memagent.segment import LATENCY_BOUNDS_US, Segment
from tests.support.control_stand_in import SERVER, snapshot_of

WORKERS = 2
TWO = snapshot_of(SERVER, dataclasses.replace(SERVER, name="b"))


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.create(WORKERS, servers=2)
    yield segment
    gc.collect()
    segment.close()


def test_sums_over_the_workers(segment: Segment):
    for worker in range(WORKERS):
        own = Block(segment.buffer, segment.worker_offset_slots(worker), len(WORKER_COUNTERS))
        own.add(WORKER_INDEX["requests"], 10)
        of_server = Block(segment.buffer, segment.server_offset_slots(worker, 1), len(SERVER_COUNTERS))
        of_server.add(SERVER_INDEX["get_hits"], 3 + worker)
        segment.pool_histograms(worker, 0).record(0, 100)
        segment.pool_histograms(worker, 0).record(3, 10**9)
        segment.server_histogram(worker, 1).record(0, 10)
    segment.reset()
    before_s = time.monotonic()
    counts = count(TWO, segment)
    assert before_s <= counts.at_s <= time.monotonic()
    assert counts.counters["requests"] == 20
    assert [server.number for server in counts.servers] == [0, 1]
    assert [server.counters["get_hits"] for server in counts.servers] == [0, 7]
    assert counts.latency_bounds_us == LATENCY_BOUNDS_US
    assert (sum(counts.latency), counts.latency[-1]) == (4, 2)
    assert (sum(counts.servers[0].latency), counts.servers[1].latency[0]) == (0, 2)


def test_a_pool_has_its_histograms_by_its_number(segment: Segment):
    """A reload can take away a pool before it: its number stays, its place does not."""
    left = dataclasses.replace(TWO, pools=tuple(dataclasses.replace(pool, number=1) for pool in TWO.pools))
    wide = Segment.create(WORKERS, servers=2, pools=2)
    wide.pool_histograms(0, 0).record(0, 100)
    wide.pool_histograms(0, 1).record(0, 100)
    wide.pool_histograms(1, 1).record(0, 100)
    assert sum(count(left, wide).latency) == 2


def test_every_counter_is_there(segment: Segment):
    counts = count(TWO, segment)
    assert list(counts.counters) == [counter.name for counter in WORKER_COUNTERS]
    for server in counts.servers:
        assert list(server.counters) == [counter.name for counter in SERVER_COUNTERS]
        assert len(server.latency) == len(LATENCY_BOUNDS_US) + 1
