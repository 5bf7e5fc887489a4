"""A worker's log: through the supervisor, and by itself once that has gone.

Standard error is where the supervisor's log goes too. Lines are the supervisor's kind, made without its
library: to load that would double the time until a dead worker is replaced. What a worker alone says again
and again is counted as there; how often it was is said with its next line, or at its end.
"""

import contextlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Literal, TextIO

from memagent.control import Log, WorkerEnd
from memagent.log_files import reopen
from memagent.repeats import Repeats

Level = Literal["debug", "info", "warning", "error"]


class WorkerLog:
    """Never waits for the supervisor and never raises."""

    def __init__(self, channel: WorkerEnd, worker: int, stream: TextIO | None = None) -> None:
        self._channel = channel
        self._worker = worker
        self.verbose = False
        self._fd = (stream or sys.stderr).fileno()
        self._repeats: Repeats[tuple[Level, str]] = Repeats()

    def reopen(self, path: str) -> None:
        """Standard error leads to the file that is at `path` now."""
        try:
            reopen(path, [self._fd])
        except OSError as error:
            self.warning(f"the log cannot be opened anew, the old file is kept: {error.strerror}")

    def close(self) -> None:
        """What was counted is said."""
        for (level, text), count in self._repeats.rest():
            self._write(level, text, count)

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
        now_s = time.monotonic()
        for (before_level, before), count in self._repeats.due(now_s):
            self._write(before_level, before, count)
        if self._repeats.allows((level, text), now_s):
            self._write(level, text)

    def _write(self, level: Level, text: str, more: int = 0) -> None:
        now = datetime.now(UTC)
        facts = {"more_like_this": more} if more else {}
        if os.isatty(self._fd):
            line = f"{now.astimezone():%H:%M:%S.%f} [{level:<9}] {text} worker={self._worker}"
            line += "".join(f" {name}={value}" for name, value in facts.items())
        else:
            stamp = now.isoformat().replace("+00:00", "Z")
            whole = {**facts, "worker": self._worker, "event": text, "level": level, "timestamp": stamp}
            line = json.dumps(whole, ensure_ascii=False)
        with contextlib.suppress(OSError):
            os.write(self._fd, (line + "\n").encode())
