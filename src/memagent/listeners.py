"""The sockets that clients connect to. The supervisor makes them and keeps them, workers are sent copies.

    TCP            one socket per worker and address (SO_REUSEPORT): the kernel spreads clients over them
    Unix socket    one socket per path, which all workers accept from
    handed over    by systemd or by the proxy before us: dealt to the workers, who share if there are too few

    a change:      look_up ─▶ prepare: what is new is bound ─▶ settle ─▶ the workers are told ─▶ close_left
                                │ StartError: all as before

- A socket that is handed over is taken in place of one of our own. systemd's file is not ours to remove; that
  of the proxy before us is from `take_over` on.
- A replaced worker takes over its predecessor's sockets, and the clients that wait in them.
- Two proxies never share a port by accident: an address on which somebody listens already is refused.
- The file of a Unix socket is removed only if nobody answers on it before, or if it is our own afterwards.
- An address that stays keeps its sockets, whatever it is called and whichever pool it leads to.
- No socket of an address is closed before the address is: clients may wait in it. So where workers have
  become fewer there are more sockets than workers. Those that cannot be dealt evenly are shared by all
  workers, and get no more clients, as the worker that is woken for them is nearly always the same.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from memagent.activation import Activated
from memagent.addresses import Address
from memagent.control import Listener
from memagent.errors import StartError
from memagent.reuseport import give_to_first
from memagent.settings import ListenAddress
from memagent.unix_files import InUseError, NotASocketError, UnixFile, remove_stale

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BACKLOG: Final = 4096
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104
_HOW_TO_FREE: Final = (
    "see who listens there: ss -lntxp; workers outlive a supervisor that was killed, SIGTERM ends them"
)


class Name(NamedTuple):
    """Where a socket listens: its family, and the address in that family's form."""

    family: int
    sockaddr: Any


class Sought(NamedTuple):
    """An address that is configured, what it means, and the pool whose it is."""

    address: ListenAddress
    pool: str
    names: tuple[Name, ...]


@dataclass(eq=False, slots=True)
class _Group:
    """The sockets of one address. `file`: the Unix socket's that is ours to remove, or will be.

    `in_use`: so many of the sockets, the first ones, get new clients; None: all, nobody has said otherwise.
    """

    name: Name
    sockets: list[socket.socket] = field(default_factory=list)
    file: UnixFile | None = None
    is_file_to_come: bool = False
    in_use: int | None = None

    @property
    def shown(self) -> str:
        return str(Address.of_name(self.name.sockaddr))

    def of_worker(self, worker: int, workers: int) -> list[socket.socket]:
        """As many for each as can be, and the rest is for all."""
        n = len(self.sockets)
        if n < workers:
            return [self.sockets[worker % n]] if n else []
        whole = self._dealt_evenly(workers)
        return self.sockets[worker:whole:workers] + self.sockets[whole:]

    def _dealt_evenly(self, workers: int) -> int:
        n = len(self.sockets)
        return n if n < workers else n - n % workers

    def spread(self, workers: int) -> None:
        """New clients come to those that are dealt evenly, where the kernel can do that."""
        wanted = self._dealt_evenly(workers)
        is_so = wanted == len(self.sockets) if self.in_use is None else wanted == self.in_use
        if not is_so and self.may_grow:
            with contextlib.suppress(OSError):
                give_to_first(self.sockets[0], wanted)
                self.in_use = wanted

    @property
    def may_grow(self) -> bool:
        """Is it one that lets others of ours be bound beside it?"""
        if self.name.family == socket.AF_UNIX or not self.sockets:
            return False
        return bool(self.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))

    def bind_one_more(self) -> None:
        each = _tcp_socket(self.name.family, shared=True)
        try:
            each.bind(self.name.sockaddr)
            each.listen(_BACKLOG)
        except BaseException:
            each.close()
            raise
        self.sockets.append(each)

    def remove_file(self) -> None:
        if self.file is not None:
            self.file.remove()
            self.file = None

    def close(self) -> None:
        for each in self.sockets:
            each.close()
        self.sockets.clear()


class _Seat(NamedTuple):
    """An address as it is configured, and its sockets."""

    given: str
    pool: str
    group: _Group


