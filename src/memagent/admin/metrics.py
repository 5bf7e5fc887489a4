"""What Prometheus is told: everything in the table of counters, latencies, states, processes.

    counters.py ──▶ a family for each line of it ─┐
    shared memory: counters, histograms ──────────┼─▶ families ─▶ exposition: text, or OpenMetrics
    Snapshot: states, what is copied, limits ─────┤
    /proc: processor time, memory ────────────────┘

- Only reads shared memory and /proc: no worker is asked, woken or held up, and one that hangs is shown too.
- Labels have as many values as the configuration has pools, servers and workers; what clients send is none.
- Counters go on when a worker is replaced, and `stats reset` does not touch them.
"""

import platform
from collections.abc import Iterable, Iterator
from typing import Final, get_args

from memagent.admin.families import (
    NO_LABELS,
    OPENMETRICS,
    TEXT,
    Distribution,
    Family,
    Labels,
    render,
    wants_openmetrics,
)
from memagent.counters import SERVER_COUNTERS, WORKER_COUNTERS, metric_of
from memagent.segment import LATENCY_BOUNDS_US, Latency, Segment
from memagent.snapshot import STATES, MigrationPhase, MigrationState, ServerSnapshot, Snapshot, WarmState
from memagent.usage import Usage, usage_of

_BOUNDS_S: Final = tuple(bound / 1e6 for bound in LATENCY_BOUNDS_US)
# Shown by name instead of by number.
_SHOWN_OTHERWISE: Final = ("state",)


def exposition(snapshot: Snapshot, segment: Segment, accept: str = "") -> tuple[str, bytes]:
    """The Content-Type and the whole answer to somebody with this Accept header."""
    openmetrics = wants_openmetrics(accept)
    return OPENMETRICS if openmetrics else TEXT, render(families(snapshot, segment), openmetrics)


def families(snapshot: Snapshot, segment: Segment) -> Iterator[Family]:
    """Everything that there is to tell, at this moment."""
    yield from _proxy(snapshot)
    yield from _processes(snapshot)
    yield from _worker_counters(segment)
    if snapshot.latency_metrics:
        yield _by_verb(snapshot, segment)
    servers = [(server, _labels_of(server)) for server in snapshot.servers()]
    yield from _server_counters(segment, servers)
    if snapshot.latency_metrics:
        yield _by_server(segment, servers)
    yield from _servers(snapshot, segment, servers)
    yield from _rewarms(servers)
    yield from _migrations(snapshot)


_Servers = list[tuple[ServerSnapshot, Labels]]


def _labels_of(server: ServerSnapshot) -> Labels:
    return Labels(pool=server.pool, server=server.name, role="backup" if server.backup else "server")


def _gauge(name: str, meaning: str, samples: Iterable[tuple[Labels, float]]) -> Family:
    return Family(f"memagent_{name}", "gauge", meaning, list(samples))


# ---------------------------------------------------------------- the proxy and its processes


def _proxy(snapshot: Snapshot) -> Iterator[Family]:
    build = Labels(version=snapshot.version, python=platform.python_version())
    yield _gauge("build_info", "always 1; the labels say what runs", [(build, 1)])
    yield _gauge("start_time_seconds", "when it was started (since 1970)", [(NO_LABELS, snapshot.started_s)])
    draining = [(NO_LABELS, +snapshot.draining)]
    yield _gauge("draining", "1 while it finishes what is under way, to end", draining)
    limit = snapshot.limits.max_connections
    yield _gauge("max_connections", "most client connections, over all workers", [(NO_LABELS, limit)])


def _processes(snapshot: Snapshot) -> Iterator[Family]:
    workers = [
        (Labels(worker=str(worker.number)), usage_of(worker.pid) if worker.pid else None)
        for worker in snapshot.workers
    ]
    alive = [(labels, float(usage is not None)) for labels, usage in workers]
    yield _gauge("worker_up", "1 while the worker's process is there, 0 while it is being replaced", alive)
    own = usage_of(snapshot.pid)
    yield from _usage("worker", [(labels, usage) for labels, usage in workers if usage is not None])
    yield from _usage("supervisor", [(NO_LABELS, own)] if own is not None else [])


def _usage(process: str, usages: list[tuple[Labels, Usage]]) -> Iterator[Family]:
    times = [
        (labels.and_also(mode=mode), seconds)
        for labels, usage in usages
        for mode, seconds in (("user", usage.user_s), ("system", usage.system_s))
    ]
    name = f"memagent_{process}_cpu_seconds"
    yield Family(name, "counter", f"processor time of the {process}'s process", times)
    resident = [(labels, usage.resident_bytes) for labels, usage in usages]
    yield _gauge(f"{process}_resident_memory_bytes", f"memory of the {process}'s process", resident)


# ---------------------------------------------------------------- the table of counters


def _worker_counters(segment: Segment) -> Iterator[Family]:
    rows = [(Labels(worker=str(number)), row) for number, row in enumerate(segment.worker_rows())]
    whole = [(NO_LABELS, segment.worker_totals())]
    for counter in WORKER_COUNTERS:
        metric = metric_of(counter)
        found = rows if counter.by_worker else whole
        samples = [(labels, row[counter.name] * metric.scale) for labels, row in found]
        yield Family(metric.name, counter.kind, metric.meaning, samples)


