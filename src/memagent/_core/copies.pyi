from typing import Final, Self, final

from typing_extensions import disjoint_base

from memagent._core.marks import Marks

ATTEMPTS: Final[int]

@final
class Tally:
    listed: int
    kept: int
    copied: int
    there: int
    gone: int
    expired: int
    changed: int
    too_big: int
    failed: int
    again: int
    bytes: int

@final
class Route:
    tally: Tally
    source_meta: bool
    target_meta: bool
    keeps_cas: bool
    largest_bytes: int
    unknown_ttl_s: int
    def __new__(
        cls,
        tally: Tally,
        marks: Marks | None = None,
        marks_before: Marks | None = None,
        *,
        source_meta: bool = True,
        target_meta: bool = True,
        keeps_cas: bool = False,
        largest_bytes: int = 1048576,
        unknown_ttl_s: int = 60,
    ) -> Self: ...

@disjoint_base
class Copies:
    route: Route
    attempt: int
    count: int
    fetched: bool
    def __new__(cls, route: Route, attempt: int = 0) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def is_stored(self) -> bool: ...
    def finish(self) -> int: ...
    def verify(self, late: bool) -> int: ...
    def again(self) -> Self | None: ...
    def doubt(self) -> int: ...
    def condemn(self) -> None: ...
    def forget(self) -> None: ...
    def abandon(self) -> None: ...
