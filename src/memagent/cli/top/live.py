"""The loop of `magent top`: readings, keys, signals; after each of them the screen is drawn anew.

    every interval ──▶ read ─┐
    a key ──▶ press ──▶ wish ┼──▶ screen ──▶ draw
    a signal ────────────────┘

What waits for the proxy or a server waits in a thread, so that keys and Ctrl-C are always heard, and nobody
waits for a thread that hangs.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Protocol, Self

from rich.text import Text

from memagent.cli.top.frame import frame
from memagent.cli.top.keys import Keys
from memagent.cli.top.screen import Explain, Page, Quit, Screen, Wish
from memagent.errors import ControlError, MemagentError
from memagent.questions import Request
from memagent.rates import Reading, compare
from memagent.threads import in_thread

_REST_OF_A_KEY_S: Final = 0.05
_LOOK_EVERY_S: Final = 1.0
_LATE_AFTER_S: Final = 3.0
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Proxy(Protocol):
    """Every call may take its time, and raise a MemagentError."""

    def read(self) -> Reading: ...

    def ask(self, request: Request) -> str:
        """What is so now, in words."""

    def explain(self, key: str) -> list[str]: ...


class Surface(Protocol):
    """What a Terminal is."""

    fd: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def size(self) -> tuple[int, int]: ...

    def draw(self, lines: list[Text]) -> None: ...

    def read(self) -> bytes: ...

    def suspend(self) -> None: ...

    def resume(self) -> None: ...


class Live:
    def __init__(self, proxy: Proxy, terminal: Surface, screen: Screen, interval_s: float) -> None:
        self._proxy = proxy
        self._terminal = terminal
        self._screen = screen
        self._interval_s = interval_s
        self._keys = Keys()
        self._read_at_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._end: asyncio.Future[int]
        self._loop: asyncio.AbstractEventLoop

    async def run(self) -> int:
        """Until somebody has enough: the exit code."""
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.create_future()
        # Only a mistake of ours comes here; it is shown once the terminal has been given back.
        self._loop.set_exception_handler(lambda _, facts: self._failed(facts.get("exception")))
        self._read_at_s = self._loop.time()
        for number in _ENDING:
            self._loop.add_signal_handler(number, self._ended, 128 + number)
        self._loop.add_signal_handler(signal.SIGTSTP, self._guard, self._terminal.suspend)
        self._loop.add_signal_handler(signal.SIGCONT, self._resume)
        with self._terminal:
            self._loop.add_signal_handler(signal.SIGWINCH, self._draw)
            self._loop.add_reader(self._terminal.fd, self._typed)
            self._draw()
            self._spawn(self._read_on())
            try:
                return await self._end
            finally:
                self._loop.remove_reader(self._terminal.fd)
                for task in self._tasks:
                    task.cancel()

    # ------------------------------------------------------------ readings

    async def _read_on(self) -> None:
        before: Reading | None = None
        while True:
            begun_s = self._loop.time()
            reading = asyncio.create_task(in_thread(self._proxy.read, "reading"))
            while not (await asyncio.wait({reading}, timeout=_LOOK_EVERY_S))[0]:
                self._draw()
            try:
                now = reading.result()
            except MemagentError as error:
                self._screen.trouble = error.message
            else:
                self._screen.show(compare(before, now))
                before, self._read_at_s = now, self._loop.time()
            self._draw()
            await asyncio.sleep(begun_s + self._interval_s - self._loop.time())

    # ------------------------------------------------------------ keys

    def _typed(self) -> None:
        data = self._terminal.read()
        if not data:
            # The terminal has gone.
            self._ended(128 + signal.SIGHUP)
            return
        self._press(self._keys.feed(data))
        if self._keys.is_waiting:
            self._loop.call_later(_REST_OF_A_KEY_S, lambda: self._press(self._keys.flush()))

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            wish = self._screen.press(key)
            if wish is not None:
                self._fulfil(wish)
        if keys:
            self._draw()

    def _fulfil(self, wish: Wish) -> None:
        match wish:
            case Quit():
                self._ended(0)
            case Explain(key=key):
                self._screen.say("asking its servers")
                self._spawn(self._explain(key))
            case Request():
                self._screen.say("asking the proxy")
                self._spawn(self._ask(wish))

    async def _ask(self, request: Request) -> None:
        try:
            self._screen.say(await in_thread(lambda: self._proxy.ask(request), "asking"))
        except ControlError as error:
            self._screen.refused(request, error.message, error.hint, error.can_force)
        self._draw()

    async def _explain(self, key: str) -> None:
        try:
            lines = await in_thread(lambda: self._proxy.explain(key), "explaining")
        except MemagentError as error:
            self._screen.say(error.message, is_error=True)
        else:
            self._screen.say("")
            self._screen.over = Page("explain", lines)
        self._draw()

    # ------------------------------------------------------------ the rest

    def _draw(self) -> None:
        self._screen.width, self._screen.height = self._terminal.size()
        age_s = self._loop.time() - self._read_at_s
        is_late = self._screen.trouble or age_s > self._interval_s + _LATE_AFTER_S
        self._guard(lambda: self._terminal.draw(frame(self._screen, age_s if is_late else 0.0)))

    def _resume(self) -> None:
        if not self._end.done():
            self._guard(self._terminal.resume)
            self._draw()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError:
            # The terminal has gone.
            self._ended(128 + signal.SIGHUP)

    def _ended(self, exit_code: int) -> None:
        if not self._end.done():
            self._end.set_result(exit_code)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._failed(task.exception())

    def _failed(self, error: BaseException | None) -> None:
        if error is not None and not self._end.done():
            self._end.set_exception(error)
