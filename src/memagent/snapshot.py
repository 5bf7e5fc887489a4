"""What is going on, as one value: everything that magent's commands, the page and a person want to see.

    Snapshot
      limits: Limits
      workers: WorkerSnapshot ...
      pools: PoolSnapshot ...
        servers: ServerSnapshot ...     the servers, then the backups
          warm: WarmSnapshot            the re-warm under way, or the last one; none if there was none
      migrations: MigrationSnapshot ... of pools whose keys move to other servers, or have done so

Frozen, made of plain values, and the same after a way through JSON (`as_json`, `from_json`, which do the
same for other such values).
Times are seconds since 1970; how long ago something was is its difference to `now_s`, the proxy's own clock.
"""

import dataclasses
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

State = Literal["up", "down", "returning", "warming", "draining", "drained"]
WarmState = Literal["running", "paused", "done", "failed", "aborted"]
MigrationState = Literal["running", "paused", "aborting", "done", "aborted", "cancelled"]
MigrationPhase = Literal["mirror", "copy", "settle"]
STATES: tuple[State, ...] = get_args(State)

_Table = TypeVar("_Table")


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


def as_json(snapshot: Any) -> dict[str, Any]:
    """A dataclass of plain values, such as those above, as what json.dumps takes."""
    return dataclasses.asdict(snapshot)


def from_json(kind: type[_Table], value: Any) -> _Table:
    """The way back. Names that this version does not know are passed over.

    ValueError if one is missing, or has a value that it cannot have.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{kind.__name__}: not an object")
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _read(hint, value[name]) for name, hint in hints.items()})
    except KeyError as error:
        raise ValueError(f"{kind.__name__}: {error.args[0]} is missing") from None


def _read(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        if value is None:
            return None
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError("not a list")
        return tuple(_read(get_args(hint)[0], each) for each in value)
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return {name: _read(get_args(hint)[1], each) for name, each in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_json(hint, value)
    allowed = get_args(hint)  # of a Literal
    if value not in allowed if allowed else not isinstance(value, (int, float) if hint is float else hint):
        raise ValueError(f"{str(value)[:100]!r} cannot be")
    return value
