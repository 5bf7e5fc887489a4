from collections.abc import Iterable, Sequence
from typing import Any, Self, final

from memagent._bench.histogram import Histogram
from memagent._bench.workload import Workload

@final
class Checker:
    latency: Histogram
    unanswered: int
    def __new__(cls, workload: Workload, ring: int) -> Self: ...
    def replay(self, requests: Sequence[tuple[str, Sequence[int]]], pieces: Iterable[bytes]) -> bool: ...
    def counts(self) -> dict[str, Any]: ...
    def clear(self) -> None: ...