@dataclass(slots=True)
class Change:
    """What `prepare` has made: to be given to `settle`, or to `abandon`."""

    seats: list[_Seat] = field(default_factory=list)
    new: list[_Group] = field(default_factory=list)

    def abandon(self) -> None:
        for group in self.new:
            group.close()
            group.remove_file()


class Listeners:
    """All listening sockets of a proxy, for so many `workers`.

    `owner`: the uid and gid that Unix sockets are given to; `private`: nobody else may connect there.
    Errors name the `setting`.
    """

    def __init__(
        self,
        workers: int = 1,
        owner: tuple[int, int] | None = None,
        setting: str = "listen",
        private: bool = False,
    ) -> None:
        self._workers = workers
        self._owner = owner
        self._setting = setting
        self._private = private
        self._seats: list[_Seat] = []
        self._left: list[_Group] = []
        self._stays = ""  # why they do not change any more

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
        """`listen`: addresses by the pool whose they are.

        What `activated` has for these addresses is ours from now on. StartError if an address cannot be had.
        """
        listeners = cls(workers, owner, setting, private)
        listeners.settle(listeners.prepare(listeners.look_up(listen), activated))
        return listeners

    # ------------------------------------------------------------ what there is

    @property
    def addresses(self) -> list[str]:
        """As they are shown, in the order of the configuration."""
        return [seat.group.shown for seat in self._seats]

    def of_worker(self, worker: int) -> tuple[Listener, ...]:
        """None for who is one too many, or not one of them yet."""
        if worker >= self._workers:
            return ()
        return tuple(
            Listener(each.fileno(), seat.group.shown, seat.pool)
            for seat in self._seats
            for each in seat.group.of_worker(worker, self._workers)
        )

    def sockets(self) -> list[socket.socket]:
        """Of the first worker, or of whoever is the only one to accept."""
        return [each for seat in self._seats for each in seat.group.of_worker(0, self._workers)]

    def all(self) -> list[socket.socket]:
        """Of all workers, each once."""
        return [each for seat in self._seats for each in seat.group.sockets]

    @property
    def files(self) -> tuple[str, ...]:
        """Of Unix sockets, those that we remove at the end."""
        return tuple(seat.group.file.path for seat in self._seats if seat.group.file is not None)

    # ------------------------------------------------------------ other addresses

    def look_up(self, listen: Mapping[str, Sequence[ListenAddress]]) -> list[Sought]:
        """What addresses mean. May wait for a name server, and changes nothing; StartError."""
        return [
            Sought(address, pool, self._names_of(address))
            for pool, addresses in listen.items()
            for address in addresses
        ]

    def _names_of(self, address: ListenAddress) -> tuple[Name, ...]:
        if known := tuple(seat.group.name for seat in self._seats if seat.given == str(address)):
            return known
        if address.path is not None:
            return (Name(socket.AF_UNIX, address.path),)
        try:
            found = socket.getaddrinfo(
                address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise self._start_error(address, error) from None
        return tuple(dict.fromkeys(Name(family, sockaddr) for family, *_, sockaddr in found))

    def check_free(self) -> None:
        """StartError: other workers cannot accept now."""
        if self._stays:
            raise StartError(f"{self._setting}: {self._stays}")

    def prepare(self, sought: Sequence[Sought], activated: Activated | None = None) -> Change:
        """Bind what is new. StartError: nothing has changed. Nobody accepts there before `settle`."""
        groups = {seat.group.name: seat.group for seat in self._seats}
        wanted = {name for each in sought for name in each.names}
        if wanted != groups.keys():
            self.check_free()
        leaving = [name for name in groups if name not in wanted]
        change = Change()
        try:
            for address, pool, names in sought:
                for name in names:
                    group = groups.get(name)
                    if group is None:
                        group = self._open(address, name, leaving, activated or Activated(), change)
                    elif any(seat.group is group for seat in change.seats):
                        raise self._in_use(str(address))
                    change.seats.append(_Seat(str(address), pool, group))
        except BaseException:
            change.abandon()
            raise
        return change

    def settle(self, change: Change) -> None:
        """From now on it is so. What has left is ours until `close_left`, so that no client is lost that
        waits in a socket of a worker which has not heard of it yet.
        """
        kept = {id(seat.group) for seat in change.seats}
        left = [seat.group for seat in self._seats if id(seat.group) not in kept]
        self._seats = change.seats
        for group in left:
            group.remove_file()
        self._left += left

    @property
    def workers(self) -> int:
        """So many accept."""
        return self._workers

    def share_out(self, workers: int) -> None:
        """From now on among so many. OSError: they share what there is, as there are no more files."""
        self._workers = workers
        for group in (seat.group for seat in self._seats):
            while group.may_grow and len(group.sockets) < workers:
                group.bind_one_more()
            group.spread(workers)

    def close_left(self) -> None:
        """The workers know, and take who waits there before they close theirs."""
        for group in self._left:
            group.close()
        self._left.clear()

    # ------------------------------------------------------------ from one proxy to the next

    def take_over(self) -> None:
        """What was handed over is ours from now on: its files, and how clients are spread over it."""
        for group in (seat.group for seat in self._seats):
            group.spread(self._workers)
            if group.is_file_to_come:
                group.file, group.is_file_to_come = UnixFile.at(group.name.sockaddr), False

    def pause(self) -> None:
        """They are as they are until `resume`: another process is about to have them."""
        self._stays = "the addresses are being handed over to a new version"

    def resume(self) -> None:
        """It does not come to that."""
        self._stays = ""

    def forget(self) -> None:
        """Another process has them now and cares for the files."""
        for seat in self._seats:
            seat.group.file = None

    def close(self) -> None:
        """No client can connect any more; a worker that holds a socket too closes its own."""
        self._stays = "this process accepts no clients any more"
        self.close_left()
        for seat in self._seats:
            seat.group.close()
            seat.group.remove_file()

    # ------------------------------------------------------------ opening

    def _open(
        self,
        address: ListenAddress,
        name: Name,
        leaving: Sequence[Name],
        activated: Activated,
        change: Change,
    ) -> _Group:
        group = _Group(name)
        change.new.append(group)
        try:
            if found := activated.claim(*name):
                group.sockets += found
                # of several the proxy before us may have said something; systemd has one for an address
                group.in_use = 0 if len(found) > 1 else None
                group.is_file_to_come = name.sockaddr in activated.files
                self._check_private(name)
            elif name.family == socket.AF_UNIX:
                self._bind_unix(group, name.sockaddr)
            else:
                self._bind_tcp(group, leaving)
        except OSError as error:
            raise self._start_error(address, error) from None
        return group

    def _check_private(self, name: Name) -> None:
        if self._private and name.family == socket.AF_UNIX and os.stat(name.sockaddr).st_mode & _OTHERS:
            problem = f"{self._setting} unix:{name.sockaddr}: others may connect to systemd's socket"
            raise StartError(problem, "write SocketMode=0600 in the socket unit")

    def _bind_tcp(self, group: _Group, leaving: Sequence[Name]) -> None:
        family, sockaddr = group.name
        if not any(_overlap(group.name, other) for other in leaving):
            # With SO_REUSEPORT we could join any other process of this user; this trial cannot.
            with _tcp_socket(family, shared=False) as trial:
                trial.bind(sockaddr)
                group.name = Name(family, trial.getsockname())
        for _ in range(self._workers):
            group.bind_one_more()

    def _bind_unix(self, group: _Group, path: str) -> None:
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
        group.sockets.append(each)
        before = os.umask(0o177) if self._private else None
        try:
            each.bind(path)
        finally:
            if before is not None:
                os.umask(before)
        group.file = UnixFile.at(path)
        if self._owner is not None:
            os.chown(path, *self._owner)
        each.listen(_BACKLOG)

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


def _overlap(one: Name, other: Name) -> bool:
    """Is one of two the port of the other at every address?"""
    if one.family != other.family or one.family == socket.AF_UNIX:
        return False
    is_any = one.sockaddr[0] in _ANY or other.sockaddr[0] in _ANY
    return is_any and bool(one.sockaddr[1] == other.sockaddr[1])


def _tcp_socket(family: int, shared: bool) -> socket.socket:
    each = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        # So that 0.0.0.0 and [::] can both be listened on.
        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return each
