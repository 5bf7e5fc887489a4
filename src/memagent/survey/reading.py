"""All servers that have something to say, one after the other: what each lists goes to who counts it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from memagent.errors import ServerError
from memagent.inspection.client import Connection
from memagent.inspection.listing import item_count
from memagent.inspection.places import Holder, Places
from memagent.settings import PoolConfig
from memagent.snapshot import State
from memagent.survey.dump import Line, read_dump
from memagent.survey.job import Progress


class Counting(Protocol):
    """Who counts. A server is named by its position among the holders of the pool."""

    wanted: Sequence[int]

    def take(self, at: int, lines: list[Line]) -> None:
        """It lists these as well."""

    def done(self, at: int) -> None:
        """That was all that it lists."""

    def forget(self, at: int) -> None:
        """It could not be read to its end: what it has listed does not count."""

    def result(self) -> dict[str, Any]:
        """When all are read."""


def survey(
    places: Places,
    states: Sequence[State],
    counting: Counting,
    progress: Progress,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """What `counting` has found, how long it took, and who was not asked, or to no good."""
    start_s = time.monotonic()
    not_asked: list[dict[str, Any]] = []
    timeout_s = timeout_of(places.pool)
    progress.servers_total = len(counting.wanted)
    asked, progress.keys_expected = _expect(places, states, counting.wanted, timeout_s, not_asked)
    progress.servers_done = len(not_asked)
    for at in asked:
        holder = places.holders[at]
        progress.server, progress.backup = holder.name, holder.role == "backup"
        try:
            for lines in read_dump(holder.address, timeout_s, pause):
                counting.take(at, lines)
                progress.keys_read += len(lines)
        except ServerError as error:
            counting.forget(at)
            not_asked.append(_not_asked(holder, error.message))
        else:
            counting.done(at)
        progress.servers_done += 1
    found = counting.result()
    return {
        "seconds": round(time.monotonic() - start_s, 3),
        "keys_read": progress.keys_read,
        "not_asked": not_asked,
        **found,
    }


def timeout_of(pool: PoolConfig) -> float:
    """How long one of its servers may take to connect, and again to answer, in seconds."""
    return max(pool.connect_timeout_ms, pool.request_timeout_ms) / 1000


def _expect(
    places: Places,
    states: Sequence[State],
    wanted: Sequence[int],
    timeout_s: float,
    not_asked: list[dict[str, Any]],
) -> tuple[list[int], int]:
    """Who is to be read, and how many keys there should be."""
    asked, n_keys = [], 0
    for at in wanted:
        holder = places.holders[at]
        if states[at] == "down":
            not_asked.append(_not_asked(holder, "it is down"))
            continue
        try:
            with Connection.open(holder.address, timeout_s) as connection:
                n_keys += item_count(connection)
        except ServerError as error:
            not_asked.append(_not_asked(holder, error.message))
            continue
        asked.append(at)
    return asked, n_keys


def _not_asked(holder: Holder, why: str) -> dict[str, Any]:
    return {"server": holder.name, "backup": holder.role == "backup", "why": why}
