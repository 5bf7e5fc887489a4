"""A TCP relay that misbehaves on command: between a client and the proxy, or between the proxy and a server.

    who connects ──▶ relay ──▶ target        direction "forward"
    who connects ◀── relay ◀── target        direction "back"

Rules hold for connections that are open and for later ones, until `heal`.
"""

import contextlib
import ctypes
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from .wire import Address

Direction = Literal["forward", "back"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "back")
Change = Callable[[bytes], bytes]


@dataclass
class _Rules:
    """What happens to the bytes of one direction."""

    delay_s: float = 0.0
    piece_bytes: int = 0
    held: bool = False
    dropped: bool = False
    cut_after_bytes: int = -1
    change: Change | None = None


class Relay:
    def __init__(self, target: Address) -> None:
        self.target = target
        self.accepted = 0
        self.passed_bytes: dict[Direction, int] = {"forward": 0, "back": 0}
        self.received_bytes: dict[Direction, int] = {"forward": 0, "back": 0}
        self._rules: dict[Direction, _Rules] = {"forward": _Rules(), "back": _Rules()}
        self._changed = threading.Condition()
        self._sockets: set[socket.socket] = set()
        self._near: set[socket.socket] = set()
        self._plugs: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._listener = _listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._accept_from(self._listener)

    @property
    def address(self) -> str:
        """As it stands in a configuration file."""
        return f"127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> Address:
        return ("127.0.0.1", self.port)

    @property
    def open_connections(self) -> int:
        with self._changed:
            return len(self._sockets) // 2

    def waiting_bytes(self, direction: Direction) -> int:
        """What it has received and holds."""
        return self.received_bytes[direction] - self.passed_bytes[direction]

    # --- commands ---

    def delay(self, seconds: float, direction: Direction = "back") -> None:
        """Everything arrives so much later."""
        self._set(direction, delay_s=seconds)

    def trickle(self, piece_bytes: int, pause_s: float, direction: Direction = "back") -> None:
        """Everything arrives in small pieces with pauses between them."""
        self._set(direction, piece_bytes=piece_bytes, delay_s=pause_s)

    def hold(self, direction: Direction = "back") -> None:
        """Nothing passes until `release`; nothing is lost."""
        self._set(direction, held=True)

    def release(self, direction: Direction = "back") -> None:
        self._set(direction, held=False)

    def drop(self, direction: Direction = "back") -> None:
        """What arrives from now on is lost; the connection stays open."""
        self._set(direction, dropped=True)

    def cut_after(self, count_bytes: int, direction: Direction = "back") -> None:
        """Every connection is cut once so many bytes of its own have passed."""
        self._set(direction, cut_after_bytes=count_bytes)

    def corrupt(self, change: Change, direction: Direction = "back") -> None:
        """Every piece passes through `change`."""
        self._set(direction, change=change)

    def heal(self) -> None:
        """No rule any more; connections that were cut stay cut."""
        with self._changed:
            self._rules = {"forward": _Rules(), "back": _Rules()}
            self._changed.notify_all()

    def blackhole(self) -> None:
        """No packet arrives any more: what is open falls silent, new connections are never made."""
        for direction in DIRECTIONS:
            self.hold(direction)
        if not self._plugs:
            # The kernel drops what opens a connection while the queue of those not accepted is full.
            _end(self._listener, reset=False)
            self._accepting.join(5)
            self._listener = _listen(self.port, backlog=0)
            self._plugs = [_plug(self.port) for _ in range(2)]

    def emerge(self, lose: bool = False) -> None:
        """End a blackhole. What it held arrives late; with `lose` never, and its connections are reset."""
        for plug in self._plugs:
            plug.close()
        if self._plugs:
            self._plugs = []
            self._listener.close()
            self._listener = _listen(self.port)
            self._accept_from(self._listener)
        if lose:
            self.cut()
        self.heal()

    def cut_clients(self) -> None:
        """Reset who connected, while what had arrived from them stays on its way: see `hold`, `release`."""
        with self._changed:
            for near in self._near & self._sockets:
                _end(near, reset=True)

    def cut(self, reset: bool = True) -> None:
        """Close every open connection, with a RST or in the orderly way. New ones are accepted."""
        with self._changed:
            for each in list(self._sockets):
                _end(each, reset)

    def refuse(self) -> None:
        """Cut everything and refuse new connections until `accept`."""
        _end(self._listener, reset=False)
        self._accepting.join(5)
        self.cut()

    def accept(self) -> None:
        """Listen again on the same port."""
        self._listener = _listen(self.port)
        self._accept_from(self._listener)

    def close(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for plug in self._plugs:
            plug.close()
        self.refuse()
        for thread in self._threads:
            thread.join(5)
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        assert not alive, f"threads of the relay to {self.target} did not end: {alive}"

    # --- threads ---

    def _set(self, direction: Direction, **values: object) -> None:
        with self._changed:
            for name, value in values.items():
                setattr(self._rules[direction], name, value)
            self._changed.notify_all()

    def _accept_from(self, listener: socket.socket) -> None:
        self._accepting = self._run(lambda: self._accept_loop(listener), "accept")

    def _run(self, work: Callable[[], None], name: str) -> threading.Thread:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, name=f"relay-{self.port}-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept_loop(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return
                far = socket.socket(
                    socket.AF_UNIX if isinstance(self.target, str) else socket.AF_INET, socket.SOCK_STREAM
                )
                try:
                    far.connect(self.target)
                except OSError:
                    far.close()
                    _end(near, reset=True)
                    near.close()
                    continue
                with self._changed:
                    self.accepted += 1
                    self._sockets |= {near, far}
                    self._near.add(near)
                    left = [2]
                for each in (near, far):
                    with contextlib.suppress(OSError):
                        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._run(partial(self._pump, near, far, "forward", left), "forward")
                self._run(partial(self._pump, far, near, "back", left), "back")

    def _pump(
        self, source: socket.socket, sink: socket.socket, direction: Direction, left: list[int]
    ) -> None:
        """Move bytes one way until either side ends; the last of the two pumps closes both sockets."""
        passed = 0
        try:
            while data := source.recv(1 << 16):
                self.received_bytes[direction] += len(data)
                while data:
                    piece, data = self._next_piece(data, direction)
                    with self._changed:
                        limit = self._rules[direction].cut_after_bytes
                    if limit >= 0 and passed + len(piece) >= limit:
                        sink.sendall(piece[: limit - passed])
                        self.passed_bytes[direction] += limit - passed
                        # Orderly, so that what has passed still arrives: a RST would overtake it.
                        _end(sink, reset=False)
                        _end(source, reset=False)
                        return
                    sink.sendall(piece)
                    passed += len(piece)
                    self.passed_bytes[direction] += len(piece)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            _end(source, reset=True)
            _end(sink, reset=True)
        finally:
            with self._changed:
                left[0] -= 1
                if left[0] == 0:
                    self._sockets -= {source, sink}
                    self._near -= {source, sink}
                    source.close()
                    sink.close()

    def _next_piece(self, data: bytes, direction: Direction) -> tuple[bytes, bytes]:
        """What passes now, as the rules of this moment want it, and what is left; waits while they say so."""
        with self._changed:
            if delay_s := self._rules[direction].delay_s:
                self._changed.wait_for(lambda: self._stopped, delay_s)
            self._changed.wait_for(lambda: self._stopped or not self._rules[direction].held)
            if self._stopped:
                raise OSError("stopped")
            rules = self._rules[direction]
            piece = data[: rules.piece_bytes] if rules.piece_bytes else data
            rest = data[len(piece) :]
            if rules.dropped:
                return b"", rest
            return (rules.change(piece) if rules.change else piece), rest


def _listen(port: int, backlog: int = 1024) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(backlog)
    return listener


def _plug(port: int) -> socket.socket:
    """A connection that takes up a place among those that nobody accepts."""
    plug = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plug.setblocking(False)
    plug.connect_ex(("127.0.0.1", port))
    return plug


def _end(each: socket.socket, reset: bool) -> None:
    """End a connection so that a thread blocked on it wakes up; its owner closes the descriptor."""
    with contextlib.suppress(OSError):
        if reset:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Disconnecting sends the RST now, while the other thread still holds the descriptor.
            _disconnect(each)
        each.shutdown(socket.SHUT_RDWR)


def _disconnect(each: socket.socket) -> None:
    """connect(2) to AF_UNSPEC: drops the connection; with a zero linger time the peer gets a RST."""
    address = ctypes.create_string_buffer(16)  # sa_family 0 is AF_UNSPEC
    ctypes.CDLL(None).connect(each.fileno(), address, 16)
