"""Messages between the supervisor and its workers.

    to workers:   Start, Accept, Reload, Addresses, Hold, Replace, Flush, FlushPool, Adopt, Taps, ReopenLog,
                  AcceptNoMore, Drain, Stop
    from workers: Ready, AcceptsNoMore, Reloaded, Gone, Resolve, StateChange, Flushed, Adopted, Log,
                  DrainingDone

One SOCK_SEQPACKET socket pair per worker, one JSON object per packet; an object too large for a packet
travels in several, "+" before each piece but the last and "=" before that.

- Neither side waits for the other: sending queues what the socket does not take, and the queue is bounded.
- A packet that makes no sense is counted, described and dropped; it never raises.
- `closed` is all that happens when the other side has gone: a worker whose supervisor has died goes on.
- The `fds` of a message are file descriptors that travel with it: whoever receives it has copies, and finds
  their numbers there. They are his to close.
"""

import array
import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from memagent.plain import kinds_of, read_one, write_one

_PACKET_BYTES: Final = 32 * 1024  # well below the smallest socket buffer that Linux gives
_LARGEST_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_LONGEST_QUEUE: Final = 10_000
_MOST_FDS: Final = 250  # in a packet: Linux takes 253
_INT_BYTES: Final = array.array("i").itemsize


@dataclass(frozen=True)
class Listener:
    """A listening socket. `number`: no other one has it meanwhile; `pool`: whose it is, "" of all with
    prefixes.
    """

    number: int
    address: str
    pool: str = ""


@dataclass(frozen=True)
class Start:
    """The first message: everything that a worker needs.

    `numbers` of the servers and their `addresses`, in the order of the configuration: IP addresses, none for
    a Unix socket or a name not resolved yet; `pools`: the numbers of the pools, in that order too. `fds` are
    the sockets of `listeners`. Without `accept` the worker gets ready and takes no client before it hears
    Accept. `version` is the supervisor's: a new worker is of the version that is installed by then.
    """

    config: dict[str, Any]
    worker: int
    segment_fd: int
    listeners: tuple[Listener, ...]
    numbers: tuple[int, ...]
    addresses: tuple[tuple[str, ...], ...]
    pools: tuple[int, ...]
    fds: tuple[int, ...]
    accept: bool = True
    version: str = ""
    type: Literal["start"] = "start"


@dataclass(frozen=True)
class Reload:
    """From now on it is so; as in `Start`, but that `fds` are of those `listeners` alone that were not in the
    message before. Answered by Reloaded, and by Gone for each server that left.
    """

    generation: int
    config: dict[str, Any]
    listeners: tuple[Listener, ...]
    numbers: tuple[int, ...]
    addresses: tuple[tuple[str, ...], ...]
    pools: tuple[int, ...]
    fds: tuple[int, ...]
    type: Literal["reload"] = "reload"


@dataclass(frozen=True)
class Addresses:
    """What a server's name means now; the answer to Resolve, and sent when it has changed."""

    server: int
    addresses: tuple[str, ...]
    type: Literal["addresses"] = "addresses"


@dataclass(frozen=True)
class Hold:
    """Exactly these servers are out of service by an operator's wish: finish what is under way, ask no more.

    Said when it changes and again every few seconds: a worker whose loop has stopped is found out by it.
    """

    servers: tuple[int, ...]
    type: Literal["hold"] = "hold"


@dataclass(frozen=True)
class Replace:
    """A server is another machine from now on; what that has is flushed, unless `keep_data` says so."""

    server: int
    address: str
    addresses: tuple[str, ...]
    keep_data: bool
    type: Literal["replace"] = "replace"


@dataclass(frozen=True)
class Flush:
    """A server that is down may have what it must not have: flush it before it is used again."""

    server: int
    type: Literal["flush"] = "flush"


@dataclass(frozen=True)
class FlushPool:
    """Forget everything on every server of a pool. Answered by `Flushed` with this number."""

    number: int
    pool: str
    type: Literal["flush_pool"] = "flush_pool"


@dataclass(frozen=True)
class Adopt:
    """The worker in this place is dead: see to what it had under way. Answered by Adopted, as long as that
    has not come nobody else may write where the dead one has.
    """

    worker: int
    type: Literal["adopt"] = "adopt"


@dataclass(frozen=True)
class TapFilter:
    """Requests that somebody wants to see; `server` None and empty texts: any. At most so many a second."""

    number: int
    prefix: str
    server: int | None
    verb: str
    per_s: int


