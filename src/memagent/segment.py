"""What all processes know, in one piece of memory that they share: counters, and how every server stands.

    header │ pids │ worker 0: its block, one block per server │ worker 1: ... │ the leader │ baseline of all
           │ how server 0 stands, how server 1 stands, ... │ worker 0: marks of keys │ worker 1: ...

- All numbers are unsigned 64 bits; a block starts on a cache line: two workers never write to the same one.
- A block belongs to a place (worker 0, 1, ...), not to a process: who replaces a dead worker counts on.
- The leader (the supervisor) has a place like a worker's, for what only it knows.
- `stats reset` copies the counters to the baseline, and who shows them subtracts it. Counters only grow.
- Servers are numbered over all pools as configured, each pool's servers before its backups.
- How a server stands is written by all workers, with atomic operations; of the marks of keys each has a row.
- The header holds a checksum of the counters' names: a worker of another version does not write into it.
"""

import mmap
import os
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from memagent._core.marks import Marks, marks_bytes
from memagent._core.standing import Standing, standing_slots
from memagent.counters import (
    COUNTERS,
    SERVER_COUNTERS,
    SERVER_GAUGES,
    SERVER_INDEX,
    WORKER_COUNTERS,
    WORKER_GAUGES,
    WORKER_INDEX,
    Counter,
)

SLOT_BYTES: Final = 8
_LINE_SLOTS: Final = 8  # a cache line of 64 bytes
_MAGIC: Final = int.from_bytes(b"memagent", "little")
_TABLE: Final = zlib.crc32(" ".join(f"{c.scope}.{c.name}" for c in COUNTERS).encode())
_MAGIC_AT, _TABLE_AT, _WORKERS_AT, _SERVERS_AT, _STARTED_AT, _PID_AT = range(6)
_HEADER_SLOTS: Final = _LINE_SLOTS


