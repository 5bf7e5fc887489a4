"""What the supervisor makes of its workers' words; processes are in tests/functional."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from memagent.control import Addresses, Adopt, Adopted, FromWorker, Log, Resolve, StateChange, ToWorker
from memagent.listeners import Listeners
from memagent.settings import Config
from memagent.supervisor import Supervisor
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


class Worker:
    """A worker that remembers what it is told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 100 + number
        self.is_ready = True
        self.last_error = ""
        self.told: list[ToWorker] = []

    def send(self, message: ToWorker) -> bool:
        self.told.append(message)
        return True


class Case:
    def __init__(self) -> None:
        self.log = Memory()
        self.supervisor = Supervisor(  # type: ignore[arg-type]
            CONFIG, CONFIG, lambda: None, Listeners(), self.log, None, {}, "no.module", None, Listeners()
        )
        self.workers = [Worker(0), Worker(1)]
        self.supervisor._workers.update(enumerate(self.workers))  # type: ignore[arg-type]

    def hear(self, *messages: FromWorker) -> None:
        for message in messages:
            self.supervisor.heard(self.workers[0], message)  # type: ignore[arg-type]

    async def settled(self) -> None:
        while self.supervisor._tasks:
            await asyncio.gather(*self.supervisor._tasks)


def run(test: Callable[[Case], Coroutine[Any, Any, None]]) -> Case:
    case = Case()

    async def whole() -> None:
        await test(case)
        await case.supervisor._leader.close()

    asyncio.run(whole())
    case.supervisor._segment.close()
    return case


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The name server: what each name means now."""
    names: dict[str, list[str]] = {"a.test": ["10.0.0.7", "10.0.0.8"]}

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        if host not in names:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in names[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


def test_what_workers_say_is_logged():
    async def test(case: Case) -> None:
        case.hear(
            StateChange(1, "down", "timed out"),
            StateChange(1, "up", ""),
            Log("error", "broken"),
            Log("debug", "x"),
        )

    case = run(test)
    assert [(event, facts["level"]) for event, facts in case.log.said] == [
        ("server is down", 30), ("server is up", 20), ("broken", 40), ("x", 10),
    ]  # fmt: skip
    assert case.log.said[0][1]["server"] == "10.0.0.1:2"
    assert case.workers[0].last_error == "broken"


def test_servers_that_do_not_exist_are_nonsense():
    async def test(case: Case) -> None:
        case.hear(Resolve(4), Resolve(-1), StateChange(4, "up", ""), StateChange(-1, "up", ""))
        assert not case.supervisor._tasks

    case = run(test)
    assert [event for event, _ in case.log.said] == ["a message from a worker made no sense"] * 4


def test_somebody_who_lives_sees_to_what_a_dead_worker_had_under_way():
    async def test(case: Case) -> None:
        adopter = case.workers[0]
        dead = asyncio.create_task(case.supervisor._find_adopter(1))
        while not adopter.told:
            await asyncio.sleep(0.01)
        assert adopter.told == [Adopt(1)]
        assert not dead.done(), "nobody may write in its place yet"
        case.hear(Adopted(1))
        await dead
        assert case.workers[1].told == []

    run(test)


def test_an_adopter_that_dies_leaves_it_to_the_successor():
    async def test(case: Case) -> None:
        adopter = case.workers[0]
        dead = asyncio.create_task(case.supervisor._find_adopter(1))
        while not adopter.told:
            await asyncio.sleep(0.01)
        case.supervisor._workers.clear()
        case.supervisor._worker_ended(adopter)  # type: ignore[arg-type]
        await dead
        await case.settled()

    run(test)


def test_with_nobody_who_lives_nobody_is_asked():
    async def test(case: Case) -> None:
        case.workers[0].is_ready = False
        del case.supervisor._workers[1]
        await case.supervisor._find_adopter(1)
        assert case.workers[0].told == []

    run(test)


def test_a_new_meaning_of_a_name_is_told_to_all_and_an_answer_to_who_asked(names: dict[str, list[str]]):
    async def test(case: Case) -> None:
        case.hear(Resolve(0))
        await case.settled()
        case.hear(Resolve(0), Resolve(1), Resolve(2))
        await case.settled()

    case = run(test)
    found = ("10.0.0.7", "10.0.0.8")
    news: list[ToWorker] = [Addresses(0, found), Addresses(3, found)]
    assert case.workers[1].told == news
    answers: list[ToWorker] = [
        Addresses(0, found),
        Addresses(0, found),
        Addresses(1, ("10.0.0.1",)),
        Addresses(2, ()),
    ]
    told = case.workers[0].told
    assert told[:2] == news
    assert sorted(map(repr, told[2:])) == sorted(map(repr, answers))


def test_a_name_that_means_nothing_is_logged_and_answered(names: dict[str, list[str]]):
    async def test(case: Case) -> None:
        names.clear()
        case.hear(Resolve(3))
        await case.settled()

    case = run(test)
    assert case.workers[0].told == [Addresses(3, ())]
    ((event, facts),) = case.log.said
    assert (event, facts["name"], facts["addresses_kept"]) == ("name cannot be resolved", "a.test", ())
