from typing import final

from memagent._core.marks import Marks
from memagent._core.metrics import Block
from memagent._core.pool import Pool
from memagent._core.timers import Hurried

def adopt(dead: Marks, pools: list[Pool], counters: Block) -> tuple[int, int]: ...

@final
class Doubt(Hurried): ...
