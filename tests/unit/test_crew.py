"""Workers' lives without processes; those are in tests/functional."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from memagent._core.metrics import Block
from memagent.control import Adopt, Adopted, Drain, DrainingDone, FromWorker, Log, Ready, Stop, ToWorker
from memagent.counters import WORKER_COUNTERS, WORKER_INDEX
from memagent.crew import Crew
from memagent.errors import StartError
from memagent.processes import Ear
from memagent.segment import Segment
from memagent.tasks import Tasks
from tests.support.crew import StandIn
from tests.support.leading import Memory, until

HELLO = Stop()


class Case:
    """A crew of two, and whom it works for."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.log = Memory()
        self.launched: list[StandIn] = []
        self.ended: list[int] = []
        self.heard_of: list[FromWorker] = []
        self.settled, self.drain = True, 60.0
        self.left: list[int] = []
        self.may_launch = asyncio.Event()
        self.may_launch.set()
        self.cannot_launch: OSError | None = None
        self.tasks = Tasks(self.log)  # type: ignore[arg-type]
        self.crew = Crew(2, segment, self, self.tasks, self.log)  # type: ignore[arg-type]

    async def launch(self, place: int, ear: Ear) -> Any:
        await self.may_launch.wait()
        if self.cannot_launch is not None:
            raise self.cannot_launch
        worker = StandIn(place, is_ready=False)
        worker.pid = 100 + len(self.launched)
        self.launched.append(worker)
        return worker

    def first_words(self, place: int) -> Iterator[ToWorker]:
        yield HELLO

    def heard(self, worker: Any, message: FromWorker) -> bool:
        self.heard_of.append(message)
        return True

    def worker_ended(self, place: int) -> None:
        self.ended.append(place)

    def is_settled(self, place: int) -> bool:
        return self.settled

    def drain_s(self) -> float:
        return self.drain

    def place_left(self, place: int) -> None:
        self.left.append(place)

    def clients(self, place: int, count: int) -> None:
        """So many are connected to the worker in this place."""
        at = self.segment.worker_offset_slots(place)
        block = Block(self.segment.buffer, at, len(WORKER_COUNTERS))
        block[WORKER_INDEX["curr_connections"]] = count

    def hear(self, worker: StandIn, *messages: FromWorker) -> None:
        for message in messages:
            self.crew.heard(worker, message)  # type: ignore[arg-type]

    async def start(self) -> tuple[StandIn, StandIn]:
        starting = asyncio.create_task(self.crew.start())
        await until(lambda: len(self.crew.alive()) == 2, "two workers")
        for worker in self.launched:
            self.hear(worker, Ready())
        await starting
        first, second = self.launched
        return first, second

    async def replaced(self, adopter: StandIn) -> None:
        """The second worker, once the first has said that it has seen to what was under way."""
        await until(lambda: Adopt(1) in adopter.told, "an Adopt")
        assert not self.crew.is_alive(1)
        self.hear(adopter, Adopted(1))
        await until(lambda: self.crew.is_alive(1), "a successor")


def run(test: Callable[[Case], Coroutine[Any, Any, None]]) -> Case:
    async def whole() -> Case:
        segment = Segment.create(2, 1, places=4)
        segment.open_places(4)
        case = Case(segment)
        try:
            await asyncio.wait_for(test(case), 60)
        finally:
            await case.crew.kill()
            case.tasks.cancel()
            segment.close()
        return case

    return asyncio.run(whole())


def test_a_worker_that_dies_is_replaced_once_somebody_has_seen_to_what_it_had_under_way():
    async def test(case: Case) -> None:
        first, second = await case.start()
        assert (first.told, second.told) == ([HELLO], [HELLO])
        second.end("killed by SIGKILL")
        await case.replaced(first)
        assert case.ended == [1]
        assert case.launched[2].told == [HELLO]
        assert [(each.pid, each.restarts) for each in case.crew.snapshot()] == [(100, 0), (102, 1)]

    case = run(test)
    ((event, facts),) = [said for said in case.log.said if said[1]["level"] == 40]
    assert event == "worker died, it is replaced"
    assert (facts["worker"], facts["pid"], facts["cause"]) == (1, 101, "killed by SIGKILL")


