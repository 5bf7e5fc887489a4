"""The counters of all processes in one piece of memory."""

import gc
import os
import time
from collections.abc import Iterator

import pytest

from memagent._core.metrics import Block
from memagent.counters import SERVER_COUNTERS, SERVER_INDEX, VERB_CLASSES, WORKER_COUNTERS, WORKER_INDEX
from memagent.segment import LATENCY_BOUNDS_US, Latency, Segment


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.create(workers=2, servers=3, pools=2)
    yield segment
    gc.collect()
    segment.close()


def test_blocks_are_apart_and_on_cache_lines(segment: Segment):
    taken: set[int] = set()
    for worker in range(2):
        blocks = [(segment.worker_offset_slots(worker), len(WORKER_COUNTERS))]
        blocks += [(segment.server_offset_slots(worker, s), len(SERVER_COUNTERS)) for s in range(3)]
        for offset, length in blocks:
            assert offset * 8 % 64 == 0
            slots = set(range(offset, offset + length))
            assert not slots & taken
            taken |= slots
    assert min(taken) * 8 >= 128


def test_latencies_are_summed_over_workers_and_each_has_slots_of_its_own(segment: Segment):
    other = Segment.attach(os.dup(segment.fd))
    us = 0
    expected: dict[tuple[str, int, int], int] = {}
    for worker in range(2):
        for pool in range(2):
            histograms = other.pool_histograms(worker, pool)
            for which in range(len(VERB_CLASSES)):
                us += 1
                histograms.record(which, us)
                expected["pool", pool, which] = expected.get(("pool", pool, which), 0) + us
        for server in range(3):
            us += 1
            other.server_histogram(worker, server).record(0, us)
            expected["server", server, 0] = expected.get(("server", server, 0), 0) + us
    for pool in range(2):
        found = list(segment.verb_latencies(pool).items())
        assert [name for name, _ in found] == list(VERB_CLASSES)
        for which, (_, latency) in enumerate(found):
            assert (sum(latency.counts), latency.sum_us) == (2, expected["pool", pool, which])
    for server in range(3):
        latency = segment.server_latency(server)
        assert (sum(latency.counts), latency.sum_us) == (2, expected["server", server, 0])
        assert len(latency.counts) == len(LATENCY_BOUNDS_US) + 1
        assert set(segment.server_totals(server).values()) == {0}
    assert set(segment.worker_totals().values()) == {0}
    segment.reset()
    assert segment.server_latency(0).sum_us == expected["server", 0, 0]
    for bad in (-1, 2):
        with pytest.raises(IndexError):
            segment.pool_histograms(0, bad)
    segment.clear_pool(1)
    assert [sum(each.sum_us for each in segment.verb_latencies(pool).values()) > 0 for pool in (0, 1)] == [
        True,
        False,
    ]
    assert segment.server_latency(0).sum_us == expected["server", 0, 0]
    del histograms
    gc.collect()
    other.close()


def test_a_latency_that_nobody_had_is_nothing(segment: Segment):
    assert segment.server_latency(1) == Latency((0,) * (len(LATENCY_BOUNDS_US) + 1), 0)


def test_rows_are_the_workers_own(segment: Segment):
    for worker in range(2):
        Block(segment.buffer, segment.worker_offset_slots(worker), len(WORKER_COUNTERS)).add(
            WORKER_INDEX["requests"], worker + 1
        )
        Block(segment.buffer, segment.server_offset_slots(worker, 2), len(SERVER_COUNTERS)).add(
            SERVER_INDEX["pending"], worker + 5
        )
    assert [row["requests"] for row in segment.worker_rows()] == [1, 2]
    assert segment.server_column(2, "pending") == [5, 6]
    assert segment.server_column(1, "pending") == [0, 0]


def test_who_attaches_counts_in_the_same_memory(segment: Segment):
    other = Segment.attach(os.dup(segment.fd))
    for worker, count in ((0, 3), (1, 4)):
        place = Block(other.buffer, other.worker_offset_slots(worker), len(WORKER_COUNTERS))
        place.add(WORKER_INDEX["get_hits"], count)
        server = Block(other.buffer, other.server_offset_slots(worker, 2), len(SERVER_COUNTERS))
        server.add(SERVER_INDEX["requests"], 10 * count)
    assert segment.worker_totals()["get_hits"] == 7
    assert segment.server_totals(2)["requests"] == 70
    assert segment.server_totals(1)["requests"] == 0
    segment.count_as_leader(2, "requests", 5)
    names = ("requests", "replies", "warm_keys")
    assert segment.server_sums(2, names) == [segment.server_totals(2)[name] for name in names] == [75, 0, 0]
    assert other.started_s == segment.started_s == pytest.approx(time.time(), abs=60)
    assert other.supervisor_pid == os.getpid()
    del place, server
    other.close()


def test_a_server_is_up_when_every_worker_says_so(segment: Segment):
    for worker in range(2):
        Block(segment.buffer, segment.server_offset_slots(worker, 0), len(SERVER_COUNTERS)).add(
            SERVER_INDEX["up"]
        )
    Block(segment.buffer, segment.server_offset_slots(0, 1), len(SERVER_COUNTERS)).add(SERVER_INDEX["up"])
    assert [segment.server_totals(server)["up"] for server in range(3)] == [1, 0, 0]


