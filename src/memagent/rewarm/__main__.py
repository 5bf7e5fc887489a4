"""The process: a job and commands on standard input, reports on standard output."""

import contextlib
import mmap
import os
import select
import signal
import socket
import sys
from typing import Final

from memagent.rewarm import job as lines
from memagent.rewarm.copier import Copier
from memagent.rewarm.job import Abort, Pause, Rates, Report, Resume

_LONGEST_JOB_BYTES: Final = 16 * 1024 * 1024
_LAST_WORD_S: Final = 5.0


class Process:
    def __init__(self) -> None:
        self._input = b""
        self._copier: Copier | None = None
        self._wake, self._wakes = socket.socketpair()
        self._signalled = False

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._note_signal)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        self._wake.setblocking(False)
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        try:
            job = self._read_job()
        except ValueError as error:
            print(f"memagent.rewarm: this is no job: {error}", file=sys.stderr)
            return 2
        if job is None:
            return 0
        marks = None if job.marks_fd is None else memoryview(mmap.mmap(job.marks_fd, 0))
        self._copier = Copier(job, marks, self._report)
        self._copier.selector.register(0, select.EPOLLIN, self._told)
        self._copier.selector.register(self._wake, select.EPOLLIN, self._woken)
        last = self._copier.run()
        self._write(last, _LAST_WORD_S)
        return 0 if last.event == "done" else 1

    def _read_job(self) -> lines.Job | None:
        """None where there is nobody to give one."""
        while b"\n" not in self._input:
            readable, _, _ = select.select([0, self._wake.fileno()], [], [])
            if 0 not in readable:
                return None
            data = os.read(0, 65536)
            if not data:
                return None
            self._input += data
            if len(self._input) > _LONGEST_JOB_BYTES:
                raise ValueError("a line without an end")
        line, _, self._input = self._input.partition(b"\n")
        return lines.read_job(line)

    def _told(self, _: int) -> None:
        assert self._copier is not None
        data = os.read(0, 65536)
        if not data:
            self._copier.selector.unregister(0)
            self._copier.end("nobody wants to know of it any more")
            return
        *whole, self._input = (self._input + data).split(b"\n")
        for line in whole:
            try:
                command = lines.read_command(line)
            except ValueError as error:
                print(f"memagent.rewarm: this is no command: {error}", file=sys.stderr)
                continue
            match command:
                case Pause():
                    self._copier.pause()
                case Resume():
                    self._copier.resume()
                case Rates(keys_per_s, bytes_per_s):
                    self._copier.set_rates(keys_per_s, bytes_per_s)
                case Abort():
                    self._copier.end("told to stop")

    def _note_signal(self, *_: object) -> None:
        self._signalled = True

    def _woken(self, _: int) -> None:
        self._wake.recv(4096)
        if self._signalled and self._copier is not None:
            self._copier.end("told to stop by a signal")

    def _report(self, report: Report) -> None:
        self._write(report, 0.0)

    def _write(self, report: Report, patience_s: float) -> None:
        """Dropped if nobody has read the earlier ones within so long, or nobody ever will."""
        line = lines.write(report)
        # Up to PIPE_BUF bytes go into a pipe that polls as writable at once and whole.
        with contextlib.suppress(OSError):
            _, writable, _ = select.select([], [1], [], patience_s)
            if writable:
                os.write(1, line)


if __name__ == "__main__":
    sys.exit(Process().run())
