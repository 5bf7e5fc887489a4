from typing import Self, final

from memagent._core.pool import Pool

@final
class Route:
    prefix: bytes
    pool: Pool
    strip: bool
    def __new__(cls, prefix: bytes, pool: Pool, *, strip: bool = False) -> Self: ...

@final
class Routes:
    only: Pool | None
    pools: list[Pool]
    def __new__(cls, routes: list[Route]) -> Self: ...
    def configure(self, routes: list[Route]) -> None: ...
    def of(self, key: bytes) -> Route | None: ...
