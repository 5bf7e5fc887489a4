"""The compiled sockets in this process: a real loop, real connections, and a play that acts the other side.

    scene = Scene()
    client, server = scene.client(), scene.server(0)

    def play() -> Play:
        client.send(b"get a\r\n")
        yield lambda: server.heard(b"get a\r\n")      # the loop turns until this is true
        server.say(b"END\r\n")
        yield lambda: client.got(b"END\r\n")

    scene.run(play())

A loop keeps the interpreter to itself even while it sleeps, so the other side cannot be a thread. The loop
calls the play instead, once a turn, through a file descriptor that is always readable: such a loop does not
sleep. How one sleeps is looked at from outside, in the tests of the worker.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Generator
from typing import Any

from memagent._core.identity import GREETING
from memagent._core.metrics import Block
from memagent._net.client import ClientConnection
from memagent._net.listener import Listener
from memagent._net.loop import Loop
from memagent._net.server import Endpoint

from .core import World
from .wait import PATIENCE

Play = Generator[Callable[[], object], None, None]

PAUSE_S = 0.0002  # between two looks at a condition
READ_BYTES = 1 << 18


class Peer:
    """One end of a connection, moved by the scene; it never blocks."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.reads = True
        self.unsent = b""
        self.received = bytearray()
        self.is_ended = False
        self.was_reset = False

    def send(self, data: bytes) -> None:
        """At once as far as the kernel takes it, the rest by and by."""
        self.unsent += data
        self.step()

    def step(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.was_reset, self.unsent = True, b""
        try:
            while self.reads and not self.is_ended and self.socket.fileno() >= 0:
                data = self.socket.recv(READ_BYTES)
                self.is_ended = not data
                self.received += data
        except BlockingIOError:
            pass
        except ConnectionError:
            self.was_reset = self.is_ended = True

    def got(self, data: bytes) -> bool:
        """Have exactly these bytes come? Then they are taken. Any others fail the test."""
        start = bytes(self.received[: len(data)])
        assert data.startswith(start), f"expected {data[:200]!r}, got {bytes(self.received[:200])!r}"
        if len(start) < len(data):
            assert not self.is_ended, f"ended after {start[-200:]!r}, expected {len(data)} bytes"
            return False
        del self.received[: len(data)]
        return True

    def got_end(self) -> bool:
        """Is it over, with nothing left to read?"""
        assert not self.received, bytes(self.received[:200])
        return self.is_ended

    def finish_sending(self) -> None:
        assert not self.unsent
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()
        self.unsent = b""

    def reset(self) -> None:
        """The other side is told that nothing will be read any more."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Server:
    """A listening socket that a server's connections come to, and what arrives on them."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.socket = listener
        self.connections: list[Peer] = []
        self.hangs_up = False  # on everybody, as soon as they are there
        self.says_who = True  # on each connection, as soon as it is asked
        self.pid = 1
        self.started_s = 1_700_000_000
        self._asked: list[Peer] = []  # those that have not said yet who they are

    @property
    def address(self) -> tuple[int, Any]:
        """As an Endpoint takes it."""
        return self.socket.family, self.socket.getsockname()

    @property
    def last(self) -> Peer:
        return self.connections[-1]

    @property
    def has_said_who(self) -> bool:
        """On all of its connections, and there are some."""
        return bool(self.connections) and not self._asked

    def heard(self, data: bytes) -> bool:
        """On the connection that was made last."""
        return bool(self.connections) and self.last.got(data)

    def say(self, data: bytes) -> None:
        self.last.send(data)

    def step(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.socket.fileno() >= 0:
                self.connections.append(Peer(self.socket.accept()[0]))
                self._asked.append(self.last)
                if self.hangs_up:
                    self.last.close()
        for peer in self.connections:
            if peer.socket.fileno() >= 0:
                peer.step()
        for peer in list(self._asked) if self.says_who else ():
            if peer.reads and peer.received.startswith(GREETING):
                del peer.received[: len(GREETING)]
                self._asked.remove(peer)
                peer.send(self.greeting)

    @property
    def greeting(self) -> bytes:
        return b"STAT pid %d\r\nSTAT uptime 60\r\nSTAT time %d\r\nSTAT version 1.6.18\r\nEND\r\nMN\r\n" % (
            self.pid,
            self.started_s + 60,
        )

    def close(self) -> None:
        self.socket.close()
        for peer in self.connections:
            peer.close()


class Scene:
    """A world of the core (see `core`) on sockets: `settings` are the world's."""

    def __init__(self, n_servers: int = 1, **settings: Any) -> None:
        self.world = World(n_servers, **settings)
        self.loop = Loop(self.world.context, self.world.counters)
        self.poller = self.loop.poller
        self._clients: list[Peer] = []
        self._servers: list[Server] = []
        self._always, self._other_end = socket.socketpair()
        self._other_end.send(b"!")

    # ------------------------------------------------------------ parts

    def client(self) -> Peer:
        """A client whose connection the loop has."""
        peer, _ = self.connection()
        return peer

    def connection(self) -> tuple[Peer, ClientConnection]:
        theirs, ours = socket.socketpair()
        return self.join(theirs, ours)

    def join(self, theirs: socket.socket, ours: socket.socket) -> tuple[Peer, ClientConnection]:
        """The loop gets `ours`, the play has `theirs`."""
        ours.setblocking(False)
        return self.peer(theirs), ClientConnection(self.poller, ours.detach(), self.world.routes)

    def peer(self, theirs: socket.socket) -> Peer:
        self._clients.append(Peer(theirs))
        return self._clients[-1]

    def listener(self, max_connections: int = 4096, others: tuple[Block, ...] = ()) -> tuple[str, int]:
        """A port of this loop's; `others` are the counters of other workers."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        address: tuple[str, int] = listening.getsockname()
        self.listen_on(listening, max_connections, others)
        return address

    def listen_on(
        self, listening: socket.socket, max_connections: int = 4096, others: tuple[Block, ...] = ()
    ) -> None:
        listening.setblocking(False)
        is_tcp = listening.family != socket.AF_UNIX
        listener = Listener(
            self.poller,
            listening.detach(),
            self.world.routes,
            is_tcp=is_tcp,
            worker_blocks=[self.world.counters, *others],
        )
        listener.max_connections = max_connections
        self.loop.listeners.append(listener)

    def call(self, address: Any) -> Peer:
        """A client that connects to the loop's listener. The kernel answers it, whatever the loop does."""
        theirs = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        theirs.connect(address)
        return self.peer(theirs)

    def server(self, index: int, listening: socket.socket | None = None, **settings: Any) -> Server:
        """What the world's server number `index` is on the network."""
        server = self.bystander(listening)
        self.endpoint(index, [server.address], **settings)
        return server

    def bystander(self, listening: socket.socket | None = None) -> Server:
        """A listening socket that no endpoint knows yet."""
        self._servers.append(Server(listening or socket.create_server(("127.0.0.1", 0))))
        return self._servers[-1]

    def endpoint(
        self,
        index: int,
        addresses: list[tuple[int, Any]],
        connect_timeout_us: int = 5_000_000,
        on_connect: Callable[[int], None] | None = None,
    ) -> Endpoint:
        server = self.world.servers[index].server
        endpoint = Endpoint(server, self.poller, addresses, on_connect=on_connect)
        endpoint.connect_timeout_us = connect_timeout_us
        self.loop.endpoints.append(endpoint)
        return endpoint

    # ------------------------------------------------------------ running

    def run(self, play: Play, deadline_s: float = 10.0) -> None:
        """Until the play has ended; each of its conditions has `deadline_s`."""
        condition: Callable[[], object] | None = None
        end_s = 0.0

        def turn() -> None:
            nonlocal condition, end_s
            parts: tuple[Peer | Server, ...] = (*self._servers, *self._clients)
            for part in parts:
                if part.socket.fileno() >= 0:
                    part.step()
            while condition is None or condition():
                try:
                    condition = next(play)
                except StopIteration:
                    self.loop.stop()
                    return
                end_s = time.monotonic() + deadline_s * PATIENCE
            if time.monotonic() > end_s:
                raise TimeoutError(
                    f"{deadline_s * PATIENCE:g} s passed; server changes: {self.world.changes}"
                )
            time.sleep(PAUSE_S)

        watched = self.poller.watch_readable(self._always.fileno(), turn)
        try:
            self.loop.run()
        finally:
            play.close()
            self.poller.unwatch(watched)

    def count(self, name: str) -> int:
        return self.world.count(name)

    def server_count(self, name: str, index: int = 0) -> int:
        return self.world.server_count(index, name)

    def finish(self) -> dict[str, int]:
        """End everything; what is left over, by name."""
        parts: tuple[Peer | Server, ...] = (*self._clients, *self._servers)
        for part in parts:
            part.close()
        for listener in self.loop.listeners:
            self.poller.unwatch(listener)  # a loop that runs again starts them again
        self.loop.drain(2000)
        self.loop.run()
        for endpoint in self.loop.endpoints:
            endpoint.close()
        self._always.close()
        self._other_end.close()
        left = self.world.finish()
        left["clients"] = len(self.poller.clients)
        left["counted connections"] = self.count("curr_connections")
        for index in range(len(self.loop.endpoints)):
            left[f"connections of server {index}"] = self.server_count("connections", index)
        return {name: n for name, n in left.items() if n}


def lowest_free_fd() -> int:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    return fd
