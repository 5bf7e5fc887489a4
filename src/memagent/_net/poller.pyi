from collections.abc import Callable
from typing import final

from memagent._core.metrics import Block
from memagent._core.session import Context

class Handler:
    fd: int

@final
class Callback(Handler):
    def __init__(self, fd: int, function: Callable[[], None]) -> None: ...

@final
class Poller:
    context: Context
    clients: set[Handler]
    def __init__(self, context: Context, counters: Block) -> None: ...
    def watch_readable(self, fd: int, function: Callable[[], None]) -> Callback: ...
    def unwatch(self, callback: Handler) -> None: ...
