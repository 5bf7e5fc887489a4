"""What follows from a pool's configuration alone, found once and remembered until that changes."""

from collections.abc import Callable
from typing import Generic, TypeVar

from memagent.settings import PoolConfig

_Found = TypeVar("_Found")


class PerPool(Generic[_Found]):
    """`find` may take long: who cannot wait for it asks for what is known."""

    def __init__(self, find: Callable[[PoolConfig], _Found]) -> None:
        self._find = find
        self._known: dict[str, tuple[PoolConfig, _Found]] = {}

    def of(self, pool: PoolConfig) -> _Found:
        known = self._known.get(pool.name)
        if known is None or known[0] != pool:
            known = self._known[pool.name] = pool, self._find(pool)
        return known[1]

    def known(self, pool: PoolConfig) -> _Found | None:
        known = self._known.get(pool.name)
        return known[1] if known is not None and known[0] == pool else None
