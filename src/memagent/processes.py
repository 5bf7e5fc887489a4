"""A worker process and its control channel, and the pause before a dead one is replaced.

A worker is started by exec, not by fork: it begins with nothing of the supervisor's but the file descriptors
that it is told of, and a new one runs the code that is installed now.

- No pipe leads back to the supervisor: its death closes the control channel, and a worker goes on without it.
- A worker stays in the supervisor's process group, so a terminal's SIGINT and SIGHUP reach it too: it ignores
  them. SIGTERM means to a worker what Drain means, and so ends those that have lost their supervisor.
"""

import asyncio
import contextlib
import os
import random
import signal
import site
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

import memagent
from memagent import control
from memagent.control import FromWorker, SupervisorEnd, ToWorker

WORKER_MODULE: Final = "memagent.worker"


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """If it has not ended.

    Its own `send_signal` and `kill` would reap one that just has, and how it ended would be known to nobody.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


class Backoff:
    """How long to wait before a dead worker is replaced: at once first, then longer while it keeps dying."""

    def __init__(
        self,
        first_s: float = 0.1,
        most_s: float = 5.0,
        calm_s: float = 10.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._calm_s = calm_s
        self._jitter = jitter
        self._quick_deaths = 0

    def delay_s(self, lived_s: float) -> float:
        """After a death; a worker that lived for `calm_s` clears what was before."""
        self._quick_deaths = 1 if lived_s >= self._calm_s else self._quick_deaths + 1
        if self._quick_deaths == 1:
            return 0.0
        doublings = min(self._quick_deaths - 2, 30)
        whole_s = min(self._most_s, self._first_s * 2.0**doublings)
        return whole_s * (0.5 + 0.5 * self._jitter())


class Ear(Protocol):
    """Who hears what a worker says."""

    def heard(self, worker: "WorkerProcess", message: FromWorker) -> None: ...

    def heard_nonsense(self, worker: "WorkerProcess", problem: str) -> None: ...


class WorkerProcess:
    """A running worker, from exec to exit."""

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, channel: SupervisorEnd, ear: Ear
    ) -> None:
        self.number = number
        self.last_error = ""
        self.is_ready = False
        self.has_drained = False
        self.is_leaving = False  # one too many; once it drains for that there is no way back
        self.is_draining = False
        self._process = process
        self._channel = channel
        self._ear = ear
        self._loop = asyncio.get_running_loop()
        self._started_at_s = self._loop.time()
        self._loop.add_reader(channel.fileno(), self._receive)

    @classmethod
    async def start(
        cls,
        number: int,
        module: str,
        environment: Mapping[str, str],
        inherit_fds: Iterable[int],
        stderr_fd: int | None,
        ear: Ear,
    ) -> "WorkerProcess":
        """OSError if the machine cannot start one more process."""
        channel, theirs = control.pair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", module, "--control-fd", str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr_fd,
                pass_fds=(theirs.fileno(), *inherit_fds),
                env=environment,
            )  # fmt: skip
        except BaseException:
            channel.close()
            raise
        finally:
            theirs.close()
        return cls(number, process, channel, ear)

    @property
    def pid(self) -> int:
        return self._process.pid

    def lived_s(self) -> float:
        return self._loop.time() - self._started_at_s

    def send(self, message: ToWorker) -> bool:
        """False if the worker will never get it."""
        sent = self._channel.send(message)
        if self._channel.wants_write:
            self._loop.add_writer(self._channel.fileno(), self._flush)
        return sent

    def signal(self, number: signal.Signals) -> None:
        send_signal(self._process, number)

    async def ended(self) -> str:
        """Waits for the end, hears the last messages, and says how it ended."""
        code = await self._process.wait()
        self._receive()
        self._close()
        return describe_end(code)

    def _receive(self) -> None:
        before = self._channel.bad_packets
        for message in self._channel.receive():
            self._ear.heard(self, message)
        if self._channel.bad_packets != before:
            self._ear.heard_nonsense(self, self._channel.last_problem)
        if self._channel.closed:
            # Else the closed socket would wake us for ever.
            self._close()

    def _flush(self) -> None:
        self._channel.flush()
        if not self._channel.wants_write:
            self._loop.remove_writer(self._channel.fileno())

    def _close(self) -> None:
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel.fileno())
            self._loop.remove_writer(self._channel.fileno())
            self._channel.close()


def describe_end(code: int) -> str:
    """As people say it: an exit code, or the name of the signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def worker_environment() -> dict[str, str]:
    """Ours, made so that a worker finds the same memagent; for use before the working directory changes."""
    given = os.environ.get("PYTHONPATH", "")
    paths = [os.path.abspath(path) for path in given.split(os.pathsep) if path]
    home = str(Path(memagent.__file__).resolve().parents[1])
    if home not in [*paths, *site.getsitepackages(), site.getusersitepackages()]:
        paths.append(home)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)} if paths else dict(os.environ)
