"""The files of Unix sockets: what a dead process left is removed, what a living one uses is not."""

import contextlib
import os
import socket
import stat
from dataclasses import dataclass
from typing import Self


class InUseError(Exception):
    """Somebody listens there."""


class NotASocketError(Exception):
    """There is a file of another kind, which is nobody's to remove but the user's."""


@dataclass(frozen=True, slots=True)
class UnixFile:
    """A socket's file as we made it."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> Self:
        made = os.stat(path)
        return cls(path, made.st_dev, made.st_ino)

    def remove(self) -> None:
        """Unless it is another's by now."""
        with contextlib.suppress(OSError):
            now = os.stat(self.path)
            if (now.st_dev, now.st_ino) == (self.device, self.inode):
                os.unlink(self.path)


def remove_stale(path: str) -> None:
    """Make room at `path`. InUseError and NotASocketError if there is none to be made; OSError."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise NotASocketError(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as trial:
        try:
            trial.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            raise InUseError(path) from None
        else:
            raise InUseError(path)
