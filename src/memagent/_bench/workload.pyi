from collections.abc import Mapping, Sequence
from typing import Self, final

VERBS: tuple[str, ...]

@final
class Workload:
    keys: int
    width: int
    largest_value_bytes: int
    uses_counters: bool
    def __new__(
        cls,
        *,
        mix: Mapping[str, float],
        keys: int,
        key_prefix: bytes,
        key_bytes: int,
        value_bytes: int,
        value_bytes_max: int = 0,
        value_shape: str = "fixed",
        multiget: int = 1,
        zipf: float = 0.0,
        seed: int = 1,
    ) -> Self: ...
    def request(self, verb: str, keys: Sequence[int]) -> bytes: ...
    def value_of(self, key: int) -> bytes: ...
    def sample(self, draws: int) -> list[tuple[str, int]]: ...
    def number_of(self, name: bytes) -> int: ...
