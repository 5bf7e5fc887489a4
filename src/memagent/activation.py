"""Listening sockets that another has made and handed over: systemd (LISTEN_FDS), for a memagent.socket unit,
or the proxy that this one takes over from (see `takeover`).

    take ─▶ sockets ─▶ `Listeners.bind` claims what `listen` and `admin_listen` name ─▶ none may be left

The variables are for this process alone: workers are told of their sockets over the control channel.
"""

import os
import socket
from collections.abc import Collection, Iterable, MutableMapping
from typing import Any, Final

from memagent.addresses import Address
from memagent.errors import StartError

_FIRST_FD: Final = 3
_MISMATCH: Final = "make the socket unit and the settings say the same, letter by letter"
_HINT: Final = "a socket unit for memagent has only ListenStream= and Accept=no"


class Activated:
    """Sockets that listen already and that nobody has claimed yet.

    `files`: paths of Unix sockets whose files go with the sockets; what systemd has made stays systemd's.
    """

    def __init__(
        self,
        sockets: Iterable[socket.socket] = (),
        giver: str = "systemd",
        hint: str = _MISMATCH,
        files: Collection[str] = (),
    ) -> None:
        self._sockets = list(sockets)
        self._giver = giver
        self._hint = hint
        self.files = files

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> "Activated":
        """What was handed to this process; the variables go out of `environ`. StartError if it is not fit."""
        count = environ.pop("LISTEN_FDS", "")
        names = environ.pop("LISTEN_FDNAMES", "").split(":")
        # Another's variables, inherited through it, say nothing of the descriptors that we have.
        if environ.pop("LISTEN_PID", "") != str(pid) or not (count.isascii() and count.isdigit()):
            return cls()
        taken = cls()
        try:
            for index in range(int(count)):
                name = names[index] if index < len(names) else ""
                taken._sockets.append(_listening(_FIRST_FD + index, name))
        except BaseException:
            taken.close()
            raise
        return taken

    def claim(self, family: int, sockaddr: Any) -> list[socket.socket]:
        """Those that listen there; they are the caller's from now on."""
        found = [each for each in self._sockets if (each.family, each.getsockname()) == (family, sockaddr)]
        for each in found:
            self._sockets.remove(each)
        return found

    def check_none_left(self) -> None:
        """StartError: somebody would connect, and nobody answer."""
        if self._sockets:
            left = ", ".join(str(Address.of_name(each.getsockname())) for each in self._sockets)
            raise StartError(
                f"{self._giver} hands over sockets that neither listen nor admin_listen names: {left}",
                self._hint,
            )

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets.clear()


def _listening(fd: int, name: str) -> socket.socket:
    where = f"socket {fd} ({name}) from systemd" if name else f"socket {fd} from systemd"
    try:
        os.set_inheritable(fd, False)
        found = socket.socket(fileno=fd)
    except OSError as error:
        raise StartError(f"{where}: {error.strerror}", _HINT) from None
    is_stream = found.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    is_stream = is_stream and found.type == socket.SOCK_STREAM
    if not is_stream or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.close()
        raise StartError(f"{where}: nobody can connect to it", _HINT)
    found.setblocking(False)
    return found
