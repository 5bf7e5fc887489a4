"""What dead workers had under way, and who sees to it: one that lives, else the successor.

    a worker died ─▶ Adopt to one that lives and stays ─▶ Adopted, or that one dies as well ─▶ seen_to

Nobody may write in a dead worker's place before. Where there is to be no successor somebody else must do it.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from memagent.control import Adopt
from memagent.processes import WorkerProcess
from memagent.tasks import Tasks

_SETTLE_S: Final = 0.1
_AGAIN_S: Final = 0.5


class Orphans:
    """`workers`: those that live, by their places."""

    def __init__(self, workers: Mapping[int, WorkerProcess], tasks: Tasks) -> None:
        self._workers = workers
        self._tasks = tasks
        self._looking: dict[int, asyncio.Task[None]] = {}
        self._adopters: dict[int, tuple[WorkerProcess, asyncio.Future[bool]]] = {}
        self._unseen: set[int] = set()  # places that nobody has adopted
        self._is_over = False

    def died(self, worker: WorkerProcess) -> None:
        """It is among `workers` no more."""
        for adopter, done in self._adopters.values():
            if adopter is worker and not done.done():
                done.set_result(False)
        self._looking[worker.number] = self._tasks.spawn(self._find_adopter(worker.number))

    def adopted(self, place: int) -> bool:
        """A worker says so; has anybody asked for it?"""
        if place not in self._adopters:
            return False
        done = self._adopters[place][1]
        if not done.done():
            done.set_result(True)
        return True

    def give_up(self) -> None:
        """All end."""
        self._is_over = True

    async def seen_to(self, place: int) -> None:
        """The next worker may have this place."""
        if (looking := self._looking.pop(place, None)) is not None:
            await looking

    async def seen_to_by_another(self, place: int) -> None:
        """The place stays empty."""
        await self.seen_to(place)
        while place in self._unseen and not self._is_over:
            await asyncio.sleep(_AGAIN_S)
            await self._find_adopter(place)

    async def _find_adopter(self, place: int) -> None:
        self._unseen.add(place)
        await asyncio.sleep(_SETTLE_S)
        living = [each for each in self._workers.values() if each.is_ready and not each.is_leaving]
        if living and living[0].send(Adopt(place)):
            done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._adopters[place] = living[0], done
            # One that hangs is ended by the pulse.
            if await done:
                self._unseen.discard(place)
            del self._adopters[place]
