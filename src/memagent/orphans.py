"""What dead workers had under way, and who sees to it: one that lives, else the successor.

    a worker died ─▶ Adopt to one that lives ─▶ Adopted, or that one dies as well ─▶ seen_to

Nobody may write in a dead worker's place before.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from memagent.control import Adopt
from memagent.processes import WorkerProcess
from memagent.tasks import Tasks

_SETTLE_S: Final = 0.1


class Orphans:
    """`workers`: those that live, by their places."""

    def __init__(self, workers: Mapping[int, WorkerProcess], tasks: Tasks) -> None:
        self._workers = workers
        self._tasks = tasks
        self._looking: dict[int, asyncio.Task[None]] = {}
        self._adopters: dict[int, tuple[WorkerProcess, asyncio.Event]] = {}

    def died(self, worker: WorkerProcess) -> None:
        """It is among `workers` no more."""
        for adopter, done in self._adopters.values():
            if adopter is worker:
                done.set()
        self._looking[worker.number] = self._tasks.spawn(self._find_adopter(worker.number))

    def adopted(self, place: int) -> bool:
        """A worker says so; has anybody asked for it?"""
        if place not in self._adopters:
            return False
        self._adopters[place][1].set()
        return True

    async def seen_to(self, place: int) -> None:
        """The next worker may have this place."""
        if (looking := self._looking.pop(place, None)) is not None:
            await looking

    async def _find_adopter(self, place: int) -> None:
        await asyncio.sleep(_SETTLE_S)
        living = [worker for worker in self._workers.values() if worker.is_ready]
        if living and living[0].send(Adopt(place)):
            done = asyncio.Event()
            self._adopters[place] = living[0], done
            # One that hangs is ended by the pulse.
            await done.wait()
            del self._adopters[place]
