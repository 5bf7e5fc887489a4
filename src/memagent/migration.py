"""A pool whose keys move to other servers: what is in force meanwhile. Pure.

    in force + a new configuration ─▶ with_migrations ─▶ a pool as it is, or with its former rings beside it
                                                               │ in_phase: mirror, copy, settle
    settled: as the configuration has it ◀─────────────────────┘

A pool whose keys move has the new servers first, then those that leave. While it does, its rings stay: a
configuration goes back to the former ones, which ends the migration, or has the same.
"""

from collections.abc import Iterator
from typing import Literal

from memagent.errors import ConfigError
from memagent.settings import Config, Migration, PoolConfig, ServerConfig
from memagent.topology import name_on_ring
from memagent.units import quoted

Phase = Literal["mirror", "copy", "settle"]

_BY_ORDER = ("modula", "jump")


def with_migrations(now: Config, new: Config) -> Config:
    """What is put in force for `new` where `now` is; ConfigError where that cannot be at this time."""
    before = {pool.name: pool for pool in now.pools}
    pools = (_after(before[pool.name], pool) if pool.name in before else pool for pool in new.pools)
    return new.model_copy(update={"pools": tuple(pools)})


def settled(config: Config) -> Config:
    """As the configuration has it: what is in force when no key moves any more."""
    return config.model_copy(update={"pools": tuple(map(settled_pool, config.pools))})


def settled_pool(pool: PoolConfig) -> PoolConfig:
    moving = pool.migration
    if moving is None:
        return pool
    return pool.model_copy(update={"servers": pool.servers[: moving.n_settled], "migration": None})


def in_phase(config: Config, name: str, phase: Phase) -> Config:
    """The pool's migration is so far now."""
    return config.model_copy(update={"pools": tuple(_with_phase(pool, name, phase) for pool in config.pools)})


def _with_phase(pool: PoolConfig, name: str, phase: Phase) -> PoolConfig:
    if pool.name != name or pool.migration is None:
        return pool
    return pool.model_copy(update={"migration": pool.migration.model_copy(update={"phase": phase})})


def coming(pool: PoolConfig) -> tuple[str, ...]:
    """Names of the servers that the former rings did not have."""
    moving = pool.migration
    if moving is None:
        return ()
    known = {server.name for server in moving.former.servers}
    return tuple(server.name for server in pool.servers if server.name not in known)


def leaving(pool: PoolConfig) -> tuple[str, ...]:
    """Names of the servers that will be let go."""
    moving = pool.migration
    return () if moving is None else tuple(server.name for server in pool.servers[moving.n_settled :])


def begins(now: Config, config: Config) -> Iterator[PoolConfig]:
    """Pools whose keys move in `config` and did not in `now`."""
    moving = {pool.name for pool in now.pools if pool.migration is not None}
    return (pool for pool in config.pools if pool.migration is not None and pool.name not in moving)


def will_move(now: PoolConfig, new: PoolConfig) -> bool:
    """Would a reload of `new`, where `now` is in force, copy keys to other servers?"""
    return new.on_change == "migrate" and not now.has_copies and _rings(now) != _rings(new)


def _after(now: PoolConfig, new: PoolConfig) -> PoolConfig:
    moving = now.migration
    if moving is None:
        if not will_move(now, new):
            return new
        _check_addresses(now, new)
        former = now.model_copy(update={"backups": ()})
        return _joint(new, now.servers, Migration(phase="mirror", former=former, n_settled=len(new.servers)))
    here = settled_pool(now)
    if _rings(new) == _rings(here):
        if _fixed(new) != _fixed(here):
            raise ConfigError(
                f"pool {quoted(new.name)}: while its keys move, its servers' names, on_change and "
                "connections_per_server stay as they are",
                _WHAT_TO_DO,
            )
        return _joint(new, now.servers, moving)
    if _rings(new) == _rings(moving.former):
        return new
    raise ConfigError(
        f"pool {quoted(new.name)}: keys are still moving to the servers of the last reload, "
        "and its rings cannot change once more meanwhile",
        f"{_WHAT_TO_DO}; or reload the rings of before, which calls it off",
    )


_WHAT_TO_DO = "wait until magent migration says that it is done, or end it with magent migration --abort"


def _joint(new: PoolConfig, before: tuple[ServerConfig, ...], migration: Migration) -> PoolConfig:
    names = {server.name for server in new.servers}
    leave = tuple(server for server in before if server.name not in names)
    return new.model_copy(update={"servers": (*new.servers, *leave), "migration": migration})


def _fixed(pool: PoolConfig) -> tuple[object, ...]:
    """What must stay while its keys move, beside its rings."""
    return (
        {server.name for server in pool.servers},
        [server.name for server in pool.servers] if pool.distribution in _BY_ORDER else None,
        pool.on_change,
        pool.connections_per_server,
    )


def _rings(pool: PoolConfig) -> tuple[object, ...]:
    """Keys of pools that have this in common are on the same servers."""
    servers = [(name_on_ring(pool, server) or server.name, server.weight) for server in pool.servers]
    by_order = pool.distribution in _BY_ORDER
    if by_order and pool.distribution == "modula" and all(server.named for server in pool.servers):
        by_order = False
    return (
        pool.distribution,
        pool.key_hash,
        pool.hash_tag,
        pool.copies,
        [server.name for server in pool.backups],
        by_order,
        servers if by_order else sorted(servers),
    )


def _check_addresses(now: PoolConfig, new: PoolConfig) -> None:
    """One server by two names would get every write twice."""
    names: dict[tuple[str, int, str | None], str] = {}
    for server in (*now.servers, *new.servers):
        place = (server.host, server.port, server.path)
        if names.setdefault(place, server.name) != server.name:
            raise ConfigError(
                f"pool {quoted(new.name)}: {server.address} is {quoted(names[place])} now and would be "
                f"{quoted(server.name)}, so its keys cannot be copied",
                "change names in a reload of their own, or set on_change: reroute",
            )
