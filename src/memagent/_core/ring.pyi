from collections.abc import Sequence
from typing import final

DISTRIBUTIONS: tuple[str, ...]

def ring_name(host: str, port: int) -> str: ...

@final
class Ring: ...

@final
class Placement:
    def __init__(
        self,
        servers: list[tuple[str, str, int, int]],
        backups: list[tuple[str, str, int, int]],
        distribution: str,
        key_hash: str,
        hash_tag: bytes = b"",
        copies: int = 1,
        *,
        former: Placement | None = None,
        former_places: Sequence[int] = (),
        settles: bool = False,
    ) -> None: ...
    def locate(self, key: bytes) -> tuple[int, int]: ...
    def hash_of(self, key: bytes) -> int: ...
    def point_of(self, key: bytes) -> int | None: ...
    def locate_many(self, keys: list[bytes], copies: bool = True) -> list[tuple[int, int]]: ...
