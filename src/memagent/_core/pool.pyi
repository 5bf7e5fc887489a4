from collections import deque
from typing import Any, Literal, Self, final

from memagent._core.latency import Histograms
from memagent._core.marks import Marks
from memagent._core.ring import Placement
from memagent._core.server import Server
from memagent._core.timers import Timers

@final
class Pool:
    name: str
    servers: list[Server]
    backups: list[Server]
    has_copies: bool
    only_mirrors: bool
    miss_when_down: bool
    acknowledge_all: bool
    multiget_deadline_us: int
    repair_ttl_s: int
    marks: Marks
    latencies: Histograms | None
    repairing: set[bytes]
    refills: deque[Any]
    doubted: dict[bytes, Any]
    def __new__(
        cls,
        name: str,
        servers: list[Server],
        backups: list[Server],
        placement: Placement,
        *,
        timers: Timers | None = None,
        marks: Marks | None = None,
        epoch_us: int = 0,
        worker: int = 0,
        **settings: Any,
    ) -> Self: ...
    def configure(
        self,
        servers: list[Server],
        backups: list[Server],
        placement: Placement,
        *,
        has_copies: bool = False,
        only_mirrors: bool = False,
        miss_when_down: bool = True,
        multiget_deadline_us: int = 0,
        fallback: Literal["always", "warming", "never"] = "always",
        acknowledge: Literal["owner", "all"] = "owner",
        repair_ttl_s: int = 60,
        latencies: Histograms | None = None,
    ) -> None: ...
    def place(self, key: bytes) -> tuple[Server, Server | None]: ...
