"""What the supervisor makes of its workers' words; processes are in tests/functional."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from memagent.control import Addresses, FromWorker, Hold, Resolve, Start, StateChange, ToWorker
from memagent.listeners import Listeners
from memagent.notify import Notify
from memagent.settings import Config
from memagent.successor import Command
from memagent.supervisor import Supervisor
from tests.support.crew import StandIn
from tests.support.leading import Memory

CONFIG = Config.model_validate(
    {
        "listen": ["127.0.0.1:5", "127.0.0.1:6"],
        "workers": 3,
        "max_connections": 1000,
        "pools": [
            {
                "name": "main",
                "servers": ["a.test:1", "10.0.0.1:2", "unix:/run/m"],
                "backups": ["a.test:4"],
                "connections_per_server": 5,
            }
        ],
    }
)


class Case:
    def __init__(self) -> None:
        self.log = Memory()
        listeners = Listeners.bind({}, CONFIG.workers)
        self.supervisor = Supervisor(
            *(CONFIG, CONFIG, lambda: None, listeners, self.log, None, {}, "no.module", None),  # type: ignore[arg-type]
            *(Listeners(), Notify(), Command.ours()),
        )
        self.worker = StandIn(0)

    def hear(self, *messages: FromWorker) -> None:
        for message in messages:
            self.supervisor._crew.heard(self.worker, message)  # type: ignore[arg-type]

    async def settled(self) -> None:
        await self.supervisor._tasks.settled()


def run(test: Callable[[Case], Coroutine[Any, Any, None]]) -> Case:
    case = Case()

    async def whole() -> None:
        await test(case)
        await case.supervisor._leader.close()

    asyncio.run(whole())
    case.supervisor._segment.close()
    return case


def test_how_a_worker_takes_a_server_is_logged():
    async def test(case: Case) -> None:
        case.hear(
            StateChange(1, "down", "timed out"), StateChange(1, "up", ""), StateChange(1, "warming", "")
        )

    case = run(test)
    assert [(event, facts["level"]) for event, facts in case.log.said] == [
        ("server is down", 30), ("server is up", 20), ("server is warming", 10),
    ]  # fmt: skip
    assert case.log.said[0][1]["server"] == "10.0.0.1:2"


def test_servers_that_do_not_exist_are_nonsense():
    async def test(case: Case) -> None:
        case.hear(Resolve(4), Resolve(-1), StateChange(4, "up", ""), StateChange(-1, "up", ""))
        await case.settled()

    case = run(test)
    assert [event for event, _ in case.log.said] == ["a message from a worker made no sense"] * 4
    assert case.worker.told == []


def test_what_is_said_of_a_server_that_has_just_left_is_passed_over():
    async def test(case: Case) -> None:
        pool = CONFIG.pools[0]
        fewer = pool.model_copy(update={"servers": (pool.servers[0], pool.servers[2])})
        case.supervisor._fleet.change(CONFIG.model_copy(update={"pools": (fewer,)}))
        case.hear(StateChange(1, "down", "another worker has found it down"), Resolve(1))
        await case.settled()

    case = run(test)
    assert (case.log.said, case.worker.told) == ([], [])


def test_who_asks_what_a_name_means_is_answered():
    async def test(case: Case) -> None:
        case.hear(Resolve(1), Resolve(2))
        await case.settled()

    case = run(test)
    answers: list[ToWorker] = [Addresses(1, ("10.0.0.1",)), Addresses(2, ())]
    assert sorted(map(repr, case.worker.told)) == sorted(map(repr, answers))


def test_a_new_worker_is_told_what_is_in_force():
    async def test(case: Case) -> None:
        supervisor = case.supervisor
        (start,) = supervisor.first_words(2)
        assert isinstance(start, Start)
        assert (start.worker, start.numbers) == (2, (0, 1, 2, 3))
        assert start.addresses == ((), ("10.0.0.1",), (), ())
        supervisor._leader.lifecycle.hold(1)
        assert list(supervisor.first_words(2))[1:] == [Hold((1,))]

    run(test)
