from collections.abc import Callable
from typing import final

from typing_extensions import disjoint_base

from memagent._core.buffer import Memory
from memagent._core.metrics import Block
from memagent._core.pool import Pool
from memagent._core.timers import Hurried

@disjoint_base
class Waiting: ...

@disjoint_base
class Exchange(Hurried): ...

@final
class Told(Waiting): ...

@final
class Broadcast(Exchange): ...

def flush(pool: Pool, counters: Block, memory: Memory, tell: Callable[[bytes], object]) -> None: ...
