from typing import Any, final

from memagent._core.buffer import Buffer, Memory
from memagent._core.metrics import Block
from memagent._core.reply import ReplyParser
from memagent._core.turn import Turn

class Awaiting: ...

@final
class Channel:
    peer: Any
    out: Buffer
    left: Buffer
    def __init__(self, peer: Any, memory: Memory, counters: Block, turn: Turn, parser: ReplyParser) -> None: ...
