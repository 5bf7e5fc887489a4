"""Configuration -> the compiled objects that decide where a request goes."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from memagent._core.buffer import Memory
from memagent._core.latency import Histograms
from memagent._core.marks import Marks
from memagent._core.metrics import Block
from memagent._core.pool import Pool
from memagent._core.reply import ReplyParser
from memagent._core.ring import Placement, ring_name
from memagent._core.routes import Route
from memagent._core.server import Server
from memagent._core.timers import Timers
from memagent._core.turn import Turn
from memagent.counters import SERVER_COUNTERS
from memagent.segment import Segment

if TYPE_CHECKING:
    from memagent.settings import Config, PoolConfig, ServerConfig

_Seat = tuple[str, str, int, int]
_Layout = tuple[list[_Seat], list[_Seat], str, str, bytes, int]
# With the rings that keys come from, where those servers stand, and whether the new ones decide already.
_Layouts = tuple[_Layout, tuple[_Layout, list[int], bool] | None]


def make_placement(pool: "PoolConfig") -> Placement:
    """The rings of a pool. Positions that it answers are positions in `pool.servers` and `pool.backups`."""
    layout, before = _layouts(pool)
    if before is None:
        return Placement(*layout)
    former, places, settles = before
    return Placement(*layout, former=Placement(*former), former_places=places, settles=settles)


def _layouts(pool: "PoolConfig") -> _Layouts:
    """All that its rings are made from."""
    moving = pool.migration
    if moving is None:
        return _layout(pool, len(pool.servers)), None
    names = [server.name for server in pool.servers]
    places = [names.index(server.name) for server in moving.former.servers]
    former = _layout(moving.former, len(moving.former.servers))
    return _layout(pool, moving.n_settled), (former, places, moving.phase == "settle")


def _layout(pool: "PoolConfig", n_servers: int) -> _Layout:
    return (
        [_on_ring(server) for server in pool.servers[:n_servers]],
        [_on_ring(server) for server in pool.backups],
        pool.distribution,
        pool.key_hash,
        pool.hash_tag.encode(),
        pool.copies,
    )


def name_on_ring(pool: "PoolConfig", server: "ServerConfig") -> str | None:
    """What a server must be named to keep its place on the ring at another address; None: any name does.

    modula and jump go by the order of the list; names decide it only where all servers have one.
    """
    if server.named:
        return server.name
    if pool.distribution in ("modula", "jump"):
        return None
    if pool.distribution == "magent-ketama":
        return f"{server.host}-{server.port}" if server.port else server.host
    return ring_name(server.host, server.port)


class Topology:
    """The pools and servers of one worker, as they are configured now.

    Objects live on where what they stand for does: a pool by its name, a server by its number, rings as long
    as they would be made in the same way.
    """

    def __init__(self, segment: Segment, worker: int, turn: Turn, memory: Memory) -> None:
        self.pools: dict[str, Pool] = {}
        self.servers: dict[int, Server] = {}
        self._placements: dict[str, tuple[_Layouts, Placement]] = {}
        self._segment = segment
        self._worker = worker
        self._turn = turn
        self._memory = memory
        self._parser = ReplyParser()
        self.timers = Timers(turn)
        self._marks = segment.marks(worker)

    def marks_of(self, worker: int) -> Marks:
        """As that worker has them."""
        return self._marks if worker == self._worker else self._segment.marks(worker)

    def settle(self, config: "Config", numbers: Sequence[int], pool_numbers: Sequence[int]) -> list[Server]:
        """From now on it is so; numbers in the order of the configuration. The servers that left."""
        before, self.servers = self.servers, {}
        pools, self.pools = self.pools, {}
        placements, self._placements = self._placements, {}
        each = iter(numbers)
        for number, pool in zip(pool_numbers, config.pools, strict=True):
            servers = [self._server(before, next(each), pool, server, config) for server in pool.servers]
            backups = [self._server(before, next(each), pool, server, config) for server in pool.backups]
            latencies = (
                self._segment.pool_histograms(self._worker, number) if config.latency_metrics else None
            )
            placement = self._placement(placements, pool)
            self.pools[pool.name] = self._pool(pools, pool, servers, backups, placement, latencies)
        return [server for number, server in before.items() if number not in self.servers]

    def routes(self, config: "Config") -> dict[str, list[Route]]:
        """Of the listeners by the pool whose they are; "": of all pools that have prefixes."""
        shared = [
            Route(prefix.encode(), self.pools[pool.name], strip=pool.strip_prefix)
            for pool in config.pools
            for prefix in pool.takes
        ]
        return {"": shared} | {name: [Route(b"", pool)] for name, pool in self.pools.items()}

    def _placement(self, before: dict[str, tuple[_Layouts, Placement]], pool: "PoolConfig") -> Placement:
        layout = _layouts(pool)
        known = before.get(pool.name)
        if known is None or known[0] != layout:
            known = layout, make_placement(pool)
        self._placements[pool.name] = known
        return known[1]

    def _pool(
        self,
        pools: dict[str, Pool],
        pool: "PoolConfig",
        servers: list[Server],
        backups: list[Server],
        placement: Placement,
        latencies: Histograms | None,
    ) -> Pool:
        made = pools.get(pool.name)
        moving = pool.migration
        if made is None:
            made = Pool(
                pool.name,
                servers,
                backups,
                placement,
                timers=self.timers,
                marks=self._marks,
                epoch_us=time.time_ns() // 1000 - time.monotonic_ns() // 1000,
                worker=self._worker,
            )
        made.configure(
            servers,
            backups,
            placement,
            has_copies=pool.keeps_missed,
            only_mirrors=moving is not None and moving.phase != "copy",
            miss_when_down=pool.get_when_down == "miss",
            multiget_deadline_us=pool.multiget_deadline_ms * 1000,
            # what is being copied there and not verified yet is no answer to a miss
            fallback=pool.fallback if moving is None else "never",
            acknowledge=pool.acknowledge,
            repair_ttl_s=max(1, pool.repair_ttl_ms // 1000),
            latencies=latencies,
        )
        return made

    def _server(
        self,
        before: dict[int, Server],
        number: int,
        pool: "PoolConfig",
        server: "ServerConfig",
        config: "Config",
    ) -> Server:
        made = before.get(number)
        if made is None:
            offset = self._segment.server_offset_slots(self._worker, number)
            made = Server(
                server.name,
                number,
                Block(self._segment.buffer, offset, len(SERVER_COUNTERS)),
                self._turn,
                self._memory,
                self._parser,
                n_channels=pool.connections_per_server,
                seed=self._worker * 1000 + number + 1,
                has_copies=pool.keeps_missed,
                standing=self._segment.standing(number, self._worker),
            )
        made.configure(
            request_timeout_us=pool.request_timeout_ms * 1000,
            failure_limit=pool.failure_limit,
            queue_requests=config.server_queue_requests,
            queue_bytes=config.server_queue_bytes,
            probe_min_us=pool.probe_min_ms * 1000,
            probe_max_us=pool.probe_max_ms * 1000,
            journal_keys=pool.journal_keys,
            journal_bytes=pool.journal_bytes,
            latency=self._segment.server_histogram(self._worker, number) if config.latency_metrics else None,
        )
        made.set_copies(pool.keeps_missed)
        self.servers[number] = made
        return made


def _on_ring(server: "ServerConfig") -> _Seat:
    return (server.name if server.named else "", server.host, server.port, server.weight)
