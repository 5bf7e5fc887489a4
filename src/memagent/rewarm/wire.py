"""One connection to a memcached server: what is learnt when it is made, then bytes, not blocking.

A ServerError says what went wrong and names no server: whoever catches it knows which one it was.
"""

import contextlib
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from memagent.errors import ServerError
from memagent.units import whole_number

if TYPE_CHECKING:
    from memagent.settings import ServerConfig

_READ_BYTES: Final = 128 * 1024
_MOST_STATS_BYTES: Final = 1024 * 1024
# From these on a server knows the meta commands as they are used here, and takes a cas that it is given.
_META_SINCE: Final = (1, 6, 10)
_CAS_SINCE: Final = (1, 6, 27)


@dataclass(frozen=True)
class Facts:
    """What a server has said of itself. Everything may be missing: some are told to say nothing."""

    stats: dict[str, str] = field(default_factory=dict)
    speaks_meta: bool = False
    clock_ahead_s: float = 0.0

    @property
    def version(self) -> tuple[int, ...]:
        numbers = map(whole_number, self.stats.get("version", "").partition("-")[0].split("."))
        return tuple(number for number in numbers if number is not None)

    @property
    def has_meta(self) -> bool:
        return self.speaks_meta and (not self.version or self.version >= _META_SINCE)

    @property
    def takes_cas(self) -> bool:
        return self.speaks_meta and self.version >= _CAS_SINCE

    @property
    def identity(self) -> str:
        return self.stats.get("pid", "")

    def number(self, name: str, otherwise: int) -> int:
        found = whole_number(self.stats.get(name, ""))
        return otherwise if found is None else found

    def now_s(self) -> int:
        """The server's own clock."""
        return int(time.time() + self.clock_ahead_s)


class Wire:
    """`buffer[start:end]` is what came and was not consumed."""

    def __init__(
        self,
        server: "ServerConfig",
        addresses: Sequence[str],
        connect_timeout_s: float,
        request_timeout_s: float,
    ) -> None:
        self._socket = _connect(server, addresses, connect_timeout_s)
        self._socket.settimeout(request_timeout_s)
        self._out: deque[memoryview] = deque()
        self.out_bytes = 0
        self.buffer = bytearray(_READ_BYTES)
        self.start = 0
        self.end = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    # --- at the beginning: one question, one answer ---

    def introduce(self, settings: bool = False, stay_blocking: bool = False) -> Facts:
        """Ask who it is, then `begin`. Closed if it does not answer."""
        try:
            facts = self._introduce(settings)
        except BaseException:
            self.close()
            raise
        if not stay_blocking:
            self.begin()
        return facts

    def _introduce(self, settings: bool) -> Facts:
        asked_s = time.time()
        stats = self._ask_stats(b"stats\r\n")
        if settings:
            stats.update(self._ask_stats(b"stats settings\r\n"))
        try:
            self._socket.sendall(b"mn\r\n")
        except OSError as error:
            raise ServerError(f"the connection broke: {_describe(error)}") from error
        speaks_meta = self._line() == b"MN"
        clock_s = whole_number(stats.get("time", ""))
        # Its clock shows whole seconds: what it says is half a second old on average.
        ahead_s = clock_s + 0.5 - asked_s if clock_s is not None else 0.0
        return Facts(stats, speaks_meta, ahead_s)

    def _ask_stats(self, question: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        size = 0
        try:
            self._socket.sendall(question)
            while (line := self._line()) != b"END":
                size += len(line)
                words = line.split(b" ", 2)
                if words[0] != b"STAT" or len(words) != 3:
                    return found
                if size > _MOST_STATS_BYTES:
                    raise ServerError("its stats have no end")
                found[words[1].decode("ascii", "replace")] = words[2].decode("ascii", "replace")
        except OSError as error:
            raise ServerError(f"no answer to stats: {_describe(error)}") from error
        return found

    def _line(self) -> bytes:
        while (newline := self.buffer.find(b"\n", self.start, self.end)) < 0:
            if self.end - self.start > 4096:
                raise ServerError("a line without an end")
            self._make_room(4096)
            try:
                with memoryview(self.buffer) as view:
                    count = self._socket.recv_into(view[self.end :])
            except OSError as error:
                raise ServerError(f"no answer: {_describe(error)}") from error
            if count == 0:
                raise ServerError("it closed the connection")
            self.end += count
        line = bytes(self.buffer[self.start : newline])
        self.start = newline + 1
        return line.removesuffix(b"\r")

    # --- afterwards ---

    def begin(self) -> None:
        """From now on nothing blocks."""
        self._socket.setblocking(False)

    def queue(self, data: bytes) -> None:
        """To be sent with the next `flush`."""
        self._out.append(memoryview(data))
        self.out_bytes += len(data)

    def flush(self) -> int:
        """Send what the kernel takes; how many bytes it took."""
        before = self.out_bytes
        while self._out:
            piece = self._out[0]
            try:
                sent = self._socket.send(piece)
            except BlockingIOError:
                break
            except OSError as error:
                raise ServerError(f"the connection broke: {_describe(error)}") from error
            self.out_bytes -= sent
            if sent < len(piece):
                self._out[0] = piece[sent:]
                break
            self._out.popleft()
        return before - self.out_bytes

    def receive(self, need_bytes: int = 0) -> None:
        """Read once. `need_bytes`: so many have to fit in, counted from `start`."""
        self._make_room(max(_READ_BYTES // 2, need_bytes - (self.end - self.start)))
        try:
            with memoryview(self.buffer) as view:
                count = self._socket.recv_into(view[self.end :])
        except BlockingIOError:
            return
        except OSError as error:
            raise ServerError(f"the connection broke: {_describe(error)}") from error
        if count == 0:
            raise ServerError("it closed the connection")
        self.end += count

    def _make_room(self, wanted_bytes: int) -> None:
        held = self.end - self.start
        if held == 0:
            self.start = self.end = 0
        if len(self.buffer) - self.end >= wanted_bytes:
            return
        if held + wanted_bytes <= len(self.buffer):
            self.buffer[:held] = self.buffer[self.start : self.end]
        else:
            larger = bytearray(max(held + wanted_bytes, 2 * len(self.buffer)))
            larger[:held] = self.buffer[self.start : self.end]
            self.buffer = larger
        self.start, self.end = 0, held


def _connect(server: "ServerConfig", addresses: Sequence[str], timeout_s: float) -> socket.socket:
    targets: list[tuple[int, Any]] = [
        (socket.AF_INET6 if ":" in each else socket.AF_INET, (each, server.port)) for each in addresses
    ]
    if server.path is not None:
        targets = [(socket.AF_UNIX, server.path)]
    problem = "no address of it is known"
    for family, address in targets:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            problem = f"cannot connect: {_describe(error)}"
            continue
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    raise ServerError(problem)


def _describe(error: OSError) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else (error.strerror or str(error))
