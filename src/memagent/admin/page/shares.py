"""How much of its ring each server has: of made-up keys, which a hash spreads like any others."""

from typing import Final

from memagent.inspection.places import Places
from memagent.inspection.shares import count_shares
from memagent.settings import PoolConfig
from memagent.topology import make_placement

_KEYS: Final = 20_000


def shares_of(pool: PoolConfig) -> list[float]:
    """0 to 1: of a pool's servers, whose keys they own; of its backups, whose copies they have."""
    owned, copied = count_shares(Places(pool, make_placement(pool)), _KEYS)
    n_servers = len(pool.servers)
    return owned[:n_servers] + copied[n_servers:]
