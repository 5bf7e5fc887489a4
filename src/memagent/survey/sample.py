"""Some keys of each server, and the same ones at all of them: a key is in by its own hash, not by chance.

So that a server has not got a key is known without asking it: both have listed, and only one of them names
it. As many as there is room for: one in 1, 2, 4, 8 ... keys.
"""

from collections.abc import Collection, Iterable
from typing import Final
from zlib import crc32

_OF_EACH_BYTES: Final = 100  # what a key takes beside its own bytes


class Sample:
    """`one_in`: a power of two. `of`: the keys of each holder, by its position, as servers spell them."""

    def __init__(self, n_holders: int, most_bytes: int) -> None:
        self.one_in = 1
        self.of: list[set[bytes]] = [set() for _ in range(n_holders)]
        self._most_bytes = most_bytes
        self._n_bytes = 0

    def add(self, at: int, keys: Iterable[bytes]) -> None:
        mask = self.one_in - 1
        new = {key for key in keys if not crc32(key) & mask} - self.of[at]
        self.of[at] |= new
        self._n_bytes += _size(new)
        while self._n_bytes > self._most_bytes:
            self._halve()

    def forget(self, at: int) -> None:
        self._n_bytes -= _size(self.of[at])
        self.of[at] = set()

    def _halve(self) -> None:
        self.one_in *= 2
        mask = self.one_in - 1
        self.of = [{key for key in held if not crc32(key) & mask} for held in self.of]
        self._n_bytes = sum(map(_size, self.of))


def _size(keys: Collection[bytes]) -> int:
    return sum(map(len, keys)) + len(keys) * _OF_EACH_BYTES
