"""Starting, watching and ending processes, and looking at them from outside through /proc."""

import atexit
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .wait import wait_until

ROOT = Path(__file__).resolve().parents[2]

_running: "set[Process]" = set()


class Process:
    """A child process that writes its output to a file and never outlives the test run.

    It leads a session: Ctrl-C in a terminal reaches pytest only, and `kill` takes along whatever is in it.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.command = list(command)
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                pass_fds=pass_fds,
            )
        _running.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -9 after SIGKILL."""
        return self._popen.poll()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def wait(self, deadline_s: float = 10.0) -> int:
        """Its exit code, once it has ended by itself."""
        wait_until(lambda: not self.alive, deadline_s, lambda: f"the end of {self.describe()}")
        _running.discard(self)
        assert self._popen.returncode is not None
        return self._popen.returncode

    def terminate(self, deadline_s: float = 15.0) -> int:
        """SIGTERM, then its exit code; one that does not end is killed and is an error."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.wait(deadline_s)
        except TimeoutError:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL to it and to everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait()
        _running.discard(self)

    def describe(self) -> str:
        return f"{' '.join(self.command)} (pid {self.pid})\n--- its output ---\n{self.output()}\n--- end ---"


def _end_all() -> None:
    for process in list(_running):
        process.kill()


atexit.register(_end_all)


def still_running() -> list[Process]:
    """What this test run started and has not yet seen the end of."""
    return [process for process in _running if process.alive]


def exists(pid: int) -> bool:
    """Is there such a process, zombies left aside?"""
    return state(pid) not in ("", "Z", "X")


def state(pid: int) -> str:
    """R, S, D, T, Z as in proc(5); "" where there is none."""
    return _stat(pid)[0] if _stat(pid) else ""


def children(pid: int) -> list[int]:
    """The living direct children of a process, oldest first."""
    found = [(int(fields[19]), each) for each, fields in _all() if int(fields[1]) == pid and fields[0] != "Z"]
    return [child for _, child in sorted(found)]


def session(pid: int) -> list[int]:
    """The living processes of the session that a process leads, or has led."""
    return [each for each, fields in _all() if int(fields[3]) == pid and fields[0] not in "ZX"]


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _all() -> Iterator[tuple[int, list[str]]]:
    """Every process of the machine, with what `_stat` gives. Fast: who waits asks again and again."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            yield int(name), fields


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state (proc(5)'s third) on."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return []
    try:
        text = os.read(fd, 4096)
    except OSError:
        return []  # it has ended just now
    finally:
        os.close(fd)
    return text.rpartition(b")")[2].decode().split()
