"""The door itself: connections that want nothing good, and the end."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest
import structlog

from memagent.addresses import parse_listen
from memagent.admin import http, requests
from memagent.admin.api import Proxy
from memagent.admin.auth import Tokens
from memagent.admin.http import HttpDoor
from memagent.admin.page.watch import Watch
from memagent.admin.surveying import Wish
from memagent.admin.writing import Change
from memagent.snapshot import Snapshot
from tests.support.control_stand_in import counts_of
from tests.support.leading import until
from tests.support.snapshots import config_of, snapshot_of

GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
METRICS = GET.replace(b"/health/live", b"/metrics")
Log = list[Any]


class Case:
    def __init__(self, door: HttpDoor, port: int, log: Log) -> None:
        self.door = door
        self.port = port
        self.log = log
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, *said: bytes) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 10)
        self.writers.append(writer)
        writer.writelines(said)
        return reader

    async def status(self, reader: asyncio.StreamReader) -> int:
        return int((await reader.readuntil(b"\r\n")).split()[1])


async def answer(request: requests.Request) -> AsyncGenerator[dict[str, Any], None]:
    if isinstance(request, requests.Metrics):
        yield {"ok": True, "content_type": "text/plain", "text": "x" * 50_000_000}
    else:
        raise LookupError("a mistake of ours")


def snapshot() -> Snapshot:
    return snapshot_of(config_of(servers=["10.0.0.1:1"]))


async def write(change: Change) -> str:
    return "STORED"


async def survey(wish: Wish) -> AsyncGenerator[bytes, None]:
    yield b""


async def look_up(key: bytes, pool: str | None, with_value: bool) -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


def run(test: Callable[[Case], Coroutine[Any, Any, None]], **door: Any) -> Log:
    async def whole() -> Log:
        with socket.create_server(("127.0.0.1", 0)) as listening, structlog.testing.capture_logs() as log:
            proxy = Proxy(answer, snapshot, list, look_up, write, survey, structlog.get_logger())
            listen = parse_listen("127.0.0.1:80")
            config = config_of(servers=["10.0.0.1:1"])
            watch = Watch(lambda: config, snapshot, counts_of, structlog.get_logger())
            made = HttpDoor([listening], listen, Tokens, proxy, watch, **door)
            case = Case(made, listening.getsockname()[1], log)
            try:
                await asyncio.wait_for(test(case), 30)
            finally:
                for writer in case.writers:
                    writer.transport.abort()
                await made.close()
            return log

    return asyncio.run(whole())


def test_one_connection_asks_again_and_again():
    async def test(case: Case) -> None:
        reader = await case.connect(GET, GET)
        for _ in range(2):
            assert await case.status(reader) == 200
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"server:" not in head.lower()
            await reader.readexactly(len(b'{"live":true}'))

    run(test)


def test_the_one_too_many_is_ended():
    async def test(case: Case) -> None:
        kept = [await case.connect(GET[:9]) for _ in range(3)]
        await until(lambda: len(case.door._server.server_state.connections) == 3, "three are in")
        reader = await case.connect()
        assert await _is_over(reader)
        case.writers[0].write(GET[9:])
        assert await case.status(kept[0]) == 200

    run(test, most_connections=3)


def test_who_says_nothing_or_half_or_does_not_read_is_ended():
    async def test(case: Case) -> None:
        silent = [
            await case.connect(),
            await case.connect(GET[:9]),
            await case.connect(b"POST / HTTP/1.1\r\n"),
        ]
        body = b"POST /health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n12"
        silent.append(
            await case.connect(body.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n"))
        )
        waiting = await case.connect(GET.replace(b"health/live", b"v1/keys/a"))
        deaf = await case.connect(METRICS)
        for reader in (*silent, waiting, deaf):
            while not await _is_over(reader):
                pass
        await until(lambda: not case.door._server.server_state.connections, "all are out")

    run(test, longest_s=0.2)


def test_who_watches_may_stay():
    async def test(case: Case) -> None:
        reader = await case.connect(GET.replace(b"health/live", b"v1/watch"))
        assert await case.status(reader) == 200
        for _ in range(3):
            await reader.readuntil(b"data: {")
        assert await case.status(await case.connect(GET)) == 200

    run(test, longest_s=1.5)


def test_no_http_at_all():
    async def test(case: Case) -> None:
        for text in (
            b"flush_all\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"x" * 100_000,
        ):
            reader = await case.connect(text)
            assert await case.status(reader) == 400
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
        reader = await case.connect(GET[:-2], upgrade)
        assert await case.status(reader) == 200

    assert run(test) == []


def test_a_mistake_of_ours_is_in_the_log():
    async def test(case: Case) -> None:
        assert await case.status(await case.connect(GET.replace(b"health/live", b"v1/config"))) == 500
        assert await case.status(await case.connect(GET)) == 200

    [line] = run(test)
    assert line["event"] == "HTTP"
    assert "a mistake of ours" in str(line["exc_info"][1])


def test_who_may_not_is_logged_now_and_then(monkeypatch: pytest.MonkeyPatch):
    async def test(case: Case) -> None:
        wrong = GET.replace(b"/health/live", b"/v1/state")[:-2] + b"Authorization: Bearer x\r\n\r\n"
        for every_s in (3600, 3600, 3600, 0):
            monkeypatch.setattr(http, "_TELL_EVERY_S", every_s)
            assert await case.status(await case.connect(wrong)) == 401

    first, later = run(test)
    assert first["event"] == "turned away over HTTP"
    assert first["path"] == "/v1/state"
    assert "127.0.0.1:" in first["peer"]
    assert "more_before" not in first
    assert later["more_before"] == 2


def test_the_end_waits_for_nobody_for_long():
    async def test(case: Case) -> None:
        readers = [await case.connect(GET[:9]), await case.connect(GET.replace(b"health/live", b"v1/keys/a"))]
        await until(lambda: len(case.door._server.server_state.connections) == 2, "both are in")
        await case.door.close()
        for reader in readers:
            while not await _is_over(reader):
                pass

    run(test)


async def _is_over(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(100) == b""
    except ConnectionResetError:
        return True
