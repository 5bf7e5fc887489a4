"""What another configuration would change, setting by setting and server by server. For people."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import SecretStr

from memagent.rows import settings_of, show_setting
from memagent.settings import Config, PoolConfig, ServerConfig, Table
from memagent.units import quoted

# What a proxy shows of its secrets: they may be the same as ours or not.
_HIDDEN = SecretStr("**********")


class Change(NamedTuple):
    """`old` or `new` is "" for what was not there, or is no more."""

    where: str
    old: str
    new: str


def changes(old: Config, new: Config) -> Iterator[Change]:
    """In the order of the table; what is said in other words and means the same is no change."""
    yield from _of_table(old, new, "")
    before, after = ({pool.name: pool for pool in config.pools} for config in (old, new))
    for name in before | after:
        where = f"pool {quoted(name)}"
        if name in before and name in after:
            yield from _of_table(before[name], after[name], f"{where}: ")
        elif name in before:
            yield Change(where, _summary(before[name]), "")
        else:
            yield Change(where, "", _summary(after[name]))


def _of_table(old: Table, new: Table, where: str) -> Iterator[Change]:
    model = type(new)
    for name, row in settings_of(model).items():
        before, after = getattr(old, name), getattr(new, name)
        if name == "pools" or _HIDDEN in (before, after):
            continue
        if row.many:
            yield from _of_list(before, after, f"{where}{name}")
        elif before != after:
            was, will_be = (show_setting(model, name, value) for value in (before, after))
            yield Change(where + name, was, will_be if will_be != was else f"another {will_be}")


def _of_list(old: tuple[Any, ...], new: tuple[Any, ...], where: str) -> Iterator[Change]:
    """Items are the same by their names; their order is a change of its own."""
    before, after = ({str(item): item for item in items} for items in (old, new))
    for name in before | after:
        was = _item(before[name]) if name in before else ""
        will_be = _item(after[name]) if name in after else ""
        if was != will_be:
            yield Change(where, was, will_be)
    kept = [name for name in after if name in before]
    if kept != [name for name in before if name in after]:
        yield Change(f"{where}: order", ", ".join(before), ", ".join(after))


def _item(item: Any) -> str:
    if not isinstance(item, ServerConfig):
        return str(item)
    address = f" {item.address}" if item.named else ""
    weight = f" weight {item.weight}" if item.weight != 1 else ""
    return f"{item.name}{address}{weight}"


def _summary(pool: PoolConfig) -> str:
    n_servers = len(pool.servers) + len(pool.backups)
    return f"{n_servers} server{'s' if n_servers != 1 else ''}"
