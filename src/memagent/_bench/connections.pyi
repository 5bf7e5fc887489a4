from typing import Self, final

from memagent._bench.replies import Checker

@final
class Connections:
    def __new__(
        cls, checker: Checker, *, family: int, host: str, port: int, clients: int, timeout_s: float
    ) -> Self: ...
    def close(self) -> None: ...
