"""A survey's process as the supervisor sees it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from memagent.survey.job import Job
from memagent.survey_process import SurveyProcess
from tests.support.memcached import Memcached
from tests.support.processes import ROOT
from tests.support.snapshots import config_of

STAND_IN = "tests.support.stand_in_survey"


def job_for(*servers: str) -> Job:
    return Job("browse", config_of(servers=servers).pools[0], ("up",) * len(servers))


def run(
    test: Callable[[SurveyProcess], Awaitable[None]], job: Job, does: str = "", module: str = STAND_IN
) -> None:
    async def whole() -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "SURVEY": does}
        process = await SurveyProcess.start(job, environment, asyncio.subprocess.DEVNULL, module)
        try:
            await asyncio.wait_for(test(process), 30)
        finally:
            process.kill()
            await process._process.wait()

    asyncio.run(whole())


async def said(lines: AsyncGenerator[bytes, None]) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in lines]


def test_a_real_one(memcached_factory: Callable[..., Memcached]):
    server = memcached_factory()
    server.set(b"user:1", b"x")

    async def test(process: SurveyProcess) -> None:
        *progress, last = await said(process.lines())
        assert progress[0]["progress"]["keys_read"] == 0
        assert [each["key"] for each in last["result"]["keys"]] == ["user:1"]

    run(test, job_for(server.address), module="memagent.survey")


def test_one_that_nobody_wants_any_more(memcached_factory: Callable[..., Memcached]):
    server = memcached_factory()

    async def test(process: SurveyProcess) -> None:
        server.pause()
        lines = process.lines()
        await anext(lines)
        # As the supervisor's death does.
        assert process._process.stdin is not None
        process._process.stdin.close()
        assert await process._process.wait() == 0
        server.resume()

    run(test, job_for(server.address), module="memagent.survey")


def test_a_result_may_be_long():
    async def test(process: SurveyProcess) -> None:
        *_, last = await said(process.lines())
        assert len(last["result"]) == 5_000_000

    run(test, job_for("10.0.0.1:1"), "long")


@pytest.mark.parametrize(
    ("does", "how"), [("die", "exit code 3"), ("hang", "killed by SIGKILL"), ("endless", "killed by SIGKILL")]
)
def test_an_end_without_a_last_word(does: str, how: str):
    async def test(process: SurveyProcess) -> None:
        lines = process.lines()
        assert "progress" in json.loads(await anext(lines))
        if does == "hang":
            os.kill(process.pid, signal.SIGKILL)
        [last] = await said(lines)
        assert last["error"] == f"the process that counts keys ended: {how}"
        assert last["hint"]

    run(test, job_for("10.0.0.1:1"), does)


def test_no_such_module():
    async def test(process: SurveyProcess) -> None:
        [last] = await said(process.lines())
        assert "exit code 1" in last["error"]

    run(test, job_for("10.0.0.1:1"), module="tests.support.no_such_module")
