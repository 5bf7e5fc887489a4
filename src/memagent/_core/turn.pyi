from typing import Any, final

@final
class Turn:
    now_us: int
    in_flight: int
    channels: list[Any]
    sessions: list[Any]
    servers: list[Any]
