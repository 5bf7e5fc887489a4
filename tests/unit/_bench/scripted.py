"""A server that answers as a test says: one thread a connection, a function from what came to the answer."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from memagent._bench.generator import Generator
from memagent._bench.workload import Workload

DEADLINE_S = 20.0

Answer = Callable[[bytes], bytes | None]
"""Given what has arrived since the last call; None closes the connection."""


class Scripted:
    def __init__(self, answer: Answer, path: Path | None = None, piece_bytes: int = 2**30) -> None:
        self.answer = answer
        self._piece_bytes = piece_bytes
        self.accepted = 0
        self.family = socket.AF_UNIX if path else socket.AF_INET
        self._listener = socket.socket(self.family)
        self._listener.bind(str(path) if path else ("127.0.0.1", 0))
        self._listener.listen(128)
        self.host = str(path) if path else "127.0.0.1"
        self.port = 0 if path else int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                self._open.append(client)
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := client.recv(65536):
                reply = self.answer(data)
                if reply is None:
                    return
                for at in range(0, len(reply), self._piece_bytes):
                    client.sendall(reply[at : at + self._piece_bytes])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()


@contextlib.contextmanager
def scripted(answer: Answer, path: Path | None = None, piece_bytes: int = 2**30) -> Iterator[Scripted]:
    server = Scripted(answer, path, piece_bytes)
    try:
        yield server
    finally:
        server.close()


def miss(data: bytes) -> bytes:
    """Every line of a get is a miss."""
    return b"END\r\n" * data.count(b"\r\n")


@contextlib.contextmanager
def generator(server: Scripted, clients: int = 1, depth: int = 1, **changes: Any) -> Iterator[Generator]:
    timeout_s = changes.pop("timeout_s", 5.0)
    settings = {
        "mix": {"get": 1.0}, "keys": 100, "key_prefix": b"k", "key_bytes": 4, "value_bytes": 9, **changes
    }  # fmt: skip
    load = Generator(
        Workload(**settings),
        family=server.family,
        host=server.host,
        port=server.port,
        clients=clients,
        depth=depth,
        timeout_s=timeout_s,
    )
    load.connect()
    try:
        yield load
    finally:
        load.close()


def finish(load: Generator, until: str = "done") -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while load.step(0.05) != until:
        assert time.monotonic() < deadline, f"still {load.phase_name}"
    return load.counts()
