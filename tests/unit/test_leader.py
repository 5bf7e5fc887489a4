"""What the supervisor does about servers, with words that the test writes for the workers."""

import pytest

from memagent.control import Flush, Hold, Replace, StateChange
from memagent.leader import Move
from tests.support.leading import CLEAN, DOWN, RETURNING, Leading, lead, until


def test_an_outage_is_over_when_both_workers_are_clean():
    async def test(case: Leading) -> None:
        case.fail(0)
        case.leader.heard(StateChange(0, "down", "connection refused", 1))
        case.leader.heard(StateChange(0, "down", "another worker has found it down", 1))
        await until(lambda: case.state(0) == "down", "down")
        case.say(0, 0, 1, CLEAN)
        case.say(0, 1, 1, RETURNING)
        await until(lambda: case.state(0) == "returning", "returning")
        assert not case.is_open(0)
        case.say(0, 1, 1, CLEAN)
        await until(lambda: case.is_open(0) and case.state(0) == "up", "open")
        totals = case.segment.server_totals(0)
        assert (totals["outages"], totals["returns"]) == (1, 1)
        assert totals["down_ms"] > 0
        assert case.jobs == []

    case = lead(test)
    begins = [facts for event, facts in case.log.said if event == "outage begins"]
    assert [facts["reason"] for facts in begins] == ["connection refused"]
    assert case.log.events[-1] == "outage is over: server is up for all workers"


def test_a_lost_message_costs_time_only():
    async def test(case: Leading) -> None:
        case.fail(2)
        await until(lambda: case.state(2) == "down", "seen without being told")
        case.all_say(2, CLEAN)
        await until(lambda: case.is_open(2), "open")

    lead(test)


def test_the_journal_of_a_dead_worker_is_waited_for():
    async def test(case: Leading) -> None:
        case.fail(0)
        case.alive.remove(1)
        case.say(0, 0, 1, CLEAN)
        case.leader.wake()
        await until(lambda: case.state(0) == "down", "down")
        assert not case.is_open(0)
        case.alive.add(1)
        case.say(0, 1, 1, CLEAN)
        await until(lambda: case.is_open(0), "open")

    lead(test)


def test_an_empty_server_is_filled_first():
    async def test(case: Leading) -> None:
        case.fail(2)
        case.leader.look()
        case.fail(0)
        case.all_say(0, CLEAN, emptied=True)
        case.leader.wake()
        await until(lambda: case.is_open(0), "open")
        [job] = case.jobs
        assert (job.target, job.sources) == (0, (3,)), "not the one that is down"
        assert job.addresses == (("10.0.0.1",), ("10.0.0.2",), ("10.0.0.3",), ("10.0.0.4",))
        assert job.marks_fd == case.segment.fd
        assert job.keys_per_s == 20_000
        warm = case.leader.server_snapshot(0).warm
        assert warm is not None
        assert (warm.state, warm.per_cent, warm.keys_copied) == ("done", 100.0, 100)
        assert case.segment.server_totals(0)["warm_keys"] == 100

    case = lead(test)
    assert [event for event in case.log.events if "re-warm" in event] == ["re-warm starts", "re-warm done"]


def test_it_fails_again_while_it_is_filled():
    async def test(case: Leading) -> None:
        case.fail(0)
        case.all_say(0, CLEAN, emptied=True)
        await until(lambda: case.segment.server_totals(0)["warm_per_cent"] == 40, "progress")
        case.rewarm = "done"
        case.fail(0)
        await until(lambda: "re-warm aborted" in case.log.events, "stopped in an orderly way")
        case.all_say(0, CLEAN)
        await until(lambda: case.is_open(0), "open")
        assert len(case.jobs) == 2

    lead(test, "wait")