def test_the_leader_counts_what_no_worker_knows(segment: Segment):
    other = Segment.attach(os.dup(segment.fd))
    segment.count_as_leader(1, "returns", 2)
    segment.set_as_leader(1, "warm_per_cent", 40)
    server = Block(segment.buffer, segment.server_offset_slots(1, 1), len(SERVER_COUNTERS))
    server.add(SERVER_INDEX["state"], 3)
    server.add(SERVER_INDEX["up"])
    totals = other.server_totals(1)
    assert (totals["returns"], totals["warm_per_cent"], totals["state"], totals["up"]) == (2, 40, 3, 0)
    assert segment.server_totals(0)["returns"] == segment.server_totals(2)["warm_per_cent"] == 0
    segment.reset()
    segment.count_as_leader(1, "returns", 1)
    totals = other.server_totals(1, since_reset=True)
    assert (totals["returns"], totals["warm_per_cent"]) == (1, 40)
    with pytest.raises(IndexError):
        segment.count_as_leader(3, "returns", 1)
    other.close()


def test_reset_hides_counters_and_leaves_gauges(segment: Segment):
    place = Block(segment.buffer, segment.worker_offset_slots(1), len(WORKER_COUNTERS))
    server = Block(segment.buffer, segment.server_offset_slots(1, 2), len(SERVER_COUNTERS))
    place.add(WORKER_INDEX["requests"], 5)
    place.add(WORKER_INDEX["curr_connections"], 2)
    server.add(SERVER_INDEX["replies"], 6)
    segment.reset()
    place.add(WORKER_INDEX["requests"], 1)
    shown = segment.worker_totals(since_reset=True)
    assert (shown["requests"], shown["curr_connections"]) == (1, 2)
    assert segment.server_totals(2, since_reset=True)["replies"] == 0
    assert segment.worker_totals()["requests"] == 6
    assert segment.server_totals(2)["replies"] == 6


def test_a_replaced_worker_keeps_its_counters_and_loses_its_gauges(segment: Segment):
    for worker in range(2):
        place = Block(segment.buffer, segment.worker_offset_slots(worker), len(WORKER_COUNTERS))
        place.add(WORKER_INDEX["requests"], 5)
        place.add(WORKER_INDEX["curr_connections"], 2)
        server = Block(segment.buffer, segment.server_offset_slots(worker, 1), len(SERVER_COUNTERS))
        server.add(SERVER_INDEX["in_flight"], 3)
        server.add(SERVER_INDEX["replies"], 1)
    segment.count_restart(1)
    segment.take_place(1, 4321)
    totals = segment.worker_totals()
    assert (totals["requests"], totals["curr_connections"], totals["restarts"]) == (10, 2, 1)
    totals = segment.server_totals(1)
    assert (totals["replies"], totals["in_flight"]) == (2, 3)
    assert segment.pids() == [os.getpid(), 0, 4321]


def test_workers_note_keys_beside_each_other_and_before_the_servers(segment: Segment):
    segment.standing(0).begin_outage(0)
    for worker in (0, 1):
        segment.marks(worker).note_key(b"%d" % worker, worker)
    assert [segment.marks(worker).take_notes() for worker in (0, 1)] == [
        ([(0, b"0", False)], 0),
        ([(1, b"1", False)], 0),
    ]
    assert segment.standing(0).outage == 1


def test_what_is_seen_of_requests_is_each_workers_own_and_touches_nothing_else(segment: Segment):
    segment.marks(1).note_key(b"k", 0)
    for worker in (0, 1):
        hot = segment.hot_keys(worker, seed=5)
        hot.clear(1)
        hot.add(b"worker%d" % worker, 1)
    for worker in (0, 1):
        found = segment.hot_keys(worker).read(1)
        assert found is not None
        assert [key[0] for key in found[0]] == [b"worker%d" % worker]
        assert segment.slow_log(worker).read() == segment.tapped(worker).read() == []
    del hot
    assert segment.marks(1).take_notes() == ([(0, b"k", False)], 0)
    assert set(segment.worker_totals().values()) == {0}
    assert segment.standing(0).outage == 0


def test_places_that_do_not_exist_are_refused(segment: Segment):
    for worker in (-1, 2):
        with pytest.raises(IndexError):
            segment.worker_offset_slots(worker)
        for part in (segment.hot_keys, segment.slow_log, segment.tapped):
            with pytest.raises(IndexError):
                part(worker)
    for server in (-1, 3):
        with pytest.raises(IndexError):
            segment.server_offset_slots(0, server)
    for workers, servers, pools in ((0, 1, 1), (1, -1, 1), (1, 1, 0)):
        with pytest.raises(ValueError, match="make no sense"):
            Segment.create(workers, servers, pools)


def memfd_of(data: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, data)
    return fd


