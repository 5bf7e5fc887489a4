"""Both doors: what opens and closes when."""

import asyncio
import http.client
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from memagent.admin.doors import Doors, bind_http
from memagent.admin.requests import Request
from memagent.errors import StartError
from memagent.settings import Config
from memagent.survey.job import Job
from memagent.survey_process import SurveyProcess
from memagent.threads import in_thread
from tests.support.control_stand_in import counts_of
from tests.support.leading import Memory
from tests.support.ports import free_port
from tests.support.snapshots import snapshot_of


async def answer(_: Request) -> AsyncGenerator[dict[str, Any], None]:
    yield {"ok": True}


async def start_survey(_: Job) -> SurveyProcess:
    raise NotImplementedError


class Case:
    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.set()
        self.log = Memory()
        self.http = bind_http(self.config.admin_listen, None)
        self.gaps: list[str] = []
        self.doors = Doors(
            self.http,
            answer,
            lambda: self.config,
            lambda: snapshot_of(self.config),
            counts_of,
            lambda: self.gaps,
            start_survey,
            self.log,  # type: ignore[arg-type]
        )

    def set(self, **settings: Any) -> None:
        """As a reload does."""
        pools = [{"name": "main", "servers": ["10.0.0.1:1"]}]
        self.config = Config.model_validate({"pools": pools, "workers": 1, **self.settings, **settings})

    def get(self, path: str, token: str | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(*self.http.sockets()[0].getsockname(), timeout=20)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        found = connection.getresponse()
        body = json.loads(found.read())
        connection.close()
        return found.status, body

    async def ask(self, path: str, token: str | None = None) -> tuple[int, Any]:
        return await in_thread(lambda: self.get(path, token), "a client")


def test_http_stays_open_when_the_control_socket_is_closed(tmp_path: Path):
    path = tmp_path / "s"
    case = Case(control_socket=str(path), admin_listen=f"127.0.0.1:{free_port()}")

    async def test() -> None:
        await case.doors.open("127.0.0.1:11211")
        assert path.exists()
        await case.doors.close_control()
        assert not path.exists()
        assert (await case.ask("/health/ready"))[0] == 200
        case.gaps = ["the proxy is ending"]
        assert await case.ask("/health/ready") == (503, {"ready": False, "missing": case.gaps})
        await case.doors.close()

    asyncio.run(test())
    assert case.log.events == ["control API"]
    case.http.close()


def test_tokens_are_those_in_force(tmp_path: Path):
    first, second = "first" * 4, "second" * 4
    listen = f"127.0.0.1:{free_port()}"
    case = Case(control_socket=str(tmp_path / "s"), admin_listen=listen, admin_read_token=first)

    async def test() -> None:
        await case.doors.open("127.0.0.1:11211")
        assert (await case.ask("/v1/state", first))[0] == 200
        case.set(admin_read_token=second)
        assert (await case.ask("/v1/state", first))[0] == 401
        assert (await case.ask("/v1/state", second))[0] == 200
        await case.doors.close()

    asyncio.run(test())
    case.http.close()


def test_without_a_setting_there_is_no_http(tmp_path: Path):
    case = Case(control_socket=str(tmp_path / "s"))

    async def test() -> None:
        await case.doors.open("127.0.0.1:11211")
        await case.doors.close()
        await case.doors.close()

    asyncio.run(test())
    assert case.http.sockets() == []
    assert case.log.said == []


def test_without_the_libraries_the_start_fails_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "memagent.admin.http", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(StartError, match="admin_listen needs what is not installed: uvicorn") as caught:
        bind_http("127.0.0.1:1", None)
    assert caught.value.hint == "pip install 'memagent[admin]'"
