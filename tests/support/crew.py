"""Workers without processes."""

import asyncio

from memagent.control import ToWorker


class StandIn:
    """A worker that remembers what it is told; `end` ends it."""

    def __init__(self, number: int, is_ready: bool = True) -> None:
        self.number = number
        self.pid = 100 + number
        self.is_ready = is_ready
        self.has_drained = False
        self.is_leaving = False
        self.is_draining = False
        self.last_error = ""
        self.told: list[ToWorker] = []
        self.reads = True
        self.signals: list[int] = []
        self._end: asyncio.Future[str] | None = None

    def send(self, message: ToWorker) -> bool:
        self.told.append(message)
        return self.reads

    def signal(self, number: int) -> None:
        self.signals.append(number)
        self.end(f"killed by {number}")

    def end(self, cause: str) -> None:
        if self._end is None:
            self._end = asyncio.get_running_loop().create_future()
        if not self._end.done():
            self._end.set_result(cause)

    async def ended(self) -> str:
        if self._end is None:
            self._end = asyncio.get_running_loop().create_future()
        return await self._end

    def lived_s(self) -> float:
        return 60.0