def _server_counters(segment: Segment, servers: _Servers) -> Iterator[Family]:
    totals = [(labels, segment.server_totals(server.number)) for server, labels in servers]
    for counter in SERVER_COUNTERS:
        if counter.name not in _SHOWN_OTHERWISE:
            metric = metric_of(counter)
            samples = [(labels, row[counter.name] * metric.scale) for labels, row in totals]
            yield Family(metric.name, counter.kind, metric.meaning, samples)


# ---------------------------------------------------------------- latencies


def _by_verb(snapshot: Snapshot, segment: Segment) -> Family:
    return _latencies(
        "request_duration_seconds",
        "how long requests of clients took, from being read to their reply",
        (
            (Labels(pool=pool.name, verb=verb), latency)
            for pool in snapshot.pools
            for verb, latency in segment.verb_latencies(pool.number).items()
        ),
    )


def _by_server(segment: Segment, servers: _Servers) -> Family:
    return _latencies(
        "server_request_duration_seconds",
        "how long a server took to answer, from the request joining its queue to the whole reply",
        ((labels, segment.server_latency(server.number)) for server, labels in servers),
    )


def _latencies(name: str, meaning: str, found: Iterable[tuple[Labels, Latency]]) -> Family:
    distributions = [
        (labels, Distribution(latency.counts, latency.sum_us / 1e6)) for labels, latency in found
    ]
    return Family(f"memagent_{name}", "histogram", meaning, [], distributions, _BOUNDS_S)


# ---------------------------------------------------------------- servers and what is copied to them


def _servers(snapshot: Snapshot, segment: Segment, servers: _Servers) -> Iterator[Family]:
    info = [(labels.and_also(address=server.address), 1) for server, labels in servers]
    yield _gauge("server_info", "always 1; the labels say where the server is", info)
    yield _gauge(
        "server_state",
        "1 for the state that the server is in for all workers, 0 for the others",
        _one_of(STATES, ((labels, server.state) for server, labels in servers)),
    )
    since = [(labels, server.since_s) for server, labels in servers]
    yield _gauge("server_state_start_time_seconds", "since when it is in that state (since 1970)", since)
    yield _gauge(
        "server_queue_ratio",
        "how full the fullest worker's queue for the server is; at 1 requests are refused",
        [(labels, _queue_ratio(snapshot, segment, server.number)) for server, labels in servers],
    )


def _queue_ratio(snapshot: Snapshot, segment: Segment, server: int) -> float:
    pending, in_flight, queued_bytes = (
        segment.server_column(server, name) for name in ("pending", "in_flight", "queued_bytes")
    )
    requests = max(map(sum, zip(pending, in_flight, strict=True)))
    limits = snapshot.limits
    return max(requests / limits.server_queue_requests, max(queued_bytes) / limits.server_queue_bytes)


def _rewarms(servers: _Servers) -> Iterator[Family]:
    warms = [(labels, server.warm) for server, labels in servers if server.warm is not None]
    yield _gauge(
        "rewarm_state",
        "1 for the state of the server's last re-warm, 0 for the others; none before the first one",
        _one_of(get_args(WarmState), ((labels, warm.state) for labels, warm in warms)),
    )
    started = [(labels, warm.started_s) for labels, warm in warms]
    yield _gauge("rewarm_start_time_seconds", "when the server's last re-warm began (since 1970)", started)


# ---------------------------------------------------------------- keys that move to other servers


def _migrations(snapshot: Snapshot) -> Iterator[Family]:
    pools = {pool.name for pool in snapshot.pools}
    found = [(Labels(pool=each.pool), each) for each in snapshot.migrations if each.pool in pools]
    under_way = [(labels, each) for labels, each in found if each.ended_s is None]
    yield _gauge(
        "migration_state",
        "1 for the state of the pool's last migration, 0 for the others; none before the first one",
        _one_of(get_args(MigrationState), ((labels, each.state) for labels, each in found)),
    )
    yield _gauge(
        "migration_phase",
        "1 for the phase that the migration under way is in, 0 for the others",
        _one_of(get_args(MigrationPhase), ((labels, each.phase) for labels, each in under_way), "phase"),
    )
    started = [(labels, each.started_s) for labels, each in found]
    yield _gauge("migration_start_time_seconds", "when the pool's last migration began (since 1970)", started)
    ended = [(labels, each.ended_s) for labels, each in found if each.ended_s is not None]
    yield _gauge("migration_end_time_seconds", "when it ended; none while it is under way", ended)
    keys = [(labels, each.keys_copied) for labels, each in found]
    yield Family("memagent_migration_keys", "counter", "keys that it copied; each begins with 0", keys)
    copied = [(labels, each.bytes_copied) for labels, each in found]
    yield Family("memagent_migration_bytes", "counter", "bytes that it copied; each begins with 0", copied)
    ratio = [(labels, each.per_cent / 100) for labels, each in found]
    yield _gauge("migration_progress_ratio", "how far it is", ratio)
    eta = [(labels, each.eta_s) for labels, each in under_way if each.eta_s is not None]
    yield _gauge("migration_eta_seconds", "about how long it still takes; none where nobody can tell", eta)
    waits = [(labels, +bool(each.waits_for)) for labels, each in found]
    yield _gauge("migration_waits", "1 while it waits for a server that is not up", waits)
    left_out = [(labels, len(each.left_out)) for labels, each in found]
    yield _gauge("migration_servers_left_out", "servers whose keys it did not copy: they miss", left_out)


def _one_of(
    states: Iterable[str], found: Iterable[tuple[Labels, str]], name: str = "state"
) -> Iterator[tuple[Labels, float]]:
    for labels, state in found:
        for each in states:
            yield labels.and_also(**{name: each}), +(each == state)