@pytest.mark.parametrize("how", ["unverified", "die"])
def test_what_was_not_verified_is_flushed(how: str):
    async def test(case: Leading) -> None:
        case.fail(0)
        case.all_say(0, CLEAN, emptied=True)
        await until(lambda: Hold((0,)) in case.told, "taken out of service")
        case.rewarm = "done"
        case.fail(0)
        await until(lambda: case.told[-2:] == [Flush(0), Hold(())], "flushed and let go")
        case.all_say(0, CLEAN, emptied=True)
        await until(lambda: case.is_open(0), "open")
        assert len(case.jobs) == 2

    lead(test, how)


def test_a_replaced_server_gets_its_new_address_when_it_is_drained():
    async def test(case: Leading) -> None:
        server = case.fleet.with_address(0, "10.9.9.9:9")
        case.leader.moves[0] = Move(server, ("10.9.9.9",))
        case.leader.lifecycle.hold(0, "replace")
        case.leader.wake()
        await until(lambda: case.state(0) == "draining", "draining")
        case.fail(0)
        await until(lambda: case.fleet.members[0].address == "10.9.9.9:9", "replaced")
        replaced = Replace(0, "10.9.9.9:9", ("10.9.9.9",), keep_data=False)
        assert case.told[-3:] == [replaced, Flush(0), Hold(())]
        case.all_say(0, CLEAN)
        await until(lambda: case.is_open(0), "open")
        assert case.jobs[0].pool.servers[0].address == "10.9.9.9:9"
        assert case.leader.server_snapshot(0).replaced

    lead(test)


def test_snapshots_of_every_pool():
    async def test(case: Leading) -> None:
        case.fail(0)
        await until(lambda: case.state(0) == "down", "down")
        [pool] = case.leader.pool_snapshots()
        assert (pool.name, pool.has_copies) == ("main", True)
        assert [server.backup for server in pool.servers] == [False, False, True, True]
        assert [server.state for server in pool.servers] == ["down", "up", "up", "up"]
        assert pool.servers[0].warm is None

    lead(test)


def test_a_look_that_fails_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Leading) -> None:
        real, fails = case.leader.lifecycle.look, [True]

        def look(*given: object) -> object:
            if fails.pop() if fails else False:
                raise RuntimeError("a mistake")
            return real(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(case.leader.lifecycle, "look", look)
        case.fail(0)
        case.all_say(0, CLEAN)
        case.leader.wake()
        await until(lambda: case.is_open(0), "open")
        assert "a look at the servers failed" in case.log.events

    lead(test)


def test_pools_without_copies_are_left_to_the_workers():
    async def test(case: Leading) -> None:
        case.all_say(0, DOWN)
        await until(lambda: case.state(0) == "down", "down")
        assert case.log.events == []

    lead(test, backups=[])


def test_a_place_that_is_left_clean_is_of_no_account():
    async def test(case: Leading) -> None:
        assert case.leader.is_settled(1)
        case.segment.marks(1).begin_key(b"k")
        assert not case.leader.is_settled(1)
        case.segment.marks(1).end_key(b"k")
        case.alive.discard(1)
        case.leader.bury(1)
        case.fail(0)
        case.segment.standing(0, 1).bury_place(1)
        case.say(0, 0, 1, CLEAN)
        await until(lambda: case.is_open(0), "it opens without a word of the one that left")
        assert Flush(0) not in case.told

    lead(test)


def test_what_one_that_left_had_noted_is_lost_and_the_server_flushed():
    async def test(case: Leading) -> None:
        case.fail(0)
        case.say(0, 0, 1, CLEAN)
        assert not case.leader.is_settled(1)
        case.alive.discard(1)
        case.leader.look()
        assert not case.is_open(0)
        case.leader.bury(1)
        assert Flush(0) in case.told
        assert [each for each in case.told if each == Flush(1)] == []
        assert case.segment.standing(0).outage == 2
        case.leader.look()
        assert not case.is_open(0), "a worker that has not heard of it yet is of the outage before"
        case.say(0, 0, 2, CLEAN)
        await until(lambda: case.is_open(0), "all have heard of it")

    lead(test)
