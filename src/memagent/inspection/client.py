"""One connection to a memcached: ask, wait for the answer, no longer than a deadline.

    look(keys) ─▶ mn? ─┬─ MN ────▶ mg KEY s v f t c l u   the item, its time to live, not counted as a read
                       └─ else ──▶ gets KEY               a read like any client's; no time to live

- A ServerError says in a few words why there is no answer; the connection is of no use after one.
- A deadline is for a whole call, so that a server which drips bytes does not hold us for ever.
"""

import hashlib
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from memagent.addresses import Address
from memagent.errors import ServerError

FOREVER: Final = -1
_LONGEST_LINE_BYTES: Final = 8192
_RECEIVE_BYTES: Final = 1 << 16
_LARGEST_ITEM_BYTES: Final = 1 << 30
_LONGEST_LISTING_S: Final = 20.0
_IN_LISTS: Final = (b"mg ", b"key=", b"ITEM ")
_META_HIT = re.compile(rb"(?:VA (\d+)|HD)((?: [!-~]+)*)", re.ASCII)
_CLASSIC_HIT = re.compile(rb"VALUE (\S+) (\d+) (\d+)(?: (\d+))?")


@dataclass(frozen=True, slots=True)
class Item:
    """What a server has under a key, its value as a hash. `ttl_s`: FOREVER, or None if it cannot be told.

    `idle_s`: how long ago it was asked for last, None as well. `start`: as much of the value as was kept.
    """

    size_bytes: int
    flags: int
    ttl_s: int | None
    cas: int | None
    digest: str
    is_stale: bool = False
    idle_s: int | None = None
    start: bytes = b""


def ask(address: Address, request: bytes, timeout_s: float) -> bytes:
    """`Connection.ask`, on a connection for this alone; `timeout_s` is for connecting, and for the answer."""
    with Connection.open(address, timeout_s) as connection:
        return connection.ask(request)


