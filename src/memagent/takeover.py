"""A newer proxy takes over from the one that has started it: what they say, and the newer one's side.

    older ── Handover: the listening sockets ─▶ newer         over a socket pair, of which the newer inherits
    older ◀─ Hello: its version ─ newer                       an end, as it inherits the sockets
    older ◀─ Ready: all its workers are, none takes a client ─ newer     or Failed: why it ends
    older ── Go ─▶ newer
    older ◀─ Taken: clients are served ─ newer
    older ── end ─▶ newer                                     whoever watches has been told who is who

- Before Go the newer one touches nothing that the older one needs. It ends when the channel does.
- The two are of different versions: names that the other does not know are passed over.
- A version from before all this does not see its end of the channel, finds its addresses in use, and ends.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final, Literal

from memagent.activation import Activated
from memagent.errors import StartError
from memagent.plain import kinds_of, read_one, write_one

VARIABLE: Final = "_MEMAGENT_TAKES_OVER_AT_FD"  # no setting: those begin with MEMAGENT_
LONGEST_PACKET_BYTES: Final = 64 * 1024
_PATIENCE_S: Final = 5.0
_KEEP: Final = "an upgrade keeps every address; magent reload changes those of listen, a restart the others"


@dataclass(frozen=True)
class Handover:
    """File descriptors by their numbers. `files`: paths of the older one's own Unix sockets; `log`: what is
    to be standard error; what goes there before is told to the operator.
    """

    listening: tuple[int, ...]
    files: tuple[str, ...]
    control: int
    log: int
    type: Literal["handover"] = "handover"


@dataclass(frozen=True)
class Go:
    type: Literal["go"] = "go"


@dataclass(frozen=True)
class Hello:
    version: str
    type: Literal["hello"] = "hello"


@dataclass(frozen=True)
class Ready:
    type: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Taken:
    type: Literal["taken"] = "taken"


@dataclass(frozen=True)
class Failed:
    error: str
    hint: str | None = None
    type: Literal["failed"] = "failed"


Word = Handover | Go | Hello | Ready | Taken | Failed

_WORDS: Final[Mapping[str, type[Word]]] = kinds_of(Word)


def say(channel: socket.socket, word: Word) -> None:
    """OSError if the other side is gone, or the word is too long."""
    channel.send(write_one(word), socket.MSG_NOSIGNAL)


async def hear(channel: socket.socket) -> Word | None:
    """The next word, from a channel that does not block; None at its end, or for what makes no sense."""
    try:
        return _read(await asyncio.get_running_loop().sock_recv(channel, LONGEST_PACKET_BYTES))
    except OSError:
        return None


def _read(packet: bytes) -> Word | None:
    try:
        return read_one(_WORDS, packet)
    except ValueError:
        return None


class Predecessor:
    """The proxy that runs, as the newer one sees it. Made by `take`."""

    def __init__(self, channel: socket.socket, told: Handover) -> None:
        self._channel = channel
        sockets = [_inherited(fd) for fd in told.listening]
        self.activated = Activated(sockets, "the running proxy", _KEEP, told.files)
        self.control = _inherited(told.control)

    @classmethod
    def take(cls, environ: MutableMapping[str, str], version: str) -> "Predecessor | None":
        """Whoever has started us to take over, and out of `environ`; None if nobody has.

        From now on standard error is what the log of the two is. StartError.
        """
        number = environ.pop(VARIABLE, None)
        if number is None:
            return None
        try:
            channel = _inherited(int(number))
            channel.settimeout(_PATIENCE_S)
            told = _read(channel.recv(LONGEST_PACKET_BYTES))
            channel.setblocking(False)
            if not isinstance(told, Handover):
                channel.close()
                raise StartError("what the running proxy hands over makes no sense to this version")
            predecessor = cls(channel, told)
            os.dup2(told.log, 2)
            os.close(told.log)
            say(channel, Hello(version))
        except (OSError, ValueError) as error:
            raise StartError(f"the running proxy hands nothing over: {error}") from None
        return predecessor

    def failed(self, error: StartError) -> None:
        """We are about to end."""
        with contextlib.suppress(OSError):
            say(self._channel, Failed(error.message, error.hint))

    async def ready(self) -> None:
        """Say that we are, and wait for Go. StartError if that does not come."""
        with contextlib.suppress(OSError):
            say(self._channel, Ready())
        if not isinstance(await hear(self._channel), Go):
            raise StartError("the running proxy goes on by itself")

    async def taken(self) -> None:
        """Say that we have, and wait until the other one has told whoever watches."""
        with contextlib.suppress(OSError, TimeoutError):
            say(self._channel, Taken())
            async with asyncio.timeout(_PATIENCE_S):
                await hear(self._channel)
        self._channel.close()

    def close(self) -> None:
        """What was not used of it."""
        self.activated.close()
        self.control.close()
        self._channel.close()


def _inherited(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    found = socket.socket(fileno=fd)
    found.setblocking(False)
    return found
