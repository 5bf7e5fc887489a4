from typing import final

from memagent._bench.histogram import Histogram
from memagent._bench.workload import Workload

@final
class Checker:
    latency: Histogram
    def __init__(self, workload: Workload, ring: int) -> None: ...
    def clear(self) -> None: ...
