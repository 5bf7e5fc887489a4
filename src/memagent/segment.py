"""What all processes know, in one piece of memory that they share: counters, and how every server stands.

    header │ pids │ workers' blocks, and the leader's │ baseline │ workers' histograms of pools
           │ workers' marks of keys │ workers' notes of keys │ workers' hot keys, slow log, tapped requests
           │ server 0 │ server 1 │ ... and so on as it grows
    a server: how it stands │ its block of each worker, and of the leader │ baseline │ each worker's histogram

- All numbers are unsigned 64 bits; a block starts on a cache line: two workers never write to the same one.
- A block belongs to a place (worker 0, 1, ...), not to a process: who replaces a dead worker counts on.
- The leader (the supervisor) has a place like a worker's, for what only it knows.
- `stats reset` copies the counters to the baseline, and who shows them subtracts it. Counters only grow.
- A server keeps its number as long as it is there; the number of one that is gone is given again, at zero.
- It grows at its end only, so what is mapped already stays where it is; `fit` maps what has come since.
- There is room for more workers than there are: what no worker has ever had is not looked at, so it takes no
  memory. `workers` counts the places that were ever taken, and only grows; so a counter never falls.
- How a server stands is written by all workers, with atomic operations; of the marks and notes of keys each
  has a row, which whoever adopts what a dead one had under way takes over.
- The header holds a checksum of the counters' names: a worker of another version does not write into it.
"""

import mmap
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final, NamedTuple

from memagent._core.hot import HotKeys, hot_slots
from memagent._core.latency import Histograms, histogram_slots, latency_bounds_us
from memagent._core.marks import Marks, marks_bytes, notes_bytes
from memagent._core.metrics import Block
from memagent._core.sighting import Sightings, sightings_slots
from memagent._core.standing import Standing, standing_slots
from memagent.counters import (
    COUNTERS,
    SERVER_COUNTERS,
    SERVER_GAUGES,
    SERVER_INDEX,
    VERB_CLASSES,
    WORKER_COUNTERS,
    WORKER_GAUGES,
    WORKER_INDEX,
    Counter,
)

SLOT_BYTES: Final = 8
_LINE_SLOTS: Final = 8  # a cache line of 64 bytes
_MAGIC: Final = int.from_bytes(b"memagent", "little")
LATENCY_BOUNDS_US: Final = latency_bounds_us()
_SLOW_REQUESTS: Final = 256
_TAPPED_REQUESTS: Final = 1024  # what taps of the highest rate see between two looks of the supervisor
_TABLE: Final = zlib.crc32(
    " ".join(
        [
            *(f"{c.scope}.{c.name}" for c in COUNTERS),
            *VERB_CLASSES,
            *map(
                str, (*LATENCY_BOUNDS_US, hot_slots(), sightings_slots(1), _SLOW_REQUESTS, _TAPPED_REQUESTS)
            ),
        ]
    ).encode()
)
_MAGIC_AT, _TABLE_AT, _PLACES_AT, _POOLS_AT, _STARTED_AT, _PID_AT, _WORKERS_AT = range(7)
_HEADER_SLOTS: Final = _LINE_SLOTS


