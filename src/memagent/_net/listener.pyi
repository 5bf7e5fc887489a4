from typing import Self, final

from memagent._core.metrics import Block
from memagent._core.routes import Routes
from memagent._net.poller import Handler, Poller

@final
class Listener(Handler):
    routes: Routes
    is_tcp: bool
    max_connections: int
    def __new__(
        cls, poller: Poller, fd: int, routes: Routes, *, is_tcp: bool, worker_blocks: list[Block]
    ) -> Self: ...