@dataclass(frozen=True)
class Taps:
    """There are exactly these taps. Said when it changes and again now and then, for workers that are new."""

    filters: tuple[TapFilter, ...]
    type: Literal["taps"] = "taps"


@dataclass(frozen=True)
class ReopenLog:
    """The log's file was moved away: go on in the one that has its name now."""

    type: Literal["reopen_log"] = "reopen_log"


@dataclass(frozen=True)
class Accept:
    """Another proxy has handed its listening sockets over: take clients from them."""

    type: Literal["accept"] = "accept"


@dataclass(frozen=True)
class AcceptNoMore:
    """Another proxy has the listening sockets too, and who waits in them. Clients that are here may stay.

    Answered by AcceptsNoMore.
    """

    type: Literal["accept_no_more"] = "accept_no_more"


@dataclass(frozen=True)
class Drain:
    """Accept no more, finish what is under way, then say DrainingDone and exit with 0."""

    type: Literal["drain"] = "drain"


@dataclass(frozen=True)
class Stop:
    """Exit now."""

    type: Literal["stop"] = "stop"


@dataclass(frozen=True)
class Ready:
    """The worker accepts clients."""

    type: Literal["ready"] = "ready"


@dataclass(frozen=True)
class AcceptsNoMore:
    """Its clients do not become more, from now on."""

    type: Literal["accepts_no_more"] = "accepts_no_more"


@dataclass(frozen=True)
class Reloaded:
    """What `Reload` said is so."""

    generation: int
    type: Literal["reloaded"] = "reloaded"


@dataclass(frozen=True)
class Gone:
    """A server that is configured no more: nothing of it is left in this worker."""

    server: int
    type: Literal["gone"] = "gone"


@dataclass(frozen=True)
class Resolve:
    """The worker could not reach a server: does its name mean another address by now?"""

    server: int
    type: Literal["resolve"] = "resolve"


@dataclass(frozen=True)
class StateChange:
    """A worker takes a server for something else than before, in the outage that it has joined."""

    server: int
    state: Literal["up", "down", "returning", "warming"]
    reason: str
    outage: int = 0
    emptied: bool = False
    journal_keys: int = 0
    type: Literal["state_change"] = "state_change"


@dataclass(frozen=True)
class Flushed:
    """What a client would have been answered to a flush_all of this pool alone."""

    number: int
    reply: str
    type: Literal["flushed"] = "flushed"


@dataclass(frozen=True)
class Adopted:
    """What `Adopt` asks for has begun, and readers can rely on this worker's marks."""

    worker: int
    type: Literal["adopted"] = "adopted"


@dataclass(frozen=True)
class Log:
    """A line for the log."""

    level: Literal["debug", "info", "warning", "error"]
    text: str
    type: Literal["log"] = "log"


@dataclass(frozen=True)
class DrainingDone:
    """Nothing is under way any more; the worker is about to exit."""

    type: Literal["draining_done"] = "draining_done"


ToWorker = (
    Start
    | Accept
    | Reload
    | Addresses
    | Hold
    | Replace
    | Flush
    | FlushPool
    | Adopt
    | Taps
    | ReopenLog
    | AcceptNoMore
    | Drain
    | Stop
)
FromWorker = (
    Ready | AcceptsNoMore | Reloaded | Gone | Resolve | StateChange | Flushed | Adopted | Log | DrainingDone
)

_TO_WORKER: Final[Mapping[str, type[ToWorker]]] = kinds_of(ToWorker)
_FROM_WORKER: Final[Mapping[str, type[FromWorker]]] = kinds_of(FromWorker)

Sent = TypeVar("Sent")
Received = TypeVar("Received")


class _Packet(NamedTuple):
    """`fds` are copies, closed once it is sent."""

    text: bytes
    fds: Sequence[int]


