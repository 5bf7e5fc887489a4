"""Loads at a fixed rate, several at once, and what a proxy says of its servers meanwhile.

A request's latency runs from the moment that it was due, so a load that is held up does not look better for
having asked less. A load needs a client for every request that may be under way: rate x the longest reply.
"""

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from memagent._bench.job import Job, preload, prepare

MEANWHILE_S = 0.05
POLL_S = 0.02
KEY_BYTES = 20


@dataclass(frozen=True)
class Heard:
    """What the clients of one load got. A miss is an error: every key was set."""

    requests: int
    p50_us: float
    p99_us: float
    longest_us: float
    errors: int
    what: str  # the errors, in words


class Load(AbstractContextManager["Load"]):
    """Nine gets for each set, of keys that begin with `prefix`."""

    def __init__(self, target: str, keys: int, per_s: float = 0, clients: int = 50, prefix: str = "bench-"):
        self.per_s = per_s
        self._generator = prepare(
            Job(target=target, clients=clients, keys=keys, key_prefix=prefix, key_bytes=KEY_BYTES)
        )

    def fill(self) -> None:
        found = preload(self._generator)
        if found["stored"] != found["keys"]:
            raise RuntimeError(f"only {found['stored']:,} of {found['keys']:,} keys could be set")

    def run(self, seconds: float) -> Heard:
        """All requests that are due within this time, and their replies, however long those take."""
        self._generator.start(warmup_s=0, duration_s=seconds, rate=self.per_s)
        while self._generator.step(1) != "done":
            pass
        counts, latency = self._generator.counts(), self._generator.checker.latency
        wrong = {**counts["errors"], "misses": counts["misses"]}
        return Heard(
            requests=counts["requests"],
            p50_us=latency.percentile_us(50),
            p99_us=latency.percentile_us(99),
            longest_us=latency.max_us,
            errors=sum(wrong.values()),
            what=", ".join(f"{number} {name}" for name, number in wrong.items() if number)
            + "".join(f": {counts[each]}" for each in ("error_sample", "mismatch_sample") if counts[each]),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generator.close()


def together(
    loads: Sequence[Load], seconds: float, meanwhile: Callable[[], None] | None = None
) -> list[Heard]:
    """Every load in a thread of its own, which Python does not hold up; `meanwhile` soon after the start."""
    with ThreadPoolExecutor(len(loads)) as threads:
        running = [threads.submit(load.run, seconds) for load in loads]
        if meanwhile is not None:
            time.sleep(MEANWHILE_S)
            meanwhile()
        return [each.result() for each in running]


def standing(target: str, server: str) -> dict[str, int]:
    """A server's counters, as the proxy's `stats servers` has them; `server` is its name."""
    host, _, port = target.rpartition(":")
    found: dict[str, int] = {}
    with socket.create_connection((host, int(port)), timeout=5) as client, client.makefile("rb") as lines:
        client.sendall(b"stats servers\r\n")
        for line in lines:
            if line == b"END\r\n":
                return found
            _, name, value = line.decode().split(" ", 2)
            place, _, counter = name.rpartition(":")
            if place.endswith(f":{server}") and value.strip().isdigit():
                found[counter] = int(value)
    raise RuntimeError(f"{target} closed the connection")


def until(what: str, holds: Callable[[], bool], seconds: float) -> float:
    """Waits until it holds; how long that took."""
    began_s = time.monotonic()
    while not holds():
        if time.monotonic() - began_s > seconds:
            raise RuntimeError(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_S)
    return time.monotonic() - began_s
