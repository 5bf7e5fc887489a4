"""What happens between two readings."""

from dataclasses import replace

import pytest

from memagent.rates import Reading, Traffic, compare, percentile_us
from tests.support.control_stand_in import BOUNDS_US, SERVER, counts_of, snapshot_of

B = replace(SERVER, name="b")


def reading(*servers, at_s=100.0, latency=None, proxy=None, **counters):
    snapshot = snapshot_of(*(servers or (SERVER,)))
    counts = counts_of(snapshot, at_s, **counters)
    if latency is not None:
        counts = replace(
            counts, servers=tuple(replace(each, latency=latency) for each in counts.servers), latency=latency
        )
    return Reading(snapshot, replace(counts, counters={**counts.counters, **(proxy or {})}))


def test_the_first_reading_tells_no_rates():
    view = compare(None, reading(requests=5, pending=2, in_flight=3, proxy={"curr_connections": 4}))
    assert view.traffic == Traffic()
    assert [(row.traffic, row.queued) for row in view.rows] == [(Traffic(), 5)]
    assert view.clients == 4


def test_rates_are_of_the_time_between():
    before = reading(requests=100, get_hits=10, get_misses=10, errors=1, timeouts=1, bytes_sent=0)
    bytes_and_errors = {"bytes_sent": 100, "bytes_received": 300, "errors": 2, "timeouts": 2}
    now = reading(at_s=102.0, requests=300, get_hits=28, get_misses=12, busy_rejections=2, **bytes_and_errors)
    [row] = compare(before, now).rows
    assert row.traffic == Traffic(
        requests_per_s=100, errors_per_s=2, bytes_per_s=200, hit_ratio=0.9, p50_us=None, p99_us=None
    )


def test_the_proxys_own():
    names = {"requests": 30, "server_errors": 2, "bytes_read": 10, "bytes_written": 30}
    now = reading(at_s=101.0, proxy={**names, "get_hits": 1, "get_misses": 3})
    assert compare(reading(), now).traffic == Traffic(30, 2, 40, 0.25, None, None)


def test_percentiles_are_of_what_came_between():
    before = reading(latency=(0, 0, 0, 0, 0, 100))
    now = reading(at_s=101.0, latency=(50, 0, 50, 0, 0, 100))
    view = compare(before, now)
    assert (view.rows[0].traffic.p50_us, view.traffic.p50_us) == (16.0, 16.0)
    assert view.traffic.p99_us == pytest.approx(24 + 8 * 0.98)


@pytest.mark.parametrize(
    ("counts", "share", "us"),
    [
        ((0, 0, 0, 0, 0, 0), 0.5, None),
        ((1, 0, 0, 0, 0, 0), 0.5, 8.0),
        ((0, 2, 0, 0, 0, 0), 0.5, 20.0),
        ((1, 1, 0, 0, 0, 0), 0.99, 16 + 8 * 0.98),
        ((0, 0, 0, 0, 0, 7), 0.99, 64.0),
        ((0, 0, 0, 0, 3, 0), 1.0, 64.0),
    ],
)
def test_percentiles(counts, share, us):
    assert percentile_us(counts, BOUNDS_US, share) == (None if us is None else pytest.approx(us))


@pytest.mark.parametrize(
    "before",
    [
        Reading(replace(snapshot_of(SERVER), started_s=1.0), counts_of(snapshot_of(SERVER))),
        reading(at_s=101.0),
        reading(at_s=500.0),
        Reading(snapshot_of(SERVER), replace(counts_of(snapshot_of(SERVER)), latency_bounds_us=(1,))),
    ],
    ids=["another run", "the same moment", "from the future", "other bounds"],
)
def test_what_cannot_be_compared_tells_nothing(before):
    view = compare(before, reading(at_s=101.0, requests=5))
    assert (view.traffic, view.rows[0].traffic) == (Traffic(), Traffic())


def test_servers_are_compared_by_their_names():
    """A reload gave the number of one that left to another."""
    before = reading(SERVER, B, requests=5)
    view = compare(before, reading(B, replace(B, name="c"), at_s=101.0, requests=7))
    assert [row.traffic.requests_per_s for row in view.rows] == [2.0, None]


def test_one_that_left_and_came_back_counts_anew():
    [row] = compare(reading(requests=100), reading(at_s=101.0, requests=3)).rows
    assert row.traffic == Traffic()


def test_another_version_may_count_less():
    snapshot = snapshot_of(SERVER)
    few = counts_of(snapshot)
    few = replace(few, counters={}, servers=tuple(replace(each, counters={}) for each in few.servers))
    view = compare(Reading(snapshot, replace(few, at_s=99.0)), Reading(snapshot, few))
    assert (view.clients, view.rows[0].queued, view.rows[0].traffic.requests_per_s) == (0, 0, 0.0)
