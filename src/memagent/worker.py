"""One worker process: build the topology, run the loop, tell the supervisor, obey it.

    exec ─▶ wait for Start ─▶ build ─▶ adopt ─▶ Ready ─▶ loop.run ──Drain, SIGTERM─▶ draining ─▶ DrainingDone
                                                            │
                                                            └── the supervisor has gone: say so, and go on;
                                                                one that has taken no client yet ends

`adopt`: what the worker that had its place before has left under way, unless another one has seen to that.
What is decided per request is compiled (`_core`, `_net`); here is what happens now and then.
"""

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal

from memagent import __version__, control, stats
from memagent._core.buffer import Memory
from memagent._core.doubt import adopt
from memagent._core.exchange import flush
from memagent._core.metrics import Block
from memagent._core.observer import Observer, Tap
from memagent._core.repair import refill
from memagent._core.routes import Routes
from memagent._core.server import Server
from memagent._core.session import Context
from memagent._core.turn import Turn
from memagent._net.listener import Listener
from memagent._net.loop import Loop
from memagent._net.server import Endpoint
from memagent.addresses import Address
from memagent.control import (
    Accept,
    AcceptNoMore,
    AcceptsNoMore,
    Addresses,
    Adopt,
    Adopted,
    Drain,
    DrainingDone,
    Flush,
    Flushed,
    FlushPool,
    Gone,
    Hold,
    Ready,
    Reload,
    Reloaded,
    ReopenLog,
    Replace,
    Resolve,
    Start,
    StateChange,
    Stop,
    Taps,
    ToWorker,
)
from memagent.counters import WORKER_COUNTERS, WORKER_INDEX
from memagent.segment import Segment
from memagent.told import told, told_at
from memagent.topology import Topology
from memagent.worker_log import WorkerLog

if TYPE_CHECKING:
    from memagent.settings import ServerConfig

_State = Literal["up", "down", "returning", "warming"]

# What clients are told: the protocol's level first, because clients decide by it, then who answers.
_VERSION: Final = f"1.6.0-memagent-{__version__}"


