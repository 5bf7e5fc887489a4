"""What a new configuration changes in a running proxy, and what has to wait for its next start.

    in force, new ─▶ plan ─▶ what is in force from now on │ changes, one line each │ settings that wait

Pure: nothing is done here.
"""

from dataclasses import dataclass
from typing import Final

from memagent.differences import Change, changes
from memagent.settings import Config

# What a process is made with, or what all that it has was made with.
AT_START: Final = (
    *("listen", "workers", "user", "group", "daemon"),
    *("log_file", "control_socket", "otel_endpoint", "admin_listen"),
)


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
    return Plan(config, tuple(map(_line, changes(now, config))), waiting)


def _line(change: Change) -> str:
    if not change.old:
        return f"{change.where}: {change.new} comes"
    if not change.new:
        return f"{change.where}: {change.old} goes"
    return f"{change.where}: {change.old} becomes {change.new}"
