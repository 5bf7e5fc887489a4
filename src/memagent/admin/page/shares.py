"""How much of its ring each server has: of made-up keys, which a hash spreads like any others.

Remembered as long as a pool does not change.
"""

from collections import Counter
from typing import Final

from memagent.inspection.moves import made_up_keys
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
    found = list(map(make_placement(pool).locate, made_up_keys(_KEYS)))
    owned = Counter(owner for owner, _ in found)
    shares = [owned[place] / _KEYS for place in range(len(pool.servers))]
    copied = Counter(copy for _, copy in found)
    return shares + [copied[place] / _KEYS for place in range(len(pool.backups))]
