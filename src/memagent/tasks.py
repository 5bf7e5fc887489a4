"""Tasks that nobody waits for: what goes wrong in one is logged, or it would pass unseen."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from memagent.logs import Logger


class Tasks:
    def __init__(self, log: Logger) -> None:
        self._log = log
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """All that still run."""
        for task in self._running:
            task.cancel()

    async def settled(self) -> None:
        """Once none runs any more; one may have started another."""
        while self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a task ended by a mistake of ours", exc_info=error)
