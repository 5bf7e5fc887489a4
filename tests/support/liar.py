"""A server that lies: it listens like a memcached and says what a test tells it to, byte by byte.

A script is called for each connection, in a thread of its own, with a `Talk`; when it returns, the connection
is closed. It has said already who it is, unless `says_who` is False: a proxy asks that before anything else.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

Script = Callable[["Talk"], None]


class Talk:
    """One connection, from the server's side."""

    def __init__(self, connection: socket.socket, stop: threading.Event) -> None:
        self.connection = connection
        self.stop = stop
        self._buffer = b""

    def line(self) -> bytes:
        """The next request line, without its end; ConnectionError once the proxy is gone."""
        while b"\n" not in self._buffer:
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.removesuffix(b"\r")

    def request(self) -> bytes:
        """The next line that is not a greeting's."""
        while (line := self.line()) in (b"stats", b"mn"):
            self.answer(line)
        return line

    def greet(self) -> None:
        """Say who is here, as a proxy asks first."""
        for _ in range(2):
            self.answer(self.line())

    def block(self, length: int) -> bytes:
        while len(self._buffer) < length + 2:
            self._more()
        block, self._buffer = self._buffer[:length], self._buffer[length + 2 :]
        return block

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)

    def sleep(self, seconds: float) -> None:
        """Silence; ends early with the test."""
        if self.stop.wait(seconds):
            raise ConnectionError("the test is over")

    def silence(self) -> None:
        """Say nothing more until the test ends, yet keep the connection."""
        self.stop.wait()

    def reset(self) -> None:
        """Close with a RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def honest(self) -> None:
        """Answer as an empty memcached would, for ever."""
        while True:
            self.answer(self.line())

    def answer(self, line: bytes) -> None:
        """What an empty memcached says to one request."""
        words = line.split(b" ")
        quiet = words[-1] == b"noreply"
        if words[0] in (b"set", b"add", b"replace", b"append", b"prepend", b"cas"):
            self.block(int(words[4]))
            reply = b"STORED\r\n"
        elif words[0] in (b"get", b"gets", b"gat", b"gats"):
            reply = b"END\r\n"
        elif words[0] == b"stats":
            reply = b"STAT pid 1\r\nSTAT uptime 1\r\nSTAT time 1700000000\r\nSTAT version 1.6.18\r\nEND\r\n"
        elif words[0] == b"version":
            reply = b"VERSION 1.6.18\r\n"
        else:
            reply = {b"mn": b"MN\r\n", b"flush_all": b"OK\r\n"}.get(words[0], b"NOT_FOUND\r\n")
        if not quiet:
            self.say(reply)

    def _more(self) -> None:
        data = self.connection.recv(1 << 16)
        if not data:
            raise ConnectionError("the proxy closed")
        self._buffer += data


class Liar:
    """`Liar(script)` listens at once. `script` may be changed; connections made later follow the new one."""

    def __init__(self, script: Script, says_who: bool = True) -> None:
        self.script = script
        self.says_who = says_who
        self.accepted = 0
        self._stop = threading.Event()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name=f"liar-{self.port}", daemon=True)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """As it stands in a configuration file."""
        return f"127.0.0.1:{self.port}"

    def use(self, script: Script) -> None:
        """Close every connection; those made from now on follow `script`."""
        self.script = script
        self.hang_up()

    def hang_up(self) -> None:
        for each in self._connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stop.set()
        for each in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads), "a script did not end"

    def __enter__(self) -> "Liar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, script: Script) -> None:
        with connection, contextlib.suppress(OSError):
            talk = Talk(connection, self._stop)
            if self.says_who:
                talk.greet()
            script(talk)
