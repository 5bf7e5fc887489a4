from typing import Self, final

from typing_extensions import disjoint_base

from memagent._core.channel import Awaiting
from memagent._core.turn import Turn

@disjoint_base
class Hurried(Awaiting): ...

@final
class Timers:
    def __new__(cls, turn: Turn) -> Self: ...
    def __len__(self) -> int: ...
