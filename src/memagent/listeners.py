"""The sockets that clients connect to. The supervisor makes them and keeps them, workers inherit them.

    TCP            one socket per worker and address (SO_REUSEPORT): the kernel spreads clients over them
    Unix socket    one socket per path, which all workers accept from
    handed over    by systemd or by the proxy before us: dealt to the workers, who share if there are too few

- A socket that is handed over is taken in place of one of our own. systemd's file is not ours to remove; that
  of the proxy before us is from `take_over` on.
- A replaced worker takes over its predecessor's sockets, and the clients that wait in them.
- Two proxies never share a port by accident: an address on which somebody listens already is refused.
- The file of a Unix socket is removed only if nobody answers on it before, or if it is our own afterwards.
"""

import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from typing import Any, Final

from memagent.activation import Activated
from memagent.addresses import Address
from memagent.control import Listener
from memagent.errors import StartError
from memagent.settings import ListenAddress
from memagent.unix_files import InUseError, NotASocketError, UnixFile, remove_stale

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BACKLOG: Final = 4096
_HOW_TO_FREE: Final = (
    "see who listens there: ss -lntxp; workers outlive a supervisor that was killed, SIGTERM ends them"
)


class Listeners:
    """All listening sockets of a proxy."""

    def __init__(
        self, setting: str = "listen", private: bool = False, activated: Activated | None = None
    ) -> None:
        self._setting = setting
        self._private = private
        self._activated = activated or Activated()
        self._by_worker: list[list[socket.socket]] = []
        self._pools: dict[socket.socket, str] = {}  # whose clients come in there
        self._files: list[UnixFile] = []
        self._files_to_come: list[str] = []
        self.addresses: list[str] = []

    @classmethod
    def bind(
        cls,
        listen: Mapping[str, Sequence[ListenAddress]],
        workers: int,
        owner: tuple[int, int] | None = None,
        setting: str = "listen",
        private: bool = False,
        activated: Activated | None = None,
    ) -> "Listeners":
        """`listen`: addresses by the pool whose they are. `owner`: the uid and gid that Unix sockets are
        given to; `private`: nobody else may connect there.

        What `activated` has for these addresses is ours from now on. StartError if an address cannot be
        had, and names the `setting`.
        """
        listeners = cls(setting, private, activated)
        listeners._by_worker = [[] for _ in range(workers)]
        try:
            for pool, address in ((pool, each) for pool, addresses in listen.items() for each in addresses):
                try:
                    if address.path is not None:
                        listeners._bind_unix(address.path, owner)
                    else:
                        listeners._bind_tcp(address.host or "", address.port)
                except OSError as error:
                    raise listeners._start_error(address, error) from None
                for each in listeners.all():
                    listeners._pools.setdefault(each, pool)
        except BaseException:
            listeners.close()
            raise
        return listeners

    def of_worker(self, worker: int) -> tuple[Listener, ...]:
        return tuple(
            Listener(each.fileno(), _name(each), self._pools[each]) for each in self._by_worker[worker]
        )

    def sockets(self) -> list[socket.socket]:
        """Of the first worker, or of whoever is the only one to accept."""
        return list(self._by_worker[0]) if self._by_worker else []

    def all(self) -> list[socket.socket]:
        """Of all workers, each once."""
        return list({id(each): each for sockets in self._by_worker for each in sockets}.values())

    @property
    def files(self) -> tuple[str, ...]:
        """Of Unix sockets, those that we remove at the end."""
        return tuple(file.path for file in self._files)

    def take_over(self) -> None:
        """The files of what was handed over are ours from now on."""
        self._files += map(UnixFile.at, self._files_to_come)
        self._files_to_come.clear()

    def forget(self) -> None:
        """Another process has them now and cares for the files."""
        self._files.clear()

    def close(self) -> None:
        """No client can connect any more; a worker that holds a socket too closes its own."""
        for each in self.all():
            each.close()
        self._by_worker = [[] for _ in self._by_worker]
        self._pools.clear()
        for file in self._files:
            file.remove()
        self._files.clear()

    def _bind_tcp(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, sockaddr in dict.fromkeys(found):
            if self._claim(family, sockaddr):
                continue
            # With SO_REUSEPORT we could join any other process of this user; this trial cannot.
            with _tcp_socket(family, shared=False) as trial:
                trial.bind(sockaddr)
                actual = trial.getsockname()
            for sockets in self._by_worker:
                each = _tcp_socket(family, shared=True)
                sockets.append(each)
                each.bind(actual)
                each.listen(_BACKLOG)
            self.addresses.append(_name(self._by_worker[0][-1]))

    def _claim(self, family: int, sockaddr: Any) -> bool:
        """Are there sockets for this address already? Each is somebody's, and nobody has none."""
        found = self._activated.claim(family, sockaddr)
        if not found:
            return False
        workers = len(self._by_worker)
        for index in range(max(workers, len(found))):
            self._by_worker[index % workers].append(found[index % len(found)])
        self.addresses.append(_name(found[0]))
        if sockaddr in self._activated.files:
            self._files_to_come.append(sockaddr)
        return True

    def _bind_unix(self, path: str, owner: tuple[int, int] | None) -> None:
        if self._claim(socket.AF_UNIX, path):
            if self._private and os.stat(path).st_mode & _OTHERS:
                problem = f"{self._setting} unix:{path}: others may connect to systemd's socket"
                raise StartError(problem, "write SocketMode=0600 in the socket unit")
            return
        try:
            remove_stale(path)
        except NotASocketError:
            raise StartError(
                f"{self._setting} unix:{path}: there is a file that is not a socket",
                "remove it, or give another path",
            ) from None
        except InUseError:
            raise self._in_use(f"unix:{path}") from None
        each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        for sockets in self._by_worker:
            sockets.append(each)
        before = os.umask(0o177) if self._private else None
        try:
            each.bind(path)
        finally:
            if before is not None:
                os.umask(before)
        self._files.append(UnixFile.at(path))
        if owner is not None:
            os.chown(path, *owner)
        each.listen(_BACKLOG)
        self.addresses.append(_name(each))

    def _in_use(self, where: str) -> StartError:
        return StartError(f"{self._setting} {where}: Address already in use", _HOW_TO_FREE)

    def _start_error(self, address: ListenAddress, error: OSError) -> StartError:
        if isinstance(error, socket.gaierror):
            return StartError(
                f"{self._setting} {address}: {error.strerror}", "give an address of this machine"
            )
        hint: str | None = None
        match error.errno:
            case errno.EADDRINUSE:
                return self._in_use(str(address))
            case errno.EADDRNOTAVAIL:
                hint = "this machine has no such address: see `ip address`"
            case errno.EACCES if address.path is None:
                hint = "a port below 1024 takes root: start it as root and give a user to change to"
        return StartError(f"{self._setting} {address}: {error.strerror}", hint)


def _tcp_socket(family: int, shared: bool) -> socket.socket:
    each = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        # So that 0.0.0.0 and [::] can both be listened on.
        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return each


def _name(each: socket.socket) -> str:
    return str(Address.of_name(each.getsockname()))
