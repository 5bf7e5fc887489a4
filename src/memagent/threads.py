"""Work that has to wait, off the event loop: in a thread of its own that keeps nobody from exiting.

Not the loop's executor: that would wait at exit for work that hangs.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


async def in_thread(work: Callable[[], _Result], name: str) -> _Result:
    """What `work` returns or raises. Who stops waiting leaves the thread behind."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def settle(done: Callable[[], None]) -> None:
        if not future.done():
            done()

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            failure = error
            tell(lambda: future.set_exception(failure))
        else:
            tell(lambda: future.set_result(result))

    def tell(done: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future


class Bounded(Generic[_Result]):
    """Work that may hang for ever. Whoever wants it waits `longest_s` at most, and not at all while one is
    known to hang: so threads do not become more and more.
    """

    def __init__(self, name: str, longest_s: float) -> None:
        self.longest_s = longest_s
        self._name = name
        self._hanging: asyncio.Task[_Result] | None = None

    @property
    def hangs(self) -> bool:
        return self._hanging is not None and not self._hanging.done()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """What `work` returns or raises; TimeoutError if it hangs."""
        if self.hangs:
            raise TimeoutError
        task = asyncio.create_task(in_thread(work, self._name))
        done, _ = await asyncio.wait([task], timeout=self.longest_s)
        if not done:
            self._hanging = task
            task.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise TimeoutError
        return task.result()
