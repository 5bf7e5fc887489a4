"""A re-warm process with the test as its supervisor."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from memagent.rewarm import job
from memagent.rewarm.job import Command, Job, Report
from memagent.settings import PoolConfig

from .processes import ROOT
from .wait import wait_until


class Rewarm:
    """`addresses` of a pool's servers and backups; target and sources by their places in that order."""

    def __init__(
        self,
        servers: Sequence[str],
        backups: Sequence[str],
        target: int,
        sources: Sequence[int],
        pool: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        values = {"name": "main", "servers": list(servers), "backups": list(backups), **(pool or {})}
        self.job = Job(
            PoolConfig.model_validate(values),
            target,
            tuple(sources),
            (("127.0.0.1",),) * (len(servers) + len(backups)),
            **settings,
        )
        self.reports: list[Report] = []
        marks_fd = self.job.marks_fd
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "memagent.rewarm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            start_new_session=True,
            pass_fds=() if marks_fd is None else (marks_fd,),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._write(job.write(self.job))

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, command: Command) -> None:
        self._write(job.write(command))

    def leave(self) -> None:
        """What it sees when its supervisor has gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def terminate(self) -> None:
        self._process.terminate()

    def reaches(self, condition: Callable[[Report], bool], what: str = "") -> Report:
        """The first report of which that is true."""
        return wait_until(
            lambda: next((report for report in list(self.reports) if condition(report)), None),
            what=lambda: f"{what or 'the report'}; last: {self.reports[-1:]}",
        )

    def last(self, deadline_s: float = 30.0) -> Report:
        """The last report, once the process has ended."""
        wait_until(
            lambda: self._process.poll() is not None, deadline_s, lambda: f"the end: {self.reports[-1:]}"
        )
        self._reader.join(5)
        assert self._process.stderr is not None
        error = self._process.stderr.read()
        assert not error, error.decode()
        assert [report.event for report in self.reports[:-1]] == ["progress"] * (len(self.reports) - 1)
        last = self.reports[-1]
        assert self._process.returncode == (0 if last.event == "done" else 1)
        return last

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(5)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.reports.append(job.read_report(line))
