"""A worker without the data path: it keeps the contract with the supervisor and tells clients its pid.

STAND_IN says how it misbehaves: a word for all of them, or WORD@FILE while that file exists.
    die            ends with exit code 3 before it is ready
    die_late       ends with exit code 3 once it was ready
    say ...        sends this text as an error, then ends with exit code 3
    hold           does not end when told to drain
    nonsense       sends packets that make no sense, then behaves
    resolve        asks for the addresses of server 0
A client's line is answered: "pid" with the pid, "addresses" with what is known of server 0; "count" counts a
get_hit, "hang" is the last thing that it hears.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
from pathlib import Path

from memagent import control
from memagent._core.metrics import Block
from memagent.control import (
    Addresses,
    Adopt,
    Adopted,
    Drain,
    DrainingDone,
    Log,
    Ready,
    Resolve,
    Start,
    StateChange,
    Stop,
)
from memagent.counters import WORKER_COUNTERS, WORKER_INDEX
from memagent.segment import Segment
from memagent.worker_log import WorkerLog


def behaviour() -> str:
    word, _, file = os.environ.get("STAND_IN", "").partition("@")
    return word if not file or Path(file).exists() else ""


class Worker:
    def __init__(self, control_fd: int) -> None:
        self.channel = control.connect(control_fd)
        self.selector = selectors.DefaultSelector()
        self.selector.register(control_fd, selectors.EVENT_READ, self.told)
        self.listeners: list[socket.socket] = []
        self.addresses: tuple[str, ...] = ()
        self.does = behaviour()
        self.block: Block | None = None
        self.told_to_end = False

    def run(self) -> int:
        wake, wakes = socket.socketpair()
        wakes.setblocking(False)
        self.selector.register(wake, selectors.EVENT_READ, lambda: self.drain())
        signal.set_wakeup_fd(wakes.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        while not self.told_to_end:
            for key, _ in self.selector.select():
                key.data()
            if self.block is not None:
                self.block.add(WORKER_INDEX["loop_turns"])
        return 0

    def told(self) -> None:
        for message in self.channel.receive():
            match message:
                case Start():
                    self.start(message)
                case Addresses(_, addresses):
                    self.addresses = addresses
                case Adopt(place):
                    self.channel.send(Adopted(place))
                case Drain():
                    self.drain()
                case Stop():
                    self.told_to_end = True
        if self.channel.closed:
            self.selector.unregister(self.channel.fileno())
            self.log.warning("the supervisor has gone, going on without it")

    def start(self, message: Start) -> None:
        self.log = WorkerLog(self.channel, message.worker)
        self.addresses = message.addresses[0]
        segment = Segment.attach(message.segment_fd)
        self.block = Block(segment.buffer, segment.worker_offset_slots(message.worker), len(WORKER_COUNTERS))
        if self.does == "die":
            sys.exit(3)
        if self.does.startswith("say "):
            self.channel.send(Log("error", self.does.removeprefix("say ")))
            sys.exit(3)
        for fd in message.fds:
            each = socket.socket(fileno=fd)
            self.listeners.append(each)
            self.selector.register(each, selectors.EVENT_READ, lambda each=each: self.accept(each))
        self.channel.send(Ready())
        if self.does == "die_late":
            sys.exit(3)
        if self.does == "nonsense":
            raw = socket.socket(fileno=os.dup(self.channel.fileno()))
            for packet in (b"nonsense", b'{"type": "resolve", "server": 99}', b"=", b"+"):
                raw.send(packet)
            raw.close()
            self.channel.send(StateChange(0, "down", "connection refused"))
            self.channel.send(StateChange(-1, "down", ""))
        if self.does == "resolve":
            self.channel.send(Resolve(0))

    def accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = listener.accept()
            client.setblocking(True)
            self.selector.register(client, selectors.EVENT_READ, lambda: self.answer(client))

    def answer(self, client: socket.socket) -> None:
        line = b""
        with contextlib.suppress(OSError):
            line = client.recv(100)
        if not line:
            self.selector.unregister(client)
            client.close()
        elif line == b"count\r\n":
            assert self.block is not None
            self.block.add(WORKER_INDEX["get_hits"])
            self.block.add(WORKER_INDEX["curr_connections"])
            client.sendall(b"%d %d\r\n" % (self.block[WORKER_INDEX["get_hits"]], self.block[0]))
        elif line == b"hang\r\n":
            while True:
                signal.pause()
        elif line == b"addresses\r\n":
            client.sendall(" ".join(self.addresses).encode() + b"\r\n")
        else:
            client.sendall(b"%d\r\n" % os.getpid())

    def drain(self) -> None:
        for each in self.listeners:
            self.selector.unregister(each)
            each.close()
        self.listeners.clear()
        if self.does != "hold":
            self.channel.send(DrainingDone())
            self.told_to_end = True


if __name__ == "__main__":
    sys.exit(Worker(int(sys.argv[sys.argv.index("--control-fd") + 1])).run())
