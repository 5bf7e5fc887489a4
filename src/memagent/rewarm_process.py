"""A re-warm as the supervisor sees it: a process that is given a job, and reports until it ends.

    Job ─▶ stdin │ memagent.rewarm │ stdout ─▶ Report ...
           Pause, Resume, Abort ─▶ │

- How it ends is all in `ended`: its last report, or None if it was killed before it could make one.
- It is asked to stop and has time to verify what it has copied; only then is it killed.
- What it says that makes no sense is dropped: a report less is no harm.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from memagent.processes import send_signal
from memagent.rewarm import job
from memagent.rewarm.job import Abort, Command, Job, Report

REWARM_MODULE: Final = "memagent.rewarm"
_LONGEST_LINE_BYTES: Final = 64 * 1024


class RewarmProcess:
    """Made by `start`; its owner awaits `ended`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls,
        given: Job,
        environment: Mapping[str, str],
        inherit_fds: Iterable[int],
        stderr_fd: int | None,
        module: str = REWARM_MODULE,
    ) -> "RewarmProcess":
        """OSError if the machine cannot start one more process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr_fd,
            pass_fds=tuple(inherit_fds),
            env=environment,
            limit=_LONGEST_LINE_BYTES,
        )  # fmt: skip
        started = cls(process)
        started.tell(given)
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: Job | Command) -> None:
        """Of no effect on a process that has ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write(job.write(message))

    async def ended(self, on_report: Callable[[Report], None]) -> Report | None:
        """Its last report, once it has ended."""
        assert self._process.stdout is not None
        last: Report | None = None
        try:
            while line := await _line(self._process.stdout):
                with contextlib.suppress(ValueError):
                    report = job.read_report(line)
                    on_report(report)
                    if report.event != "progress":
                        last = report
        finally:
            await self._process.wait()
        return last

    async def stop(self, grace_s: float) -> None:
        """Ask it to, and kill it if it does not."""
        self.tell(Abort())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace_s)
        self.kill()

    def kill(self) -> None:
        send_signal(self._process, signal.SIGKILL)


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, b"" at the end; a line that is too long is passed over."""
    while True:
        with contextlib.suppress(ValueError):
            return await stream.readline()
