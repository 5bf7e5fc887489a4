from typing import final

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
    draining: bool
    def __init__(self, context: Context, counters: Block) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def drain(self, drain_ms: int) -> None: ...
