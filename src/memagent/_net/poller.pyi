from collections.abc import Callable
from typing import Self, final

from typing_extensions import disjoint_base

from memagent._core.metrics import Block
from memagent._core.session import Context

@disjoint_base
class Handler:
    fd: int

@final
class Callback(Handler):
    def __init__(self, fd: int, function: Callable[[], None]) -> None: ...

@final
class Poller:
    context: Context
    clients: set[Handler]
    lingering: list[Handler]
    def __new__(cls, context: Context, counters: Block) -> Self: ...
    def watch_readable(self, fd: int, function: Callable[[], None], late: bool = False) -> Callback: ...
    def unwatch(self, callback: Handler) -> None: ...
