"""One client connection: requests in order, replies in order, each with the moment when it came."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

from tests.chaos.history import LOST
from tests.chaos.holders import NEVER

Shape = Literal["line", "values", "meta", "batch"]
"""One line; items and a last line; a line or an item of the meta kind; all of these until MN."""


@dataclass(slots=True)
class Hit:
    value: bytes
    flags: int
    cas: int


@dataclass(slots=True)
class Reply:
    """`line` is the only line, or the last one; `hits` what came before it."""

    line: str
    hits: dict[bytes, Hit]
    at: float
    sent_at: float
    stats: list[str]
    """Lines before the last one."""

    @property
    def is_error(self) -> bool:
        return "ERROR" in self.line or self.line == LOST


class Gone(Exception):  # noqa: N818 - it is an event, seldom an error of ours
    """The connection ended, or no reply ever came."""


class Client(asyncio.Protocol):
    def __init__(self, name: str) -> None:
        self.name = name
        self._buffer = bytearray()
        self._awaited: deque[tuple[Shape, asyncio.Future[Reply], float]] = deque()
        self._hits: dict[bytes, Hit] = {}
        self._stats: list[str] = []
        self._transport: asyncio.Transport | None = None
        self.gone: str | None = None
        self.worker = 0
        """The process that serves it, 0 while that is not known."""
        self.began_at = time.monotonic()
        self.gone_at = NEVER
        self._sent = b""

    @classmethod
    async def connect(cls, name: str, host: str, port: int) -> "Client":
        loop = asyncio.get_running_loop()
        began_at = time.monotonic()
        _, client = await loop.create_connection(lambda: cls(name), host, port)
        client.began_at = began_at
        return client

    def send(self, data: bytes, *shapes: Shape) -> list["asyncio.Future[Reply]"]:
        """Requests that bring so many replies, perhaps none."""
        if self._transport is None or self.gone:
            raise Gone(self.gone or "not connected")
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        self._sent = data
        futures = [loop.create_future() for _ in shapes]
        self._awaited.extend((shape, future, now) for shape, future in zip(shapes, futures, strict=True))
        self._transport.write(data)
        return futures

    async def ask(self, data: bytes, shape: Shape = "line") -> Reply:
        [future] = self.send(data, shape)
        return await future

    async def stats(self, what: str) -> dict[str, str]:
        reply = await self.ask(b"stats " + what.encode() + b"\r\n", "values")
        return {name: value for _, name, value in (line.split(" ", 2) for line in reply.stats)}

    @property
    def port(self) -> int:
        """Its own, by which the kernel knows it."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def give_up_after(self, limit_s: float) -> None:
        """End the connection if the oldest request has waited for longer."""
        if self._awaited and time.monotonic() - self._awaited[0][2] > limit_s:
            self.gone = f"no reply in {limit_s:g} s to {self._sent[:200]!r}, received {bytes(self._buffer)!r}"
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.gone_at = time.monotonic()
        self.gone = self.gone or (repr(error) if error else "the proxy closed it")
        while self._awaited:
            _, future, _ = self._awaited.popleft()
            if not future.done():
                future.set_exception(Gone(self.gone))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._buffer += data
        start = 0
        while self._awaited:
            end = self._buffer.find(b"\r\n", start)
            if end < 0:
                break
            words = bytes(self._buffer[start:end]).split(b" ")
            shape = self._awaited[0][0]
            if shape in ("meta", "batch") and words[0] == b"VA":
                length = int(words[1])
                if len(self._buffer) < end + 2 + length + 2:
                    break
                self._hits[b""] = _meta_hit(bytes(self._buffer[end + 2 : end + 2 + length]), words[2:])
                start = end + 2 + length + 2
                if shape == "meta":
                    self._complete("VA", now)
                continue
            if shape == "values" and words[0] == b"VALUE":
                length = int(words[3])
                if len(self._buffer) < end + 2 + length + 2:
                    break
                value = bytes(self._buffer[end + 2 : end + 2 + length])
                cas = int(words[4]) if len(words) > 4 else 0
                self._hits[words[1]] = Hit(value, int(words[2]), cas)
                start = end + 2 + length + 2
                continue
            line = bytes(self._buffer[start:end]).decode()
            start = end + 2
            if words[0] == b"STAT":
                self._stats.append(line)
                continue
            if shape == "batch" and words[0] != b"MN":
                self._stats.append(line)
                continue
            self._complete(line, now)
        if start < len(self._buffer) and not self._awaited:
            self.gone = f"unasked: {bytes(self._buffer[start : start + 100])!r}"
            self.close()
        del self._buffer[:start]

    def _complete(self, line: str, now: float) -> None:
        _, future, sent_at = self._awaited.popleft()
        hits, self._hits = self._hits, {}
        stats, self._stats = self._stats, []
        if not future.done():
            future.set_result(Reply(line, hits, now, sent_at, stats))


def _meta_hit(value: bytes, words: list[bytes]) -> Hit:
    numbers = {word[:1]: int(word[1:]) for word in words if word[1:].isdigit()}
    return Hit(value, numbers.get(b"f", 0), numbers.get(b"c", 0))