def _whole_lines(slots: int) -> int:
    return -(-slots // _LINE_SLOTS) * _LINE_SLOTS


_WORKER_SLOTS: Final = _whole_lines(len(WORKER_COUNTERS))
_BLOCK_SLOTS: Final = _whole_lines(len(SERVER_COUNTERS))
_HISTOGRAM_SLOTS: Final = histogram_slots()
_POOL_SLOTS: Final = _whole_lines(len(VERB_CLASSES) * _HISTOGRAM_SLOTS)
_LATENCY_SLOTS: Final = _whole_lines(_HISTOGRAM_SLOTS)
_HOT_SLOTS: Final = _whole_lines(hot_slots())
_SLOW_SLOTS: Final = _whole_lines(sightings_slots(_SLOW_REQUESTS))
_TAPPED_SLOTS: Final = _whole_lines(sightings_slots(_TAPPED_REQUESTS))
_OBSERVER_SLOTS: Final = _HOT_SLOTS + _SLOW_SLOTS + _TAPPED_SLOTS


@dataclass(frozen=True, slots=True)
class Latency:
    """How long some requests took. `counts`: how many, for each of LATENCY_BOUNDS_US and for beyond."""

    counts: tuple[int, ...]
    sum_us: int


class Segment:
    """The supervisor makes it, workers attach to it by its file descriptor."""

    def __init__(self, fd: int, places: int, pools: int) -> None:
        self.fd = fd
        self.places = places
        self.pools = pools
        blocks = places + 1
        self._places_at = _HEADER_SLOTS + _whole_lines(places)
        self._baseline_slots = blocks * _WORKER_SLOTS
        self._pools_at = self._places_at + 2 * self._baseline_slots
        marks_at = self._pools_at + places * pools * _POOL_SLOTS
        self.marks_offset_bytes = SLOT_BYTES * marks_at
        self._notes_offset_bytes = self.marks_offset_bytes + marks_bytes(places)
        self._observers_at = _whole_lines((self._notes_offset_bytes + notes_bytes(places)) // SLOT_BYTES)
        self._servers_at = self._observers_at + places * _OBSERVER_SLOTS
        self._standing_slots = standing_slots(places)
        self._server_baseline_slots = blocks * _BLOCK_SLOTS
        self._latencies_at = self._standing_slots + 2 * self._server_baseline_slots
        self._server_slots = self._latencies_at + places * _LATENCY_SLOTS
        self._mapped: list[tuple[mmap.mmap, memoryview]] = []
        self.buffer: mmap.mmap
        self._slots: memoryview
        self.servers = 0

    @classmethod
    def create(cls, workers: int, servers: int, pools: int = 1, places: int = 0) -> "Segment":
        """With `places` for so many workers, if there are to be more one day."""
        if workers < 1 or servers < 0 or pools < 1:
            raise ValueError(f"counters of {workers} workers, {servers} servers, {pools} pools make no sense")
        fd = os.memfd_create("memagent-counters", os.MFD_CLOEXEC)
        try:
            segment = cls(fd, max(workers, places), pools)
            os.ftruncate(fd, segment._size_bytes(servers))
            segment.fit()
        except BaseException:
            os.close(fd)
            raise
        header = (_MAGIC, _TABLE, segment.places, pools, time.time_ns(), os.getpid(), workers)
        for at, value in enumerate(header):
            segment._slots[at] = value
        return segment

    @classmethod
    def attach(cls, fd: int) -> "Segment":
        """ValueError if it is not a segment, or one of another version of memagent."""
        size_bytes = os.fstat(fd).st_size
        start = os.pread(fd, SLOT_BYTES * _HEADER_SLOTS, 0)
        if len(start) < SLOT_BYTES * _HEADER_SLOTS:
            raise ValueError(f"{size_bytes} bytes are too few for the shared counters")
        header = memoryview(start).cast("Q")
        magic, table, places, pools = header[:4]
        if magic != _MAGIC:
            raise ValueError("these are not the shared counters")
        if table != _TABLE:
            raise ValueError("the shared counters are another version's: memagent was changed while it ran")
        segment = cls(fd, places, pools)
        past_bytes = size_bytes - segment._size_bytes(0)
        is_odd = past_bytes < 0 or past_bytes % (SLOT_BYTES * segment._server_slots)
        if not 1 <= header[_WORKERS_AT] <= places or is_odd:
            raise ValueError(f"{size_bytes} bytes are wrong for {places} workers and {pools} pools")
        segment.fit()
        return segment

    def _size_bytes(self, servers: int) -> int:
        return SLOT_BYTES * (self._servers_at + servers * self._server_slots)

    def grow(self, servers: int) -> None:
        """Room for so many servers; never fewer than before. Only in the supervisor."""
        if servers > self.servers:
            os.ftruncate(self.fd, self._size_bytes(servers))
            self.fit()

    def fit(self) -> None:
        """Map what there is by now. Blocks in what was mapped before stay as they are, and see the same."""
        size_bytes = os.fstat(self.fd).st_size
        if not self._mapped or len(self.buffer) < size_bytes:
            self.buffer = mmap.mmap(self.fd, size_bytes)
            self._slots = memoryview(self.buffer).cast("Q")
            self._mapped.append((self.buffer, self._slots))
            self.servers = (size_bytes // SLOT_BYTES - self._servers_at) // self._server_slots

    def close(self) -> None:
        """Let go of the memory; BufferError while a block still counts in it."""
        for buffer, slots in self._mapped:
            slots.release()
            buffer.close()
        os.close(self.fd)

    @property
    def started_s(self) -> float:
        """When the proxy was started, in seconds since 1970."""
        return self._slots[_STARTED_AT] / 1e9

    @property
    def supervisor_pid(self) -> int:
        return self._slots[_PID_AT]

    @property
    def workers(self) -> int:
        """How many places were ever taken."""
        return self._slots[_WORKERS_AT]

    def open_places(self, workers: int) -> None:
        """There will be so many workers. Only in the supervisor, and before it starts them."""
        if workers > self.places:
            raise ValueError(f"{workers} workers in {self.places} places")
        self._slots[_WORKERS_AT] = max(workers, self.workers)

    @property
    def in_use_offset_bytes(self) -> int:
        """Where `workers` stands."""
        return SLOT_BYTES * _WORKERS_AT

    def worker_offset_slots(self, worker: int) -> int:
        """Where a worker's own block is: `Block(segment.buffer, this, W_COUNT)`."""
        if not 0 <= worker < self.places:
            raise IndexError(f"worker {worker} of {self.places}")
        return self._places_at + worker * _WORKER_SLOTS

    def server_offset_slots(self, worker: int, server: int) -> int:
        """Where a worker's block for a server is: `Block(segment.buffer, this, S_COUNT)`."""
        if not 0 <= worker < self.places:
            raise IndexError(f"worker {worker} of {self.places}")
        return self._blocks_at(server) + worker * _BLOCK_SLOTS

    def pool_histograms(self, worker: int, pool: int) -> Histograms:
        """Where a worker counts how long its clients' requests to a pool take, by class of verbs."""
        return self._histograms(self._pool_offset_slots(worker, pool), len(VERB_CLASSES))

    def hot_keys(self, worker: int, seed: int = 0) -> HotKeys:
        """Which keys are asked for most at a worker; `seed` for who counts."""
        return HotKeys(Block(self.buffer, self._observer_offset_slots(worker), hot_slots()), seed)

    def slow_log(self, worker: int) -> Sightings:
        """A worker's slow requests."""
        at = self._observer_offset_slots(worker) + _HOT_SLOTS
        return Sightings(Block(self.buffer, at, sightings_slots(_SLOW_REQUESTS)))

    def tapped(self, worker: int) -> Sightings:
        """What taps see of a worker's requests."""
        at = self._observer_offset_slots(worker) + _HOT_SLOTS + _SLOW_SLOTS
        return Sightings(Block(self.buffer, at, sightings_slots(_TAPPED_REQUESTS)))

    def _observer_offset_slots(self, worker: int) -> int:
        if not 0 <= worker < self.places:
            raise IndexError(f"worker {worker} of {self.places}")
        return self._observers_at + worker * _OBSERVER_SLOTS

    def _pool_offset_slots(self, worker: int, pool: int) -> int:
        if not 0 <= worker < self.places:
            raise IndexError(f"worker {worker} of {self.places}")
        if not 0 <= pool < self.pools:
            raise IndexError(f"pool {pool} of {self.pools}")
        return self._pools_at + (worker * self.pools + pool) * _POOL_SLOTS

    def server_histogram(self, worker: int, server: int) -> Histograms:
        """Where a worker counts how long a server takes to answer."""
        if not 0 <= worker < self.places:
            raise IndexError(f"worker {worker} of {self.places}")
        return self._histograms(self._latency_offsets(server)[worker], 1)

    def _histograms(self, offset_slots: int, n: int) -> Histograms:
        return Histograms(Block(self.buffer, offset_slots, n * _HISTOGRAM_SLOTS))

    def _latency_offsets(self, server: int) -> range:
        at = self.standing_offset_slots(server) + self._latencies_at
        return range(at, at + self.places * _LATENCY_SLOTS, _LATENCY_SLOTS)

    def standing(self, server: int, worker: int = 0) -> Standing:
        """How a server stands, for the worker whose word is there; who only reads takes any."""
        return Standing(self.buffer, self.standing_offset_slots(server), self.places, worker)

    def standing_offset_slots(self, server: int) -> int:
        if not 0 <= server < self.servers:
            raise IndexError(f"server {server} of {self.servers}")
        return self._servers_at + server * self._server_slots

    def _blocks_at(self, server: int) -> int:
        return self.standing_offset_slots(server) + self._standing_slots

    def marks(self, worker: int = 0) -> Marks:
        """Which keys are being written, for the worker whose row is there; who only reads takes any."""
        at = self.marks_offset_bytes, self._notes_offset_bytes, self.in_use_offset_bytes
        return Marks(self.buffer, at[0], self.places, worker, at[1], at[2])

    def count_as_leader(self, server: int, name: str, step: int) -> None:
        """Only in the supervisor, as every block has one writer."""
        self._slots[self._leader_offset_slots(server) + SERVER_INDEX[name]] += step

    def set_as_leader(self, server: int, name: str, value: int) -> None:
        """A gauge that no worker has."""
        self._slots[self._leader_offset_slots(server) + SERVER_INDEX[name]] = value

    def _leader_offset_slots(self, server: int) -> int:
        return self._blocks_at(server) + self.places * _BLOCK_SLOTS

    def clear_pool(self, pool: int) -> None:
        """Another pool gets this number."""
        nothing = memoryview(bytes(SLOT_BYTES * _POOL_SLOTS)).cast("Q")
        for worker in range(self.workers):
            at = self._pool_offset_slots(worker, pool)
            self._slots[at : at + _POOL_SLOTS] = nothing

    def clear_server(self, server: int) -> None:
        """Another server gets this number. Only while no worker counts for the one that had it."""
        at = self.standing_offset_slots(server)
        self._slots[at : at + self._server_slots] = memoryview(bytes(SLOT_BYTES * self._server_slots)).cast(
            "Q"
        )

    def take_place(self, worker: int, pid: int) -> None:
        """Another process, or none (0), counts in this place: what its predecessor held is gone."""
        offset = self.worker_offset_slots(worker)
        for index in WORKER_GAUGES:
            self._slots[offset + index] = 0
        for server in range(self.servers):
            for index in SERVER_GAUGES:
                self._slots[self.server_offset_slots(worker, server) + index] = 0
        self._slots[_HEADER_SLOTS + worker] = pid

    def count_restart(self, worker: int) -> None:
        """Only while nobody else counts in this place."""
        self._slots[self.worker_offset_slots(worker) + WORKER_INDEX["restarts"]] += 1

    def loop_turns(self, worker: int) -> int:
        return self._worker_value(worker, "loop_turns")

    def clients(self, worker: int) -> int:
        """How many are connected to one worker."""
        return self._worker_value(worker, "curr_connections")

    def _worker_value(self, worker: int, name: str) -> int:
        return self._slots[self.worker_offset_slots(worker) + WORKER_INDEX[name]]

    def pids(self) -> list[int]:
        """The supervisor's, then the workers'; 0 where none has been started yet."""
        return [self.supervisor_pid, *self._slots[_HEADER_SLOTS : _HEADER_SLOTS + self.workers]]

    def worker_totals(self, since_reset: bool = False) -> dict[str, int]:
        """The workers' counters by name, over all workers."""
        return self._fold(_WORKER, self._worker_offsets(), [], self._baseline_slots if since_reset else 0)

    def worker_rows(self) -> list[dict[str, int]]:
        """The workers' counters by name, each worker's own."""
        return [self._fold(_WORKER, [offset]) for offset in self._worker_offsets()]

    def _worker_offsets(self) -> list[int]:
        return [self.worker_offset_slots(worker) for worker in range(self.workers)]

    def server_totals(self, server: int, since_reset: bool = False) -> dict[str, int]:
        """One server's counters by name, over all workers and the leader."""
        leader = [self._leader_offset_slots(server)]
        baseline_slots = self._server_baseline_slots if since_reset else 0
        return self._fold(_SERVER, self._server_offsets(server), leader, baseline_slots)

    def server_sums(self, server: int, names: Iterable[str]) -> list[int]:
        """Some of a server's counters that are sums: far sooner than all of them."""
        offsets = [*self._server_offsets(server), self._leader_offset_slots(server)]
        return [sum([self._slots[offset + SERVER_INDEX[name]] for offset in offsets]) for name in names]

    def server_column(self, server: int, name: str) -> list[int]:
        """One of a server's counters, each worker's own."""
        return [self._slots[offset + SERVER_INDEX[name]] for offset in self._server_offsets(server)]

    def _server_offsets(self, server: int) -> list[int]:
        return [self.server_offset_slots(worker, server) for worker in range(self.workers)]

    def server_latency(self, server: int) -> Latency:
        """How long one server took to answer, over all workers."""
        return self._latency(self._latency_offsets(server)[: self.workers])

    def verb_latencies(self, pool: int) -> dict[str, Latency]:
        """How long clients' requests to a pool took, over all workers, by class of verbs."""
        offsets = [self._pool_offset_slots(worker, pool) for worker in range(self.workers)]
        return {
            name: self._latency(offset + index * _HISTOGRAM_SLOTS for offset in offsets)
            for index, name in enumerate(VERB_CLASSES)
        }

    def _latency(self, offsets: Iterable[int]) -> Latency:
        *counts, sum_us = _added([self._row(at, _HISTOGRAM_SLOTS) for at in offsets])
        return Latency(tuple(counts), sum_us)

    def reset(self) -> None:
        """From now on, what is shown since the last reset starts at zero."""
        areas = [(self._places_at, self._baseline_slots)]
        areas += [(self._blocks_at(server), self._server_baseline_slots) for server in range(self.servers)]
        for at, length in areas:
            self._slots[at + length : at + 2 * length] = self._slots[at : at + length]

    def _fold(
        self,
        table: "_Table",
        workers: Sequence[int],
        leader: Sequence[int] = (),
        baseline_slots: int = 0,
    ) -> dict[str, int]:
        """Counters by name over these blocks, less their baselines, which stand so far behind; 0: all."""
        offsets = [*workers, *leader]
        n_slots = len(table.names)
        rows = [self._row(offset, n_slots) for offset in offsets]
        if baseline_slots:
            bases = [self._row(offset + baseline_slots, n_slots) for offset in offsets]
            rows = [_less(table.counters, row, base) for row, base in zip(rows, bases, strict=True)]
        # Once a second for each of some thousand servers: no work for each counter beyond the sum.
        totals = dict(zip(table.names, _added(rows), strict=True))
        if table.opinions:
            # What is not a sum is an opinion: the leader's slot has none, nor has a place where nobody is.
            living = [row for row, pid in zip(rows[: len(workers)], self.pids()[1:], strict=False) if pid]
            for index, name, fold in table.opinions:
                totals[name] = fold(row[index] for row in living or rows[: len(workers)])
        return totals

    def _row(self, offset_slots: int, n_slots: int) -> list[int]:
        return self._slots[offset_slots : offset_slots + n_slots].tolist()


def _added(rows: Iterable[list[int]]) -> list[int]:
    return reduce(lambda some, more: list(map(add, some, more)), rows)


def _less(table: Sequence[Counter], row: list[int], base: list[int]) -> list[int]:
    """What was counted since the baseline; gauges as they are."""
    return [
        max(0, value - before) if counter.kind == "counter" else value
        for counter, value, before in zip(table, row, base, strict=True)
    ]


class _Table(NamedTuple):
    """`opinions`: where those are that are not summed, and how one is made of them."""

    counters: Sequence[Counter]
    names: tuple[str, ...]
    opinions: tuple[tuple[int, str, Callable[[Iterable[int]], int]], ...]

    @classmethod
    def of(cls, counters: Sequence[Counter]) -> "_Table":
        folds: dict[str, Callable[[Iterable[int]], int]] = {"min": min, "max": max}
        opinions = [
            (index, each.name, folds[each.fold]) for index, each in enumerate(counters) if each.fold != "sum"
        ]
        return cls(counters, tuple(each.name for each in counters), tuple(opinions))


_WORKER: Final = _Table.of(WORKER_COUNTERS)
_SERVER: Final = _Table.of(SERVER_COUNTERS)