def _whole_lines(slots: int) -> int:
    return -(-slots // _LINE_SLOTS) * _LINE_SLOTS


_WORKER_SLOTS: Final = _whole_lines(len(WORKER_COUNTERS))
_SERVER_SLOTS: Final = _whole_lines(len(SERVER_COUNTERS))


def _size_bytes(workers: int, servers: int) -> int:
    places = (workers + 1) * (_WORKER_SLOTS + servers * _SERVER_SLOTS)
    slots = _HEADER_SLOTS + _whole_lines(workers) + 2 * places + servers * standing_slots(workers)
    return SLOT_BYTES * slots + marks_bytes(workers)


class Segment:
    """The supervisor makes it, workers attach to it by its file descriptor."""

    def __init__(self, fd: int, workers: int, servers: int) -> None:
        self.fd = fd
        self.workers = workers
        self.servers = servers
        self._place_slots = _WORKER_SLOTS + servers * _SERVER_SLOTS
        self._places_at = _HEADER_SLOTS + _whole_lines(workers)
        self._baseline_slots = (workers + 1) * self._place_slots
        self._standings_at = self._places_at + 2 * self._baseline_slots
        self.marks_offset_bytes = SLOT_BYTES * (self._standings_at + servers * standing_slots(workers))
        self.buffer = mmap.mmap(fd, _size_bytes(workers, servers))
        self._slots = memoryview(self.buffer)[: self.marks_offset_bytes].cast("Q")

    @classmethod
    def create(cls, workers: int, servers: int) -> "Segment":
        if workers < 1 or servers < 0:
            raise ValueError(f"counters of {workers} workers and {servers} servers make no sense")
        fd = os.memfd_create("memagent-counters", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, _size_bytes(workers, servers))
            segment = cls(fd, workers, servers)
        except BaseException:
            os.close(fd)
            raise
        header = (_MAGIC, _TABLE, workers, servers, time.time_ns(), os.getpid())
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
        magic, table, workers, servers = memoryview(start).cast("Q")[:4]
        if magic != _MAGIC:
            raise ValueError("these are not the shared counters")
        if table != _TABLE:
            raise ValueError("the shared counters are another version's: memagent was changed while it ran")
        if workers < 1 or size_bytes != _size_bytes(workers, servers):
            raise ValueError(f"{size_bytes} bytes are wrong for {workers} workers and {servers} servers")
        return cls(fd, workers, servers)

    def close(self) -> None:
        """Let go of the memory; BufferError while a block still counts in it."""
        self._slots.release()
        self.buffer.close()
        os.close(self.fd)

    @property
    def started_s(self) -> float:
        """When the proxy was started, in seconds since 1970."""
        return self._slots[_STARTED_AT] / 1e9

    @property
    def supervisor_pid(self) -> int:
        return self._slots[_PID_AT]

    def worker_offset_slots(self, worker: int) -> int:
        """Where a worker's own block is: `Block(segment.buffer, this, W_COUNT)`."""
        if not 0 <= worker < self.workers:
            raise IndexError(f"worker {worker} of {self.workers}")
        return self._places_at + worker * self._place_slots

    def server_offset_slots(self, worker: int, server: int) -> int:
        """Where a worker's block for a server is: `Block(segment.buffer, this, S_COUNT)`."""
        if not 0 <= server < self.servers:
            raise IndexError(f"server {server} of {self.servers}")
        return self.worker_offset_slots(worker) + _WORKER_SLOTS + server * _SERVER_SLOTS

    def standing(self, server: int, worker: int = 0) -> Standing:
        """How a server stands, for the worker whose word is there; who only reads takes any."""
        if not 0 <= server < self.servers:
            raise IndexError(f"server {server} of {self.servers}")
        return Standing(self.buffer, self.standing_offset_slots(server), self.workers, worker)

    def standing_offset_slots(self, server: int) -> int:
        return self._standings_at + server * standing_slots(self.workers)

    def marks(self, worker: int = 0) -> Marks:
        """Which keys are being written, for the worker whose row is there; who only reads takes any."""
        return Marks(self.buffer, self.marks_offset_bytes, self.workers, worker)

    def count_as_leader(self, server: int, name: str, step: int) -> None:
        """Only in the supervisor, as every block has one writer."""
        self._slots[self._leader_offset_slots(server) + SERVER_INDEX[name]] += step

    def set_as_leader(self, server: int, name: str, value: int) -> None:
        """A gauge that no worker has."""
        self._slots[self._leader_offset_slots(server) + SERVER_INDEX[name]] = value

    def _leader_offset_slots(self, server: int) -> int:
        if not 0 <= server < self.servers:
            raise IndexError(f"server {server} of {self.servers}")
        return self._places_at + self.workers * self._place_slots + _WORKER_SLOTS + server * _SERVER_SLOTS

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
        return self._slots[self.worker_offset_slots(worker) + WORKER_INDEX["loop_turns"]]

    def pids(self) -> list[int]:
        """The supervisor's, then the workers'; 0 where none has been started yet."""
        return [self.supervisor_pid, *self._slots[_HEADER_SLOTS : _HEADER_SLOTS + self.workers]]

    def worker_totals(self, since_reset: bool = False) -> dict[str, int]:
        """The workers' counters by name, over all workers."""
        offsets = [self.worker_offset_slots(worker) for worker in range(self.workers)]
        return self._fold(WORKER_COUNTERS, offsets, since_reset)

    def server_totals(self, server: int, since_reset: bool = False) -> dict[str, int]:
        """One server's counters by name, over all workers and the leader."""
        offsets = [self.server_offset_slots(worker, server) for worker in range(self.workers)]
        return self._fold(SERVER_COUNTERS, offsets, since_reset, self._leader_offset_slots(server))

    def reset(self) -> None:
        """From now on, what is shown since the last reset starts at zero."""
        end = self._places_at + self._baseline_slots
        self._slots[end : end + self._baseline_slots] = self._slots[self._places_at : end]

    def _fold(
        self, table: Sequence[Counter], workers: Sequence[int], since_reset: bool, leader: int | None = None
    ) -> dict[str, int]:
        totals = {}
        for index, counter in enumerate(table):
            # What is not a sum is an opinion, and the leader's slot has none.
            offsets = [*workers, leader] if leader is not None and counter.fold == "sum" else workers
            values = [self._slots[offset + index] for offset in offsets]
            if since_reset and counter.kind == "counter":
                baseline = [self._slots[offset + index + self._baseline_slots] for offset in offsets]
                values = [max(0, value - base) for value, base in zip(values, baseline, strict=True)]
            totals[counter.name] = _FOLDS[counter.fold](values)
        return totals


_FOLDS: Final[dict[str, Callable[[list[int]], int]]] = {"sum": sum, "min": min, "max": max}
