from typing import Final, final

from typing_extensions import Buffer

from memagent._core.copies import Copies

ASK: Final[int]
FETCH: Final[int]
STORE: Final[int]
CLEAR: Final[int]
GIVE_BACK: Final[int]

@final
class Batch(Copies):
    need: int
    heard: bool
    fetched_bytes: int
    n_there: int
    n_won: int
    waited_s: int
    source_now_s: int
    target_now_s: int
    @property
    def unsent_bytes(self) -> int: ...
    def ask(self) -> bytes: ...
    def fetch(self) -> bytes: ...
    def stores(self) -> bytes: ...
    def give_back(self) -> bytes: ...
    def clear(self) -> bytes: ...
    def hear(self, step: int, data: Buffer, start: int, end: int) -> int: ...
