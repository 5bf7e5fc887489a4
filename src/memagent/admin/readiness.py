"""Is there a live copy of every key? What load balancers ask.

    Config, Snapshot ─▶ servers that are out ─▶ which of them hold the same keys? ─▶ a line for each gap

A pool without copies has a gap for each server that is not up, one with copies for each pair, owner and copy,
that are both out. Which pairs there are is found by made-up keys, and only when two servers are out at once.
"""

from typing import Final

from memagent.admin.per_pool import PerPool
from memagent.inspection.moves import made_up_keys
from memagent.settings import Config, PoolConfig
from memagent.snapshot import PoolSnapshot, Snapshot
from memagent.topology import make_placement

Pairs = frozenset[tuple[int, int]]

_KEYS_PER_PAIR: Final = 50
_FEWEST_KEYS: Final = 10_000
_MOST_KEYS: Final = 100_000


class Readiness:
    def __init__(self) -> None:
        self._pairs = PerPool(_find_pairs)

    def gaps(self, config: Config, snapshot: Snapshot) -> list[str]:
        """In words; none: every key has a live copy. Both are of the same moment."""
        found = []
        for pool, now in zip(config.pools, snapshot.pools, strict=True):
            found += self._gaps(pool, now)
        return found

    def _gaps(self, pool: PoolConfig, now: PoolSnapshot) -> list[str]:
        out = {place: server for place, server in enumerate(now.servers) if server.state != "up"}
        if not pool.has_copies:
            return [f"pool {pool.name}: {server.name} is {server.state}" for server in out.values()]
        if len(out) < 2:
            return []
        gaps = [pair for pair in sorted(self._pairs.of(pool)) if out.keys() >= set(pair)]
        return [
            f"pool {pool.name}: {out[owner].name} is {out[owner].state} and so is its copy"
            f" {out[copy].name} ({out[copy].state})"
            for owner, copy in gaps
        ]


def _find_pairs(pool: PoolConfig) -> Pairs:
    """Places of owner and copy, among the servers and then the backups."""
    placement = make_placement(pool)
    first_backup = len(pool.servers) if pool.backups else 0
    n_pairs = len(pool.servers) * (len(pool.backups) or len(pool.servers))
    n_keys = min(max(_FEWEST_KEYS, _KEYS_PER_PAIR * n_pairs), _MOST_KEYS)
    return frozenset(
        (owner, first_backup + copy)
        for owner, copy in map(placement.locate, made_up_keys(n_keys))
        if copy >= 0
    )
