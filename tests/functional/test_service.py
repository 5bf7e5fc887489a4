"""The proxy as a service of systemd: what it says, what it is given, and what it does without."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import children
from tests.support.supervised import Supervisor
from tests.support.wait import wait_until


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


# ---------------------------------------------------------------- no disk to write to


def test_it_serves_where_nothing_can_be_written(make: Any):
    supervisor = make()
    nowhere = "/proc/none"  # not even root makes anything there
    env = dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"), nowhere)
    supervisor.start(PYTHONDONTWRITEBYTECODE="1", **env).wait_ready()
    (warning,) = [line for line in supervisor.lines() if line["level"] == "warning"]
    assert "no control socket" in warning["event"]
    assert warning["problem"] == f"{nowhere}/memagent-{os.getuid()}: No such file or directory"
    assert supervisor.ask_each() == set(supervisor.workers())
    assert supervisor.process.terminate() == 0


# ---------------------------------------------------------------- a log that is rotated


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def wait_for(log: Path, event: str) -> None:
    wait_until(lambda: any(event in line["event"] for line in lines(log)), 20, f"{event!r} in {log}")


def files_of(pids: list[int]) -> set[str]:
    """What they have open."""
    found = [fd for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return {os.readlink(fd) for fd in found if fd.is_symlink()}


def test_after_a_rename_and_sigusr1_nobody_holds_the_old_file(proxy_factory: Any, tmp_path: Path):
    log, moved = tmp_path / "log", tmp_path / "log.1"
    settings = {"log_file": str(log)}
    proxy = proxy_factory(["127.0.0.1:1"], workers=2, settings=settings)
    wait_for(log, "memagent is ready")
    everybody = [proxy.pid, *proxy.worker_pids()]
    log.rename(moved)
    for pid in everybody:  # as systemctl kill does; a worker passes over it
        os.kill(pid, signal.SIGUSR1)
    wait_for(log, "log opened anew")
    wait_until(lambda: str(moved) not in files_of(everybody), 20, "an end of the old file")
    assert children(proxy.pid) == everybody[1:]
    size = moved.stat().st_size
    # a worker that is started from now on
    os.kill(everybody[1], signal.SIGKILL)
    wait_for(log, "worker is ready")
    # more is logged as soon as the file says so
    proxy.write_config(["127.0.0.1:1"], settings={**settings, "verbose": True})
    proxy.reload()
    wait_for(log, "configuration reloaded")
    victim = proxy.worker_pids()[0]
    os.kill(victim, signal.SIGTERM)
    wait_for(log, "worker has drained")
    # workers that have lost their supervisor
    os.kill(proxy.pid, signal.SIGKILL)
    wait_for(log, "the supervisor has gone")
    assert moved.stat().st_size == size


def test_a_log_that_cannot_be_opened_anew_is_kept(make: Any, tmp_path: Path):
    folder = tmp_path / "logs"
    folder.mkdir()
    supervisor = make(log_file=str(folder / "log")).start()
    wait_for(folder / "log", "memagent is ready")
    moved = tmp_path / "moved"
    folder.rename(moved)
    supervisor.process.signal(signal.SIGUSR1)
    wait_for(moved / "log", "the log cannot be opened anew, the old file is kept")
    assert supervisor.process.terminate() == 0
    assert lines(moved / "log")[-1]["event"] == "ended"


def test_sigusr1_without_a_log_file_is_no_harm(make: Any):
    supervisor = make().start().wait_ready()
    supervisor.process.signal(signal.SIGUSR1)
    supervisor.wait_for("it is standard error and stays")
    assert supervisor.process.terminate() == 0