def test_one_that_somebody_else_has_told_to_end_is_no_error():
    async def test(case: Case) -> None:
        first, second = await case.start()
        case.hear(second, DrainingDone())
        second.end("exit code 0")
        await case.replaced(first)

    case = run(test)
    assert "worker was told to end by somebody else, it is replaced" in case.log.events


def test_a_worker_that_dies_before_all_were_ready_ends_the_start():
    async def test(case: Case) -> None:
        starting = asyncio.create_task(case.crew.start())
        await until(lambda: len(case.crew.alive()) == 2, "two workers")
        first, second = case.launched
        case.hear(first, Ready())
        case.hear(second, Log("error", "no such thing"))
        second.end("exit code 1")
        with pytest.raises(StartError, match=r"worker 1 ended .* \(exit code 1\): no such thing"):
            await starting
        assert case.crew.draining.is_set()

    run(test)


def test_a_machine_that_starts_no_process_ends_the_start():
    async def test(case: Case) -> None:
        case.cannot_launch = PermissionError(13, "Permission denied")
        with pytest.raises(
            StartError, match=r"could not be started: Permission denied\): uid \d+ may not run"
        ):
            await case.crew.start()

    run(test)


def test_told_to_end_meanwhile_the_start_is_over():
    async def test(case: Case) -> None:
        starting = asyncio.create_task(case.crew.start())
        await until(lambda: len(case.crew.alive()) == 2, "two workers")
        case.crew.replace_no_more()
        await starting

    run(test)


def test_all_are_told_to_drain_and_who_is_late_is_killed():
    async def test(case: Case) -> None:
        first, second = await case.start()
        case.crew.replace_no_more()
        second.reads = False
        hurry = asyncio.Event()
        draining = asyncio.create_task(case.crew.drain(60, hurry))
        await until(lambda: Drain() in first.told, "a Drain")
        await until(lambda: not case.crew.is_alive(1), "an end of the one that reads nothing")
        assert not draining.done()
        hurry.set()
        await draining
        assert case.log.events[-1] == "workers killed before they had drained"
        await case.crew.kill()
        assert (first.signals, second.signals) == ([9], [15])
        assert len(case.launched) == 2

    run(test)


def test_one_that_waits_for_its_place_to_be_seen_to_is_killed_as_well():
    async def test(case: Case) -> None:
        first, second = await case.start()
        second.end("killed by SIGKILL")
        await until(lambda: Adopt(1) in first.told, "an Adopt")
        await until(lambda: len(case.launched) == 3, "a successor")
        assert not case.crew.is_alive(1)
        await case.crew.kill()
        assert [each.signals for each in case.launched] == [[9], [], [9]]

    run(test)


def test_who_does_not_read_for_very_long_is_ended():
    async def test(case: Case) -> None:
        first, second = await case.start()
        second.reads = False
        case.crew.tell_all(HELLO)
        assert (first.signals, second.signals) == ([], [9])
        await case.replaced(first)

    run(test)


def test_one_that_is_ready_is_told():
    async def test(case: Case) -> None:
        first, second = await case.start()
        before = [len(each.told) for each in (first, second)]
        case.crew.tell_one(HELLO)
        assert [len(each.told) for each in (first, second)] == [before[0] + 1, before[1]]

    run(test)


def test_what_workers_say_is_logged_or_passed_on():
    async def test(case: Case) -> None:
        first, _ = await case.start()
        case.hear(first, Log("error", "broken"), Log("debug", "x"), Ready())
        assert first.last_error == "broken"
        case.hear(first, Adopted(1))

    case = run(test)
    said = [(event, facts["level"]) for event, facts in case.log.said]
    assert ("broken", 40) in said
    assert ("x", 10) in said
    assert ("a message from a worker made no sense", 40) in said
    assert case.heard_of == []


