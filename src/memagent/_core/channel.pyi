from typing import Any, Self, final

from typing_extensions import disjoint_base

from memagent._core.buffer import Buffer, Memory
from memagent._core.metrics import Block
from memagent._core.reply import ReplyParser
from memagent._core.turn import Turn

@disjoint_base
class Awaiting: ...

@final
class Channel:
    peer: Any
    out: Buffer
    left: Buffer
    def __new__(
        cls,
        peer: Any,
        memory: Memory,
        counters: Block,
        turn: Turn,
        parser: ReplyParser,
    ) -> Self: ...
    def output(self, limit: int = -1) -> bytes: ...
    def feed(self, data: bytes) -> int: ...
    def end(self, keep_unsent: bool = False) -> None: ...
    def __len__(self) -> int: ...
    @property
    def not_sent(self) -> int: ...
    @property
    def trouble(self) -> str | None: ...
