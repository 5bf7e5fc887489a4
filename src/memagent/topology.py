"""Configuration -> the compiled objects that decide where a request goes."""

import time
from collections.abc import Sequence

from memagent._core.buffer import Memory
from memagent._core.metrics import Block
from memagent._core.pool import Pool
from memagent._core.reply import ReplyParser
from memagent._core.ring import Placement, ring_name
from memagent._core.server import Server
from memagent._core.turn import Turn
from memagent.counters import SERVER_COUNTERS
from memagent.segment import Segment
from memagent.settings import Config, PoolConfig, ServerConfig


def make_placement(pool: PoolConfig) -> Placement:
    """The rings of a pool. Positions that it answers are positions in `pool.servers` and `pool.backups`."""
    return Placement(
        [_on_ring(server) for server in pool.servers],
        [_on_ring(server) for server in pool.backups],
        pool.distribution,
        pool.key_hash,
        pool.hash_tag.encode(),
        pool.copies,
    )


def name_on_ring(pool: PoolConfig, server: ServerConfig) -> str | None:
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


def make_pools(
    config: Config, numbers: Sequence[int], segment: Segment, worker: int, turn: Turn, memory: Memory
) -> list[Pool]:
    """The pools of one worker. `numbers` of the servers in `Segment`, in the order of the configuration."""
    parser = ReplyParser()
    marks = segment.marks(worker)
    pools = []
    each = iter(numbers)
    for pool in config.pools:
        made = []
        for server in (*pool.servers, *pool.backups):
            number = next(each)
            offset = segment.server_offset_slots(worker, number)
            made.append(
                Server(
                    server.name,
                    number,
                    Block(segment.buffer, offset, len(SERVER_COUNTERS)),
                    turn,
                    memory,
                    parser,
                    n_channels=pool.connections_per_server,
                    request_timeout_us=pool.request_timeout_ms * 1000,
                    failure_limit=pool.failure_limit,
                    queue_requests=config.server_queue_requests,
                    queue_bytes=config.server_queue_bytes,
                    probe_min_us=pool.probe_min_ms * 1000,
                    probe_max_us=pool.probe_max_ms * 1000,
                    seed=worker * 1000 + number + 1,
                    standing=segment.standing(number, worker),
                    has_copies=pool.has_copies,
                    journal_keys=pool.journal_keys,
                    journal_bytes=pool.journal_bytes,
                )
            )
        pools.append(
            Pool(
                pool.name,
                made[: len(pool.servers)],
                made[len(pool.servers) :],
                make_placement(pool),
                has_copies=pool.has_copies,
                miss_when_down=pool.get_when_down == "miss",
                multiget_deadline_us=pool.multiget_deadline_ms * 1000,
                fallback=pool.fallback,
                acknowledge=pool.acknowledge,
                repair_ttl_s=max(1, pool.repair_ttl_ms // 1000),
                marks=marks,
                epoch_us=time.time_ns() // 1000 - time.monotonic_ns() // 1000,
                worker=worker,
            )
        )
    return pools


def _on_ring(server: ServerConfig) -> tuple[str, str, int, int]:
    return (server.name if server.named else "", server.host, server.port, server.weight)
