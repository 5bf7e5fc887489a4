"""Who sees to what a dead worker had under way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from memagent.control import Adopt
from memagent.orphans import Orphans
from memagent.tasks import Tasks
from tests.support.crew import StandIn
from tests.support.leading import Memory, until


class Case:
    def __init__(self) -> None:
        self.first, self.second = StandIn(0), StandIn(1)
        self.living = {0: self.first, 1: self.second}
        self.orphans = Orphans(self.living, Tasks(Memory()))  # type: ignore[arg-type]

    def die(self, worker: StandIn) -> "asyncio.Task[None]":
        """What the next worker in its place waits for."""
        del self.living[worker.number]
        self.orphans.died(worker)  # type: ignore[arg-type]
        return asyncio.create_task(self.orphans.seen_to(worker.number))


def run(test: Callable[[Case], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test(Case()), 60)

    asyncio.run(whole())


def test_somebody_who_lives_is_asked_and_nobody_may_write_there_before():
    async def test(case: Case) -> None:
        dead = case.die(case.second)
        await until(lambda: bool(case.first.told), "an Adopt")
        assert case.first.told == [Adopt(1)]
        assert not dead.done()
        assert case.orphans.adopted(1)
        await dead

    run(test)


def test_an_adopter_that_dies_leaves_it_to_the_successor():
    async def test(case: Case) -> None:
        dead = case.die(case.second)
        await until(lambda: bool(case.first.told), "an Adopt")
        dead_too = case.die(case.first)
        await dead
        await dead_too
        assert case.second.told == []

    run(test)


def test_with_nobody_who_lives_nobody_is_asked():
    async def test(case: Case) -> None:
        case.first.is_ready = False
        await case.die(case.second)
        assert case.first.told == []

    run(test)


def test_who_cannot_be_told_is_not_waited_for():
    async def test(case: Case) -> None:
        case.first.reads = False
        await case.die(case.second)

    run(test)


def test_an_adoption_that_nobody_asked_for():
    async def test(case: Case) -> None:
        assert not case.orphans.adopted(1)
        await case.orphans.seen_to(1)

    run(test)
