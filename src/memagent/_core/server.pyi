from collections.abc import Callable
from typing import Self, final

from memagent._core.buffer import Memory
from memagent._core.channel import Awaiting, Channel
from memagent._core.metrics import Block
from memagent._core.reply import ReplyParser
from memagent._core.standing import Standing
from memagent._core.turn import Turn

@final
class Server:
    name: str
    index: int
    state: int
    up: bool
    has_copies: bool
    standing: Standing
    joined: int
    degraded: int
    refilling: int
    journal: set[bytes]
    flush_missed: bool
    fallen: bool
    meta: bool
    keeps_cas: bool
    epoch_offset_s: int
    channels: list[Channel]
    probe_at_us: int
    heard_us: int
    on_change: Callable[[Server, bool, str], None] | None
    def __new__(
        cls,
        name: str,
        index: int,
        counters: Block,
        turn: Turn,
        memory: Memory,
        parser: ReplyParser,
        *,
        n_channels: int = 1,
        request_timeout_us: int = ...,
        failure_limit: int = 3,
        queue_requests: int = 65536,
        queue_bytes: int = ...,
        probe_min_us: int = ...,
        probe_max_us: int = ...,
        seed: int = 1,
        has_copies: bool = False,
        standing: Standing | None = None,
    ) -> Self: ...
    @property
    def is_readable(self) -> bool: ...
    @property
    def is_following(self) -> bool: ...
    def miss(self, key: bytes) -> None: ...
    def miss_flush(self) -> None: ...
    def end_connections(self) -> None: ...
    def pass_time(self) -> None: ...
    def fail(self, reason: str) -> None: ...
    def ask_probe(self) -> None: ...
    def hear(self) -> None: ...
    @property
    def is_probing(self) -> bool: ...

@final
class Probe(Awaiting):
    def __new__(cls, server: Server) -> Self: ...
