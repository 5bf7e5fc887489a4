"""All keys of a pool, counted by one process at a time."""

import asyncio
import base64
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from memagent.admin.requests import InvalidError, RefusedError, UnknownError
from memagent.admin.surveying import Surveys, Wish
from memagent.survey.job import Job
from memagent.survey_process import SurveyProcess
from tests.support import processes
from tests.support.processes import ROOT
from tests.support.snapshots import config_of, snapshot_of

CONFIG = config_of(
    servers=[{"address": "10.0.0.1:1", "name": "a"}, {"address": "10.0.0.2:1", "name": "b"}],
    backups=[{"address": "10.0.0.3:1", "name": "x"}],
)


class Case:
    def __init__(self, does: str = "done") -> None:
        self.jobs: list[Job] = []
        self.started: list[SurveyProcess] = []
        self._does = does
        self.surveys = Surveys(lambda: CONFIG, lambda: snapshot_of(CONFIG, {1: "down"}), self._start)

    async def _start(self, job: Job) -> SurveyProcess:
        self.jobs.append(job)
        if self._does == "fail":
            raise OSError(11, "Resource temporarily unavailable")
        path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        environment = {**os.environ, "PYTHONPATH": path, "SURVEY": self._does}
        module = "tests.support.stand_in_survey"
        self.started.append(await SurveyProcess.start(job, environment, None, module))
        return self.started[-1]

    def ask(self, **wish: Any) -> AsyncGenerator[bytes, None]:
        return self.surveys.survey(Wish.model_validate({"what": "browse", "pool": "main", **wish}))

    async def ended(self) -> None:
        """All of them."""
        for each in self.started:
            await asyncio.wait_for(each._process.wait(), 20)


def test_what_the_process_is_told():
    case = Case()

    async def test() -> None:
        lines = [line async for line in case.ask(what="distribution")]
        assert lines[-1] == b'{"result":"distribution"}\n'
        found = [line async for line in case.ask(prefix_base64="_w", pattern="a*", server="x", backup=True)]
        assert found[-1] == b'{"result":"browse"}\n'
        await case.ended()

    asyncio.run(test())
    first, second = case.jobs
    assert (first.what, first.states, first.only) == ("distribution", ("up", "down", "up"), None)
    assert first.pool == CONFIG.pools[0]
    assert (second.prefix_base64, second.pattern, second.only) == ("/w==", "a*", 2)


@pytest.mark.parametrize(
    ("wish", "kind", "problem"),
    [
        ({"pool": "x"}, UnknownError, 'there is no pool "x"'),
        ({"server": "x"}, UnknownError, 'there is no server "x" in the pool main'),
        ({"server": "b", "backup": True}, UnknownError, 'there is no backup "b"'),
        ({"prefix_base64": "!"}, InvalidError, "prefix_base64 is no base64"),
        ({"after_base64": "ä"}, InvalidError, "after_base64 is no base64"),
        ({"prefix_base64": base64.b64encode(b"x" * 251).decode()}, InvalidError, "251 bytes"),
    ],
)
def test_what_cannot_be(wish: dict[str, Any], kind: type[RefusedError], problem: str):
    case = Case()
    with pytest.raises(kind, match=problem):
        asyncio.run(anext(case.ask(**wish)))  # type: ignore[arg-type]
    assert not case.jobs


def test_one_at_a_time_and_who_goes_ends_it():
    case = Case("hang")

    async def test() -> None:
        async with aclosing(case.ask()) as first:
            await anext(first)
            with pytest.raises(RefusedError, match="counted already"):
                await anext(case.ask())
            assert processes.exists(case.started[0].pid)
        await case.ended()
        async with aclosing(case.ask()) as second:
            await anext(second)
        await case.ended()

    asyncio.run(test())
    assert len(case.started) == 2


def test_no_process():
    with pytest.raises(RefusedError, match="no process can be started to count keys: Resource"):
        asyncio.run(anext(Case("fail").ask()))  # type: ignore[arg-type]
