"""A client that knows nothing of the protocol: it sends the bytes it is told to and reads with deadlines."""

import socket
import struct
import time
from types import TracebackType

from .wait import PATIENCE

Address = tuple[str, int] | str
"""(host, port), or the path of a Unix socket."""


class Wire:
    """One connection. What has been received but not yet asked for stays in the buffer."""

    def __init__(
        self, address: Address, deadline_s: float = 5.0, receive_buffer_bytes: int | None = None
    ) -> None:
        self.deadline_s = deadline_s * PATIENCE
        self._buffer = bytearray()
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self._socket = socket.socket(
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM
            )
        try:
            if receive_buffer_bytes is not None:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            if not isinstance(address, str):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(self.deadline_s)
            self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise

    @property
    def own_port(self) -> int:
        port = self._socket.getsockname()[1]
        assert isinstance(port, int)
        return port

    def send(self, data: bytes) -> None:
        """All of it, or a TimeoutError once the other side has not taken it within the deadline."""
        self._socket.settimeout(self.deadline_s)
        self._socket.sendall(data)

    def send_slowly(self, data: bytes, piece_bytes: int = 1) -> None:
        """In pieces, each a segment of its own as far as the kernel goes along."""
        for start in range(0, len(data), piece_bytes):
            self.send(data[start : start + piece_bytes])

    def send_some(self, data: bytes) -> int:
        """As much as the kernel takes at once, perhaps nothing: for a reader that has stopped."""
        self._socket.settimeout(0)
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def ask(self, data: bytes, end: bytes = b"\r\n") -> bytes:
        """Send, then read up to and with `end`."""
        self.send(data)
        return self.read_until(end)

    def expect(self, data: bytes, reply: bytes) -> None:
        """Send, then read exactly `reply`, and fail with both texts where it is another."""
        self.send(data)
        got = self.read_exact(len(reply), short_is_fine=True)
        assert got == reply, (
            f"sent {_short(data)}: expected {_short(reply)}, got {_short(got + bytes(self._buffer))}"
        )

    def read_line(self) -> bytes:
        """One line with its line end."""
        return self.read_until(b"\n")

    def read_until(self, end: bytes) -> bytes:
        limit = time.monotonic() + self.deadline_s
        start = 0
        while (at := self._buffer.find(end, start)) < 0:
            start = max(0, len(self._buffer) - len(end) + 1)
            if not self._receive(limit):
                raise ConnectionError(f"closed before {end!r}; received {_short(bytes(self._buffer))}")
        return self._take(at + len(end))

    def read_exact(self, length: int, short_is_fine: bool = False) -> bytes:
        """That many bytes; with `short_is_fine`, fewer where the deadline passes or the other side closes."""
        limit = time.monotonic() + self.deadline_s
        while len(self._buffer) < length:
            try:
                if not self._receive(limit):
                    raise ConnectionError(f"closed after {len(self._buffer)} of {length} bytes")
            except (TimeoutError, ConnectionError):
                if not short_is_fine:
                    raise
                break
        return self._take(min(length, len(self._buffer)))

    def read_to_end(self) -> bytes:
        """Everything until the other side closes."""
        limit = time.monotonic() + self.deadline_s
        while self._receive(limit):
            pass
        return self._take(len(self._buffer))

    def closed(self) -> bool:
        """Does the other side close within the deadline, with nothing more to read?"""
        try:
            return self.read_to_end() == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def quiet(self, for_s: float = 0.2) -> bool:
        """Does nothing at all arrive for so long, not even the end?"""
        if self._buffer:
            return False
        try:
            self._receive(time.monotonic() + for_s)
        except TimeoutError:
            return True
        return False

    def stats(self, what: str = "") -> dict[str, str]:
        """The answer to `stats`: name -> value."""
        self.send(f"stats {what}".rstrip().encode() + b"\r\n")
        found = {}
        while (line := self.read_line()) != b"END\r\n":
            word, _, rest = line.decode().rstrip("\r\n").partition(" ")
            if word != "STAT":
                raise AssertionError(f"stats {what}: not a STAT line: {line!r}")
            name, _, value = rest.partition(" ")
            found[name] = value
        return found

    def finish_sending(self) -> None:
        """Half-close: the other side reads the end, this one can still read."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a RST instead of a FIN, as a crashed client's machine does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self, limit: float) -> bool:
        """More bytes into the buffer; False where the other side has closed."""
        left = limit - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing more arrived in time; received so far {_short(bytes(self._buffer))}")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            raise TimeoutError(
                f"nothing more arrived in time; received so far {_short(bytes(self._buffer))}"
            ) from None
        self._buffer += data
        return bool(data)

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data


def _short(data: bytes) -> str:
    return (
        repr(data) if len(data) <= 300 else f"{data[:200]!r}... ({len(data)} bytes, ends with {data[-60:]!r})"
    )
