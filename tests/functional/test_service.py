"""The proxy as a service of systemd: what it says, what it is given, and what it does without."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.processes import ROOT, Process, children
from tests.support.supervised import Supervisor
from tests.support.wait import wait_until
from tests.support.wire import Wire


def ask_http(where: tuple[str, int], path: str, token: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*where, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def started(proxy: Any, *before: str, pass_fds: Sequence[int] = (), **env: str) -> Process:
    """The proxy once more, by a command of its own, and with a new log."""
    log = proxy.folder / "log"
    log.unlink(missing_ok=True)
    return Process([*before, *proxy.command], log, {"PYTHONPATH": str(ROOT / "src"), **env}, pass_fds)


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

    def next(self, without: tuple[str, ...] = ("WATCHDOG", "STATUS")) -> dict[str, str]:
        """What is said next, but for datagrams that begin with `without`."""
        while (said := self.socket.recv(4096).decode()).startswith(without):
            pass
        return dict(line.split("=", 1) for line in said.split("\n"))

    def hears_watchdog(self) -> bool:
        """Again."""
        return "WATCHDOG" in self.next(without=("STATUS",))


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
    assert systemd.hears_watchdog()
    assert systemd.hears_watchdog()
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


def test_a_reload_that_takes_long_holds_up_neither_watchdog_nor_end(
    proxy_factory: Any, memcached_factory: Any, systemd: Systemd
):
    proxy = proxy_factory([memcached_factory()])
    proxy.stop()
    process = started(proxy, NOTIFY_SOCKET=systemd.path, WATCHDOG_USEC="100000")
    assert systemd.next()["READY"] == "1"
    config = proxy.config.read_text()
    # Whoever opens it to read it hangs, as at a dead network disk.
    proxy.config.unlink()
    os.mkfifo(proxy.config)
    before_us = time.monotonic_ns() // 1000
    process.signal(signal.SIGHUP)
    told = systemd.next()
    assert told["RELOADING"] == "1"
    assert before_us <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert systemd.hears_watchdog()
    assert systemd.hears_watchdog()
    proxy.config.write_text(config)
    assert systemd.next() == {"READY": "1"}
    process.signal(signal.SIGHUP)
    assert systemd.next()["RELOADING"] == "1"
    process.signal(signal.SIGTERM)
    assert systemd.next()["STOPPING"] == "1"
    assert process.wait(20) == 0


def test_systemd_never_hears_that_it_is_ready_if_it_cannot_start(make: Any, systemd: Systemd):
    supervisor = make("die").start(NOTIFY_SOCKET=systemd.path)
    assert supervisor.process.wait(20) == 1
    systemd.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.next()


# ---------------------------------------------------------------- sockets that systemd has made


# Descriptors from 3 on, and the number of the process that they are for: exec keeps both.
ACTIVATE = """
import os, sys
for at, fd in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(fd, at)
count = len(sys.argv[1].split(","))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES="memagent.socket")
os.execvp(sys.argv[2], sys.argv[2:])
"""


def activated(proxy: Any, *sockets: socket.socket) -> Process:
    """The proxy as systemd starts it."""
    high = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD, 50) for each in sockets]
    try:
        return started(proxy, sys.executable, "-c", ACTIVATE, ",".join(map(str, high)), pass_fds=high)
    finally:
        for fd in high:
            os.close(fd)


def test_clients_of_systemds_sockets_are_never_refused(proxy_factory: Any, tmp_path: Path):
    path = tmp_path / "socket"
    proxy = proxy_factory(["127.0.0.1:1"], workers=2)
    proxy.stop()
    with socket.create_server(("127.0.0.1", proxy.port)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        listen = [f"127.0.0.1:{proxy.port}", f"unix:{path}"]
        proxy.write_config(["127.0.0.1:1"], settings={"listen": listen, "workers": 2})
        for _ in range(2):
            # who connects before there is a proxy waits for it
            with Wire(("127.0.0.1", proxy.port), deadline_s=20) as wire, Wire(str(path), 20) as other:
                process = activated(proxy, tcp, unix)
                assert wire.ask(b"version\r\n").startswith(b"VERSION ")
                assert other.ask(b"version\r\n").startswith(b"VERSION ")
                wait_until(lambda process=process: "memagent is ready" in process.output(), 20, "a start")
                for worker in children(process.pid):
                    assert b"LISTEN_" not in Path(f"/proc/{worker}/environ").read_bytes()
            assert process.terminate() == 0
        assert path.exists()


def test_systemds_sockets_outlive_reloads_and_workers(proxy_factory: Any):
    proxy = proxy_factory(["127.0.0.1:1"], workers=2)
    proxy.stop()
    with (
        socket.create_server(("127.0.0.1", proxy.port)) as tcp,
        socket.create_server(("127.0.0.1", 0)) as admin,
    ):
        where = admin.getsockname()
        settings = {"admin_listen": f"127.0.0.1:{where[1]}"}
        proxy.write_config(["127.0.0.1:1"], settings=settings)
        process = activated(proxy, tcp, admin)

        def logged(event: str, times: int = 1) -> None:
            wait_until(lambda: process.output().count(event) == times, 20, f"{times} x {event!r}")

        logged("memagent is ready")
        proxy.write_config(["127.0.0.1:1", "127.0.0.1:2"], settings=settings)
        process.signal(signal.SIGHUP)
        logged("configuration reloaded")
        for worker in children(process.pid):
            os.kill(worker, signal.SIGKILL)
        logged("worker is ready", 4)
        with Wire(("127.0.0.1", proxy.port), deadline_s=20) as wire:
            assert wire.ask(b"version\r\n").startswith(b"VERSION ")
        assert ask_http(where, "/health/live")[0] == 200
        assert process.terminate() == 0
        # They are systemd's, and wait for the next start.
        for each in (tcp, admin):
            socket.create_connection(each.getsockname(), 20).close()


def test_a_socket_of_systemds_that_listen_does_not_name_is_one_clear_line(proxy_factory: Any):
    proxy = proxy_factory(["127.0.0.1:1"])
    proxy.stop()
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = activated(proxy, other)
        assert process.wait(20) == 1
        name = f"127.0.0.1:{other.getsockname()[1]}"
    assert (
        f"systemd hands over sockets that neither listen nor admin_listen names: {name}" in process.output()
    )
    assert "Traceback" not in process.output()


# ---------------------------------------------------------------- no disk to write to


# Not even root makes anything there.
NOWHERE = {
    **dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"), "/proc/none"),
    "PYTHONDONTWRITEBYTECODE": "1",
}


def test_it_serves_where_nothing_can_be_written(make: Any):
    supervisor = make()
    supervisor.start(**NOWHERE).wait_ready()
    (warning,) = [line for line in supervisor.lines() if line["level"] == "warning"]
    assert "no control socket" in warning["event"]
    assert warning["problem"] == f"{NOWHERE['HOME']}/memagent-{os.getuid()}: No such file or directory"
    assert supervisor.ask_each() == set(supervisor.workers())
    assert supervisor.process.terminate() == 0


def test_secrets_come_from_files_where_nothing_can_be_written(proxy_factory: Any, tmp_path: Path):
    secret, port = tmp_path / "token", free_port()

    def write(token: str) -> None:
        secret.unlink(missing_ok=True)
        secret.write_text(token + "\n")
        secret.chmod(0o400)

    write("first")
    proxy = proxy_factory(["127.0.0.1:1"])
    proxy.stop()
    settings = {"admin_listen": f"127.0.0.1:{port}", "admin_read_token_file": str(secret)}
    proxy.write_config(["127.0.0.1:1"], settings=settings)
    process = started(proxy, **NOWHERE)
    wait_until(lambda: "memagent is ready" in process.output(), 20, "a start")
    where = "127.0.0.1", port
    assert [ask_http(where, "/v1/state", token)[0] for token in ("first", "second")] == [200, 401]
    write("second")
    process.signal(signal.SIGHUP)
    wait_until(lambda: "configuration reloaded" in process.output(), 20, "a reload")
    assert [ask_http(where, "/v1/state", token)[0] for token in ("first", "second")] == [401, 200]
    assert process.terminate() == 0
    assert not any(token in process.output() for token in ("first", "second"))


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
