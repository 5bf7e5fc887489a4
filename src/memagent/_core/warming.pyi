from typing import Final, Self, final

from typing_extensions import Buffer

from memagent._core.marks import Marks

ATTEMPTS: Final[int]
ASK: Final[int]
FETCH: Final[int]
STORE: Final[int]
CLEAR: Final[int]
GIVE_BACK: Final[int]

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

@final
class Batch:
    route: Route
    attempt: int
    count: int
    need: int
    heard: bool
    fetched: bool
    fetched_bytes: int
    n_there: int
    n_won: int
    waited_s: int
    source_now_s: int
    target_now_s: int
    def __new__(cls, route: Route, attempt: int = 0) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def unsent_bytes(self) -> int: ...
    @property
    def is_stored(self) -> bool: ...
    def ask(self) -> bytes: ...
    def fetch(self) -> bytes: ...
    def stores(self) -> bytes: ...
    def finish(self) -> int: ...
    def give_back(self) -> bytes: ...
    def verify(self, late: bool) -> int: ...
    def clear(self) -> bytes: ...
    def again(self) -> Batch | None: ...
    def doubt(self) -> int: ...
    def forget(self) -> None: ...
    def abandon(self) -> None: ...
    def hear(self, step: int, data: Buffer, start: int, end: int) -> int: ...