@dataclass(slots=True, eq=False)
class Channel(Generic[Sent, Received]):
    """One end. Watch `fileno()` for reading always, and for writing while `wants_write`."""

    _socket: socket.socket
    _receives: Mapping[str, type[Received]]
    closed: bool = False
    bad_packets: int = 0
    dropped_messages: int = 0
    last_problem: str = ""
    _queue: deque["_Packet"] = field(default_factory=deque)
    _pieces: list[bytes] = field(default_factory=list)
    _fds: list[int] = field(default_factory=list)  # that came with the pieces

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._queue) and not self.closed

    def send(self, message: Sent) -> bool:
        """At once or later; False if never: the other side has gone, or has not read for very long."""
        try:
            packets = _packets(write_one(message), getattr(message, "fds", ()))
        except (ValueError, OSError) as error:
            # A text that is no UTF-8, or no room for one more file.
            self.dropped_messages += 1
            self.last_problem = str(error)
            return False
        if self.closed or len(self._queue) + len(packets) > _LONGEST_QUEUE:
            _close_all(fd for packet in packets for fd in packet.fds)
            self.dropped_messages += 1
            return False
        self._queue.extend(packets)
        self.flush()
        return not self.closed

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        while self._queue and not self.closed:
            packet = self._queue[0]
            rights = array.array("i", packet.fds)
            given = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            try:
                self._socket.sendmsg([packet.text], given, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except InterruptedError:
                continue
            except OSError as error:
                self._lost(error)
                return
            self._queue.popleft()
            _close_all(packet.fds)

    def receive(self) -> list[Received]:
        """All messages that have arrived; sets `closed` once the other side has gone."""
        messages: list[Received] = []
        while not self.closed:
            try:
                packet, given, flags, _ = self._socket.recvmsg(
                    2 * _PACKET_BYTES,
                    socket.CMSG_SPACE(_MOST_FDS * _INT_BYTES),
                    socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError as error:
                self._lost(error)
                break
            self._fds += _fds_in(given)
            if not packet:
                # No message is empty, so this is the end.
                self._lost(None)
            elif flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                self._bad("a packet is longer than any of ours, or there is no room for its files")
            elif (whole := self._join(packet)) is not None:
                try:
                    messages.append(self._with_fds(read_one(self._receives, whole, strict=True)))
                except ValueError as error:
                    self._bad(str(error))
        return messages

    def _with_fds(self, message: Received) -> Received:
        """ValueError if they are not as many as it says."""
        n = len(getattr(message, "fds", ()))
        if n != len(self._fds):
            raise ValueError(f"{len(self._fds)} files came with a message that has {n}")
        if not n:
            return message
        fds, self._fds = tuple(self._fds), []
        return replace(message, fds=fds)  # type: ignore[type-var]

    def close(self) -> None:
        self._drop()
        self._socket.close()

    def _join(self, packet: bytes) -> bytes | None:
        """The whole message that this packet ends, or None if more is to come."""
        mark = packet[:1]
        if mark not in (b"+", b"="):
            if self._pieces:
                self._bad("a message breaks off in the middle")
            return packet
        self._pieces.append(packet[1:])
        if mark == b"+":
            if len(self._pieces) * _PACKET_BYTES > _LARGEST_MESSAGE_BYTES:
                self._bad("a message has no end")
            return None
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole

    def _bad(self, problem: str) -> None:
        self._forget_pieces()
        self.bad_packets += 1
        self.last_problem = problem

    def _forget_pieces(self) -> None:
        self._pieces.clear()
        _close_all(self._fds)
        self._fds = []

    def _drop(self) -> None:
        self.closed = True
        for packet in self._queue:
            _close_all(packet.fds)
        self._queue.clear()
        self._forget_pieces()

    def _lost(self, error: OSError | None) -> None:
        self._drop()
        if error is not None:
            self.last_problem = error.strerror or str(error)


WorkerEnd = Channel[FromWorker, ToWorker]
SupervisorEnd = Channel[ToWorker, FromWorker]


def connect(fd: int) -> WorkerEnd:
    """The worker's end, from the number that --control-fd gives. OSError if there is no such socket."""
    return Channel(socket.socket(fileno=fd), _TO_WORKER)


def pair() -> tuple[SupervisorEnd, socket.socket]:
    """The supervisor's end, and the socket whose file descriptor a worker inherits."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(ours, _FROM_WORKER), theirs


def _packets(message: bytes, fds: Sequence[int]) -> list[_Packet]:
    """With copies of `fds`, so that whoever sends them may close his at once. OSError."""
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError:
        _close_all(copies)
        raise
    if len(message) <= _PACKET_BYTES and len(fds) <= _MOST_FDS:
        return [_Packet(message, copies)]
    most = max(1, min(_PACKET_BYTES, _MOST_FDS * len(message) // max(1, len(fds))))
    pieces = [message[at : at + most] for at in range(0, len(message), most)]
    marks = [b"+"] * (len(pieces) - 1) + [b"="]
    return [
        _Packet(mark + piece, copies[at * _MOST_FDS : (at + 1) * _MOST_FDS])
        for at, (mark, piece) in enumerate(zip(marks, pieces, strict=True))
    ]


def _fds_in(given: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in given:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    return found.tolist()


def _close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
