"""The control socket itself: lines in, lines out. What they mean is `answer`'s business.

    connection ─▶ line ─▶ read_request ─▶ answer ─▶ progress ..., last line ─▶ connection
                            └──────────── RefusedError ────────────────────────────▶

- Whatever comes in, the proxy lives: a line that is no request is answered with an error, and one without an
  end closes its connection; so does a client that says nothing for long, or does not read.
- Connections are few: the one too many is told so.
- The file is 0600 before anybody can connect, replaces only what a dead process left, and is removed at last.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Final

from memagent.admin import place
from memagent.admin.audit import Answer, acts, audited
from memagent.admin.peer import Peer
from memagent.admin.requests import RefusedError, Request, read_request
from memagent.errors import StartError
from memagent.logs import Logger
from memagent.unix_files import InUseError, NotASocketError, UnixFile, remove_stale

_LONGEST_LINE_BYTES: Final = 64 * 1024
_MOST_CONNECTIONS: Final = 32
_SILENCE_S: Final = 300.0
_UNREAD_S: Final = 10.0


class Door:
    """Made by `open`."""

    def __init__(self, listening: socket.socket, file: UnixFile | None, answer: Answer, log: Logger) -> None:
        self._socket = listening
        self._file = file
        self._answer = answer
        self._log = log
        self._connections: dict[asyncio.Task[None], socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        self._listen()

    @classmethod
    async def open(cls, path: str, answer: Answer, log: Logger) -> "Door":
        """InUseError, NotASocketError, or OSError if there can be no socket."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with _alone_in(Path(path).parent):
                remove_stale(path)
                before = os.umask(0o177)
                try:
                    listening.bind(path)
                finally:
                    os.umask(before)
                listening.listen(_MOST_CONNECTIONS)
                return cls(listening, UnixFile.at(path), answer, log)
        except BaseException:
            listening.close()
            raise

    @property
    def path(self) -> str:
        path: str = self._socket.getsockname()
        return path

    def is_for(self, listen: str) -> bool:
        """Would a proxy with this first address have it here?"""
        return Path(self.path).name == place.file_name(listen)

    @property
    def is_in_use(self) -> bool:
        """Is anybody in?"""
        return bool(self._connections)

    def fileno(self) -> int:
        return self._socket.fileno()

    def take_over(self) -> None:
        """The file is ours to remove from now on."""
        self._file = UnixFile.at(self.path)

    def pause(self) -> None:
        """Nobody comes in until `resume`; who connects meanwhile waits."""
        self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        self._listen()

    def leave(self) -> None:
        """Nobody comes in any more, and nothing is left to be found. Who is in may stay."""
        if self._file is not None:
            self._file.remove()
        self.hand_over()

    def hand_over(self) -> None:
        """Another proxy has the socket too, and its file. Who is in may stay."""
        self._file = None
        self._close_socket()

    def _close_socket(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    async def close(self) -> None:
        """Nobody comes in any more, and who is in goes out."""
        if self._file is not None:
            self._file.remove()
        self._close_socket()
        for task in self._connections:
            task.cancel()
        while self._connections:
            await asyncio.wait(self._connections)

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:
            # Out of files: it will pass, and the backlog waits.
            self._loop.remove_reader(self._socket)
            self._loop.call_later(1, self._listen)
            return
        connection.setblocking(False)
        task = asyncio.create_task(self._attend(connection))
        self._connections[task] = connection
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        # Closed already, unless the task was cancelled before it began.
        self._connections.pop(task).close()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "an answer at the control socket failed", "exception": error}
            )

    async def _attend(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_LONGEST_LINE_BYTES)
        try:
            await self._serve(reader, writer, Peer.of(connection))
        finally:
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            else:
                writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        try:
            if len(self._connections) > _MOST_CONNECTIONS:
                refusal = RefusedError(f"{_MOST_CONNECTIONS} connections are open already", "try again")
                await _say(writer, refusal.as_json())
                return
            while (line := await _line(reader, writer)) is not None:
                if line.strip():
                    await self._reply(line, writer, peer)
        except (OSError, TimeoutError):
            # The other side is gone or silent: nobody is left to be told.
            pass

    async def _reply(self, line: bytes, writer: asyncio.StreamWriter, peer: Peer) -> None:
        """Whole also to who has sent his end: `nc -N` listens on. Who has gone makes `_say` fail."""
        try:
            # Who has gone is not told any more: an answer without an end must hear of that.
            async with contextlib.aclosing(await self._ask(read_request(line), peer)) as answers:
                async for answer in answers:
                    await _say(writer, answer)
        except RefusedError as refusal:
            await _say(writer, refusal.as_json())

    async def _ask(self, request: Request, peer: Peer) -> AsyncGenerator[dict[str, Any], None]:
        if not acts(request):
            return self._answer(request)
        return audited(self._answer, request, "at the control socket", await peer.facts(), self._log)


async def open_door(
    given: str | None, listen: str, answer: Answer, log: Logger, control: socket.socket | None = None
) -> Door | None:
    """At the path that is given, or where `place` says; `listen` is the proxy's first address.

    `control` listens there already: another proxy hands it over, and has the file until `take_over`.
    StartError if the path that is given cannot be had; without the usual one the proxy runs nevertheless.
    """
    path = given or ""
    try:
        if given is None:
            path = str(Path(place.directory_of_proxy(os.environ, os.getuid()), place.file_name(listen)))
        if control is None:
            return await Door.open(path, answer, log)
        if control.getsockname() == path:
            return Door(control, None, answer, log)
        raise StartError(
            f"control_socket {path}: the running proxy's is {control.getsockname()}",
            "an upgrade keeps every address; to change one, restart",
        )
    except InUseError:
        problem = f"{path}: another proxy answers there"
        hint = "give each proxy a control_socket of its own"
    except NotASocketError:
        problem = f"{path}: there is a file that is not a socket"
        hint = "remove it, or give another path"
    except OSError as error:
        problem = f"{path or error.filename}: {error.strerror or error}"
        hint = "give a path, shorter than 108 bytes, in a directory that this user may write to"
    except ValueError as error:
        problem, hint = str(error), "give control_socket a path of your own"
    if given is not None:
        raise StartError(f"control_socket {problem}", hint)
    log.warning("no control socket: magent's commands cannot reach this proxy", problem=problem, hint=hint)
    return None


async def _line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
    """The next whole line; None at the end, half a line included."""
    try:
        # Not wait_for: in Python 3.11 that loses a cancellation which comes together with the line.
        async with asyncio.timeout(_SILENCE_S):
            return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        await _say(writer, RefusedError(f"a line has at most {_LONGEST_LINE_BYTES} bytes").as_json())
        return None


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(_UNREAD_S):
        await writer.drain()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two proxies that start at once must not both remove the same dead one's file."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