class TestMoreAndFewer:
    def test_those_that_come_are_started_and_waited_for(self):
        async def test(case: Case) -> None:
            await case.start()
            case.crew.resize(3)
            await until(lambda: len(case.launched) == 3, "a third")
            assert await case.crew.until_ready(0.01) == [2]
            case.hear(case.launched[2], Ready())
            assert await case.crew.until_ready(60) == []
            assert [each.number for each in case.crew.snapshot()] == [0, 1, 2]

        run(test)

    def test_one_too_many_goes_when_its_clients_have_gone_and_nothing_is_lost_with_it(self):
        async def test(case: Case) -> None:
            first, second = await case.start()
            case.clients(1, 1)
            case.crew.resize(1)
            await asyncio.sleep(0.1)  # two looks
            case.clients(1, 0)
            case.settled = False
            await asyncio.sleep(0.1)
            assert second.told == [HELLO]
            case.settled = True
            await until(lambda: second.told[1:] == [Drain()], "a Drain")
            case.hear(second, DrainingDone())
            second.end("exit code 0")
            await until(lambda: Adopt(1) in first.told, "an Adopt")
            assert case.left == []
            case.hear(first, Adopted(1))
            await until(lambda: case.left == [1], "the place is empty")
            await until(lambda: [each.number for each in case.crew.snapshot()] == [0], "no place")
            assert len(case.launched) == 2

        assert not [said for said in run(test).log.said if said[1]["level"] >= 30]

    def test_clients_that_stay_too_long_are_sent_away(self):
        async def test(case: Case) -> None:
            first, second = await case.start()
            case.clients(1, 1)
            case.settled, case.drain = False, 0.0
            case.crew.resize(1)
            await until(lambda: second.told[1:] == [Drain()], "a Drain")
            # it is needed again: another one comes when it has gone
            case.crew.resize(2)
            case.hear(second, DrainingDone())
            second.end("exit code 0")
            await case.replaced(first)
            assert case.left == []

        run(test)

    def test_one_that_is_needed_again_in_time_stays(self):
        async def test(case: Case) -> None:
            _, second = await case.start()
            case.settled = False
            case.crew.resize(1)
            assert second.is_leaving
            case.crew.resize(2)
            assert not second.is_leaving
            case.settled = True
            await case.tasks.settled()
            assert second.told == [HELLO]

        run(test)

    def test_one_that_dies_on_its_way_out_is_not_replaced(self):
        async def test(case: Case) -> None:
            first, second = await case.start()
            case.settled = False
            case.crew.resize(1)
            second.end("killed by SIGKILL")
            await until(lambda: Adopt(1) in first.told, "an Adopt")
            # whoever was to see to it dies too: the next one is asked
            first.end("killed by SIGKILL")
            await until(lambda: len(case.launched) == 3, "a successor")
            case.hear(case.launched[2], Ready())
            await until(lambda: Adopt(1) in case.launched[2].told, "another Adopt")
            case.hear(case.launched[2], Adopted(1))
            await until(lambda: case.left == [1], "the place is empty")

        run(test)

    def test_one_that_is_being_started_when_it_is_too_many(self):
        async def test(case: Case) -> None:
            await case.start()
            case.may_launch.clear()
            case.crew.resize(3)
            await asyncio.sleep(0)
            case.crew.resize(2)
            case.may_launch.set()
            await until(lambda: len(case.launched) == 3, "a third")
            third = case.launched[2]
            await until(lambda: third.told == [HELLO, Drain()], "a Drain")
            third.end("exit code 0")
            await until(lambda: Adopt(2) in case.launched[0].told, "an Adopt")
            case.hear(case.launched[0], Adopted(2))
            await until(lambda: case.left == [2], "the place is empty")

        run(test)
