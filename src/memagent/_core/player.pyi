from typing import Self, final

from memagent._core.channel import Awaiting, Channel
from memagent._core.journal import Journal
from memagent._core.metrics import Block
from memagent._core.turn import Turn

@final
class Player(Awaiting):
    flushing: bool
    flushed: bool
    trouble: str | None
    played: Journal
    def __new__(
        cls, journal: Journal, channels: list[Channel], counters: Block, turn: Turn, timeout_us: int
    ) -> Self: ...
    def send(self) -> None: ...
    def send_flush(self) -> None: ...
    def give_up(self) -> None: ...
    def take_played(self) -> bytes | None: ...
    def __len__(self) -> int: ...
