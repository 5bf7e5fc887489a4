"""Which pool takes a key, for people: the answer of `_core.routes`, from the configuration alone."""

from typing import NamedTuple

from memagent.errors import ConfigError
from memagent.inspection.keys import problem_of
from memagent.settings import Config, PoolConfig
from memagent.units import quoted


class Routed(NamedTuple):
    """`stored`: the key as the pool's servers know it. `prefix`: what led there; None: the pool was named.

    `asked`: the key by which clients reach it there; None: none does, as its prefix leads to another pool.
    """

    pool: PoolConfig
    stored: bytes
    prefix: str | None
    asked: bytes | None


def pool_of(config: Config, name: str | None) -> PoolConfig:
    """The one of this name, or the only one; ConfigError."""
    if name is None and len(config.pools) == 1:
        return config.pools[0]
    names = ", ".join(pool.name for pool in config.pools)
    if name is None:
        raise ConfigError(f"which pool is meant? There are {names}", "say it with --pool NAME")
    found = next((pool for pool in config.pools if pool.name == name), None)
    if found is None:
        raise ConfigError(f"there is no pool {quoted(name)}", f"there are {names}")
    return found


def routed(config: Config, key: bytes, pool: str | None = None) -> Routed:
    """At the addresses of all pools, or at those of a named `pool`. ConfigError: nobody takes it."""
    if pool is not None or "" not in config.listens:
        named = pool_of(config, pool)
        asked = key if named.name in config.listens else _asked(config, named, key)
        return Routed(named, key, None, asked)
    found = [
        (prefix, each) for each in config.pools for prefix in each.takes if key.startswith(prefix.encode())
    ]
    if not found:
        raise ConfigError(
            f"no pool takes the key {quoted(key.decode(errors='backslashreplace'))}: none has such a prefix",
            "where a pool has addresses of its own it takes every key: --pool NAME",
        )
    prefix, taker = max(found, key=lambda each: len(each[0].encode()))
    if not taker.strip_prefix:
        return Routed(taker, key, prefix, key)
    stored = key.removeprefix(prefix.encode())
    if not stored:
        raise ConfigError(
            f"the key {quoted(prefix)} is nothing but the prefix that the pool {quoted(taker.name)} strips",
            "such a key is refused",
        )
    return Routed(taker, stored, prefix, key)


def _asked(config: Config, pool: PoolConfig, stored: bytes) -> bytes | None:
    """Of a pool that has no address of its own."""
    for prefix in pool.takes:
        asked = prefix.encode() + stored if pool.strip_prefix else stored
        try:
            found = routed(config, asked)
        except ConfigError:
            continue
        if problem_of(asked) is None and (found.pool.name, found.stored) == (pool.name, stored):
            return asked
    return None
