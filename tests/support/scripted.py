"""Servers whose answers a test writes, a thread for each connection: what no real server says at will."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from memagent.addresses import Address

Answer = bytes | None
"""What to send; None closes the connection."""


class Served:
    """Accepts until it is closed; `serve` has each connection to itself."""

    def __init__(self, listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self.listening = listening
        self._serve = serve
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        for each in (self.listening, *self._connections):
            with contextlib.suppress(OSError):  # it may be over already
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self.listening.accept()[0]
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()


class Scripted(Served):
    """Listens on 127.0.0.1; `answer` gets each line that comes, without its end."""

    def __init__(self, answer: Callable[[bytes], Answer]) -> None:
        self._answer = answer
        self.asked: list[bytes] = []
        super().__init__(socket.create_server(("127.0.0.1", 0)), self._answer_lines)

    @property
    def address(self) -> Address:
        return Address(*self.listening.getsockname())

    def _answer_lines(self, connection: socket.socket) -> None:
        buffer = b""
        with connection:
            while True:
                try:
                    data = connection.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\r\n")
                for line in lines:
                    self.asked.append(line)
                    answer = self._answer(line)
                    if answer is None:
                        return
                    try:
                        connection.sendall(answer)
                    except OSError:
                        return
