"""How much of its ring each server has: of made-up keys, which a hash spreads like any others.

Remembered as long as a pool does not change.
"""

from typing import Final

from memagent.inspection.places import Places
from memagent.inspection.shares import count_shares
from memagent.settings import Config, PoolConfig
from memagent.topology import make_placement

_KEYS: Final = 20_000


class Shares:
    def __init__(self) -> None:
        self._known: dict[str, tuple[PoolConfig, list[float]]] = {}

    def of(self, config: Config, pool: str) -> list[float]:
        """0 to 1: of a pool's servers, whose keys they own; of its backups, whose copies they have."""
        given = next((each for each in config.pools if each.name == pool), None)
        if given is None:
            return []
        known = self.known(given)
        if known is None:
            names = {each.name for each in config.pools}
            self._known = {name: kept for name, kept in self._known.items() if name in names}
            known = _count(given)
            self._known[pool] = given, known
        return known

    def known(self, pool: PoolConfig) -> list[float] | None:
        """None: not counted yet."""
        found = self._known.get(pool.name)
        return found[1] if found is not None and found[0] == pool else None


def _count(pool: PoolConfig) -> list[float]:
    owned, copied = count_shares(Places(pool, make_placement(pool)), _KEYS)
    n_servers = len(pool.servers)
    return owned[:n_servers] + copied[n_servers:]
