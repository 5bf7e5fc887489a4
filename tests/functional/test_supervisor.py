"""The supervisor with real processes. Workers are stand-ins: tested is who starts and ends them."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import imported
from tests.support.processes import children, cpu_seconds, exists
from tests.support.supervised import Supervisor
from tests.support.wait import PATIENCE, wait_until
from tests.support.wire import Wire

BEAT_S = 0.5 * PATIENCE


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    made: list[Supervisor] = []

    def make(stand_in: str = "", **settings: Any) -> Supervisor:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Supervisor(folder, settings, stand_in))
        return made[-1]

    yield make
    for each in made:
        if hasattr(each, "process"):
            each.process.kill()


def test_clients_reach_every_worker_and_sigterm_ends_all(make: Any):
    supervisor = make().start().wait_ready()
    workers = supervisor.workers()
    assert supervisor.ask_each() == set(workers)
    assert supervisor.process.terminate() == 0
    assert not any(map(exists, workers))
    assert [line["event"] for line in supervisor.lines()][-1] == "ended"


def test_without_an_address_for_http_it_loads_nothing_for_that(make: Any):
    supervisor = make().start(**imported.ENV).wait_ready()
    assert supervisor.process.terminate() == 0
    loaded = imported.modules(supervisor.process.output())
    assert "memagent.operators" in loaded
    assert not loaded & {"memagent.admin.http", "memagent.admin.api", "memagent.admin.page.routes"}
    assert not imported.packages(loaded) & {"fastapi", "starlette", "uvicorn", "opentelemetry"}


def test_a_killed_worker_is_replaced_at_once_and_its_signal_logged(make: Any):
    supervisor = make().start().wait_ready()
    victim, other = supervisor.workers()
    os.kill(victim, signal.SIGKILL)
    (died,) = supervisor.wait_for("worker died")
    assert (died["pid"], died["cause"], died["delay_ms"]) == (victim, "killed by SIGKILL", 0)
    third = supervisor.wait_for("worker is ready", 3)[2]
    assert third["worker"] == died["worker"]
    assert supervisor.ask_each() == {other, third["pid"]}


def test_clients_that_wait_in_a_dead_workers_socket_are_served_by_the_next(make: Any):
    supervisor = make(workers=1).start().wait_ready()
    (victim,) = supervisor.workers()
    os.kill(victim, signal.SIGSTOP)
    with Wire(("127.0.0.1", supervisor.port), deadline_s=20) as wire:
        wire.send(b"pid\r\n")
        os.kill(victim, signal.SIGKILL)
        answer = int(wire.read_line())
    assert answer == supervisor.wait_for("worker is ready", 2)[1]["pid"] != victim


def test_counters_outlive_their_worker_and_gauges_do_not(make: Any):
    supervisor = make(workers=1).start().wait_ready()
    assert supervisor.ask(b"count") == "1 1"
    assert supervisor.ask(b"count") == "2 2"
    os.kill(supervisor.workers()[0], signal.SIGKILL)
    supervisor.wait_for("worker is ready", 2)
    assert supervisor.ask(b"count") == "3 1"


def test_a_worker_that_keeps_dying_is_replaced_ever_later(make: Any, tmp_path: Path):
    flag = tmp_path / "dies"
    supervisor = make(f"die_late@{flag}", workers=1).start().wait_ready()
    flag.touch()
    os.kill(supervisor.workers()[0], signal.SIGKILL)
    deaths = supervisor.wait_for("worker died", 5)
    delays = [each["delay_ms"] for each in deaths[:5]]
    assert delays[0] == 0
    for delay, whole in zip(delays[1:], (100, 200, 400, 800), strict=True):
        assert whole / 2 - 1 <= delay <= whole
    # One that cannot be told anything is killed, which may come before its own end.
    causes = {each["cause"] for each in deaths[1:]}
    assert "exit code 3" in causes <= {"exit code 3", "killed by SIGKILL"}
    flag.unlink()
    assert int(supervisor.ask()) > 0
    assert supervisor.process.terminate() == 0


def test_sigterm_does_not_wait_for_a_pause_to_end(make: Any, tmp_path: Path):
    flag = tmp_path / "dies"
    supervisor = make(f"die_late@{flag}", workers=1).start().wait_ready()
    flag.touch()
    os.kill(supervisor.workers()[0], signal.SIGKILL)
    supervisor.wait_for("worker died", 4)
    assert supervisor.process.terminate(5) == 0


def test_workers_that_do_not_drain_are_killed_after_drain_ms(make: Any):
    supervisor = make("hold", drain_ms=300).start().wait_ready()
    workers = supervisor.workers()
    begin = time.monotonic()
    assert supervisor.process.terminate() == 0
    assert time.monotonic() - begin >= 0.3
    assert not any(map(exists, workers))
    assert supervisor.lines("killed before they had drained")[0]["workers"] == [0, 1]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(make: Any, second: signal.Signals):
    supervisor = make("hold", drain_ms=600_000).start().wait_ready()
    workers = supervisor.workers()
    supervisor.process.signal(signal.SIGINT)
    supervisor.wait_for("draining")
    supervisor.process.signal(second)
    assert supervisor.process.wait() == 0
    assert not any(map(exists, workers))


def test_nobody_can_connect_any_more_while_it_drains(make: Any):
    supervisor = make("hold").start().wait_ready()
    supervisor.process.signal(signal.SIGTERM)
    supervisor.wait_for("draining")

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", supervisor.port), 5).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, what="a refused connection", ignoring=())
    supervisor.process.signal(signal.SIGTERM)
    assert supervisor.process.wait() == 0


def test_workers_go_on_without_their_supervisor(make: Any):
    supervisor = make().start().wait_ready()
    workers = supervisor.workers()
    with Wire(("127.0.0.1", supervisor.port)) as wire:
        before = wire.ask(b"pid\r\n")
        os.kill(supervisor.process.pid, signal.SIGKILL)
        supervisor.process.wait()
        gone = supervisor.wait_for("supervisor has gone", 2)
        assert {line["worker"] for line in gone} == {0, 1}
        assert wire.ask(b"pid\r\n") == before
    assert supervisor.ask_each() == set(workers)
    for each in workers:
        os.kill(each, signal.SIGINT)
        os.kill(each, signal.SIGHUP)
    assert supervisor.ask_each() == set(workers)
    for each in workers:
        os.kill(each, signal.SIGTERM)
    wait_until(lambda: not any(map(exists, workers)), what="an end of the orphans")


def test_sighup_reloads_and_replaces_no_worker(make: Any):
    supervisor = make().start().wait_ready()
    workers = supervisor.workers()
    supervisor.process.signal(signal.SIGHUP)
    [reloaded] = supervisor.wait_for("configuration reloaded")
    assert reloaded["changes"] == "none"
    assert supervisor.workers() == workers


def test_an_idle_supervisor_uses_no_processor_time(make: Any):
    supervisor = make().start().wait_ready()
    supervisor.ask_each()
    before = cpu_seconds(supervisor.process.pid)
    time.sleep(1)  # this is what is measured
    assert cpu_seconds(supervisor.process.pid) - before <= 0.02


def test_a_worker_that_hangs_is_replaced(make: Any):
    supervisor = make().start(BEAT_S=f"{BEAT_S}").wait_ready()
    both = supervisor.ask_each()
    with Wire(("127.0.0.1", supervisor.port)) as wire:
        victim = int(wire.ask(b"pid\r\n"))
        wire.send(b"hang\r\n")
        (hangs,) = supervisor.wait_for("worker hangs")
        assert hangs["pid"] == victim
        (died,) = supervisor.wait_for("worker died")
        assert (died["pid"], died["cause"]) == (victim, "killed by SIGKILL")
    assert supervisor.ask_each() - {victim} >= both - {victim}


def test_a_proxy_that_was_stopped_as_a_whole_kills_nobody(make: Any):
    supervisor = make().start(BEAT_S=f"{BEAT_S}").wait_ready()
    both = supervisor.ask_each()
    everybody = [*both, supervisor.process.pid]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6 * BEAT_S)  # longer than a worker may hang
    for pid in reversed(everybody):
        os.kill(pid, signal.SIGCONT)
    assert supervisor.ask_each() == both
    time.sleep(2.5 * BEAT_S)  # two beats: what was missed is looked at
    assert supervisor.ask_each() == both
    assert not supervisor.lines("worker hangs")


def test_a_worker_that_somebody_else_told_to_end_did_not_die(make: Any):
    supervisor = make().start().wait_ready()
    victim = supervisor.ask_each().pop()
    os.kill(victim, signal.SIGTERM)
    (told,) = supervisor.wait_for("worker was told to end")
    assert (told["pid"], told["level"], told["cause"]) == (victim, "warning", "exit code 0")
    assert victim not in supervisor.ask_each()
    assert not supervisor.lines("worker died")


def test_nonsense_from_a_worker_is_logged_and_survived(make: Any):
    supervisor = make("nonsense", workers=1).start()
    supervisor.wait_for("made no sense")
    (down,) = supervisor.wait_for("server is down")
    assert (down["server"], down["reason"]) == ("127.0.0.1:1", "connection refused")
    assert int(supervisor.ask()) in supervisor.workers()
    assert supervisor.process.terminate() == 0


def test_names_are_resolved_before_workers_start_and_when_asked(make: Any):
    pools = [{"name": "main", "servers": ["localhost:1", "no-such-name.invalid:1"]}]
    supervisor = make("resolve", pools=pools, workers=1).start()
    supervisor.wait_ready()
    assert "127.0.0.1" in supervisor.ask(b"addresses").split()
    (known,) = supervisor.lines("name resolved")
    assert known["name"] == "localhost"
    (unknown,) = supervisor.lines("cannot be resolved")
    assert unknown["name"] == "no-such-name.invalid"


# ---------------------------------------------------------------- what can be wrong at the start


def failed(supervisor: Supervisor) -> str:
    """What it says; there must be no traceback in it."""
    code = supervisor.start().process.wait(20)
    assert code == 1, supervisor.process.describe()
    words = "\n".join(line for line in supervisor.process.output().splitlines() if not line.startswith("{"))
    assert "Traceback" not in words
    return words


def test_a_port_in_use_is_one_clear_line(make: Any):
    first = make().start().wait_ready()
    second = make(listen=first.config["listen"])
    assert f"listen 127.0.0.1:{first.port}: Address already in use" in failed(second)
    assert int(first.ask()) in first.workers()


def test_an_address_of_another_machine_is_one_clear_line(make: Any):
    assert "listen 192.0.2.1:5: Cannot assign requested address" in failed(make(listen=["192.0.2.1:5"]))


def test_unknown_users_and_groups_are_one_clear_line(make: Any):
    assert "user no-such-user: no such user" in failed(make(user="no-such-user"))
    assert "group no-such-group: no such group" in failed(make(group="no-such-group"))


def test_a_log_file_that_cannot_be_written_is_one_clear_line(make: Any):
    assert "log_file /no/such/folder/log: No such file or directory" in failed(
        make(log_file="/no/such/folder/log")
    )


def with_open_files(supervisor: Supervisor, limit: int) -> Supervisor:
    """The same, where nobody may raise the limit: root loses the right to."""
    may_not = ["setpriv", "--bounding-set", "-sys_resource"] if os.geteuid() == 0 else []
    supervisor.command = [*may_not, "prlimit", f"--nofile={limit}:{limit}", *supervisor.command]
    return supervisor


def test_a_low_limit_of_open_files_costs_clients_and_not_the_start(make: Any):
    supervisor = with_open_files(make(max_connections=51_200), 300).start().wait_ready()
    (warning,) = [line for line in supervisor.lines() if line["level"] == "warning"]
    assert warning["max_connections"] == 51_200
    assert warning["served_at_most"] == 300 - 1 - 2 - 64
    assert "raise it to 51267 (ulimit -n" in warning["hint"]


def test_a_limit_of_open_files_that_leaves_nothing_is_one_clear_line(make: Any):
    words = failed(with_open_files(make(max_connections=51_200), 100))
    assert "max_connections 51200 needs 51267 open files and the limit is 100" in words


def test_workers_that_cannot_start_end_the_start(make: Any):
    supervisor = make("die")
    words = failed(supervisor)
    assert not supervisor.lines("worker died")
    assert "ended before it was ready (exit code 3)" in words
    assert "the cause" in failed(make("say the cause"))


# ---------------------------------------------------------------- Unix sockets


def test_a_unix_socket_serves_all_workers_and_is_removed(make: Any, tmp_path: Path):
    path = tmp_path / "socket"
    supervisor = make(listen=[f"unix:{path}"]).start().wait_ready()
    with Wire(str(path)) as wire:
        assert int(wire.ask(b"pid\r\n")) in supervisor.workers()
    assert supervisor.process.terminate() == 0
    assert not path.exists()


def test_a_stale_unix_socket_is_taken_over_a_living_one_is_not(make: Any, tmp_path: Path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    first = make(listen=[f"unix:{path}"]).start().wait_ready()
    assert f"listen unix:{path}: Address already in use" in failed(make(listen=[f"unix:{path}"]))
    with Wire(str(path)) as wire:
        assert int(wire.ask(b"pid\r\n")) in first.workers()


def test_a_file_that_is_no_socket_is_left_alone(make: Any, tmp_path: Path):
    path = tmp_path / "precious"
    path.write_text("data")
    assert "not a socket" in failed(make(listen=[f"unix:{path}"]))
    assert path.read_text() == "data"


# ---------------------------------------------------------------- in the background


class Background:
    """A daemon, found through its log file and ended by its pid."""

    def __init__(self, supervisor: Supervisor, log: Path) -> None:
        self.log = log
        self.done = subprocess.run(
            supervisor.command,
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, **supervisor.env},
        )

    def pid(self) -> int:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return int(next(line["pid"] for line in lines if line["event"] == "memagent is ready"))


def test_a_daemon_lets_the_caller_go_once_it_is_ready(make: Any, tmp_path: Path):
    log = tmp_path / "daemon.log"
    supervisor = make(daemon=True, log_file=str(log))
    background = Background(supervisor, log)
    assert (background.done.returncode, background.done.stdout, background.done.stderr) == (0, b"", b"")
    pid = background.pid()
    workers = children(pid)
    try:
        assert int(supervisor.ask()) in workers
        assert os.getsid(pid) != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        os.kill(pid, signal.SIGHUP)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(map(exists, [pid, *workers])), 20, "the daemon's end")
    assert '"ended"' in log.read_text()


def test_a_daemon_without_a_log_file_holds_nothing_of_the_terminal(make: Any):
    supervisor = make(daemon=True)
    done = Background(supervisor, Path()).done  # returns only when nobody holds its pipes any more
    assert done.returncode == 0, done.stderr
    pid = next(int(line["pid"]) for line in map(json.loads, done.stderr.splitlines()) if "listen" in line)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not exists(pid), 20, "the daemon's end")


def test_a_daemon_that_cannot_start_says_so_to_the_caller(make: Any):
    for supervisor, words in (
        (make("die", daemon=True), b"ended before it was ready (exit code 3)"),
        (make(daemon=True, user="no-such-user"), b"no such user"),
    ):
        done = Background(supervisor, Path()).done
        assert done.returncode == 1
        assert words in done.stderr
        assert b"Traceback" not in done.stderr
