"""Some keys of each server, and the same ones at all of them: a key is in by its own hash, not by chance.

So that a server has not got a key is known without asking it: both have listed, and only one of them names
it. As many as there is room for: one in 1, 2, 4, 8 ... keys.
"""

from collections.abc import Iterable
from zlib import crc32


class Sample:
    """`one_in`: a power of two. `of`: the keys of each holder, by its position, as servers spell them."""

    def __init__(self, n_holders: int, most_keys: int) -> None:
        self.one_in = 1
        self.of: list[set[bytes]] = [set() for _ in range(n_holders)]
        self._most_keys = most_keys
        self._n_keys = 0

    def add(self, at: int, keys: Iterable[bytes]) -> None:
        mask, held = self.one_in - 1, self.of[at]
        before = len(held)
        held.update([key for key in keys if not crc32(key) & mask])
        self._n_keys += len(held) - before
        while self._n_keys > self._most_keys:
            self._halve()

    def forget(self, at: int) -> None:
        self._n_keys -= len(self.of[at])
        self.of[at] = set()

    def _halve(self) -> None:
        self.one_in *= 2
        mask = self.one_in - 1
        self.of = [{key for key in held if not crc32(key) & mask} for held in self.of]
        self._n_keys = sum(map(len, self.of))
