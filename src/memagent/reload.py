"""What a new configuration changes in a running proxy, and what has to wait for its next start.

    in force, new ─▶ plan ─▶ what is in force from now on │ changes, one line each │ settings that wait

Pure: nothing is done here.
"""

from dataclasses import dataclass

from memagent.differences import Change, changes
from memagent.rows import settings_of
from memagent.settings import Config


@dataclass(frozen=True, slots=True)
class Plan:
    config: Config
    changes: tuple[str, ...]
    waiting: tuple[str, ...]


def plan(now: Config, new: Config, most_workers: int) -> Plan:
    """`config` is `new` but for what has to wait; so have more workers than there is room for."""
    kept = {name: getattr(now, name) for name, row in settings_of(Config).items() if row.at_start}
    if new.workers > most_workers:
        kept["workers"] = now.workers
    config = new.model_copy(update=kept)
    waiting = tuple(name for name, value in kept.items() if getattr(new, name) != value)
    return Plan(config, tuple(map(_line, changes(now, config))), waiting)


def _line(change: Change) -> str:
    if not change.old:
        return f"{change.where}: {change.new} comes"
    if not change.new:
        return f"{change.where}: {change.old} goes"
    return f"{change.where}: {change.old} becomes {change.new}"
