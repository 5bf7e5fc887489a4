"""What pages see live: one reading a second while any of them watches, made into one frame for all of them.

    shared memory ─▶ Reading ─┬─ every 5 s ─────────────▶ History (always)
                              └─ every 1 s ─▶ View ─▶ frame, encoded once ─▶ every page that watches

    a frame: {..., "columns": [NAME ...], "pools": [{..., "servers": [[VALUE of each column] ...]} ...]}

- Without a page nothing but the history is kept up; the first page has a frame at once.
- A page that does not keep up misses frames, and never holds up another one.
- A stream ends after some minutes and the page asks again: a log-in whose time is over holds no longer.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict, fields
from functools import partial
from operator import attrgetter
from typing import Any, Final

from pydantic_core import to_json

from memagent.admin.page.fill import Fill, ask_all
from memagent.admin.page.history import STEP_S, History
from memagent.admin.page.shares import shares_of
from memagent.admin.per_pool import PerPool
from memagent.counts import Counts
from memagent.logs import Logger
from memagent.rates import Reading, Row, Traffic, View, compare
from memagent.settings import Config
from memagent.snapshot import MigrationSnapshot, PoolSnapshot, Snapshot
from memagent.tasks import Tasks
from memagent.threads import in_thread

_LOOK_EVERY_S: Final = 1.0
_ASK_EVERY_S: Final = 5.0
LONGEST_S: Final = 300.0
_SHOWN_S: Final = 300.0  # so long after its end a migration is shown
_MOST_ASKED_PER_S: Final = 20
_MOST_WATCHERS: Final = 128  # half of all connections: health is still answered
_NO_FILL: Final = Fill()
_OF_SERVER: Final = (
    *("name", "address", "backup", "weight", "state", "since_s", "reason", "held"),
    *("journal_keys", "journal_bytes", "connections"),
)
_OF_TRAFFIC: Final = tuple(each.name for each in fields(Traffic))
_OF_FILL: Final = tuple(each.name for each in fields(Fill))
_COLUMNS: Final = (*_OF_SERVER, *_OF_TRAFFIC, *_OF_FILL, "queued", "warm", "share")
_values_of_server, _values_of_traffic, _values_of_fill = (
    attrgetter(*names) for names in (_OF_SERVER, _OF_TRAFFIC, _OF_FILL)
)


class Watch:
    """Made in a running loop; `close` ends it."""

    def __init__(
        self,
        config: Callable[[], Config],
        snapshot: Callable[[], Snapshot],
        count: Callable[[Snapshot], Counts],
        log: Logger,
    ) -> None:
        self.config = config
        self._snapshot = snapshot
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._shares = PerPool(shares_of)
        self._fills: dict[str, Fill] = {}
        self._watchers = 0
        self._has_watchers = asyncio.Event()
        self._past: Reading | None = None  # at the last step of the history
        self._before: Reading | None = None
        self._frame = b""
        self._number = 0
        self._next: asyncio.Future[None] = self._loop.create_future()
        self._is_over = False
        self.history = History()
        self._tasks = Tasks(log)
        self._log = log
        for step in (self._keep_history, self._look, self._ask, self._share):
            self._tasks.spawn(self._go_on(step))

    def close(self) -> None:
        self._tasks.cancel()
        self._is_over = True
        self._tell()

    @property
    def is_full(self) -> bool:
        return self._watchers >= _MOST_WATCHERS

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events, the newest each time, until some minutes have passed or all ends."""
        self._watchers += 1
        self._has_watchers.set()
        # Of what was made for nobody who is there any more, no page wants to see the last.
        seen = self._number if self._watchers == 1 else 0
        end_s = self._loop.time() + LONGEST_S
        try:
            while not self._is_over and self._loop.time() < end_s:
                if self._number == seen:
                    await asyncio.wait([self._next], timeout=end_s - self._loop.time())
                    continue
                seen = self._number
                yield self._frame
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._has_watchers.clear()
                self._before = None

    # ------------------------------------------------------------ readings

    async def _go_on(self, step: Callable[[], Awaitable[float]]) -> None:
        """Again and again, after as many seconds as it says. A mistake is told once and ends nothing."""
        has_told = False
        while True:
            try:
                pause_s = await step()
            except Exception as error:
                if not has_told:
                    self._log.error("the page misses something by a mistake of ours", exc_info=error)
                has_told, pause_s = True, _LOOK_EVERY_S
            await asyncio.sleep(pause_s)

    async def _keep_history(self) -> float:
        now = self._read()
        if self._past is not None:
            self.history.add(compare(self._past, now))
        self._past = now
        return STEP_S

    async def _look(self) -> float:
        await self._has_watchers.wait()
        now = self._read()
        view = compare(self._before or self._past, now)
        self._before = now
        self._frame = b"data: " + to_json(self._as_dict(view)) + b"\n\n"
        self._number += 1
        self._tell()
        return _LOOK_EVERY_S

    async def _ask(self) -> float:
        await self._has_watchers.wait()
        servers = self._snapshot().servers()
        self._fills = await ask_all(servers)
        return max(_ASK_EVERY_S, len(servers) / _MOST_ASKED_PER_S)

    async def _share(self) -> float:
        """Counting takes a while in a large pool, and the loop has more to do."""
        await self._has_watchers.wait()
        for pool in self.config().pools:
            if self._shares.known(pool) is None:
                await in_thread(partial(self._shares.of, pool), "count shares of a ring")
        return _LOOK_EVERY_S

    def _tell(self) -> None:
        told, self._next = self._next, self._loop.create_future()
        told.set_result(None)

    def _read(self) -> Reading:
        snapshot = self._snapshot()
        return Reading(snapshot, self._count(snapshot))

    # ------------------------------------------------------------ the frame

    def _as_dict(self, view: View) -> dict[str, Any]:
        snapshot = view.snapshot
        rows = {row.server.number: row for row in view.rows}
        moving = {each.pool: each for each in snapshot.migrations if _is_shown(each, snapshot.now_s)}
        return {
            "version": snapshot.version,
            "pid": snapshot.pid,
            "now_s": snapshot.now_s,
            "started_s": snapshot.started_s,
            "listen": snapshot.listen,
            "draining": snapshot.draining,
            "latency_metrics": snapshot.latency_metrics,
            "clients": view.clients,
            "most_clients": snapshot.limits.max_connections,
            "workers": [asdict(worker) for worker in snapshot.workers],
            "step_s": self.history.last_s,
            **asdict(view.traffic),
            "columns": _COLUMNS,
            "pools": [self._pool(pool, rows, moving.get(pool.name)) for pool in snapshot.pools],
        }

    def _pool(
        self, pool: PoolSnapshot, rows: dict[int, Row], moving: MigrationSnapshot | None
    ) -> dict[str, Any]:
        config = next((each for each in self.config().pools if each.name == pool.name), None)
        known = self._shares.known(config) if config is not None else None
        shares: list[float | None] = [None] * len(pool.servers)
        if known is not None and len(known) == len(shares):
            shares = [*known]
        return {
            "name": pool.name,
            "distribution": pool.distribution,
            "has_copies": pool.has_copies,
            "has_address": pool.name in self.config().listens,
            "migration": asdict(moving) if moving is not None else None,
            "servers": [
                self._server(rows[server.number], share)
                for server, share in zip(pool.servers, shares, strict=True)
            ],
        }

    def _server(self, row: Row, share: float | None) -> tuple[Any, ...]:
        """Names once for all servers, and no digits that nobody sees: a third of the bytes."""
        server = row.server
        return (
            *_values_of_server(server),
            *_short(row.traffic),
            *_values_of_fill(self._fills.get(server.address, _NO_FILL)),
            row.queued,
            asdict(server.warm) if server.warm is not None else None,
            share,
        )


def _is_shown(moving: MigrationSnapshot, now_s: float) -> bool:
    return moving.ended_s is None or now_s - moving.ended_s < _SHOWN_S


def _short(traffic: Traffic) -> tuple[float | None, ...]:
    return tuple(
        # A ratio is 1 only if it was.
        value if value is None or name == "hit_ratio" else round(value, 3)
        for name, value in zip(_OF_TRAFFIC, _values_of_traffic(traffic), strict=True)
    )
