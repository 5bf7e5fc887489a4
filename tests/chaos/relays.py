"""Relays in a process of their own, so that what they do costs the clients' clock nothing.

    python -m tests.chaos.relays SOCKET HOST:PORT...     one relay before each target

Who connects to SOCKET first is obeyed, a JSON line [relay, method, arguments] at a time, answered by a
JSON line; the process ends with that connection.
"""

import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, Process
from tests.support.relay import Relay
from tests.support.wait import wait_until


class Relays:
    """The side that gives the orders."""

    def __init__(self, folder: Path, targets: list[tuple[str, int]]) -> None:
        self._lock = threading.Lock()
        path = folder / "relays.sock"
        words = [f"{host}:{port}" for host, port in targets]
        command = [sys.executable, "-m", "tests.chaos.relays", str(path), *words]
        self.process = Process(command, folder / "relays.log", env={"PYTHONPATH": str(ROOT)})
        wait_until(path.exists, what=self.process.describe)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rw")
        self._file.readline()
        self.ports: list[int] = self.ask(0, "")

    def ask(self, relay: int, method: str, *args: Any) -> Any:
        """The answer, once it is done."""
        with self._lock:
            self._file.write(json.dumps([relay, method, args]) + "\n")
            self._file.flush()
            answer = self._file.readline()
        if not answer:
            raise RuntimeError(f"the relays have ended: {self.process.describe()}")
        return json.loads(answer)

    def close(self) -> None:
        self._file.close()
        self._socket.close()
        self.process.kill()


def main(path: str, targets: list[str]) -> None:
    relays = []
    for target in targets:
        host, _, port = target.rpartition(":")
        relays.append(Relay((host, int(port))))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{path}.new")
    listener.listen(1)
    Path(f"{path}.new").rename(path)  # who sees it can connect
    connection, _ = listener.accept()
    with connection.makefile("rw") as orders:
        orders.write("ready\n")
        orders.flush()
        for line in orders:
            relay, method, args = json.loads(line)
            answer = [each.port for each in relays]
            if method:
                answer = getattr(relays[relay], method)(*args)
            orders.write(json.dumps(answer) + "\n")
            orders.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
