"""Configuration -> the compiled objects that decide where a request goes."""

from memagent._core.ring import Placement
from memagent.settings import PoolConfig, ServerConfig


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


def _on_ring(server: ServerConfig) -> tuple[str, str, int, int]:
    return (server.name if server.named else "", server.host, server.port, server.weight)
