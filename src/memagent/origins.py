"""Where each setting comes from: a line of a file, a variable, a flag. For people."""

from collections.abc import Iterator
from typing import NamedTuple

from yaml import Node

from memagent.config import Loaded
from memagent.layers import entries, entry
from memagent.rows import secret_of, settings_of, show_setting
from memagent.settings import Config, PoolConfig, Table


class Origin(NamedTuple):
    """A setting that somebody gave. `where` is "" at the root, else the pool."""

    where: str
    name: str
    value: str
    place: str
    is_default: bool  # given, and what it would be anyway


def origins(loaded: Loaded) -> Iterator[Origin]:
    """Every setting that was given, in the order of the table."""
    yield from _of_table(loaded.config, loaded.tree, "")
    pools = entry(loaded.tree, "pools")
    for pool in loaded.config.pools:
        yield from _of_table(pool, entry(pools, pool.name), pool.name)


def _of_table(table: Table, node: Node | None, where: str) -> Iterator[Origin]:
    model = PoolConfig if isinstance(table, PoolConfig) else Config
    places = {secret_of(model, name) or name: place for name, place, _ in entries(node)}
    for name in settings_of(model):
        if name in places and name != "pools":
            value = getattr(table, name)
            field = model.model_fields[name]
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            shown = show_setting(model, name, value)
            yield Origin(where, name, shown, str(places[name]), not field.is_required() and value == default)
