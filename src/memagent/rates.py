"""What happens between two readings of the counters: rates, ratios, percentiles.

    Reading, Reading ──▶ View: the proxy's Traffic, and a Row for each server

What cannot be told is None: in the first reading everything, later that of a server that is new.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import sub
from typing import Final

from memagent.counts import Counts, ServerCounts
from memagent.snapshot import ServerSnapshot, Snapshot

Identity = tuple[str, bool, str]

# What a request can end in that it should not; probes of a server that is down are none.
_SERVER_FAILURES: Final = ("errors", "timeouts", "busy_rejections")
_QUEUED: Final = ("pending", "in_flight")


@dataclass(frozen=True, slots=True)
class Reading:
    """How everything stands and what was counted so far."""

    snapshot: Snapshot
    counts: Counts


@dataclass(frozen=True, slots=True)
class Traffic:
    """Over the time between two readings."""

    requests_per_s: float | None = None
    errors_per_s: float | None = None
    bytes_per_s: float | None = None
    hit_ratio: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A server. `queued`: requests for it that are not answered yet."""

    server: ServerSnapshot
    traffic: Traffic
    queued: int

    @property
    def identity(self) -> Identity:
        """What it is called by; its number may be another one's after a reload."""
        return _identity(self.server)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is shown, at one moment."""

    snapshot: Snapshot
    traffic: Traffic
    clients: int
    rows: tuple[Row, ...]


def compare(before: Reading | None, now: Reading) -> View:
    """`before` may be of another proxy, or of this one before its restart: then it tells nothing."""
    if before is not None and not _is_same_run(before, now):
        before = None
    seconds = now.counts.at_s - before.counts.at_s if before is not None else 0.0
    past = _by_identity(before) if before is not None else {}
    rows = []
    for server, counts in zip(now.snapshot.servers(), now.counts.servers, strict=True):
        earlier = past.get(_identity(server))
        bounds_us = now.counts.latency_bounds_us
        traffic = _server_traffic(earlier, counts, seconds, bounds_us) if earlier is not None else Traffic()
        rows.append(Row(server, traffic, sum(counts.counters.get(name, 0) for name in _QUEUED)))
    traffic = _proxy_traffic(before.counts, now.counts, seconds) if before is not None else Traffic()
    return View(now.snapshot, traffic, now.counts.counters.get("curr_connections", 0), tuple(rows))


def percentile_us(counts: Sequence[int], bounds_us: Sequence[int], share: float) -> float | None:
    """What so large a share of the requests stayed below, as Prometheus' histogram_quantile has it.

    The last of `counts` is of what took longer than the last bound, and all that can be told of that.
    """
    return _percentile_us(counts, list(accumulate(counts)), bounds_us, share)


def _percentile_us(
    counts: Sequence[int], so_far: Sequence[int], bounds_us: Sequence[int], share: float
) -> float | None:
    rank = share * so_far[-1]
    if not rank:
        return None
    bucket = bisect_left(so_far, rank)
    if bucket == len(bounds_us):
        return float(bounds_us[-1])
    start_us = bounds_us[bucket - 1] if bucket else 0
    within = (rank - (so_far[bucket] - counts[bucket])) / counts[bucket]
    return start_us + (bounds_us[bucket] - start_us) * within


def _identity(server: ServerSnapshot) -> Identity:
    return server.pool, server.backup, server.name


def _is_same_run(before: Reading, now: Reading) -> bool:
    return (
        before.snapshot.started_s == now.snapshot.started_s
        and before.counts.latency_bounds_us == now.counts.latency_bounds_us
        and before.counts.at_s < now.counts.at_s
    )


def _by_identity(reading: Reading) -> dict[Identity, ServerCounts]:
    servers = zip(reading.snapshot.servers(), reading.counts.servers, strict=True)
    return {_identity(server): counts for server, counts in servers}


def _server_traffic(
    before: ServerCounts, now: ServerCounts, seconds: float, bounds_us: Sequence[int]
) -> Traffic:
    requests, *failures = _growth(before.counters, now.counters, "requests", *_SERVER_FAILURES)
    if requests < 0:
        # it left and came back with a reload
        return Traffic()
    return Traffic(
        requests_per_s=requests / seconds,
        errors_per_s=sum(failures) / seconds,
        bytes_per_s=sum(_growth(before.counters, now.counters, "bytes_sent", "bytes_received")) / seconds,
        hit_ratio=_ratio(*_growth(before.counters, now.counters, "get_hits", "get_misses")),
        **_percentiles(before.latency, now.latency, bounds_us),
    )


def _proxy_traffic(before: Counts, now: Counts, seconds: float) -> Traffic:
    requests, errors = _growth(before.counters, now.counters, "requests", "server_errors")
    return Traffic(
        requests_per_s=requests / seconds,
        errors_per_s=errors / seconds,
        bytes_per_s=sum(_growth(before.counters, now.counters, "bytes_read", "bytes_written")) / seconds,
        hit_ratio=_ratio(*_growth(before.counters, now.counters, "get_hits", "get_misses")),
        **_percentiles(before.latency, now.latency, now.latency_bounds_us),
    )


def _growth(before: dict[str, int], now: dict[str, int], *names: str) -> list[int]:
    """0 for what another version of memagent does not count."""
    return [now[name] - before.get(name, now[name]) if name in now else 0 for name in names]


def _percentiles(
    before: Sequence[int], now: Sequence[int], bounds_us: Sequence[int]
) -> dict[str, float | None]:
    if now == before:
        return {"p50_us": None, "p99_us": None}
    counts = list(map(sub, now, before))
    if min(counts) < 0:
        # a histogram is read while it grows
        counts = [max(0, each) for each in counts]
    so_far = list(accumulate(counts))
    return {f"p{share}_us": _percentile_us(counts, so_far, bounds_us, share / 100) for share in (50, 99)}


def _ratio(hits: int, misses: int) -> float | None:
    return hits / (hits + misses) if hits + misses else None
