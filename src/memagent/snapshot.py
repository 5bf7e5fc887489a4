"""What is going on, as one value: everything that magent's commands, the page and a person want to see.

    Snapshot
      limits: Limits
      workers: WorkerSnapshot ...
      pools: PoolSnapshot ...
        servers: ServerSnapshot ...     the servers, then the backups
          warm: WarmSnapshot            the re-warm under way, or the last one; none if there was none
      migrations: MigrationSnapshot ... of pools whose keys move to other servers, or have done so

Frozen, made of plain values, and the same after a way through JSON (`as_json`, `from_json`).
Times are seconds since 1970; how long ago something was is its difference to `now_s`, the proxy's own clock.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from memagent.plain import as_json as as_json
from memagent.plain import from_json as from_json

State = Literal["up", "down", "returning", "warming", "draining", "drained"]
WarmState = Literal["running", "paused", "done", "failed", "aborted"]
MigrationState = Literal["running", "paused", "aborting", "done", "aborted", "cancelled"]
MigrationPhase = Literal["mirror", "copy", "settle"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class WarmSnapshot:
    """How far a re-warm is. Totals are guesses until the last source has been listed; None before."""

    state: WarmState
    started_s: float
    ended_s: float | None
    sources: tuple[str, ...]
    keys_total: int | None
    keys_done: int
    keys_copied: int
    bytes_copied: int
    keys_per_s: float
    per_cent: float
    eta_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """A server as the supervisor sees it over all workers."""

    number: int
    pool: str
    name: str
    address: str
    backup: bool
    weight: int
    state: State
    since_s: float
    reason: str
    outage: int
    emptied: bool
    held: bool
    journal_keys: int
    journal_bytes: int
    journal_overflows: int
    connections: int
    in_flight: int
    replaced: bool
    warm: WarmSnapshot | None


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    number: int
    name: str
    distribution: str
    has_copies: bool
    servers: tuple[ServerSnapshot, ...]


@dataclass(frozen=True, slots=True)
class MigrationSnapshot:
    """How far a pool's keys are on their way to other servers; the last migration, where none is under way.

    `target`: the server that is being filled, or cleaned before. `left_out`: servers whose keys are not
    copied, and why. `waits_for`: what keeps it, "" for nothing.
    """

    pool: str
    state: MigrationState
    phase: MigrationPhase
    started_s: float
    ended_s: float | None
    coming: tuple[str, ...]
    leaving: tuple[str, ...]
    targets: tuple[str, ...]
    target: str | None
    left_out: tuple[str, ...]
    waits_for: str
    keys_copied: int
    bytes_copied: int
    keys_per_s: float
    per_cent: float
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """`pid` 0: there is none now, it is being replaced."""

    number: int
    pid: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What may not be passed: client connections over all workers, the queue of one worker for one server."""

    max_connections: int
    server_queue_requests: int
    server_queue_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    version: str
    pid: int
    now_s: float
    started_s: float
    listen: tuple[str, ...]
    draining: bool
    limits: Limits
    latency_metrics: bool
    workers: tuple[WorkerSnapshot, ...]
    pools: tuple[PoolSnapshot, ...]
    migrations: tuple[MigrationSnapshot, ...]

    def servers(self) -> tuple[ServerSnapshot, ...]:
        """All servers, in the order of their numbers."""
        return tuple(server for pool in self.pools for server in pool.servers)

    def moving(self) -> tuple[MigrationSnapshot, ...]:
        """The migrations under way."""
        return tuple(each for each in self.migrations if each.ended_s is None)
