"""The newer proxy that takes over from this one: its process, from exec until it has our clients.

    Command.ours ─▶ start ─▶ hello ─▶ ready ─▶ take_over ─▶ close
                      └──────────┴───────┴──────── what goes wrong is a RefusedError ─▶ kill

`takeover` has what the two say.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from memagent.admin.requests import RefusedError
from memagent.processes import describe_end
from memagent.takeover import VARIABLE, Failed, Go, Handover, Hello, Ready, Taken, Word, hear, say

_Kind = TypeVar("_Kind", Hello, Ready, Taken)

_UNCHANGED: Final = "nothing has changed, the running proxy goes on"
_LAST_WORDS_BYTES: Final = 4096
_LAST_LINES: Final = 3
_END_S: Final = 2.0
_TAKE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Command:
    """How this process was started, so that what is installed now can be started in the same way."""

    arguments: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]

    @classmethod
    def ours(cls) -> "Command":
        """For use before the working directory changes, and once variables for us alone have been taken."""
        try:
            folder = os.getcwd()
        except OSError:
            folder = "/"
        given = sys.orig_argv[1:]
        # A script says itself which Python it is for, and that may be another one now.
        arguments = given if given and _is_script(given[0]) else [sys.executable, *given]
        return cls(tuple(arguments), folder, dict(os.environ))


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!" and os.access(path, os.X_OK) and os.sep in path
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What it gets: file descriptors, paths of the Unix sockets among them that are ours, variables."""

    listening: Sequence[int]
    files: Collection[str]
    control: int
    environment: Mapping[str, str]


class Successor:
    """Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self._said = b""
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: Command, inherits: Inheritance) -> "Successor":
        """RefusedError if the machine cannot."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = os.dup(2)
        try:
            ours.setblocking(False)
            say(ours, Handover(tuple(inherits.listening), tuple(inherits.files), inherits.control, log))
            process = await asyncio.create_subprocess_exec(
                *command.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(), log, inherits.control, *inherits.listening),
                cwd=command.folder,
                env={**command.environment, **inherits.environment, VARIABLE: str(theirs.fileno())},
                # To be killed with its workers, and not to hear a terminal's Ctrl-C that is for us.
                process_group=0,
            )
        except OSError as error:
            ours.close()
            problem = f"{' '.join(command.arguments)}: {error.strerror or error}"
            raise RefusedError(f"the new version cannot be started: {problem}", _UNCHANGED) from None
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(log)
        return cls(process, ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hello(self) -> str:
        """Its version."""
        return (await self._next(Hello)).version

    async def ready(self) -> None:
        """Once all its workers are."""
        await self._next(Ready)

    async def take_over(self) -> None:
        """Clients are served by it as well. Whoever watches us is to be told before `close`."""
        with contextlib.suppress(OSError):
            say(self._channel, Go())
        try:
            async with asyncio.timeout(_TAKE_S):
                await self._next(Taken)
        except TimeoutError:
            raise RefusedError(
                f"the new version was ready and did not take over within {_TAKE_S:g} s", _UNCHANGED
            ) from None

    def too_late(self, ready_s: float) -> RefusedError:
        """It was not ready in time."""
        said = last_words(self._said)
        so_far = f"; what it said: {said}" if said else ""
        return RefusedError(f"the new version was not ready within {ready_s:g} s{so_far}", _UNCHANGED)

    def close(self) -> None:
        """It goes on by itself."""
        self._channel.close()
        self._reading.cancel()

    async def kill(self) -> None:
        """With its workers, if it has not ended by itself."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        self.close()

    async def _next(self, kind: type[_Kind]) -> _Kind:
        word = await hear(self._channel)
        if not isinstance(word, kind):
            raise await self._failure(word)
        return word

    async def _failure(self, word: Word | None) -> RefusedError:
        if isinstance(word, Failed):
            hint = "; ".join(filter(None, [word.hint, _UNCHANGED]))
            return RefusedError(f"the new version does not start: {word.error}", hint)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._process.wait()
                await asyncio.wait([self._reading])
        if self._process.returncode is None:
            return RefusedError("the new version does not know how to take over from this one", _UNCHANGED)
        why = last_words(self._said) or f"it ended: {describe_end(self._process.returncode)}"
        return RefusedError(f"the new version does not start: {why}", _UNCHANGED)

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(_LAST_WORDS_BYTES):
            self._said = (self._said + chunk)[-_LAST_WORDS_BYTES:]


def last_words(said: bytes) -> str:
    """What a process wrote before it ended, as far as it says why: of a traceback its last line."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    is_traceback = any(line.startswith("Traceback ") for line in lines)
    last = lines[-1:] if is_traceback else lines[-_LAST_LINES:]
    return "\n".join(line.removeprefix("magent: error: ") for line in last)
