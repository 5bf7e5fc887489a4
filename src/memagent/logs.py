"""The supervisor's log: readable on a terminal, one JSON object a line otherwise.

    worker ── Log over the control channel ──▶ supervisor ──▶ log_file, or standard error
    worker whose supervisor has gone ────────────────────────▶ the same, by itself (worker_log.py)

- A log that cannot be written never hurts the proxy: a full disk or a closed pipe costs the line, no more.
- The same of one server, worker or mistake of ours is said ten times in ten seconds at most, then how often
  it was not said.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple, TextIO

import structlog

from memagent.errors import StartError
from memagent.repeats import WINDOW_S, Repeats

Logger = structlog.typing.FilteringBoundLogger


def open_log(path: str | None, owner: tuple[int, int] | None = None) -> TextIO:
    """Where the log goes; None is standard error. StartError if the file cannot be written.

    `owner`: the uid and gid that a file which is made here is given to. Whoever has opened it as root opens
    it anew as that user (SIGUSR1, an upgrade).
    """
    if path is None:
        return sys.stderr

    def opener(path: str, flags: int) -> int:
        if owner is not None:
            # What is there already may be a link that somebody has put there for root to give away.
            with contextlib.suppress(FileExistsError):
                made = os.open(path, flags | os.O_EXCL, 0o666)
                os.fchown(made, *owner)
                return made
        return os.open(path, flags, 0o666)

    try:
        return open(path, "a", encoding="utf-8", opener=opener)
    except OSError as error:
        hint = "give a path that may be written"
        if isinstance(error, PermissionError):
            hint = how_to_give(path)
        raise StartError(f"log_file {path}: {error.strerror}", hint) from None


def how_to_give(path: str) -> str:
    """What to do where the proxy, as the user that it is, may not write its log."""
    return (
        f"the proxy runs as uid {os.geteuid()}, which has to be able to write it: chown {os.geteuid()} {path}"
    )


class _Line(NamedTuple):
    """What makes two lines the same. `name`: one to be resolved; `mistake`: an exception, ours to mend."""

    level: str
    event: str
    server: Any
    worker: Any
    name: Any
    mistake: str | None


class Sieve:
    """Lets through what is not said again and again."""

    def __init__(self) -> None:
        self._repeats: Repeats[_Line] = Repeats()

    def __call__(
        self, _: object, method: str, facts: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """One of structlog's processors."""
        about = facts.get("server"), facts.get("worker"), facts.get("name"), _mistake(facts.get("exc_info"))
        if _MORE in facts or about == (None,) * len(about):
            # what names nobody is an operator's doing, or happens once
            return facts
        if not self._repeats.allows(_Line(method, str(facts["event"]), *about), time.monotonic()):
            raise structlog.DropEvent
        return facts

    @contextlib.asynccontextmanager
    async def telling(self, log: Logger) -> AsyncIterator[None]:
        """Meanwhile and at the end: say how often something was not said."""
        task = asyncio.create_task(self._tell_always(log))
        try:
            yield
        finally:
            task.cancel()
            self._tell(log, self._repeats.rest())

    async def _tell_always(self, log: Logger) -> None:
        while True:
            await asyncio.sleep(WINDOW_S / 2)
            self._tell(log, self._repeats.due(time.monotonic()))

    def _tell(self, log: Logger, unsaid: list[tuple[_Line, int]]) -> None:
        for line, count in unsaid:
            facts = {name: value for name, value in line._asdict().items() if value is not None}
            getattr(log, facts.pop("level"))(facts.pop("event"), **facts, **{_MORE: count})


def _mistake(exc_info: Any) -> str | None:
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return type(error).__name__ if error else None


_MORE: Final = "more_like_this"


def set_up(stream: TextIO, sieve: Sieve, verbose: bool = False) -> Logger:
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
            sieve,
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
