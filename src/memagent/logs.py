"""The supervisor's log: readable on a terminal, one JSON object a line otherwise.

    worker ── Log over the control channel ──▶ supervisor ──▶ log_file, or standard error
    worker whose supervisor has gone ────────────────────────▶ the same, by itself (worker_log.py)

A log that cannot be written never hurts the proxy: a full disk or a closed pipe costs the line, nothing else.
"""

import contextlib
import logging
import os
import sys
from typing import Any, TextIO

import structlog

from memagent.errors import StartError

Logger = structlog.typing.FilteringBoundLogger


def open_log(path: str | None) -> TextIO:
    """Where the log goes; None is standard error. StartError if the file cannot be written."""
    if path is None:
        return sys.stderr
    try:
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        raise StartError(f"log_file {path}: {error.strerror}", "give a path that may be written") from None


def set_up(stream: TextIO, verbose: bool = False) -> Logger:
    """The logger of this process."""
    readable = stream.isatty()
    timestamp = "%H:%M:%S.%f" if readable else "iso"
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)
        if readable
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt=timestamp, utc=not readable),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=lambda *_: _Writer(stream),
        cache_logger_on_first_use=False,
    )
    set_verbose(verbose)
    logger: Logger = structlog.get_logger()
    return logger


def set_verbose(verbose: bool) -> None:
    """From now on, also for loggers that are there already."""
    level = logging.DEBUG if verbose else logging.INFO
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


class _Writer:
    """What structlog calls with a finished line: one write, so that lines of several processes never mix."""

    def __init__(self, stream: TextIO) -> None:
        self._fd = stream.fileno()

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, (line + "\n").encode(errors="backslashreplace"))

    debug = info = warning = error = critical = msg
