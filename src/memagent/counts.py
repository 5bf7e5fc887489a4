"""All counters at one moment, as one value: of two of them `magent top` makes what happens in between.

    Counts
      counters, latency        of the proxy, over all workers
      servers: ServerCounts    of each server, in the order of their numbers, over all workers

Frozen, made of plain values, and the same after a way through JSON, as a Snapshot is. What is a counter and
what a gauge stands in `counters`. A latency is how many requests took so long: a count for each of
`latency_bounds_us`, in microseconds, and one for what took longer.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerCounts:
    """`number` is that of the ServerSnapshot taken with it."""

    number: int
    counters: dict[str, int]
    latency: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """`at_s`: when, by a clock of the proxy's machine that nobody sets. Latencies are 0 if they are off."""

    at_s: float
    counters: dict[str, int]
    latency: tuple[int, ...]
    servers: tuple[ServerCounts, ...]
    latency_bounds_us: tuple[int, ...]
