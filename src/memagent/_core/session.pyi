from collections import deque
from collections.abc import Callable
from typing import Self, final

from memagent._core.buffer import Memory
from memagent._core.exchange import Waiting
from memagent._core.metrics import Block
from memagent._core.multiget import MultiGet
from memagent._core.observer import Observer
from memagent._core.pool import Pool
from memagent._core.turn import Turn

@final
class Context:
    turn: Turn
    memory: Memory
    pool: Pool
    deadlines: deque[MultiGet]
    observer: Observer
    def __new__(
        cls,
        turn: Turn,
        memory: Memory,
        pool: Pool,
        counters: Block,
        *,
        answer_stats: Callable[[bytes], bytes] | None = None,
        version: bytes = ...,
        observer: Observer | None = ...,
        **limits: int,
    ) -> Self: ...
    def configure(
        self, pool: Pool, *, max_item_bytes: int = ..., pause_bytes: int = ..., close_bytes: int = ...
    ) -> None: ...
    def pass_time(self) -> None: ...

@final
class Session(Waiting):
    def __new__(cls, context: Context) -> Self: ...
    def feed(self, data: bytes) -> None: ...
    def settle_down(self) -> None: ...
    def output(self) -> bytes: ...
    def hang_up(self) -> None: ...
    @property
    def waiting_for(self) -> int: ...
    @property
    def wants_input(self) -> bool: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def is_closing(self) -> bool: ...
    @property
    def has_overflowed(self) -> bool: ...
