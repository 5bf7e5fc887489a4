"""`magent upgrade`: how it goes is told; what it does is in tests/functional/test_upgrade.py."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memagent import cli
from tests.support.control_stand_in import ControlStandIn, Handler


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Callable[..., ControlStandIn]]:
    made: list[ControlStandIn] = []

    def start(*lines: dict[str, Any]) -> ControlStandIn:
        handle: Handler = lambda _: lines  # noqa: E731
        made.append(ControlStandIn(tmp_path / "s", handle))
        return made[-1]

    yield start
    for each in made:
        each.close()


def step(stage: str, version: str = "2.0", clients: int = 0) -> dict[str, Any]:
    return {"progress": {"stage": stage, "version": version, "pid": 7, "clients": clients}}


DONE = {"ok": True, "version": "2.0", "pid": 7}


def test_progress_and_outcome(
    proxy: Callable[..., ControlStandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = step("starting", ""), step("starting"), *(step("draining", clients=n) for n in (1200, 1200, 1, 0))
    there = proxy(*steps, DONE)
    assert cli.call(["upgrade", "--socket", there.path]) == 0
    assert capsys.readouterr() == (
        "memagent 2.0 runs as process 7\n",
        "the new version is starting, process 7\n"
        "version 2.0 is starting, process 7\n"
        "version 2.0 has taken over; the old one has 1,200 clients left\n"
        "version 2.0 has taken over; the old one has one client left\n"
        "version 2.0 has taken over; the old one has 0 clients left\n",
    )
    assert there.requests == [{"verb": "upgrade", "force": False, "ready_ms": 60_000}]


def test_json_and_what_is_asked_for(
    proxy: Callable[..., ControlStandIn], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    there = proxy(DONE)
    given = ["--force", "--ready-within", "1500ms", "--json"]
    assert cli.call(["upgrade", "--socket", there.path, *given]) == 0
    assert json.loads(capsysbinary.readouterr().out) == {"version": "2.0", "pid": 7}
    assert there.requests == [{"verb": "upgrade", "force": True, "ready_ms": 1500}]


def test_refused(proxy: Callable[..., ControlStandIn], capsys: pytest.CaptureFixture[str]) -> None:
    there = proxy(step("starting"), {"error": "the new version does not start: no", "hint": "ask"})
    assert cli.call(["upgrade", "--socket", there.path]) == 1
    assert "error: the new version does not start: no\nhint: ask\n" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["0s", "1h", "soon"])
def test_a_time_that_makes_no_sense(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["upgrade", "--ready-within", given]) == 2
    assert "--ready-within" in capsys.readouterr().err
