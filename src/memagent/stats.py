"""What `stats` answers: the counters over all workers, in memcached's own form.

    stats            facts about the proxy, then every worker counter, as STAT lines
    stats servers    STAT <pool>:<server>:<counter> <value>, one block per server, backups after servers
    stats reset      counters are shown from zero again, in all workers
    stats magent     magent's own three kinds of line

Anything else is ERROR, as memcached answers what it does not know.
`render` is pure; `facts_now` reads the clock and /proc.
"""

import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from memagent import __version__
from memagent.addresses import Address
from memagent.counters import SERVER_COUNTERS, WORKER_COUNTERS
from memagent.segment import Segment
from memagent.usage import usage_of

if TYPE_CHECKING:
    from memagent.settings import PoolConfig

_POINTER_BITS: Final = 8 * struct.calcsize("P")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server as `stats` names it."""

    number: int
    pool: str
    name: str
    address: str
    backup: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What `stats` shows and no counter knows."""

    pid: int
    version: str
    now_s: float
    started_s: float
    user_s: float
    system_s: float
    max_connections: int
    workers: int
    servers: tuple[ServerFacts, ...]


def server_facts(pools: Iterable["PoolConfig"], numbers: Iterable[int]) -> tuple[ServerFacts, ...]:
    """All servers, `numbers` in the order of the configuration: by pool, its servers before its backups."""
    each = iter(numbers)
    return tuple(
        ServerFacts(
            next(each), pool.name, server.name, str(Address(server.host, server.port, server.path)), backup
        )
        for pool in pools
        for backup, servers in ((False, pool.servers), (True, pool.backups))
        for server in servers
    )


def facts_now(
    segment: Segment, version: str, max_connections: int, workers: int, servers: tuple[ServerFacts, ...]
) -> Facts:
    """The facts of this moment; the processor time is that of the supervisor and of all workers that live."""
    usages = [usage for pid in segment.pids() if (usage := usage_of(pid)) is not None]
    user_s = sum(usage.user_s for usage in usages)
    system_s = sum(usage.system_s for usage in usages)
    pid, started_s = segment.supervisor_pid, segment.started_s
    return Facts(pid, version, time.time(), started_s, user_s, system_s, max_connections, workers, servers)


def render(args: Sequence[bytes], segment: Segment, facts: Facts) -> bytes:
    """The whole reply to `stats` with these arguments, ready to be sent."""
    match args[0] if args else b"":
        case b"":
            return _lines(_general(segment, facts))
        case b"servers":
            return _lines(_servers(segment, facts))
        case b"reset":
            segment.reset()
            return b"RESET\r\n"
        case b"magent":
            return _magent(segment, facts)
        case _:
            return b"ERROR\r\n"


def _general(segment: Segment, facts: Facts) -> Iterable[tuple[str, object]]:
    yield "pid", facts.pid
    yield "uptime", max(0, int(facts.now_s - facts.started_s))
    yield "time", int(facts.now_s)
    yield "version", facts.version
    yield "pointer_size", _POINTER_BITS
    yield "rusage_user", f"{facts.user_s:.6f}"
    yield "rusage_system", f"{facts.system_s:.6f}"
    yield "max_connections", facts.max_connections
    totals = segment.worker_totals(since_reset=True)
    for counter in WORKER_COUNTERS:
        yield counter.name, totals[counter.name]
    yield "threads", facts.workers


def _servers(segment: Segment, facts: Facts) -> Iterable[tuple[str, object]]:
    for server in facts.servers:
        prefix = f"{_word(server.pool)}:{_word(server.name)}"
        if server.backup:
            prefix += ":backup"
        yield f"{prefix}:address", _word(server.address)
        totals = segment.server_totals(server.number, since_reset=True)
        for counter in SERVER_COUNTERS:
            yield f"{prefix}:{counter.name}", totals[counter.name]


def _magent(segment: Segment, facts: Facts) -> bytes:
    lines = [f"memcached agent v{__version__}"]
    for server in facts.servers:
        if not server.backup:
            connections = segment.server_totals(server.number)["connections"]
            lines.append(f"matrix {len(lines)} -> {_word(server.address)}, pool size {connections}")
    lines.append("END\r\n")
    return "\r\n".join(lines).encode()


def _lines(stats: Iterable[tuple[str, object]]) -> bytes:
    return "".join([*(f"STAT {name} {value}\r\n" for name, value in stats), "END\r\n"]).encode()


def _word(text: str) -> str:
    """Clients split STAT lines at spaces."""
    return "_".join(text.split())
