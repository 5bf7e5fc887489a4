"""What a new configuration changes in a running proxy, and what has to wait for its next start.

    in force, new ─▶ plan ─▶ what is in force from now on │ changes, one line each │ settings that wait

Pure: nothing is done here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from memagent.rows import settings_of, shown_value
from memagent.settings import Config, PoolConfig, ServerConfig

# What a process is made with, or what all that it has was made with.
AT_START: Final = ("listen", "workers", "user", "group", "daemon", "log_file", "control_socket")
_LISTS: Final = ("pools", "servers", "backups", "listen")


@dataclass(frozen=True, slots=True)
class Plan:
    config: Config
    changes: tuple[str, ...]
    waiting: tuple[str, ...]


def plan(now: Config, new: Config) -> Plan:
    """`config` is `new` but for what has to wait."""
    kept = {name: getattr(now, name) for name in AT_START}
    config = new.model_copy(update=kept)
    waiting = tuple(name for name in AT_START if getattr(new, name) != getattr(now, name))
    return Plan(config, tuple(_changes(now, config)), waiting)


def _changes(now: Config, new: Config) -> Iterator[str]:
    yield from _values(now, new, "")
    before, after = ({pool.name: pool for pool in config.pools} for config in (now, new))
    for name in before.keys() - after.keys():
        yield f"pool {name} goes"
    for name, pool in after.items():
        if name not in before:
            yield f"pool {name} comes"
        else:
            yield from _pool_changes(before[name], pool)


def _pool_changes(now: PoolConfig, new: PoolConfig) -> Iterator[str]:
    where = f"pool {new.name}: "
    yield from _values(now, new, where)
    for kind, before, after in (("server", now.servers, new.servers), ("backup", now.backups, new.backups)):
        old = {server.name: server for server in before}
        for server in after:
            if server.name not in old:
                yield f"{where}{kind} {server.name} comes"
            else:
                yield from _server_changes(old[server.name], server, f"{where}{kind} {server.name}")
        for name in old.keys() - {server.name for server in after}:
            yield f"{where}{kind} {name} goes"


def _server_changes(now: ServerConfig, new: ServerConfig, where: str) -> Iterator[str]:
    if (now.host, now.port, now.path) != (new.host, new.port, new.path):
        yield f"{where} moves from {now.address} to {new.address}"
    if now.weight != new.weight:
        yield f"{where}: weight {now.weight} becomes {new.weight}"


def _values(now: Config | PoolConfig, new: Config | PoolConfig, where: str) -> Iterator[str]:
    for name, row in settings_of(type(new)).items():
        before, after = getattr(now, name), getattr(new, name)
        if name not in _LISTS and before != after:
            yield f"{where}{name} {shown_value(before, row.unit)} becomes {shown_value(after, row.unit)}"
