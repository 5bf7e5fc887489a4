"""Tasks that nobody waits for."""

import asyncio

from memagent.tasks import Tasks
from tests.support.leading import Memory


def test_a_mistake_is_logged_and_a_cancelled_task_is_none():
    log = Memory()

    async def fail() -> None:
        raise LookupError("a mistake of ours")

    async def whole() -> None:
        tasks = Tasks(log)  # type: ignore[arg-type]
        tasks.spawn(fail())
        tasks.spawn(asyncio.sleep(3600))
        await asyncio.sleep(0)
        tasks.cancel()
        await tasks.settled()

    asyncio.run(whole())
    ((event, facts),) = log.said
    assert event == "a task ended by a mistake of ours"
    assert isinstance(facts["exc_info"], LookupError)


def test_settled_waits_for_what_a_task_has_started():
    done = []

    async def whole() -> None:
        tasks = Tasks(Memory())  # type: ignore[arg-type]

        async def last() -> None:
            done.append(1)

        async def first() -> None:
            tasks.spawn(last())

        tasks.spawn(first())
        await tasks.settled()

    asyncio.run(whole())
    assert done == [1]
