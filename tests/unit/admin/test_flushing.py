"""flush_all, asked as a client does."""

import asyncio
from pathlib import Path

import pytest

from memagent.admin import flushing
from memagent.admin.flushing import PoolFlush, flush_all
from memagent.admin.requests import RefusedError
from tests.support.ports import free_port


def flush(path: Path, reply: bytes | None) -> None:
    """At somebody who answers with this; None: not at all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert await reader.readline() == b"flush_all\r\n"
            if reply is not None:
                writer.write(reply)
            else:
                await reader.read()
        finally:
            writer.close()

    async def whole() -> None:
        server = await asyncio.start_unix_server(serve, path)
        async with server:
            await flush_all(f"unix:{path}")

    asyncio.run(whole())


def test_everything_is_flushed(tmp_path: Path):
    flush(tmp_path / "s", b"OK\r\n")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"SERVER_ERROR server a is down: not flushed\r\n", "a is down"),
        (b"", "closes the connection"),
        (b"OK", "closes the connection"),
        (b"\xff\r\n", "xff"),
        (b"x" * 100_000, "a line without an end"),
    ],
)
def test_it_is_not(tmp_path: Path, reply: bytes, says: str):
    with pytest.raises(RefusedError, match=says):
        flush(tmp_path / "s", reply)


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flushing, "_DEADLINE_S", 0.05)
    with pytest.raises(RefusedError, match=r"no answer within|does not answer in time") as caught:
        flush(tmp_path / "s", None)
    assert caught.value.hint == "it may be done nevertheless"
    with pytest.raises(RefusedError, match="cannot connect"):
        asyncio.run(flush_all(f"127.0.0.1:{free_port()}"))


def test_a_pool_is_flushed_by_a_worker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flushing, "_DEADLINE_S", 0.05)
    told: list[tuple[int, str]] = []
    replies = ["OK", "SERVER_ERROR server a is down: not flushed", None, "OK"]

    async def whole() -> None:
        def tell(number: int, pool: str) -> None:
            told.append((number, pool))
            flush.heard(number - 1, "too late")
            reply = replies[number - 1]
            if reply is not None:
                flush.heard(number, reply)
                flush.heard(number, "twice")

        flush = PoolFlush(tell)
        flush.heard(0, "nobody asked")
        await flush.flush("a")
        with pytest.raises(
            RefusedError, match=r"the pool b is not flushed as a whole: .* a is down"
        ) as caught:
            await flush.flush("b")
        assert "on return" in str(caught.value.hint)
        with pytest.raises(RefusedError, match="no answer within"):
            await flush.flush("c")
        await flush.flush("d")

    asyncio.run(whole())
    assert told == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
