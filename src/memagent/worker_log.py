"""A worker's log: through the supervisor, and by itself once that has gone.

Standard error is where the supervisor's log goes too. Lines are the supervisor's kind, made without its
library: to load that would double the time until a dead worker is replaced.
"""

import contextlib
import json
import os
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from memagent.control import Log, WorkerEnd

Level = Literal["debug", "info", "warning", "error"]


class WorkerLog:
    """Never waits for the supervisor and never raises."""

    def __init__(
        self, channel: WorkerEnd, worker: int, verbose: bool = False, stream: TextIO | None = None
    ) -> None:
        self._channel = channel
        self._worker = worker
        self.verbose = verbose
        self._fd = (stream or sys.stderr).fileno()

    def debug(self, text: str) -> None:
        if self.verbose:
            self._say("debug", text)

    def info(self, text: str) -> None:
        self._say("info", text)

    def warning(self, text: str) -> None:
        self._say("warning", text)

    def error(self, text: str) -> None:
        self._say("error", text)

    def _say(self, level: Level, text: str) -> None:
        # What came from a client or a server need not be UTF-8.
        text = text.encode(errors="backslashreplace").decode()
        if self._channel.send(Log(level, text)):
            return
        now = datetime.now(UTC)
        if os.isatty(self._fd):
            line = f"{now.astimezone():%H:%M:%S.%f} [{level:<9}] {text} worker={self._worker}"
        else:
            stamp = now.isoformat().replace("+00:00", "Z")
            whole = {"worker": self._worker, "event": text, "level": level, "timestamp": stamp}
            line = json.dumps(whole, ensure_ascii=False)
        with contextlib.suppress(OSError):
            os.write(self._fd, (line + "\n").encode())
