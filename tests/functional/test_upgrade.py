"""`magent upgrade`: another version takes over, and no client notices; one that cannot changes nothing."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memagent.cli.running import RunningProxy
from memagent.errors import ControlError
from tests.support import processes
from tests.support.callers import Crowd
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

MAGENT = """#!{python}
import sys
import memagent
memagent.__version__ = {version!r}
{more}
from memagent.cli import main
main()
"""


class Installed:
    """A magent that is started by its script, which is another version after the next `install`."""

    def __init__(self, server: Memcached, folder: Path, **settings: Any) -> None:
        self.script = folder / "magent"
        self.server = server
        self.install("1.0")
        self.proxy = Proxy()
        self.proxy.config = folder / "magent.yaml"
        self.settings = {"control_socket": str(folder / "control"), "drain_ms": 5000, **settings}

    def install(self, version: str, more: str = "") -> None:
        self.script.write_text(MAGENT.format(python=sys.executable, version=version, more=more))
        self.script.chmod(0o755)

    def start(self, unix: str | None = None, workers: int = 1, **pool: Any) -> "Installed":
        self.proxy.port, self.proxy.unix, self.proxy._workers = free_port(), unix, workers
        self.proxy.write_config([self.server], settings=self.settings, pool=pool)
        self.proxy.command = [str(self.script), "run", "-c", str(self.proxy.config)]
        self.proxy.restart()
        return self

    @property
    def control(self) -> str:
        return str(self.settings["control_socket"])

    def pid(self) -> int:
        with RunningProxy.at(self.control) as proxy:
            return proxy.snapshot().pid

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "memagent", "upgrade", "--socket", self.control, *more]

    def upgrade(self) -> int:
        """The process number of the new one."""
        with RunningProxy.at(self.control) as proxy:
            return int(list(proxy.steps("upgrade"))[-1]["pid"])

    def refused(self, **words: Any) -> str:
        """Nothing has changed, and why."""
        before = self.pid(), self.proxy.worker_pids()
        with RunningProxy.at(self.control) as proxy, pytest.raises(ControlError) as caught:
            list(proxy.steps("upgrade", **words))
        assert (self.pid(), self.proxy.worker_pids()) == before
        wait_until(
            lambda: len(processes.session(self.proxy.pid)) == 1 + len(before[1]),
            what=lambda: f"the end of whatever was started: {processes.session(self.proxy.pid)}",
        )
        with self.proxy.connect() as wire:
            wire.expect(b"mn\r\n", b"MN\r\n")
        return f"{caught.value.message}; {caught.value.hint}"


@pytest.fixture
def install(
    memcached_factory: Callable[..., Memcached], tmp_path: Path
) -> Iterator[Callable[..., Installed]]:
    made: list[Installed] = []

    def install(**settings: Any) -> Installed:
        made.append(Installed(memcached_factory(), tmp_path, **settings))
        return made[-1]

    yield install
    for each in made:
        each.proxy.clean_up()


class Visitors(Crowd):
    """Clients that come, ask and leave, again and again."""

    def __init__(self, proxy: Proxy, count: int = 4) -> None:
        super().__init__(*((self._visit, number) for number in range(count)))
        self.visits = 0
        self._proxy = proxy

    def _visit(self, number: int) -> None:
        key, visit = b"key%d" % number, 0
        while not self.over.is_set():
            visit += 1
            value = b"%06d" % (visit % 1000_000)
            try:
                with self._proxy.connect() as wire:
                    wire.expect(b"set %b 0 0 6\r\n%b\r\n" % (key, value), b"STORED\r\n")
                    wire.expect(b"get %b\r\n" % key, b"VALUE %b 0 6\r\n%b\r\nEND\r\n" % (key, value))
                self.visits += 1
            except Exception as error:
                self.wrong.append(repr(error))

    def some_more(self) -> None:
        before = self.visits
        wait_until(lambda: self.visits > before + 20, 20, "more visits")


def whose(wire: Wire) -> int:
    """The process number of the proxy at its other end."""
    return int(wire.stats()["pid"])


def hand_over(case: Installed, number: str, visitors: Visitors) -> int:
    """Under load to this version; its process number."""
    visitors.some_more()
    older = case.pid()
    case.install(number)
    with case.proxy.connect() as stays:
        assert whose(stays) == older
        with subprocess.Popen(
            case.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as asking:
            wait_until(lambda: case.pid() != older, 20, "the new one at the control socket")
            newer = case.pid()
            visitors.some_more()
            assert whose(stays) == older, "who is connected stays with the old one"
            stays.close()
            out, err = asking.communicate(timeout=60)
    assert asking.returncode == 0, err
    assert out == f"memagent {number} runs as process {newer}\n"
    assert f"version {number} is starting, process {newer}\n" in err
    assert f"version {number} has taken over; the old one has" in err
    wait_until(lambda: not processes.exists(older), 20, "the end of the old one")
    visitors.some_more()
    with case.proxy.connect() as wire:
        assert whose(wire) == newer
    return newer


def test_twice_under_load_and_nobody_notices(install: Callable[..., Installed]) -> None:
    case = install().start(workers=2)
    with Visitors(case.proxy) as visitors:
        hand_over(case, "2.0", visitors)
        last = hand_over(case, "3.0", visitors)
    assert visitors.wrong == []
    assert case.proxy.process.exit_code == 0
    os.kill(last, signal.SIGTERM)
    wait_until(lambda: not processes.session(case.proxy.pid), 20, "the end of all")
    assert not Path(case.control).exists()


class Systemd:
    """Its end of the socket that it is told at."""

    def __init__(self, path: str) -> None:
        self.heard: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while datagram := self._socket.recv(4096):
            self.heard.append(dict(line.split("=", 1) for line in datagram.decode().split("\n")))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()


def test_systemd_is_told_whom_to_watch(
    install: Callable[..., Installed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = Systemd(str(tmp_path / "notify"))
    try:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000000")
        case = install().start()
        older, newer = str(case.pid()), str(case.upgrade())
        case.proxy.process.wait()
        wait_until(
            lambda: systemd.heard[-1].get("WATCHDOG") == "1", what="a word from the new one's watchdog"
        )
        said = [each for each in systemd.heard if "WATCHDOG" not in each and list(each) != ["STATUS"]]
        assert [each.get("MAINPID") for each in said] == [older, newer, newer]
        assert [each.get("READY") for each in said] == ["1", None, "1"]
        assert all("STOPPING" not in each for each in said)
    finally:
        systemd.close()


LATER = "import time\ntime.sleep(3600)"


def test_one_that_cannot_take_over_changes_nothing_and_says_why(install: Callable[..., Installed]) -> None:
    case = install().start()
    case.install("2.0", "import no_such_module")
    assert "does not start: ModuleNotFoundError: No module named 'no_such_module'" in case.refused()
    assert "nothing has changed" in case.proxy.output()
    case.install("2.0", "sys.exit(7)")
    assert "it ended: exit code 7" in case.refused()
    case.install("2.0", "print('loading', file=sys.stderr, flush=True)\n" + LATER)
    assert "not ready within 0.5 s; what it said: loading" in case.refused(ready_ms=500)
    case.install("2.0", "import memagent.supervisor as each\neach.run.__defaults__ = ('no.module',)")
    assert "worker 0 ended before it was ready" in case.refused()
    case.install("2.0", "import memagent.takeover as each\neach.Predecessor.taken = lambda self: 1 / 0")
    assert "ended: exit code 1" in case.refused()
    case.script.unlink()
    assert "the new version cannot be started: " in case.refused()


def test_a_log_that_the_new_one_cannot_open(install: Callable[..., Installed], tmp_path: Path) -> None:
    """As one is that root opened for another user, and that this one may not write."""
    log = tmp_path / "log"
    case = install(log_file=str(log)).start()
    log.rename(tmp_path / "log.1")
    log.mkdir()
    said = case.refused()
    assert f"the new version does not start: log_file {log}: Is a directory" in said
    assert "nothing has changed" in said
    log.rmdir()
    case.upgrade()
    wait_until(lambda: "memagent is ready" in log.read_text(), 20, "the new one's log")


def test_a_file_that_is_broken_or_not_in_force(install: Callable[..., Installed]) -> None:
    case = install().start()
    text = case.proxy.config.read_text()
    case.proxy.config.write_text(text.replace("drain_ms: 5000", "drain_ms: soon"))
    said = case.refused()
    assert "does not start" in said
    assert "drain_ms" in said
    case.proxy.config.write_text(text.replace("drain_ms: 5000", "drain_ms: 4000"))
    said = case.refused()
    assert "drain_ms: 5s becomes 4s" in said
    assert "magent reload puts it in force" in said
    case.proxy.config.write_text(text.replace(f":{case.proxy.port}", f":{free_port()}"))
    assert "listen: " in case.refused()
    said = case.refused(force=True)
    assert f"neither listen nor admin_listen names: 127.0.0.1:{case.proxy.port}" in said
    assert "magent reload changes those of listen" in said
    case.proxy.config.write_text(text.replace("control\n", "elsewhere\n"))
    assert "an upgrade keeps every address" in case.refused()


def test_a_server_that_is_out(install: Callable[..., Installed], memcached_factory: Callable[..., Memcached]):
    case = install(drain_ms=100)
    other = memcached_factory()
    case.start(backups=[other.address], probe_max_ms=200)
    other.kill()
    with case.proxy.connect() as wire:
        wire.ask(b"set a 0 0 1\r\n1\r\n")
    case.proxy.wait_for_log("server is down")
    said = case.refused()
    assert f"{other.address} is down: what that means for its keys, only the running proxy knows" in said
    assert "--force does it nevertheless" in said
    with RunningProxy.at(case.control) as proxy:
        assert list(proxy.steps("upgrade", force=True))[-1]["ok"]


def test_unix_sockets_and_http_go_on(install: Callable[..., Installed], tmp_path: Path) -> None:
    path, admin = str(tmp_path / "clients"), str(tmp_path / "admin")
    case = install(drain_ms=60_000, admin_listen=f"unix:{admin}").start(unix=path)
    inodes = [os.stat(each).st_ino for each in (path, admin, case.control)]
    case.install("2.0")
    newer = case.upgrade()
    assert [os.stat(each).st_ino for each in (path, admin, case.control)] == inodes
    case.proxy.process.wait()
    with case.proxy.connect() as wire:
        assert whose(wire) == newer
    with Wire(admin) as wire:
        wire.send(b"GET /v1/state HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b'"version":"2.0"' in wire.read_to_end()
    assert [os.stat(each).st_ino for each in (path, admin, case.control)] == inodes
    os.kill(newer, signal.SIGTERM)
    wait_until(lambda: not processes.exists(newer), 20, "the end of the new one")
    assert not any(map(os.path.exists, (path, admin, case.control)))


def test_who_stays_is_sent_away_after_drain_ms_and_what_is_under_way_is_answered(
    install: Callable[..., Installed],
) -> None:
    case = install(drain_ms=1500).start(request_timeout_ms=20_000)
    with case.proxy.connect() as idle, case.proxy.connect() as busy:
        busy.expect(b"set a 0 0 1\r\n1\r\n", b"STORED\r\n")
        case.server.pause()
        busy.send(b"get a\r\n")
        with RunningProxy.at(case.control) as proxy:
            steps = proxy.steps("upgrade", force=True)
            assert any(step["progress"]["stage"] == "draining" for step in steps)
            assert idle.read_to_end() == b""
            case.server.resume()
            busy.expect(b"", b"VALUE a 0 1\r\n1\r\nEND\r\n")
            assert list(steps)[-1]["ok"]


def test_told_to_end_meanwhile_it_ends_and_so_does_the_new_one(install: Callable[..., Installed]) -> None:
    case = install().start()
    case.install("2.0", LATER)
    with RunningProxy.at(case.control) as proxy:
        steps = proxy.steps("upgrade")
        assert next(steps)["progress"]["stage"] == "starting"
        assert case.proxy.stop() == 0
    assert processes.session(case.proxy.pid) == []


def test_a_daemon_with_magents_flags(
    proxy_factory: Callable[..., Proxy], memcached_factory: Callable[..., Memcached], tmp_path: Path
) -> None:
    """Its new version is as much in the background as it was."""
    port, control = free_port(), tmp_path / "control"
    flags = ["-s", memcached_factory().address, "-l", "127.0.0.1", "-p", str(port)]
    environment = {"PYTHONPATH": str(processes.ROOT / "src"), "MEMAGENT_CONTROL_SOCKET": str(control)}
    environment["MEMAGENT_LOG_FILE"] = str(tmp_path / "log")
    started = processes.Process([sys.executable, "-m", "memagent", *flags], tmp_path / "said", environment)
    older = newer = 0
    try:
        assert started.wait(30) == 0, started.output()
        with RunningProxy.at(str(control)) as proxy:
            older = proxy.snapshot().pid
            newer = int(list(proxy.steps("upgrade"))[-1]["pid"])
        wait_until(lambda: not processes.exists(older), 20, "the end of the old one")
        with Wire(("127.0.0.1", port)) as wire:
            assert whose(wire) == newer
        assert os.readlink(f"/proc/{newer}/cwd") == "/"
        log = os.path.realpath(tmp_path / "log")
        assert [os.readlink(f"/proc/{newer}/fd/{fd}") for fd in range(3)] == [os.devnull, log, log]
    finally:
        for pid in filter(None, (older, newer)):
            if processes.exists(pid):
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(map(processes.exists, filter(None, (older, newer)))), 20, "the end")
