"""A control socket whose answers a test writes: what magent's commands meet in place of a running proxy."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from memagent.counters import SERVER_COUNTERS, WORKER_COUNTERS
from memagent.counts import Counts, ServerCounts
from memagent.settings import Config, PoolConfig
from memagent.snapshot import (
    Limits,
    MigrationSnapshot,
    PoolSnapshot,
    ServerSnapshot,
    Snapshot,
    WarmSnapshot,
    as_json,
)
from tests.support.scripted import Served

Handler = Callable[[dict[str, Any]], Iterable[dict[str, Any] | bytes]]
"""The lines of an answer to a request; bytes are sent as they are."""

BOUNDS_US = (16, 24, 32, 48, 64)
NOW_S = 1_800_000_000.0

WARM = WarmSnapshot(
    state="running",
    started_s=NOW_S - 60,
    ended_s=None,
    sources=("x",),
    keys_total=1000,
    keys_done=430,
    keys_copied=400,
    bytes_copied=40_000,
    keys_per_s=20.4,
    per_cent=43.0,
    eta_s=27.5,
    reason="",
)

SERVER = ServerSnapshot(
    number=0,
    pool="main",
    name="a",
    address="10.0.0.1:11211",
    backup=False,
    weight=1,
    state="up",
    since_s=NOW_S - 7200,
    reason="started",
    outage=0,
    emptied=False,
    held=False,
    journal_keys=0,
    journal_bytes=0,
    journal_overflows=0,
    connections=1,
    in_flight=0,
    replaced=False,
    warm=None,
)

MOVING = MigrationSnapshot(
    pool="main",
    state="running",
    phase="copy",
    started_s=NOW_S - 60,
    ended_s=None,
    coming=("c:1",),
    leaving=("b:1",),
    targets=("a:1", "c:1"),
    target="c:1",
    left_out=(),
    waits_for="",
    keys_copied=1200,
    bytes_copied=5000,
    keys_per_s=100.0,
    per_cent=50.0,
    eta_s=60.0,
)


def snapshot_of(*servers: ServerSnapshot) -> Snapshot:
    numbered = tuple(replace(server, number=number) for number, server in enumerate(servers))
    return Snapshot(
        version="0",
        pid=1,
        now_s=NOW_S,
        started_s=NOW_S - 7200,
        listen=("127.0.0.1:12000",),
        draining=False,
        limits=Limits(4096, 65536, 67108864),
        latency_metrics=True,
        workers=(),
        pools=(PoolSnapshot(0, "main", "ketama", True, numbered),),
        migrations=(),
    )


def counts_of(snapshot: Snapshot, at_s: float = 100.0, **counters: int) -> Counts:
    """Everything 0 but these, which are every server's."""
    empty = (0,) * (len(BOUNDS_US) + 1)
    zero = dict.fromkeys((counter.name for counter in SERVER_COUNTERS), 0)
    return Counts(
        at_s,
        dict.fromkeys((counter.name for counter in WORKER_COUNTERS), 0),
        empty,
        tuple(ServerCounts(server.number, {**zero, **counters}, empty) for server in snapshot.servers()),
        BOUNDS_US,
    )


def answers(snapshot: Snapshot, pool: PoolConfig | None = None) -> Handler:
    """`snapshot`, `counters` and `config`, as a proxy answers them; what is counted stays as it is."""

    def handle(request: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if request == {"verb": "snapshot"}:
            return [{"ok": True, "snapshot": as_json(snapshot)}]
        if request == {"verb": "counters"}:
            counts = as_json(counts_of(snapshot))
            return [{"ok": True, "snapshot": as_json(snapshot), "counts": counts}]
        if request == {"verb": "config"} and pool is not None:
            config = Config(pools=(pool,))
            return [{"ok": True, "config": config.model_dump(mode="json"), "addresses": []}]
        return [{"error": f"no such request: {request}", "hint": None}]

    return handle


def progress(server: ServerSnapshot) -> dict[str, Any]:
    return {"progress": as_json(server)}


def done(server: ServerSnapshot, **more: Any) -> dict[str, Any]:
    return {"ok": True, "server": as_json(server), **more}


class ControlStandIn(Served):
    """Listens at `path` until it is closed; `requests` are all that came."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self.path = str(path)
        self.requests: list[dict[str, Any]] = []
        self._handle = handle
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen()
        super().__init__(listening, self._answer_lines)

    def close(self) -> None:
        super().close()
        Path(self.path).unlink(missing_ok=True)

    def _answer_lines(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
            for line in lines:
                request = json.loads(line)
                self.requests.append(request)
                for answer in self._handle(request):
                    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n"
                    if not data:
                        return
                    connection.sendall(data)
