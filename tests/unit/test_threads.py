"""Work in a thread of its own."""

import asyncio
import threading

import pytest

from memagent.threads import in_thread


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


def _fails() -> None:
    raise OSError("no")
