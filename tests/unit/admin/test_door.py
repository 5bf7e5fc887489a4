"""The control socket: bad input is normal input."""

import asyncio
import contextlib
import json
import os
import pwd
import socket
import stat
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import structlog

from memagent.admin.door import Door, open_door
from memagent.admin.requests import RefusedError, Request, Rewarm, Snapshot, Undrain
from memagent.errors import StartError
from memagent.unix_files import InUseError, NotASocketError
from tests.support.leading import until

LOG = structlog.get_logger()
CLOSED: list[Request] = []


async def answer(request: Request) -> AsyncGenerator[dict[str, Any], None]:
    """A rewarm is endless, an undrain takes a moment; everything else is answered at once or refused."""
    match request:
        case Snapshot():
            yield {"ok": True}
        case Undrain():
            for _ in range(3):
                yield {"progress": {}}
                await asyncio.sleep(0.01)
            yield {"ok": True}
        case Rewarm():
            try:
                while True:
                    yield {"progress": {"text": "x" * 1000}}
                    await asyncio.sleep(0)
            finally:
                CLOSED.append(request)
        case _:
            raise RefusedError("no")


Test = Callable[[Door], Coroutine[Any, Any, None]]


def run(path: Path, test: Test) -> None:
    async def whole() -> None:
        door = await Door.open(str(path), answer, LOG)
        try:
            await asyncio.wait_for(test(door), 30)
        finally:
            for client in CLIENTS:
                client.writer.transport.abort()
            CLIENTS.clear()
            await door.close()

    asyncio.run(whole())


CLIENTS: list["Client"] = []


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, door: Door) -> "Client":
        client = cls(*await asyncio.open_unix_connection(door.path))
        CLIENTS.append(client)
        return client

    async def ask(self, text: bytes) -> dict[str, Any]:
        self.writer.write(text)
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        found = json.loads(await self.reader.readline())
        assert isinstance(found, dict)
        return found


def test_one_connection_carries_requests_one_after_another(tmp_path: Path):
    async def test(door: Door) -> None:
        client = await Client.connect(door)
        for _ in range(3):
            assert await client.ask(b'{"verb": "snapshot"}\n') == {"ok": True}
            assert (await client.ask(b'{"verb": "drain", "server": "a"}\n'))["error"] == "no"
        # Two at once, in pieces, with empty lines.
        client.writer.write(b'{"verb": "snap')
        await client.writer.drain()
        assert await client.ask(b'shot"}\n\r\n\n{"verb": "snapshot"}\n') == {"ok": True}
        assert await client.answer() == {"ok": True}

    run(tmp_path / "s", test)


def test_from_one_proxy_to_the_next(tmp_path: Path):
    """The same socket and the same file, which is removed by whoever has it in the end."""

    async def test(older: Door) -> None:
        path = older.path
        handed = socket.socket(fileno=os.dup(older.fileno()))
        inside = await Client.connect(older)
        older.pause()
        outside = await Client.connect(older)
        outside.writer.write(b'{"verb": "snapshot"}\n')
        assert await inside.ask(b'{"verb": "snapshot"}\n') == {"ok": True}
        with pytest.raises(StartError, match="the running proxy's is"):
            await open_door(f"{path}2", "127.0.0.1:1", answer, LOG, handed)
        newer = await open_door(path, "127.0.0.1:1", answer, LOG, handed)
        assert newer is not None
        assert await outside.answer() == {"ok": True}
        older.hand_over()
        assert await inside.ask(b'{"verb": "snapshot"}\n') == {"ok": True}
        await older.close()
        assert os.path.exists(path)
        newer.take_over()
        await newer.close()
        assert not os.path.exists(path)

    run(tmp_path / "s", test)


def test_one_that_paused_goes_on(tmp_path: Path):
    async def test(door: Door) -> None:
        door.pause()
        client = await Client.connect(door)
        client.writer.write(b'{"verb": "snapshot"}\n')
        door.resume()
        assert await client.answer() == {"ok": True}
        handed = socket.socket(fileno=os.dup(door.fileno()))
        newer = await open_door(door.path, "127.0.0.1:1", answer, LOG, handed)
        assert newer is not None
        # It ends before it has taken over.
        await newer.close()
        assert await (await Client.connect(door)).ask(b'{"verb": "snapshot"}\n') == {"ok": True}

    run(tmp_path / "s", test)


def test_garbage_is_answered_and_the_connection_lives(tmp_path: Path):
    async def test(door: Door) -> None:
        client = await Client.connect(door)
        for garbage in (b"\0\xff\n", b"{\n", b"get a\r\n", b"[" * 50_000 + b"\n"):
            assert "error" in await client.ask(garbage)
        assert await client.ask(b'{"verb": "snapshot"}\n') == {"ok": True}

    run(tmp_path / "s", test)


def test_a_line_without_an_end_closes_the_connection(tmp_path: Path):
    async def test(door: Door) -> None:
        client = await Client.connect(door)
        assert "at most" in (await client.ask(b"x" * 100_000))["error"]
        with contextlib.suppress(ConnectionResetError):
            assert await client.reader.read() == b""

    run(tmp_path / "s", test)


