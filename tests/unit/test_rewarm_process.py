"""A re-warm's process, here one that copies nothing."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from memagent.rewarm.job import Job, Pause, Report
from memagent.rewarm_process import RewarmProcess
from memagent.settings import PoolConfig
from tests.support.processes import ROOT

POOL = PoolConfig.model_validate({"name": "main", "servers": ["127.0.0.1:1"], "backups": ["127.0.0.1:2"]})
JOB = Job(pool=POOL, target=0, sources=(1,), addresses=(("127.0.0.1",), ("127.0.0.1",)))


def environment(does: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "REWARM": does}


async def started(does: str) -> RewarmProcess:
    module = "tests.support.stand_in_rewarm"
    return await RewarmProcess.start(JOB, environment(does), (), None, module)


def outcome(
    does: str, then: Callable[[RewarmProcess], Coroutine[Any, Any, None]] | None = None
) -> tuple[Report | None, list[Report]]:
    reports: list[Report] = []

    async def whole() -> Report | None:
        process = await started(does)
        other = asyncio.create_task(then(process)) if then is not None else None
        last = await asyncio.wait_for(process.ended(reports.append), 20)
        if other is not None:
            await other
        return last

    return asyncio.run(whole()), reports


def test_reports_until_the_last_one():
    last, reports = outcome("done")
    assert last is not None
    assert (last.event, last.copied, last.reason) == ("done", 100, "0")
    assert [report.event for report in reports] == ["progress", "done"]


def test_what_makes_no_sense_is_passed_over():
    last, reports = outcome("nonsense")
    assert last is not None
    assert [report.event for report in reports] == ["progress", "done"]


def test_a_death_is_no_report():
    last, reports = outcome("die")
    assert last is None
    assert len(reports) == 1


def test_it_stops_when_it_is_asked_to():
    last, _ = outcome("wait", lambda process: process.stop(grace_s=20.0))
    assert last is not None
    assert last.event == "aborted"


def test_one_that_does_not_is_killed():
    last, _ = outcome("deaf", lambda process: process.stop(grace_s=0.2))
    assert last is None


def test_commands_reach_it_and_harm_nobody_when_it_has_ended():
    async def pause_and_stop(process: RewarmProcess) -> None:
        process.tell(Pause())
        await process.stop(grace_s=20.0)
        process.tell(Pause())
        process.kill()

    _, reports = outcome("wait", pause_and_stop)
    assert [report.phase for report in reports] == ["copying", "paused", "ended"]


def test_a_module_that_does_not_exist_dies_at_once():
    async def whole() -> Report | None:
        process = await RewarmProcess.start(
            JOB, environment(""), (), asyncio.subprocess.DEVNULL, "tests.support.no_such_module"
        )
        return await asyncio.wait_for(process.ended(lambda _: None), 20)

    assert asyncio.run(whole()) is None


@pytest.mark.parametrize("does", ["failed", "unverified"])
def test_failures_say_what_is_left(does: str):
    last, _ = outcome(does)
    assert last is not None
    assert (last.event, last.unverified) == ("failed", 3 if does == "unverified" else 0)
