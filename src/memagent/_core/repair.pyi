from typing import final

from memagent._core.metrics import Block
from memagent._core.pool import Pool
from memagent._core.server import Server
from memagent._core.timers import Hurried

@final
class Repair(Hurried): ...

def refill(pool: Pool, counters: Block, target: Server, key: bytes) -> None: ...
