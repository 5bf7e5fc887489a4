"""A world of one server and one backup, and what is on each."""

import mmap
from typing import ClassVar

from memagent._core.marks import Marks, marks_bytes, notes_bytes
from memagent._core.standing import Standing

from .core import Client, World


class Pair(World):
    """Every key belongs to server 0, its copy to server 1 (the backup)."""

    made: ClassVar[list["Pair"]] = []  # for whoever looks what they left behind

    def __init__(self, *, workers: int = 1, **settings: object) -> None:
        """The first of so many workers; `other_worker` are the marks of the last one."""
        # What is never written to takes no memory.
        shared = mmap.mmap(-1, marks_bytes(workers) + notes_bytes(workers))
        rows = [Marks(shared, 0, workers, row, marks_bytes(workers)) for row in range(workers)]
        self.other_worker = rows[-1]
        settings.setdefault("standings", [Standing(n_places=workers) for _ in range(2)])
        super().__init__(1, 1, has_copies=True, marks=rows[0], **settings)  # type: ignore[arg-type]
        self.made.append(self)
        self.someone: Client = self.client()

    def say(self, data: bytes) -> bytes:
        """What a client is answered."""
        return self.ask(self.someone, data)

    def held(self, key: bytes) -> tuple[bytes | None, bytes | None]:
        """The value on the owner and on the copy."""
        return self.on(0, key), self.on(1, key)

    def on(self, server: int, key: bytes) -> bytes | None:
        item = self.servers[server].store.items.get(key)
        return None if item is None else item[1]

    def lose(self, server: int, key: bytes) -> None:
        """As if the server had evicted it."""
        self.servers[server].store.forget(key)

    def lines(self, server: int) -> list[bytes]:
        """Request lines that have reached the server since the last call."""
        lines, self.servers[server].lines = self.servers[server].lines, []
        return lines

    def noted(self, server: int) -> int:
        """How many keys this server has missed."""
        return len(self.servers[server].server.journal)
