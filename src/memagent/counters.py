"""THE table of counters: name, scope, kind, unit, meaning.

One line here is one slot in shared memory, one member of an enum in `_core/metrics.pxd` (same order; a test
checks it), one `STAT` line, one metric and one line in the reference. Names are memcached's
own where they mean the same.

- A counter only grows; `stats reset` is a baseline that is subtracted when it is shown.
- A gauge goes up and down, and is zero again in a worker that has just been started.
- As a metric a name follows Prometheus' habits (`metric_of`): base units, and the unit behind the name.
- `fold` says how the workers' values become one: nearly always their sum.
- What only the leader knows of a server (returns, time in each state, what a re-warm did) it counts itself,
  in a place of its own.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Scope = Literal["worker", "server"]
Kind = Literal["counter", "gauge"]
Fold = Literal["sum", "min", "max"]


@dataclass(frozen=True, slots=True)
class Counter:
    """One line of the table."""

    name: str
    scope: Scope
    kind: Kind
    unit: str
    meaning: str
    fold: Fold = "sum"
    by_worker: bool = False  # the metric tells workers apart: to see that one has all the work


class Metric(NamedTuple):
    """A counter as Prometheus is told: `name` without _total, and what a value is to be multiplied with."""

    name: str
    meaning: str
    scale: float


def metric_of(counter: Counter) -> Metric:
    """total_X -> X, bytes_X -> X_bytes, X_ms -> X_seconds, X_per_cent -> X_ratio.

    Errors that the proxy answers are X_error_replies: server_errors is what a server's `errors` are.
    """
    name = counter.name.removeprefix("total_")
    unit: str = counter.unit
    scale: float = 1
    if name.startswith("bytes_"):
        name = f"{name.removeprefix('bytes_')}_bytes"
    elif name.endswith("_ms"):
        name, unit, scale = f"{name.removesuffix('_ms')}_seconds", "seconds", 0.001
    elif name.endswith("_per_cent"):
        name, unit, scale = f"{name.removesuffix('_per_cent')}_ratio", "0 to 1", 0.01
    scope = "server_" if counter.scope == "server" else ""
    if counter.scope == "worker" and name.endswith("_errors"):
        name = f"{name.removesuffix('_errors')}_error_replies"
    return Metric(f"memagent_{scope}{name}", f"{counter.meaning} ({unit})", scale)


def _worker(name: str, unit: str, meaning: str, by_worker: bool = False) -> Counter:
    return Counter(name, "worker", "counter", unit, meaning, by_worker=by_worker)


def _worker_gauge(name: str, unit: str, meaning: str, by_worker: bool = False) -> Counter:
    return Counter(name, "worker", "gauge", unit, meaning, by_worker=by_worker)


def _server(name: str, unit: str, meaning: str) -> Counter:
    return Counter(name, "server", "counter", unit, meaning)


def _server_gauge(name: str, unit: str, meaning: str, fold: Fold = "sum") -> Counter:
    return Counter(name, "server", "gauge", unit, meaning, fold)


WORKER_COUNTERS: Final[tuple[Counter, ...]] = (
    # Client connections
    _worker_gauge("curr_connections", "connections", "client connections open now", by_worker=True),
    _worker("total_connections", "connections", "client connections accepted"),
    _worker("rejected_connections", "connections", "refused because max_connections were open"),
    _worker("accept_failures", "calls", "accept() failed: out of files or memory"),
    _worker("client_closed", "connections", "closed by the client in an orderly way, quit included"),
    _worker("client_closed_reset", "connections", "lost: reset, or an error on the socket"),
    _worker("client_closed_protocol", "connections", "closed by us after input that cannot be followed"),
    _worker("client_closed_unread", "connections", "closed: past client_close_bytes of unread replies"),
    _worker("client_closed_memory", "connections", "closed: the worker's buffers were full"),
    _worker("client_closed_drain", "connections", "closed while the proxy was draining"),
    _worker("client_paused", "times", "reading stopped: past client_pause_bytes of unread replies"),
    _worker("memory_paused", "times", "reading stopped: the worker's buffers were full"),
    _worker("bytes_read", "bytes", "received from clients"),
    _worker("bytes_written", "bytes", "sent to clients"),
    # Requests, whatever their verb
    _worker("requests", "requests", "complete requests received", by_worker=True),
    _worker("quiet_requests", "requests", "requests whose client wanted no reply"),
    _worker("multigets", "requests", "retrievals of more than one key"),
    _worker("fragments", "fragments", "parts of multigets sent to servers"),
    _worker("bad_commands", "requests", "answered ERROR: no such verb"),
    _worker("client_errors", "replies", "CLIENT_ERROR answered by the proxy"),
    _worker("server_errors", "replies", "SERVER_ERROR answered by the proxy"),
    _worker("bad_keys", "requests", "refused because of a key"),
    _worker("unrouted_requests", "requests", "refused because no pool takes their keys"),
    _worker("lines_too_long", "requests", "refused because the request line did not end in time"),
    _worker("store_too_large", "requests", "values refused because of max_item_bytes"),
    _worker("memory_refused", "requests", "refused: the worker's buffers were full"),
    _worker("unknown_outcomes", "requests", "sent, then the server was lost: unknown outcome"),
    # By verb, as memcached counts them: retrievals count keys
    _worker("cmd_get", "keys", "keys asked for by get, gets, gat, gats and mg"),
    _worker("cmd_set", "requests", "storage requests: set, add, replace, append, prepend, cas, ms"),
    _worker("cmd_flush", "requests", "flush_all requests"),
    _worker("cmd_touch", "keys", "keys touched by touch, gat, gats and mg with T"),
    _worker("cmd_meta", "requests", "meta requests; counted as their classic twins too"),
    _worker("get_hits", "keys", "keys found"),
    _worker("get_misses", "keys", "keys not found"),
    _worker("delete_misses", "requests", "delete of a key that was not there"),
    _worker("delete_hits", "requests", "delete that deleted"),
    _worker("incr_misses", "requests", "incr of a key that was not there"),
    _worker("incr_hits", "requests", "incr that counted"),
    _worker("decr_misses", "requests", "decr of a key that was not there"),
    _worker("decr_hits", "requests", "decr that counted"),
    _worker("cas_misses", "requests", "cas of a key that was not there"),
    _worker("cas_hits", "requests", "cas that stored"),
    _worker("cas_badval", "requests", "cas with a token that was no longer right"),
    _worker("touch_hits", "keys", "touched keys that were there"),
    _worker("touch_misses", "keys", "touched keys that were not there"),
    _worker("misses_server_down", "keys", "misses answered because no holder of the key was up"),
    _worker("misses_server_failed", "keys", "misses answered because the server failed meanwhile"),
    _worker("misses_deadline", "keys", "misses answered because multiget_deadline_ms had passed"),
    # Copies
    _worker("failovers", "keys", "sent to a copy because the owner could not be asked"),
    _worker("fallbacks", "keys", "asked for at a copy because the owner missed them"),
    _worker("fallback_hits", "keys", "found at a copy after the owner had missed them"),
    _worker("reads_again", "keys", "asked for again, as another worker was writing them"),
    _worker("repairs", "keys", "copied back to the holder that missed them"),
    _worker("repairs_refused", "keys", "not copied back: a newer value was there already"),
    _worker("repairs_failed", "keys", "not copied back: a server failed"),
    _worker("repairs_undone", "keys", "copied back and deleted again: written meanwhile"),
    _worker("effects_failed", "requests", "writes whose copy could not follow and is deleted there"),
    _worker("divergences", "keys", "found to differ between owner and copy, and mended"),
    # The worker itself
    _worker_gauge("exchanges", "exchanges", "requests under way now", by_worker=True),
    _worker_gauge("buffered_bytes", "bytes", "held in buffers now", by_worker=True),
    _worker("loop_turns", "turns", "turns of the event loop", by_worker=True),
    _worker("control_bad_packets", "packets", "messages from the supervisor that made no sense"),
    _worker("restarts", "times", "the worker died and was replaced", by_worker=True),
)

SERVER_COUNTERS: Final[tuple[Counter, ...]] = (
    # Its state
    _server_gauge("up", "0 or 1", "1 when every worker takes it for up", fold="min"),
    _server("downs", "times", "went down, counted by each worker"),
    _server_gauge(
        "state", "0 to 4", "0 up, 1 warming, 2 returning, 3 down, 4 held by an operator", fold="max"
    ),
    _server("outages", "times", "went down, counted once for all workers"),
    _server("returns", "times", "was up again for all workers"),
    _server("restarts_seen", "times", "was a new process on a new connection, counted by each worker"),
    _server("up_ms", "ms", "time up for all workers"),
    _server("warming_ms", "ms", "time warming"),
    _server("returning_ms", "ms", "time returning"),
    _server("down_ms", "ms", "time down"),
    _server("held_ms", "ms", "time draining or drained"),
    _server("probes", "probes", "probes sent while it was down"),
    _server("probe_failures", "probes", "probes that failed"),
    # What it missed
    _server_gauge("journal_keys", "keys", "noted for it now, to be deleted there when it returns"),
    _server_gauge("journal_bytes", "bytes", "held by its journals now"),
    _server("journal_overflows", "times", "a journal was full: the server is flushed when it returns"),
    _server("journal_played", "keys", "deleted there when it returned"),
    _server("refills", "keys", "copied back after they had been deleted there"),
    _server("flushes_played", "flushes", "sent when it returned"),
    _server("warm_keys", "keys", "copied to it by re-warms"),
    _server("warm_bytes", "bytes", "copied to it by re-warms"),
    _server_gauge("warm_per_cent", "%", "of the re-warm under way; 0 without one"),
    # Its connections
    _server_gauge("connections", "connections", "open now"),
    _server("connects", "connections", "made"),
    _server("connect_failures", "connections", "refused, unreachable or not made within connect_timeout_ms"),
    _server("resets", "connections", "lost while open"),
    _server("garbage_replies", "connections", "closed by us because of a reply that makes no sense"),
    # Its traffic
    _server("requests", "requests", "sent"),
    _server("replies", "replies", "received"),
    _server("errors", "replies", "ERROR, CLIENT_ERROR or SERVER_ERROR received"),
    _server("timeouts", "requests", "not answered within request_timeout_ms"),
    _server("busy_rejections", "requests", "refused at once: the server's queue was full"),
    _server("down_rejections", "requests", "refused or sent elsewhere at once: it was down"),
    _server("bytes_sent", "bytes", "sent to it"),
    _server("bytes_received", "bytes", "received from it"),
    _server("get_hits", "keys", "keys it had"),
    _server("get_misses", "keys", "keys it did not have"),
    _server_gauge("pending", "requests", "accepted and not yet sent now"),
    _server_gauge("in_flight", "requests", "sent and not yet answered now"),
    _server_gauge("queued_bytes", "bytes", "held for it in its queue now"),
)

COUNTERS: Final[tuple[Counter, ...]] = WORKER_COUNTERS + SERVER_COUNTERS

WORKER_INDEX: Final[dict[str, int]] = {counter.name: index for index, counter in enumerate(WORKER_COUNTERS)}
SERVER_INDEX: Final[dict[str, int]] = {counter.name: index for index, counter in enumerate(SERVER_COUNTERS)}

WORKER_GAUGES: Final[tuple[int, ...]] = tuple(i for i, c in enumerate(WORKER_COUNTERS) if c.kind == "gauge")
SERVER_GAUGES: Final[tuple[int, ...]] = tuple(i for i, c in enumerate(SERVER_COUNTERS) if c.kind == "gauge")

# What latencies of clients' requests are told apart by, as in `_core/latency.pxd`: few, so metrics stay few.
VERB_CLASSES: Final[dict[str, str]] = {
    "get": "get of one key",
    "multiget": "get, gets, gat, gats of more than one key",
    "gets": "gets of one key",
    "set": "set",
    "add": "add, replace, append, prepend",
    "cas": "cas",
    "incr": "incr, decr",
    "delete": "delete",
    "touch": "touch; gat, gats of one key",
    "mg": "mg",
    "ms": "ms",
    "md": "md",
    "ma": "ma",
    "other": "flush_all, me",
}
