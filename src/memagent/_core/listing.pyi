from typing import Self, final

from typing_extensions import Buffer

from memagent._core.copies import Route, Tally
from memagent._core.ring import Placement
from memagent._core.warming import Batch

@final
class Listing:
    is_dated: bool
    waiting: int
    begun: bool
    ended: bool
    refusal: str | None
    def __new__(cls, placement: Placement, target: int, source: int, tally: Tally) -> Self: ...
    @property
    def waiting_bytes(self) -> int: ...
    @property
    def is_locked(self) -> bool: ...
    def begin(self) -> None: ...
    def feed(self, data: Buffer, start: int, end: int) -> None: ...
    def take(self, route: Route, most: int) -> Batch: ...
