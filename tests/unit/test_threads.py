"""Work in a thread of its own."""

import asyncio
import threading

import pytest

from memagent.threads import Bounded, in_thread
from tests.support.leading import until


def test_what_it_returns_and_raises():
    async def whole() -> None:
        assert await in_thread(lambda: threading.current_thread().name, "a name") == "a name"
        with pytest.raises(OSError, match="no"):
            await in_thread(_fails, "fails")

    asyncio.run(whole())


def test_nobody_waits_for_work_that_hangs():
    go_on = threading.Event()

    async def whole() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_thread(go_on.wait, "hangs"), 0.01)

    asyncio.run(whole())
    [hanging] = [thread for thread in threading.enumerate() if thread.name == "hangs"]
    assert hanging.daemon
    go_on.set()
    hanging.join(10)
    assert not hanging.is_alive()


def test_what_hangs_is_not_begun_again_until_it_goes_on():
    go_on, calls = threading.Event(), []

    def work() -> str:
        calls.append(threading.current_thread())
        go_on.wait()
        raise OSError("late")

    async def whole() -> None:
        bounded: Bounded[str] = Bounded("hangs", 0.01)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await bounded.run(work)
        assert len(calls) == 1
        assert bounded.hangs
        go_on.set()
        await until(lambda: not bounded.hangs, "its end")
        bounded.longest_s = 10.0
        with pytest.raises(OSError, match="late"):
            await bounded.run(work)
        assert await bounded.run(lambda: "well") == "well"

    asyncio.run(whole())


def _fails() -> None:
    raise OSError("no")