def test_it_grows_while_blocks_count_in_it(segment: Segment):
    other = Segment.attach(os.dup(segment.fd))
    before = Block(other.buffer, other.server_offset_slots(0, 2), len(SERVER_COUNTERS))
    segment.grow(5)
    segment.grow(4)
    assert (segment.servers, other.servers) == (5, 3)
    other.fit()
    other.fit()
    assert other.servers == 5
    after = Block(other.buffer, other.server_offset_slots(0, 2), len(SERVER_COUNTERS))
    new = Block(other.buffer, other.server_offset_slots(1, 4), len(SERVER_COUNTERS))
    for block in (before, after, new):
        block.add(SERVER_INDEX["requests"])
    assert [segment.server_totals(server)["requests"] for server in range(5)] == [0, 0, 2, 0, 1]
    del before, after, new, block
    other.close()


def test_a_number_is_given_again(segment: Segment):
    for server in range(3):
        Block(segment.buffer, segment.server_offset_slots(1, server), len(SERVER_COUNTERS)).add(
            SERVER_INDEX["requests"], 7
        )
        segment.count_as_leader(server, "returns", 2)
        segment.standing(server, 1).begin_outage(0)
    segment.reset()
    segment.clear_server(1)
    for server, (requests, returns, outage) in enumerate(((7, 2, 1), (0, 0, 0), (7, 2, 1))):
        totals = segment.server_totals(server)
        assert (totals["requests"], totals["returns"]) == (requests, returns)
        assert segment.standing(server).outage == outage
    Block(segment.buffer, segment.server_offset_slots(1, 1), len(SERVER_COUNTERS)).add(
        SERVER_INDEX["requests"]
    )
    assert segment.server_totals(1, since_reset=True)["requests"] == 1


def test_foreign_memory_is_refused(segment: Segment):
    whole = os.pread(segment.fd, os.fstat(segment.fd).st_size, 0)
    cases = {
        "too few": whole[:10],
        "not the shared counters": b"x" + whole[1:],
        "another version": whole[:8] + b"\xff" + whole[9:],
        "are wrong": whole[:-8],
    }
    for match, data in cases.items():
        fd = memfd_of(data)
        with pytest.raises(ValueError, match=match):
            Segment.attach(fd)
        os.close(fd)


def test_all_workers_see_how_a_server_stands(segment: Segment):
    mine, others = segment.standing(1, 0), segment.standing(1, 1)
    assert mine.begin_outage(0) == 1
    others.say_word(1, 3, True)
    assert (others.outage, mine.word(1)) == (1, (True, 1, 3, True))
    assert [segment.standing(server).outage for server in (0, 2)] == [0, 0]
    with pytest.raises(IndexError, match="server 3 of 3"):
        segment.standing(3)


def test_rows_and_marks_touch_no_counters(segment: Segment):
    first, last = segment.standing(0, 1), segment.standing(2, 1)
    first.identity = last.identity = 2**64 - 1
    last.say_word(2**50, 3)
    marks = segment.marks(1)
    marks.stamp_key(b"k")
    marks.stamp_flush()
    assert (first.identity, last.word(1)[1], marks.read_key(b"k")) == (2**64 - 1, 2**50, (1, 1))
    assert set(segment.server_totals(2).values()) == {0}
    segment.reset()
    assert first.outage == last.outage == 0


def test_there_is_room_for_more_workers_and_what_nobody_has_takes_no_memory():
    small, large = Segment.create(2, 3, 2), Segment.create(2, 3, 2, places=64)
    try:
        other = Segment.attach(os.dup(large.fd))
        for segment in (small, large):
            segment.worker_totals()
            segment.server_totals(0)
            segment.reset()
            segment.marks().stamp_key(b"key")
            segment.marks().read_key(b"key")
        assert (large.workers, large.places, other.workers) == (2, 64, 2)
        used = [512 * os.fstat(segment.fd).st_blocks for segment in (small, large)]
        assert used[1] - used[0] < 512 * 1024
        large.open_places(5)
        large.take_place(4, 4321)
        assert other.workers == 5
        assert other.pids() == [os.getpid(), 0, 0, 0, 0, 4321]
        large.open_places(1)  # a place that was ever taken is counted on
        assert other.workers == 5
        assert len(other.worker_rows()) == 5
        with pytest.raises(ValueError, match="65 workers in 64 places"):
            large.open_places(65)
        other.close()
    finally:
        small.close()
        large.close()


def test_who_has_gone_has_no_opinion(segment: Segment):
    for worker in range(2):
        offset = segment.server_offset_slots(worker, 0)
        Block(segment.buffer, offset, len(SERVER_COUNTERS))[SERVER_INDEX["up"]] = 1 - worker
    assert segment.server_totals(0)["up"] == 0
    segment.take_place(1, 0)
    assert segment.server_totals(0)["up"] == 0, "nobody lives: all are asked"
    Block(segment.buffer, segment.server_offset_slots(0, 0), len(SERVER_COUNTERS))[SERVER_INDEX["up"]] = 0
    segment.take_place(0, 77)
    Block(segment.buffer, segment.server_offset_slots(0, 0), len(SERVER_COUNTERS))[SERVER_INDEX["up"]] = 1
    assert segment.server_totals(0)["up"] == 1
