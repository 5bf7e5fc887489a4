"""The proxy as a service of systemd: what it says, what it is given, and what it does without."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.supervised import Supervisor


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    made: list[Supervisor] = []

    def make(stand_in: str = "", **settings: Any) -> Supervisor:
        made.append(Supervisor(tmp_path, settings, stand_in))
        return made[-1]

    yield make
    for each in made:
        if hasattr(each, "process"):
            each.process.kill()


# ---------------------------------------------------------------- what systemd is told


class Systemd:
    """Its end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(20)

    def next(self, without: str = "WATCHDOG=1") -> dict[str, str]:
        """What is said next, but for `without`."""
        while (said := self.socket.recv(4096).decode()) == without:
            pass
        return dict(line.split("=", 1) for line in said.split("\n"))


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.socket.close()


def test_systemd_hears_of_start_reload_and_end(make: Any, systemd: Systemd):
    supervisor = make().start(NOTIFY_SOCKET=systemd.path, WATCHDOG_USEC="100000")
    told = systemd.next()
    assert told["READY"] == "1"
    assert told["STATUS"] == f"2 of 2 workers on 127.0.0.1:{supervisor.port}, 1 of 1 servers up"
    assert len(supervisor.lines("memagent is ready")) == 1
    assert systemd.next(without="") == systemd.next(without="") == {"WATCHDOG": "1"}
    for worker in supervisor.workers():
        environment = Path(f"/proc/{worker}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        assert b"WATCHDOG" not in environment
    supervisor.process.signal(signal.SIGHUP)
    assert systemd.next()["RELOADING"] == "1"
    assert systemd.next() == {"READY": "1"}
    supervisor.process.signal(signal.SIGTERM)
    told = systemd.next()
    assert (told["STOPPING"], told["EXTEND_TIMEOUT_USEC"]) == ("1", "15000000")
    assert supervisor.process.wait() == 0


def test_systemd_never_hears_that_it_is_ready_if_it_cannot_start(make: Any, systemd: Systemd):
    supervisor = make("die").start(NOTIFY_SOCKET=systemd.path)
    assert supervisor.process.wait(20) == 1
    systemd.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.next()