class Worker:
    """Everything of one worker that is not compiled."""

    def __init__(self, channel: control.WorkerEnd, start: Start) -> None:
        self._channel = channel
        self._supervisor_version = start.version
        self._config = told(start.config, start.version)
        self._number = start.worker
        self._is_needed = start.accept
        self._log = WorkerLog(channel, start.worker)
        self._segment = Segment.attach(start.segment_fd)
        self._configured: dict[int, ServerConfig] = {}
        self._endpoints: dict[int, Endpoint] = {}
        self._blocks = [self._worker_block(number) for number in range(self._segment.places)]
        self._block = self._blocks[self._number]
        turn, memory = Turn(), Memory(0)
        self._topology = Topology(self._segment, self._number, turn, memory)
        self._topology.settle(self._config, start.numbers, start.pools)
        seed = int.from_bytes(os.urandom(8))
        self._observer = Observer(
            turn,
            self._segment.hot_keys(self._number, seed),
            self._segment.slow_log(self._number),
            self._segment.tapped(self._number),
            seed=seed,
        )
        self._context = Context(
            turn,
            memory,
            self._topology.timers,
            self._block,
            answer_stats=self._answer_stats,
            version=_VERSION.encode(),
            observer=self._observer,
        )
        self._routes: dict[str, Routes] = {}
        self._listeners: dict[int, Listener] = {}
        self._loop = Loop(self._context, self._block)
        self._loop.on_gone = self._server_gone
        self._loop.accepting = start.accept
        self._listen(start.listeners, start.fds)
        self._apply(start.numbers, start.addresses)
        self._adopt(self._number)
        self._watched = self._loop.poller.watch_readable(channel.fileno(), self._told)
        self._told_to_end = False
        self._wake, self._wakes = socket.socketpair()
        self._loop.poller.watch_readable(self._wake.fileno(), self._signalled)

    def run(self, told_already: Sequence[ToWorker] = ()) -> int:
        """Serve until told to end; the exit code. `told_already` came with Start."""
        self._wake.setblocking(False)
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._note_signal)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        # Nothing on the way of a request makes cycles; looking for them would stop traffic.
        gc.collect()
        gc.freeze()
        gc.disable()
        self._channel.send(Ready())
        for message in told_already:
            self._obey(message)
        self._loop.run()
        self._log.close()
        self._channel.send(DrainingDone())
        return 0

    def _worker_block(self, number: int) -> Block:
        offset = self._segment.worker_offset_slots(number)
        return Block(self._segment.buffer, offset, len(WORKER_COUNTERS))

    def _reload(self, message: Reload) -> None:
        self._config = told(message.config, self._supervisor_version)
        self._segment.fit()
        left = self._topology.settle(self._config, message.numbers, message.pools)
        forgotten = {self._configured[server.index].address for server in left if _has_missed(server)}
        for server in left:
            del self._configured[server.index]
            self._endpoints.pop(server.index).leave("it is not configured any more")
        self._listen(message.listeners, message.fds)
        known = set(self._endpoints)
        self._apply(message.numbers, message.addresses)
        for number, endpoint in self._endpoints.items():
            if number not in known:
                if self._configured[number].address in forgotten:
                    endpoint.server.owe_flush("what it had missed is not known any more")
                endpoint.connect()
        self._channel.send(Reloaded(message.generation))

    def _apply(self, numbers: Sequence[int], addresses: Sequence[tuple[str, ...]]) -> None:
        """What is configured, but for what the topology knows of it; at the start as at a reload."""
        config = self._config
        self._log.verbose = config.verbose
        self._context.memory.limit_bytes = config.worker_buffer_bytes
        for listener in self._loop.listeners:
            listener.max_connections = config.max_connections
        self._server_facts = stats.server_facts(config.pools, numbers)
        self._observer.configure(hot_keys=config.hot_keys, slow_us=config.slow_ms * 1000)
        now = self._topology.routes(config)
        for name, routes in self._routes.items():
            # clients outlive their address and their pool; without one they are told so
            routes.configure(now.get(name, []))
        self._context.configure(
            max_item_bytes=config.max_item_bytes,
            pause_bytes=config.client_pause_bytes,
            close_bytes=config.client_close_bytes,
        )
        known = dict(zip(numbers, addresses, strict=True))
        for each in config.pools:
            pool = self._topology.pools[each.name]
            servers = zip((*pool.servers, *pool.backups), (*each.servers, *each.backups), strict=True)
            for server, configured in servers:
                self._configured[server.index] = configured
                server.on_change = self._server_changed
                server.on_played = partial(refill, pool, self._block)
                if server.index not in self._endpoints:
                    self._add_endpoint(server, configured, known[server.index])
                self._endpoints[server.index].connect_timeout_us = each.connect_timeout_ms * 1000

    def _add_endpoint(self, server: Server, configured: "ServerConfig", known: tuple[str, ...]) -> None:
        endpoint = Endpoint(
            server,
            self._loop.poller,
            _socket_addresses(configured, known),
            on_connect=self._resolve if configured.path is None and not _is_ip(configured.host) else None,
        )
        self._endpoints[server.index] = endpoint
        self._loop.endpoints.append(endpoint)

    def _listen(self, told: Sequence[control.Listener], fds: Sequence[int]) -> None:
        """There, and nowhere else. `fds` are of those that are new, in their order."""
        new = iter(fds)
        before, self._listeners = self._listeners, {}
        for each in told:
            routes = self._routes.setdefault(each.pool, Routes([]))
            listener = before.pop(each.number, None)
            if listener is None:
                listener = self._open(next(new), routes)
            listener.routes = routes
            self._listeners[each.number] = listener
        for left in before.values():
            self._loop.listen_no_more(left)

    def _open(self, fd: int, routes: Routes) -> Listener:
        copy = socket.socket(fileno=os.dup(fd))
        is_tcp = copy.family != socket.AF_UNIX
        copy.close()
        listener = Listener(self._loop.poller, fd, routes, is_tcp=is_tcp, worker_blocks=self._blocks)
        self._loop.listen(listener)
        return listener

    def _server_gone(self, number: int) -> None:
        # Nobody looks for cycles else, and what is left of it is one.
        gc.collect()
        self._channel.send(Gone(number))

    def _answer_stats(self, words: bytes) -> bytes:
        config = self._config
        facts = stats.facts_now(
            self._segment, _VERSION, config.max_connections, config.workers, self._server_facts
        )
        return stats.render(words.split(), self._segment, facts)

    def _server_changed(self, server: Server, state: _State, reason: str) -> None:
        change = StateChange(server.index, state, reason, server.joined, server.emptied, server.journal.count)
        if not self._channel.send(change):
            self._log.warning(f"server {server.name} is {state}: {reason}")

    def _flushed(self, number: int, reply: bytes) -> None:
        self._channel.send(Flushed(number, reply.decode(errors="backslashreplace").strip()))

    def _resolve(self, server: int) -> None:
        self._channel.send(Resolve(server))

    def _told(self) -> None:
        for message in self._channel.receive():
            self._obey(message)
        if self._channel.bad_packets:
            self._block.add(WORKER_INDEX["control_bad_packets"], self._channel.bad_packets)
            self._log.warning(f"a message from the supervisor makes no sense: {self._channel.last_problem}")
            self._channel.bad_packets = 0
        if self._channel.closed:
            self._loop.poller.unwatch(self._watched)
            if not self._is_needed:
                self._loop.stop()
                return
            self._log.warning("the supervisor has gone, going on without it")
            self._observer.tap([])  # nobody looks any more
            for endpoint in self._endpoints.values():
                endpoint.server.live_places = self._live_places

    def _obey(self, message: ToWorker) -> None:
        match message:
            case Addresses(number, addresses) if number in self._endpoints:
                known = _socket_addresses(self._configured[number], addresses)
                self._endpoints[number].set_addresses(known)
            case Hold(numbers):
                for endpoint in self._endpoints.values():
                    if endpoint.server.index in numbers:
                        endpoint.hold("it is held out of service")
                    elif endpoint.server.held:
                        endpoint.release()
            case Replace(number, address, addresses, keep_data) if number in self._endpoints:
                self._replace(number, address, addresses, keep_data)
            case FlushPool(number, name) if name in self._topology.pools:
                told = partial(self._flushed, number)
                flush(self._topology.pools[name], self._block, self._context.memory, told)
            case Flush(number) if number in self._endpoints:
                self._endpoints[number].server.owe_flush("it may have what it must not have")
            case Reload():
                self._reload(message)
            case Adopt(place) if place != self._number:
                self._adopt(place)
                self._channel.send(Adopted(place))
            case Taps(filters):
                self._observer.tap([_tap(each) for each in filters])
            case ReopenLog() if self._config.log_file is not None:
                self._log.reopen(self._config.log_file)
            case Accept():
                self._is_needed = True
                self._loop.accept()
            case AcceptNoMore():
                self._loop.accept_no_more()
                self._channel.send(AcceptsNoMore())
            case Drain():
                self._drain()
            case Stop():
                self._loop.stop()
            case Start():
                self._log.error("told to start twice")

    def _replace(self, number: int, address: str, addresses: tuple[str, ...], keep_data: bool) -> None:
        moved = self._configured[number] = told_at(self._configured[number], address)
        address_now = str(Address(moved.host, moved.port, moved.path))
        self._server_facts = tuple(
            replace(each, address=address_now) if each.number == number else each
            for each in self._server_facts
        )
        self._endpoints[number].replace(_socket_addresses(moved, addresses), keep_data)

    def _adopt(self, place: int) -> None:
        """The process that was there is dead."""
        pools = list(self._topology.pools.values())
        keys, unnoted = adopt(self._topology.marks_of(place), pools, self._block)
        if keys:
            self._log.info(f"worker {place} died, writes under way are looked into: {keys}")
        if unnoted:
            self._log.warning(
                f"worker {place} died with more writes under way than it could note, {unnoted}: "
                "their copies may differ, magent verify tells"
            )

    def _live_places(self) -> list[int]:
        """Places whose worker lives, in one that has no supervisor any more to ask."""
        return [place for place, pid in enumerate(self._segment.pids()[1:]) if pid and _is_alive(pid)]

    def _drain(self) -> None:
        self._loop.drain(self._config.drain_ms)

    def _note_signal(self, *_: object) -> None:
        # Runs wherever Python code runs next, perhaps in the middle of a request: it may do nothing but this.
        self._told_to_end = True

    def _signalled(self) -> None:
        self._wake.recv(4096)
        if self._told_to_end:
            self._drain()


def _tap(given: control.TapFilter) -> Tap:
    server = -1 if given.server is None else given.server
    return Tap(given.number, given.prefix.encode(), server, given.verb, given.per_s)


def _has_missed(server: Server) -> bool:
    """May it have what another has made old?"""
    return server.has_copies and not server.up


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_ip(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _socket_addresses(server: "ServerConfig", known: tuple[str, ...]) -> list[tuple[int, Any]]:
    """What the socket module wants: the family, and the address in that family's form."""
    if server.path is not None:
        return [(socket.AF_UNIX, server.path)]
    return [
        (socket.AF_INET6 if ":" in address else socket.AF_INET, (address, server.port)) for address in known
    ]


def main() -> int:
    """The process that the supervisor starts."""
    try:
        [_, fd] = sys.argv[1:]
        channel = control.connect(int(fd))
    except (ValueError, OSError):
        sys.exit("memagent.worker: no --control-fd that is a socket: the supervisor starts workers")
    while not channel.closed:
        select.select([channel], [], [])
        messages = channel.receive()
        if messages and isinstance(messages[0], Start):
            return Worker(channel, messages[0]).run(messages[1:])
    return 1


if __name__ == "__main__":
    sys.exit(main())