def test_half_a_line_and_its_end_is_nothing(tmp_path: Path):
    async def test(door: Door) -> None:
        for half in (b"", b'{"verb": "snapshot"}'):
            client = await Client.connect(door)
            client.writer.write(half)
            client.writer.write_eof()
            assert await client.reader.read() == b""

    run(tmp_path / "s", test)


def test_who_sends_no_more_is_told_all(tmp_path: Path):
    async def test(door: Door) -> None:
        client = await Client.connect(door)
        client.writer.write(b'{"verb": "undrain", "server": "a"}\n')
        client.writer.write_eof()
        *steps, last = (await client.reader.read()).splitlines()
        assert (len(steps), json.loads(last)) == (3, {"ok": True})

    run(tmp_path / "s", test)


def test_who_leaves_while_he_is_told_things_hurts_nobody(tmp_path: Path):
    async def test(door: Door) -> None:
        for _ in range(3):
            client = await Client.connect(door)
            assert "progress" in await client.ask(b'{"verb": "rewarm", "server": "a"}\n')
            client.writer.transport.abort()
            await until(lambda: not door._connections, "it is noticed")
        client = await Client.connect(door)
        assert await client.ask(b'{"verb": "snapshot"}\n') == {"ok": True}

    run(tmp_path / "s", test)


def test_it_closes_at_once_also_where_a_line_comes_in_that_moment(tmp_path: Path):
    async def test(_: Door) -> None:
        for turns in range(12):
            door = await Door.open(str(tmp_path / f"s{turns}"), answer, LOG)
            client = await Client.connect(door)
            await client.ask(b'{"verb": "snapshot"}\n')
            client.writer.write(b'{"verb": "snapshot"}\n')
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(door.close(), 5)

    run(tmp_path / "s", test)


def test_one_connection_too_many_is_told_so(tmp_path: Path):
    async def test(door: Door) -> None:
        clients = [await Client.connect(door) for _ in range(32)]
        for client in clients:
            assert await client.ask(b'{"verb": "snapshot"}\n') == {"ok": True}
        over = await Client.connect(door)
        assert "open already" in (await over.answer())["error"]
        clients[0].writer.close()
        for attempt in range(100):
            late = await Client.connect(door)
            found = await late.ask(b'{"verb": "snapshot"}\n')
            if found == {"ok": True}:
                break
            assert attempt < 99
            await asyncio.sleep(0.01)

    run(tmp_path / "s", test)


def test_the_file_is_ours_alone_and_removed(tmp_path: Path):
    path = tmp_path / "s"

    async def test(_: Door) -> None:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with pytest.raises(InUseError):
            await Door.open(str(path), answer, LOG)
        assert path.exists()

    before = os.umask(0)
    try:
        run(path, test)
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_dead_proxys_socket_is_replaced_and_no_other_file(tmp_path: Path):
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async def nothing(_: Door) -> None:
        pass

    run(path, nothing)
    path.write_text("precious")
    with pytest.raises(NotASocketError):
        run(path, nothing)
    assert path.read_text() == "precious"


def test_a_path_that_was_asked_for_is_had_or_the_start_fails(tmp_path: Path):
    log = structlog.get_logger()

    async def open_twice() -> None:
        door = await open_door(str(tmp_path / "s"), "h:1", answer, log)
        assert door is not None
        try:
            await open_door(str(tmp_path / "s"), "h:1", answer, log)
        finally:
            await door.close()

    with pytest.raises(StartError, match="another proxy answers there"):
        asyncio.run(open_twice())
    for path in (tmp_path / "not" / "there", tmp_path / ("x" * 200)):
        with pytest.raises(StartError, match="control_socket"):
            asyncio.run(open_door(str(path), "h:1", answer, log))
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="not a socket"):
        asyncio.run(open_door(str(tmp_path / "file"), "h:1", answer, log))


def test_the_usual_path_is_used_and_its_lack_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    tmp_path.chmod(0o700)
    log = structlog.get_logger()

    async def whole() -> None:
        door = await open_door(None, "127.0.0.1:77", answer, log)
        assert door is not None
        assert door.path == str(tmp_path / "memagent-77.sock")
        assert await open_door(None, "127.0.0.1:77", answer, log) is None
        await door.close()

    asyncio.run(whole())


def test_what_acts_is_logged_with_who_asked(tmp_path: Path):
    async def test(door: Door) -> None:
        client = await Client.connect(door)
        client.writer.write(b'{"verb": "undrain", "server": "a"}\n')
        while "ok" not in await client.answer():
            pass
        assert "error" in await client.ask(b'{"verb": "reload"}\n')
        await client.ask(b'{"verb": "snapshot"}\n')

    with structlog.testing.capture_logs() as log:
        run(tmp_path / "s", test)
    who = {"user": pwd.getpwuid(os.getuid()).pw_name, "uid": os.getuid(), "pid": os.getpid()}
    undrain = {"verb": "undrain", "server": "a", "wait": True}
    acts, refused = "an operator acts at the control socket", "an operator is refused at the control socket"
    assert log == [
        {"event": acts, "log_level": "info", **who, "request": undrain},
        {"event": refused, "log_level": "warning", **who, "request": {"verb": "reload"}, "problem": "no"},
    ]
