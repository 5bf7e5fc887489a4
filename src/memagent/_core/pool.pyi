from typing import Self, final

from memagent._core.ring import Placement
from memagent._core.server import Server

@final
class Pool:
    name: str
    servers: list[Server]
    backups: list[Server]
    miss_when_down: bool
    multiget_deadline_us: int
    def __new__(
        cls,
        name: str,
        servers: list[Server],
        backups: list[Server],
        placement: Placement,
        *,
        miss_when_down: bool = True,
        multiget_deadline_us: int = 0,
    ) -> Self: ...
