"""Messages between the supervisor and its workers."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent import control
from memagent.control import (
    Addresses,
    Drain,
    DrainingDone,
    Flush,
    Flushed,
    FlushPool,
    FromWorker,
    Hold,
    Listener,
    Log,
    Ready,
    ReopenLog,
    Replace,
    Resolve,
    Start,
    StateChange,
    Stop,
    SupervisorEnd,
    TapFilter,
    Taps,
    ToWorker,
    WorkerEnd,
)
from memagent.settings import Config

Ends = tuple[SupervisorEnd, WorkerEnd]


@pytest.fixture
def ends() -> Iterator[Ends]:
    supervisor, theirs = control.pair()
    worker = control.connect(theirs.detach())
    yield supervisor, worker
    supervisor.close()
    worker.close()


@pytest.fixture
def raw() -> Iterator[tuple[SupervisorEnd, socket.socket]]:
    supervisor, theirs = control.pair()
    yield supervisor, theirs
    supervisor.close()
    theirs.close()


def start(config: dict[str, object]) -> Start:
    addresses = (("10.0.0.1", "::1"), ())
    return Start(config, 3, 9, (Listener(7, "127.0.0.1:11211"),), (0, 1), addresses, (0,), ())


TO_WORKER: list[ToWorker] = [
    start({"workers": 2}),
    Addresses(1, ("10.0.0.2",)),
    Hold((0, 3)),
    Replace(1, "cache-9:11211", ("10.0.0.9",), False),
    Flush(1),
    Taps(()),
    Taps((TapFilter(1, "naïve:", None, "", 100), TapFilter(2, "", 0, "get", 1))),
    FlushPool(7, "main"),
    Drain(),
    ReopenLog(),
    Stop(),
]
FROM_WORKER: list[FromWorker] = [
    Ready(),
    Resolve(2),
    Flushed(7, "OK"),
    StateChange(2, "down", "connection refused"),
    Log("warning", "naïve \n text"),
    DrainingDone(),
]


def test_every_message_arrives_as_it_was_sent(ends: Ends):
    supervisor, worker = ends
    assert all(supervisor.send(message) for message in TO_WORKER)
    assert all(worker.send(message) for message in FROM_WORKER)
    assert worker.receive() == TO_WORKER
    assert supervisor.receive() == FROM_WORKER
    assert worker.receive() == supervisor.receive() == []
    assert not worker.closed
    assert worker.bad_packets == supervisor.bad_packets == 0


def test_a_config_survives_the_journey(ends: Ends):
    supervisor, worker = ends
    config = Config.model_validate(
        {"pools": [{"name": "main", "servers": ["10.0.0.1", "unix:/run/m"], "backups": ["[::1]:5"]}]}
    )
    supervisor.send(start(config.model_dump(mode="json")))
    (message,) = worker.receive()
    assert isinstance(message, Start)
    assert Config.model_validate(message.config) == config


def test_a_message_larger_than_the_socket_buffer_arrives_whole(ends: Ends):
    supervisor, worker = ends
    large = start({"text": "+=" * 2_000_000})
    assert supervisor.send(large)
    supervisor.send(Drain())
    assert supervisor.wants_write
    received: list[ToWorker] = []
    for _ in range(10_000):
        received += worker.receive()
        if len(received) == 2:
            break
        supervisor.flush()
    assert received == [large, Drain()]
    assert not supervisor.wants_write


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


@pytest.mark.parametrize("n", [1, 3, 700])
def test_file_descriptors_travel_with_their_message(ends: Ends, tmp_path: Path, n: int):
    supervisor, worker = ends
    files = [(tmp_path / str(number)).open("w") for number in range(n)]
    sent = tuple(file.fileno() for file in files)
    before = len(os.listdir("/proc/self/fd"))
    for config in ({}, {"text": "x" * 100_000}):
        message = replace(start(config), fds=sent)
        assert supervisor.send(message)
        received: list[ToWorker] = []
        while not received:
            received += worker.receive()
            supervisor.flush()
        [got] = received
        assert isinstance(got, Start)
        assert replace(got, fds=sent) == message
        assert [inode(fd) for fd in got.fds] == [inode(fd) for fd in sent]
        assert not any(os.get_inheritable(fd) for fd in got.fds)
        for fd in got.fds:
            os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before
    for file in files:
        file.close()


def test_file_descriptors_that_nobody_gets_are_closed(ends: Ends):
    supervisor, worker = ends
    before = len(os.listdir("/proc/self/fd"))
    message = replace(start({"text": "x" * 4_000_000}), fds=(0, 1, 2))
    assert supervisor.send(message)
    assert supervisor.wants_write
    worker.receive()
    assert len(os.listdir("/proc/self/fd")) > before
    supervisor.close()
    worker.close()
    assert supervisor.send(message) is False
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_file_descriptors_that_a_message_does_not_have_are_closed(raw: tuple[SupervisorEnd, socket.socket]):
    supervisor, other = raw
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(other, [b'{"type": "ready"}'], [0, 1])
    assert supervisor.receive() == []
    assert supervisor.last_problem == "2 files came with a message that has 0"
    assert len(os.listdir("/proc/self/fd")) == before
    other.send(b'{"type": "ready"}')
    assert supervisor.receive() == [Ready()]


BAD = [
    b"x",
    b"{}",
    b"[]",
    b"null",
    b'{"type": "unknown"}',
    b'{"type": "drain"}',
    b'{"type": "resolve"}',
    b'{"type": "resolve", "server": "2"}',
    b'{"type": "resolve", "server": 2, "more": 1}',
    b'{"type": "log", "level": "shout", "text": ""}',
    b"\xff\xfe",
    b"=",
    b"={}",
    b'{"type": "ready"}' * 2,
    b" " * 100_000,
]


@pytest.mark.parametrize("packet", BAD, ids=lambda packet: packet[:30].decode(errors="replace"))
def test_a_bad_packet_is_counted_and_dropped(raw: tuple[SupervisorEnd, socket.socket], packet: bytes):
    supervisor, other = raw
    other.send(packet)
    other.send(b'{"type": "ready"}')
    assert supervisor.receive() == [Ready()]
    assert supervisor.bad_packets == 1
    assert supervisor.last_problem


@given(packets=st.lists(st.binary(min_size=1, max_size=100) | st.sampled_from([b"+", b'+{"type"', b"={"])))
def test_no_packet_at_all_breaks_the_channel(packets: list[bytes]):
    supervisor, theirs = control.pair()
    for packet in packets:
        theirs.send(packet)
        assert supervisor.receive() == []
    theirs.send(b'{"type": "resolve", "server": 1}')
    assert supervisor.receive() == [Resolve(1)]
    assert not supervisor.closed
    theirs.close()
    supervisor.close()


def test_a_message_that_breaks_off_does_not_spoil_the_next(raw: tuple[SupervisorEnd, socket.socket]):
    supervisor, other = raw
    other.send(b'+{"type":')
    other.send(b'{"type": "ready"}')
    other.send(b'+{"type":')
    other.send(b'=  "ready"}')
    assert supervisor.receive() == [Ready(), Ready()]
    assert supervisor.bad_packets == 1


def test_a_message_without_end_is_bounded(raw: tuple[SupervisorEnd, socket.socket]):
    supervisor, other = raw
    for _ in range(2100):
        other.send(b"+x")
        supervisor.receive()
    assert supervisor.bad_packets == 1


def test_the_end_of_the_other_side_is_seen_and_nothing_raises(ends: Ends):
    supervisor, worker = ends
    supervisor.send(Drain())
    supervisor.close()
    assert worker.receive() == [Drain()]
    assert worker.closed
    assert worker.send(Ready()) is False
    assert not worker.wants_write
    assert worker.receive() == []


def test_sending_to_a_closed_side_is_noticed(ends: Ends):
    supervisor, worker = ends
    worker.close()
    assert supervisor.send(Drain()) is False
    assert supervisor.closed


def test_a_side_that_never_reads_costs_bounded_memory(ends: Ends):
    supervisor, worker = ends
    sent = sum(worker.send(Log("info", "x")) for _ in range(12_000))
    assert 10_000 <= sent < 12_000
    assert worker.dropped_messages == 12_000 - sent
    assert worker.wants_write
    received = 0
    while worker.wants_write:
        received += len(supervisor.receive())
        worker.flush()
    received += len(supervisor.receive())
    assert received == sent


def test_a_message_that_cannot_be_written_down_is_dropped(ends: Ends):
    supervisor, worker = ends
    assert worker.send(Log("info", "\udcff")) is False
    assert worker.dropped_messages == 1
    assert worker.send(Ready())
    assert supervisor.receive() == [Ready()]


def test_small_messages_are_one_json_object_a_packet(raw: tuple[SupervisorEnd, socket.socket]):
    supervisor, other = raw
    supervisor.send(Addresses(1, ("10.0.0.1",)))
    assert json.loads(other.recv(1000)) == {"type": "addresses", "server": 1, "addresses": ["10.0.0.1"]}
