"""A migration's way, without workers and without a server: what is told, copied, waited for and given up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from memagent.migration import Phase, in_phase, settled, with_migrations
from memagent.migrator import Migrator
from memagent.settings import Config
from memagent.snapshot import MigrationSnapshot
from tests.support.leading import CLEAN, DOWN, Leading, lead, until

NAMES = ("10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3")
SETTINGS = {"backups": [], "on_change": "migrate", "request_timeout_ms": 1}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value_s in (("_LOOK_S", 0.01), ("_AGAIN_S", 0.01), ("_GRACE_S", 0.01)):
        monkeypatch.setattr(f"memagent.migrator.{name}", value_s)


class Case:
    """Server 2 is new, and gets keys from 0 and 1. Workers have everything at once."""

    def __init__(self, leading: Leading) -> None:
        self.leading = leading
        self.phases: list[str] = []
        self.now_s = 1000.0
        self.told: list[MigrationSnapshot] = []  # at each phase
        self.migrator = Migrator(
            leading.fleet,
            leading.leader,
            self,
            leading.log,  # type: ignore[arg-type]
            lambda: self.now_s,
        )

    def put_in_force(self, *servers: str) -> None:
        pool = {"name": "main", "servers": servers, **SETTINGS}
        now = self.leading.fleet.config
        new = Config.model_validate({"workers": 2, "pools": [pool]})
        self._put(with_migrations(now, new))

    def _put(self, config: Config) -> None:
        self.leading.fleet.change(config)
        self.leading.segment.grow(max(self.leading.fleet.numbers) + 1)
        for number in self.leading.fleet.numbers:
            if not self.leading.segment.standing(number).outage:
                self.leading.all_say(number, 0)
        self.leading.leader.settle()
        self.migrator.settle()

    async def all_have_it(self) -> None:
        self.phases.append("mirror")

    async def enter_phase(self, pool: str, phase: Phase) -> None:
        self.phases.append(phase)
        self.told += self.migrator.snapshots()
        self.leading.fleet.stay(in_phase(self.leading.fleet.config, pool, phase))
        self.leading.leader.learn()

    async def end_migration(self, pool: str) -> None:
        self.phases.append("end")
        self._put(settled(self.leading.fleet.config))

    @property
    def shown(self) -> MigrationSnapshot:
        [shown] = self.migrator.snapshots()
        return shown

    def jobs(self) -> list[tuple[bool, str, tuple[str, ...]]]:
        """What was to be done: cleaning or not, where, from where."""
        return [
            (job.cleans, NAMES[job.target], tuple(NAMES[each] for each in job.sources))
            for job in self.leading.jobs
        ]

    async def until_over(self) -> None:
        await until(lambda: self.shown.ended_s is not None, "the end")


def run(test: Callable[[Case], Coroutine[Any, Any, None]], rewarm: str = "done") -> Leading:
    async def whole(leading: Leading) -> None:
        case = Case(leading)
        try:
            await test(case)
        finally:
            case.migrator.close()

    return lead(whole, rewarm, **SETTINGS)


def test_from_a_reload_to_the_end():
    async def test(case: Case) -> None:
        case.put_in_force(*NAMES)
        assert case.migrator.under_way == ("main",)
        assert (case.shown.state, case.shown.phase, case.shown.per_cent) == ("running", "mirror", 0.0)
        assert (case.shown.coming, case.shown.leaving, case.shown.targets) == (NAMES[2:], (), NAMES[2:])
        await case.until_over()
        assert case.phases == ["mirror", "copy", "settle", "end"]
        assert [(each.phase, each.per_cent) for each in case.told] == [("copy", 0.0), ("settle", 100.0)]
        assert case.jobs() == [(True, NAMES[2], NAMES[2:]), (False, NAMES[2], NAMES[:2])]
        assert (case.shown.state, case.shown.per_cent, case.shown.left_out) == ("done", 100.0, ())
        assert (case.shown.keys_copied, case.shown.bytes_copied) == (100, 4000)
        assert case.migrator.under_way == ()
        assert not case.migrator.abort("main")
        assert not case.migrator.pause("main", True)

    said = run(test).log.events
    assert said[0].startswith("migration begins")
    assert "migration is done" in said
    assert [event for event in said if event.endswith("starts")] == ["cleaning starts", "copying starts"]


def test_a_source_that_is_down_is_left_out():
    async def test(case: Case) -> None:
        case.leading.fail(1)
        await until(lambda: case.leading.state(1) == "down", "down")
        case.put_in_force(*NAMES)
        await case.until_over()
        assert case.jobs()[1:] == [(False, NAMES[2], NAMES[:1])]
        assert (case.shown.state, case.shown.left_out) == ("done", (f"{NAMES[1]} is down",))

    log = run(test).log
    assert "migration has ended: what was not copied will miss" in log.events


def test_a_new_home_that_is_down_is_waited_for():
    async def test(case: Case) -> None:
        case.put_in_force(*NAMES)
        number = case.leading.fleet.numbers[2]
        case.leading.fail(number)
        case.leading.leader.look()
        await until(lambda: case.shown.waits_for == f"{NAMES[2]} is down", "waits")
        assert case.jobs() == []
        case.leading.all_say(number, CLEAN)
        await case.until_over()
        assert (case.shown.state, case.shown.waits_for) == ("done", "")

    run(test)


def test_one_that_was_out_since_it_was_filled_is_filled_again():
    async def test(case: Case) -> None:
        case.leading.fail(0)
        await until(lambda: case.leading.state(0) == "down", "down")
        case.put_in_force(*NAMES)
        number = case.leading.fleet.numbers[2]
        case.leading.all_say(0, 2)  # returning: worth waiting for
        await until(lambda: case.shown.waits_for != "", "filled but for one source")
        case.leading.fail(number)
        await until(lambda: case.leading.state(number) == "down", "down")
        case.leading.all_say(0, CLEAN)
        case.leading.all_say(number, CLEAN)
        await case.until_over()
        assert {sources for cleans, _, sources in case.jobs() if not cleans} == {(NAMES[1],), NAMES[:2]}
        assert case.shown.state == "done"

    run(test)


def test_copies_that_were_not_verified_are_cleaned_away():
    async def test(case: Case) -> None:
        case.put_in_force(*NAMES)
        await until(lambda: case.phases.count("copy") >= 1, "copying")
        await until(lambda: case.phases[-2:] == ["copy", "mirror"], "again")
        case.leading.rewarm = "done"
        await case.until_over()
        assert case.phases[-4:] == ["mirror", "copy", "settle", "end"]
        assert case.shown.state == "done"

    async def first_clean(case: Case) -> None:
        start = case.leading.start_rewarm

        async def other(job: Any) -> Any:
            case.leading.rewarm = (
                "done" if job.cleans else "unverified" if len(case.leading.jobs) < 3 else "done"
            )
            return await start(job)

        case.leading.leader.copies._start = other
        await test(case)

    run(first_clean)


@pytest.mark.parametrize("how", ["failed", "die"])
def test_what_fails_again_and_again_is_left_out(how: str):
    async def test(case: Case) -> None:
        start = case.leading.start_rewarm

        async def other(job: Any) -> Any:
            case.leading.rewarm = "done" if job.cleans or len(case.leading.jobs) > 6 else how
            return await start(job)

        case.leading.leader.copies._start = other
        case.put_in_force(*NAMES)
        await case.until_over()
        assert case.shown.state == "done"
        # a process that was killed has perhaps left something: there the cleaning comes first
        assert bool(case.shown.left_out) is (how == "failed")

    run(test)


def test_given_up_paused_and_resumed():
    async def test(case: Case) -> None:
        start = case.leading.start_rewarm

        async def other(job: Any) -> Any:
            case.leading.rewarm = "done" if job.cleans else "wait"
            return await start(job)

        case.leading.leader.copies._start = other
        case.put_in_force(*NAMES)
        case.now_s += 10
        await until(lambda: case.shown.keys_copied == 40, "progress")
        assert (case.shown.target, case.shown.per_cent, case.shown.keys_per_s) == (NAMES[2], 40.0, 10.0)
        # since it began to copy, however long it took to get ready
        case.now_s += 40
        assert case.shown.eta_s == 60
        for paused in (True, False):
            assert case.migrator.pause("main", paused)
            assert case.shown.state == ("paused" if paused else "running")
        assert case.migrator.abort("main")
        assert case.migrator.abort("main"), "once more"
        assert case.shown.state in ("aborting", "aborted")
        await case.until_over()
        assert (case.shown.state, case.phases[-2:]) == ("aborted", ["settle", "end"])

    run(test)


def test_called_off_by_the_rings_of_before():
    async def test(case: Case) -> None:
        case.leading.rewarm = "wait"
        case.put_in_force(*NAMES)
        await until(lambda: case.shown.target is not None, "cleaning")
        case.put_in_force(*NAMES[:2])
        assert (case.shown.state, case.phases) == ("cancelled", ["mirror"])
        assert not case.migrator.under_way
        case.leading.rewarm = "done"
        case.put_in_force(*NAMES)
        await case.until_over()
        assert case.shown.state == "done"

    assert "migration is called off" in run(test).log.events


def test_what_was_copied_until_it_was_called_off_stays_counted():
    async def test(case: Case) -> None:
        start = case.leading.start_rewarm

        async def other(job: Any) -> Any:
            case.leading.rewarm = "done" if job.cleans else "wait"
            return await start(job)

        case.leading.leader.copies._start = other
        case.put_in_force(*NAMES)
        await until(lambda: case.shown.keys_copied == 40, "progress")
        case.put_in_force(*NAMES[:2])
        assert (case.shown.state, case.shown.keys_copied) == ("cancelled", 40)

    run(test)


def test_a_down_server_that_returns_is_a_source():
    async def test(case: Case) -> None:
        case.leading.fail(0)
        case.leading.all_say(0, DOWN)
        await until(lambda: case.leading.state(0) == "down", "down")
        case.leading.all_say(0, CLEAN)
        await until(lambda: case.leading.state(0) == "up", "up")
        case.put_in_force(*NAMES)
        await case.until_over()
        assert case.shown.left_out == ()

    run(test)


def test_nothing_moves_without_it():
    async def test(case: Case) -> None:
        case.migrator.settle()
        assert case.migrator.snapshots() == ()
        assert not case.migrator.abort("main")
        await asyncio.sleep(0)

    run(test)
