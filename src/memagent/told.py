"""The configuration as workers and re-warms are told it: with the names of `settings`, without its checks.

    supervisor: Config, checked ─▶ JSON ─▶ worker: `told`, the same names ─▶ topology, stats

To read it with settings' own models a worker would load the library that checks: more time than everything
else takes until it serves, whenever a dead one is replaced, and 15 MB in each. What a supervisor of another
version says may lack settings: that is read with the models after all, for their defaults. `Shape` is what
follows from a pool's settings, for both.
"""

from typing import TYPE_CHECKING, Any, cast

from memagent import __version__
from memagent.addresses import parse_address

if TYPE_CHECKING:
    from memagent.settings import Config, PoolConfig, ServerConfig


class Shape:
    """Whether a pool's keys have second holders, and which keys are its own."""

    if TYPE_CHECKING:
        backups: tuple[Any, ...]
        copies: int
        listen: tuple[Any, ...]
        migration: Any
        prefixes: tuple[str, ...]

    @property
    def has_copies(self) -> bool:
        """Does every key have a second holder?"""
        return bool(self.backups) or self.copies == 2

    @property
    def keeps_missed(self) -> bool:
        """May a key have a second holder, so that it matters what a server has missed?"""
        return self.has_copies or self.migration is not None

    @property
    def takes(self) -> tuple[str, ...]:
        """Its prefixes at the addresses of all pools; "" takes what no other one does."""
        return self.prefixes or (() if self.listen else ("",))


class _Table:
    """A table of settings from its JSON: tuples for lists, tables for objects."""

    def __init__(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, _made(_Pool if name in ("pools", "former") else _Table, value))


class _Pool(Shape, _Table):
    pass


def _made(kind: type[_Table], value: Any) -> Any:
    if isinstance(value, dict):
        return kind(value)
    return tuple(_made(kind, each) for each in value) if isinstance(value, list) else value


def told(config: dict[str, Any], version: str) -> "Config":
    """What `Config.model_dump(mode="json")` gives in a supervisor of this version."""
    if version == __version__:
        return cast("Config", _Table(config))
    from memagent.settings import Config

    return Config.model_validate(config)


def told_pool(pool: dict[str, Any], version: str) -> "PoolConfig":
    """The same of a single pool."""
    if version == __version__:
        return cast("PoolConfig", _Pool(pool))
    from memagent.settings import PoolConfig

    return PoolConfig.model_validate(pool)


def told_at(server: "ServerConfig", text: str) -> "ServerConfig":
    """The same server at another address. ValueError."""
    address = parse_address(text)
    where = {"address": text, "host": address.host, "port": address.port, "path": address.path}
    return cast("ServerConfig", _Table({**vars(server), **where}))