class Connection:
    """Made by `open`; use it in a `with`."""

    def __init__(self, connected: socket.socket, timeout_s: float) -> None:
        self._socket = connected
        self._timeout_s = timeout_s
        self._buffer = bytearray()
        self._deadline_s = 0.0
        self._is_meta: bool | None = None
        self._keep_bytes = 0
        self.bytes_read = 0

    @classmethod
    def open(cls, address: Address, timeout_s: float) -> Self:
        """`timeout_s` is for connecting, and again for each call."""
        try:
            if address.path is not None:
                connected = socket.socket(socket.AF_UNIX)
                connected.settimeout(timeout_s)
                try:
                    connected.connect(address.path)
                except BaseException:
                    connected.close()
                    raise
            else:
                connected = socket.create_connection((address.host, address.port), timeout_s)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError:
            raise ServerError("cannot connect: no answer in time") from None
        except OSError as error:
            raise ServerError(f"cannot connect: {error.strerror or error}") from None
        return cls(connected, timeout_s)

    def look(self, keys: Sequence[bytes], keep_bytes: int = 0) -> list[Item | None]:
        """What is there under each of some valid keys, all asked at once; so much of each value is kept."""
        self._begin()
        self._keep_bytes = keep_bytes
        if self._is_meta is None:
            self._is_meta = self._speaks_meta()
        if self._is_meta:
            self._send(b"".join(b"mg %b s v f t c l u\r\n" % key for key in keys))
            return [self._meta_item() for _ in keys]
        self._send(b"".join(b"gets %b\r\n" % key for key in keys))
        return [self._classic_item(key) for key in keys]

    def ask(self, request: bytes) -> bytes:
        """The one line that is the answer to a request, without its end."""
        self._begin()
        self._send(request)
        return self._line()

    def stats(self, what: str = "") -> dict[str, str]:
        self._begin()
        self._send(f"stats {what}".rstrip().encode() + b"\r\n")
        found = {}
        while (line := self._line()) != b"END":
            if not line.startswith(b"STAT "):
                raise ServerError(f"refuses stats: {_shown(line)}")
            name, _, value = line[5:].decode(errors="replace").partition(" ")
            found[name] = value
        return found

    def listing(self, request: bytes, most_lines: int) -> list[bytes]:
        """The lines of a list, up to and with its end or a refusal, but hardly more than `most_lines`.

        Read as fast as it comes, and looked at afterwards: a server's crawler holds a lock while it waits for
        a reader, and clients may wait for that lock. After too long a list the connection is of no use.
        """
        self._begin()
        self._send(request + b"\r\n")
        end_s = time.monotonic() + _LONGEST_LISTING_S
        n_lines = 0
        while not _is_whole(self._buffer) and n_lines < most_lines and time.monotonic() < end_s:
            self._begin()
            n_lines += self._receive().count(b"\n")
            self._check_line(len(self._buffer) - self._buffer.rfind(b"\n") - 1)
        *lines, _ = bytes(self._buffer).split(b"\n")
        self._buffer.clear()
        return [line.removesuffix(b"\r") for line in lines]

    def stream(self, request: bytes, silence_s: float) -> Iterator[bytes]:
        """A long answer in pieces as it comes, without an end. ServerError after such a silence.

        Who has heard enough leaves a connection of no use.
        """
        self._begin()
        self._send(request + b"\r\n")
        while True:
            self._deadline_s = time.monotonic() + silence_s
            piece = self._receive()
            self._buffer.clear()
            yield piece

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ answers

    def _speaks_meta(self) -> bool:
        """With the flags that we want: the first servers that spoke meta had another language."""
        self._send(b"mn\r\n")
        if self._line() != b"MN":
            return False
        self._send(b"mg memagent-looks s f t c l u\r\n")
        return self._line()[:2] in (b"EN", b"HD")

    def _meta_item(self) -> Item | None:
        line = self._line()
        if line == b"EN":
            return None
        hit = _META_HIT.fullmatch(line)
        if hit is None or hit[1] is None:
            raise ServerError(f"refuses mg: {_shown(line)}")
        size_bytes = int(hit[1])
        digest, start = self._value(size_bytes)
        words = {word[:1]: word[1:] for word in hit[2].split()}
        try:
            flags, ttl_s, cas = int(words[b"f"]), int(words[b"t"]), int(words[b"c"])
        except (KeyError, ValueError):
            raise ServerError(f"answers mg with {_shown(line)}") from None
        idle = words.get(b"l", b"")
        idle_s = int(idle) if idle.isdigit() else None
        return Item(size_bytes, flags, ttl_s, cas, digest, b"X" in words, idle_s, start)

    def _classic_item(self, key: bytes) -> Item | None:
        line = self._line()
        if line == b"END":
            return None
        hit = _CLASSIC_HIT.fullmatch(line)
        if hit is None or hit[1] != key:
            raise ServerError(f"refuses gets: {_shown(line)}")
        size_bytes = int(hit[3])
        digest, start = self._value(size_bytes)
        if (end := self._line()) != b"END":
            raise ServerError(f"answers gets with {_shown(end)}")
        cas = int(hit[4]) if hit[4] else None
        return Item(size_bytes, int(hit[2]), None, cas, digest, start=start)

    def _value(self, size_bytes: int) -> tuple[str, bytes]:
        """Read a value and what ends it, and keep its hash, and the start of it if that is wanted."""
        if size_bytes > _LARGEST_ITEM_BYTES:
            raise ServerError(f"tells of a value of {size_bytes} bytes")
        digest = hashlib.blake2b(digest_size=16)
        left, start = size_bytes, bytearray()
        while left:
            if not self._buffer:
                self._receive()
            piece = self._buffer[:left]
            del self._buffer[: len(piece)]
            digest.update(piece)
            start += piece[: self._keep_bytes - len(start)]
            left -= len(piece)
        if self._line():
            raise ServerError("sends more of a value than it told")
        return digest.hexdigest(), bytes(start)

    # ------------------------------------------------------------ bytes

    def _begin(self) -> None:
        self._deadline_s = time.monotonic() + self._timeout_s

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._left_s())
            self._socket.sendall(data)
        except TimeoutError:
            raise ServerError("takes no request in time") from None
        except OSError as error:
            raise ServerError(error.strerror or str(error)) from None

    def _line(self) -> bytes:
        start = 0
        while (at := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            self._check_line(start)
            self._receive()
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 1]
        return line.removesuffix(b"\r")

    def _check_line(self, n_bytes: int) -> None:
        if n_bytes > _LONGEST_LINE_BYTES:
            raise ServerError("sends a line without an end: is it a memcached?")

    def _receive(self) -> bytes:
        try:
            self._socket.settimeout(self._left_s())
            data = self._socket.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise ServerError("does not answer in time") from None
        except OSError as error:
            raise ServerError(error.strerror or str(error)) from None
        if not data:
            raise ServerError("closes the connection")
        self.bytes_read += len(data)
        self._buffer += data
        return data

    def _left_s(self) -> float:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def _is_whole(answer: bytearray) -> bool:
    """Does a list end here, or is it none?"""
    if (b"\n" + answer[-6:]).endswith((b"\nEND\r\n", b"\nEN\r\n")):
        return True
    return answer.endswith(b"\n") and not answer.startswith(_IN_LISTS)


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("latin-1"))
