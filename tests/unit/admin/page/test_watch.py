"""One reading for all pages, and none for nobody."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest
import structlog

from memagent.admin.page import watch as module
from memagent.admin.page.fill import Fill
from memagent.admin.page.watch import Watch
from memagent.counts import Counts
from memagent.snapshot import MigrationSnapshot, ServerSnapshot, Snapshot
from tests.support.control_stand_in import MOVING, counts_of
from tests.support.snapshots import config_of, snapshot_of

CONFIG = config_of(servers=["10.0.0.1:1", "10.0.0.2:1"], backups=["10.0.0.3:1"])


class Case:
    """A proxy whose servers get 100 more requests from reading to reading, a second apart."""

    def __init__(self) -> None:
        self.readings = 0
        self.config = CONFIG
        self.migrations: tuple[MigrationSnapshot, ...] = ()
        self.watch = Watch(
            lambda: self.config,
            lambda: dataclasses.replace(snapshot_of(self.config, {1: "down"}), migrations=self.migrations),
            self.count,
            structlog.get_logger(),
        )

    def count(self, snapshot: Snapshot) -> Counts:
        self.readings += 1
        return counts_of(snapshot, float(self.readings), requests=100 * self.readings, pending=2)


Test = Callable[[Case], Coroutine[Any, Any, None]]


def run(test: Test, monkeypatch: pytest.MonkeyPatch, look_every_s: float = 0.01) -> None:
    async def whole() -> None:
        monkeypatch.setattr(module, "_LOOK_EVERY_S", look_every_s)
        case = Case()
        try:
            await asyncio.wait_for(test(case), 30)
        finally:
            case.watch.close()
            await asyncio.sleep(0)

    with structlog.testing.capture_logs() as log:
        asyncio.run(whole())
    assert log == []


def read(frame: bytes) -> dict[str, Any]:
    """As the page has it."""
    start, told, end, rest = frame.partition(b"{")[0], *frame[6:].partition(b"\n\n")
    assert (start, end, rest) == (b"data: ", b"\n\n", b"")
    found: dict[str, Any] = json.loads(told)
    for pool in found["pools"]:
        pool["servers"] = [dict(zip(found["columns"], row, strict=True)) for row in pool["servers"]]
    return found


def test_a_frame_says_everything(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        frames = case.watch.frames()
        first, second = read(await anext(frames)), read(await anext(frames))
        for frame in (first, second):
            assert (frame["pid"], frame["version"], frame["step_s"]) == (1, "1", 0)
            [pool] = frame["pools"]
            assert (pool["name"], pool["has_copies"]) == ("main", True)
            assert [each["state"] for each in pool["servers"]] == ["up", "down", "up"]
            assert [each["backup"] for each in pool["servers"]] == [False, False, True]
            assert {each["requests_per_s"] for each in pool["servers"]} == {100}
            assert {each["warm"] for each in pool["servers"]} == {None}
            assert pool["servers"][0]["queued"] == 2
            assert pool["servers"][0]["items"] is None
            assert pool["has_address"] is False
        while read(await anext(frames))["pools"][0]["servers"][2]["share"] != 1:
            pass  # counted meanwhile
        await frames.aclose()

    run(test, monkeypatch)


def test_how_full_a_server_is_goes_by_its_address(monkeypatch: pytest.MonkeyPatch):
    async def ask_all(servers: Iterable[ServerSnapshot]) -> dict[str, Fill]:
        return {each.address: Fill(items=int(each.address[7])) for each in servers}

    async def test(case: Case) -> None:
        async with contextlib.aclosing(case.watch.frames()) as frames:
            while not (items := items_of(await anext(frames)))["10.0.0.1:1"]:
                pass
            assert items == {"10.0.0.1:1": 1, "10.0.0.2:1": 2, "10.0.0.3:1": 3}
            case.config = config_of(servers=["10.0.0.3:1", "10.0.0.4:1"], backups=["10.0.0.1:1"])
            while len(items := items_of(await anext(frames))) == 3 and "10.0.0.4:1" not in items:
                pass
            assert items == {"10.0.0.3:1": 3, "10.0.0.4:1": None, "10.0.0.1:1": 1}, "not asked yet"

    monkeypatch.setattr(module, "ask_all", ask_all)
    monkeypatch.setattr(module, "_ASK_EVERY_S", 3600)
    run(test, monkeypatch)


def items_of(frame: bytes) -> dict[str, int | None]:
    [pool] = read(frame)["pools"]
    return {each["address"]: each["items"] for each in pool["servers"]}


def test_keys_that_move_are_told_of_and_the_end_of_it_for_a_while(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        async def told() -> Any:
            frames = case.watch.frames()
            [pool] = read(await anext(frames))["pools"]
            await frames.aclose()
            return pool["migration"]

        assert await told() is None
        case.migrations = (MOVING, dataclasses.replace(MOVING, pool="another"))
        assert (await told())["per_cent"] == 50
        # the proxy's clock is at 2
        case.migrations = (dataclasses.replace(MOVING, state="done", ended_s=-200.0),)
        assert (await told())["state"] == "done"
        case.migrations = (dataclasses.replace(MOVING, state="done", ended_s=-400.0),)
        assert await told() is None

    run(test, monkeypatch)


def test_a_mistake_is_told_once_and_ends_nothing(monkeypatch: pytest.MonkeyPatch):
    async def whole() -> None:
        monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.01)
        case, tried = Case(), 0

        def fail(_: Snapshot) -> Counts:
            nonlocal tried
            tried += 1
            if tried < 4:
                raise ValueError("odd")
            return Case.count(case, _)

        monkeypatch.setattr(case.watch, "_count", fail)
        async with contextlib.aclosing(case.watch.frames()) as frames, asyncio.timeout(30):
            assert await anext(frames)
            while tried < 4:
                await anext(frames)
        case.watch.close()

    with structlog.testing.capture_logs() as log:
        asyncio.run(whole())
    assert {line["event"] for line in log} == {"the page misses something by a mistake of ours"}
    assert 1 <= len(log) <= 2, "once of each of the two that read"


def test_one_reading_is_for_all_pages(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        pages = [case.watch.frames() for _ in range(10)]
        seen = await asyncio.gather(*(anext(page) for page in pages))
        assert len({id(each) for each in seen}) == 1
        assert case.readings == 2, "one of them is the history's"
        for page in pages:
            await page.aclose()

    run(test, monkeypatch, look_every_s=60)


def test_without_a_page_nothing_is_read_but_for_the_history(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        frames = case.watch.frames()
        await anext(frames)
        await frames.aclose()
        # what was under way
        await asyncio.sleep(0.05)
        before = case.readings
        await asyncio.sleep(0.2)
        assert case.readings == before

    run(test, monkeypatch)


def test_all_streams_end_with_it(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        async def listen() -> None:
            async with contextlib.aclosing(case.watch.frames()) as frames:
                async for _ in frames:
                    pass

        pages = [asyncio.create_task(listen()) for _ in range(3)]
        await anext(case.watch.frames())
        case.watch.close()
        await asyncio.gather(*pages)

    run(test, monkeypatch)


def test_a_stream_ends_after_a_while(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        async with asyncio.timeout(20):
            while [frame async for frame in case.watch.frames()] == []:
                pass  # on a slow machine it may be over before the first one

    monkeypatch.setattr(module, "LONGEST_S", 0.05)
    run(test, monkeypatch)


def test_the_history_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        while not case.watch.history.last_s:
            await asyncio.sleep(0.01)
        found = case.watch.history.since(0, ("main", False, "10.0.0.1:1"))
        assert found is not None
        assert found["requests_per_s"][0] == 100

    monkeypatch.setattr(module, "STEP_S", 0.01)
    run(test, monkeypatch)
