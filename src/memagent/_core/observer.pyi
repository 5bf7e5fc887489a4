from typing import Self, final

from memagent._core.hot import HotKeys
from memagent._core.sighting import Sightings
from memagent._core.turn import Turn

__all__ = ["Observer", "Tap", "verbs"]

def verbs() -> tuple[str, ...]: ...

@final
class Tap:
    number: int
    place: int
    def __new__(cls, number: int, prefix: bytes, server: int, verb: str | None, per_s: float) -> Self: ...

@final
class Observer:
    def __new__(
        cls,
        turn: Turn,
        hot: HotKeys | None = ...,
        slow: Sightings | None = ...,
        tapped: Sightings | None = ...,
        *,
        seed: int = ...,
    ) -> Self: ...
    def configure(self, *, hot_keys: bool = ..., slow_us: int = ...) -> None: ...
    def tap(self, taps: list[Tap]) -> None: ...
    @property
    def looks_at_one_in(self) -> int: ...
