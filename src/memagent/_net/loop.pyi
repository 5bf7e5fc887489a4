from collections.abc import Callable
from typing import Self, final

from memagent._core.metrics import Block
from memagent._core.session import Context
from memagent._net.listener import Listener
from memagent._net.poller import Poller
from memagent._net.server import Endpoint

@final
class Loop:
    poller: Poller
    endpoints: list[Endpoint]
    listeners: list[Listener]
    accepting: bool
    draining: bool
    on_gone: Callable[[int], None] | None
    def __new__(cls, context: Context, counters: Block) -> Self: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def accept(self) -> None: ...
    def accept_no_more(self) -> None: ...
    def drain(self, drain_ms: int) -> None: ...
