"""What the shared counters say at this moment, for `magent top`.

As a scrape does, it only reads shared memory: no worker is asked, woken or held up.
"""

import time
from collections.abc import Iterable

from memagent.counts import Counts, ServerCounts
from memagent.segment import LATENCY_BOUNDS_US, Latency, Segment
from memagent.snapshot import Snapshot


def count(snapshot: Snapshot, segment: Segment) -> Counts:
    """Of every server in the snapshot."""
    requests = [
        latency for pool in snapshot.pools for latency in segment.verb_latencies(pool.number).values()
    ]
    return Counts(
        at_s=time.monotonic(),
        counters=segment.worker_totals(),
        latency=_sum(requests),
        servers=tuple(
            ServerCounts(
                server.number,
                segment.server_totals(server.number),
                segment.server_latency(server.number).counts,
            )
            for server in snapshot.servers()
        ),
        latency_bounds_us=LATENCY_BOUNDS_US,
    )


def _sum(latencies: Iterable[Latency]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*(latency.counts for latency in latencies), strict=True)))
