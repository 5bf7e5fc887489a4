from collections.abc import Callable
from typing import Self, final

from memagent._core.buffer import Memory
from memagent._core.exchange import Waiting
from memagent._core.metrics import Block
from memagent._core.observer import Observer
from memagent._core.routes import Routes
from memagent._core.timers import Timers
from memagent._core.turn import Turn

@final
class Context:
    turn: Turn
    memory: Memory
    timers: Timers
    observer: Observer
    def __new__(
        cls,
        turn: Turn,
        memory: Memory,
        timers: Timers,
        counters: Block,
        *,
        answer_stats: Callable[[bytes], bytes] | None = None,
        version: bytes = ...,
        observer: Observer | None = ...,
        **limits: int,
    ) -> Self: ...
    def configure(
        self, *, max_item_bytes: int = ..., pause_bytes: int = ..., close_bytes: int = ...
    ) -> None: ...
    def pass_time(self) -> None: ...

@final
class Session(Waiting):
    def __new__(cls, context: Context, routes: Routes) -> Self: ...
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
