"""The journal in plain Python: a dict in order of arrival."""

from dataclasses import dataclass
from typing import Protocol


class TakesKeys(Protocol):
    def take_key(self) -> bytes | None: ...


def drain(journal: TakesKeys) -> list[bytes]:
    """Everything that waits."""
    keys = []
    while (key := journal.take_key()) is not None:
        keys.append(key)
    return keys


@dataclass
class Entry:
    waiting: bool
    out: int  # handed out and not answered


class PlainJournal:
    def __init__(self, max_keys: int) -> None:
        self.max_keys = max_keys
        self.entries: dict[bytes, Entry] = {}
        self.overflowed = False
        self.dropped = 0

    def add_key(self, key: bytes) -> bool:
        if self.overflowed:
            self.dropped += 1
            return False
        entry = self.entries.get(key)
        if entry is None and len(self.entries) >= self.max_keys:
            self.dropped = len(self.entries) + 1
            self.overflowed = True
            self.entries.clear()
            return False
        if entry is None or not entry.waiting:
            self.entries.pop(key, None)
            self.entries[key] = Entry(True, entry.out if entry else 0)
        return True

    def take_key(self) -> bytes | None:
        for key, entry in self.entries.items():
            if entry.waiting:
                entry.waiting = False
                entry.out += 1
                return key
        return None

    def remove_key(self, key: bytes) -> bool:
        entry = self.entries.get(key)
        if entry is None or entry.out == 0:
            return False
        entry.out -= 1
        if entry.out or entry.waiting:
            return False
        del self.entries[key]
        return True

    def rewind(self) -> None:
        for entry in self.entries.values():
            entry.waiting, entry.out = True, 0

    def clear(self) -> None:
        self.entries.clear()
        self.overflowed = False
        self.dropped = 0

    @property
    def waiting(self) -> int:
        return sum(entry.waiting for entry in self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)
