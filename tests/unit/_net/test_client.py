"""A client's socket: half-closed, lingering, reset, slow; and edges that epoll reports only once."""

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from memagent._net.client import ClientConnection
from tests.support.net import Peer, Play, Scene

MakeScene = Callable[..., Scene]

TOO_LONG = b"x" * 5000
SAID = b"CLIENT_ERROR line too long\r\n"
SCRATCH_BYTES = 64 * 1024


def tcp_pair(receive_buffer_bytes: int = 0) -> tuple[socket.socket, socket.socket]:
    """The client's end, which may have a small buffer, and the proxy's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        if receive_buffer_bytes:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        theirs.connect(listener.getsockname())
        return theirs, listener.accept()[0]


def test_a_half_closed_client_gets_what_it_asked_for(scene: Scene) -> None:
    client, server = scene.client(), scene.server(0)

    def play() -> Play:
        client.send(b"get a\r\nmn\r\nget b\r\n")
        client.finish_sending()
        yield lambda: server.heard(b"get a\r\nget b\r\n")
        assert scene.count("curr_connections") == 1
        server.say(b"VALUE a 0 1\r\n1\r\nEND\r\n")
        server.say(b"END\r\n")
        yield lambda: client.got(b"VALUE a 0 1\r\n1\r\nEND\r\nMN\r\nEND\r\n")
        yield client.got_end

    scene.run(play())
    assert scene.count("client_closed") == 1


def test_half_a_request_at_the_end_is_dropped(scene: Scene) -> None:
    client = scene.client()

    def play() -> Play:
        client.send(b"mn\r\nset k 0 0 100\r\nonly this")
        client.finish_sending()
        yield lambda: client.got(b"MN\r\n")
        yield client.got_end

    scene.run(play())
    assert scene.count("client_closed") == 1


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("size", [SCRATCH_BYTES - 4, SCRATCH_BYTES, SCRATCH_BYTES + 4, 2 * SCRATCH_BYTES])
def test_everything_behind_one_edge_is_read(scene: Scene, size: int, ends: bool) -> None:
    """What was there before the socket is watched is reported once, and is longer than one read."""
    theirs, ours = socket.socketpair()
    theirs.sendall(b"mn\r\n" * (size // 4))
    if ends:
        theirs.shutdown(socket.SHUT_WR)
    client, _ = scene.join(theirs, ours)

    def play() -> Play:
        yield lambda: client.got(b"MN\r\n" * (size // 4))
        if ends:
            yield client.got_end

    scene.run(play())
    assert scene.count("bytes_read") == size


def test_more_than_one_turns_share_behind_one_edge_is_read(scene: Scene) -> None:
    """A client may bring more than is read of it in one turn, and then wait: no other edge will come."""
    client, _ = scene.join(*tcp_pair())
    scene.server(0).hangs_up = True
    too_large = b"set k 0 0 2000000\r\n" + b"0123456789" * 200_000 + b"\r\n"
    refusal = b"SERVER_ERROR object too large for cache\r\n"

    def play() -> Play:
        for _ in range(100):  # the kernel's buffers grow with what goes through them
            client.send(too_large)
            yield lambda: client.got(refusal)
            client.send(b"mn\r\n")
            yield lambda: client.got(b"MN\r\n")

    scene.run(play(), 5)


def test_a_value_in_many_pieces_is_read_where_it_is_parsed(scene: Scene) -> None:
    client, server = scene.client(), scene.server(0)
    value = bytes(range(256)) * 3000

    def play() -> Play:
        request = b"set k 0 0 %d\r\n%b\r\n" % (len(value), value)
        client.send(request[:7])
        client.send(request[7:-1])
        yield lambda: not client.unsent
        client.send(request[-1:])
        yield lambda: server.heard(request)
        server.say(b"STORED\r\n")
        yield lambda: client.got(b"STORED\r\n")

    scene.run(play())


def test_writes_that_block_go_on_when_the_client_reads(scene: Scene) -> None:
    client, _ = scene.join(*tcp_pair(receive_buffer_bytes=4096))
    server = scene.server(0)
    value = b"VALUE k 0 900000\r\n" + bytes(range(250)) * 3600 + b"\r\nEND\r\n"

    def play() -> Play:
        client.reads = False
        client.send(b"get k\r\n" * 6)
        yield lambda: server.heard(b"get k\r\n" * 6)
        server.say(value * 6)
        yield lambda: not server.last.unsent and scene.count("buffered_bytes") > 100_000
        assert scene.count("bytes_written") < 6 * len(value)
        client.reads = True
        yield lambda: client.got(value * 6)

    scene.run(play())
    assert scene.count("bytes_written") == 6 * len(value)


def test_a_client_that_reads_nothing_is_not_read_from_until_it_does(make_scene: MakeScene) -> None:
    """Behaviour section 5: replies a client has not read."""
    scene = make_scene(pause_bytes=100_000)
    client, server = scene.client(), scene.server(0)
    value = b"VALUE k 0 90000\r\n" + b"v" * 90_000 + b"\r\nEND\r\n"

    def play() -> Play:
        client.reads = False
        asked = 0
        while not scene.count("client_paused"):
            asked += 1
            client.send(b"get k\r\n")
            yield lambda: server.heard(b"get k\r\n")
            server.say(value)
            yield lambda: scene.count("exchanges") == 0
        before = scene.count("bytes_read")
        client.send(b"mn\r\n" * 1000)
        turns = scene.count("loop_turns")
        yield lambda: scene.count("loop_turns") > turns + 20
        assert scene.count("bytes_read") == before
        client.reads = True
        yield lambda: client.got(value * asked + b"MN\r\n" * 1000)

    scene.run(play())


def test_a_client_that_reads_nothing_for_too_long_is_closed(make_scene: MakeScene) -> None:
    scene = make_scene(close_bytes=500_000)
    client, server = scene.client(), scene.server(0)
    value = b"VALUE k 0 900000\r\n" + b"v" * 900_000 + b"\r\nEND\r\n"

    def play() -> Play:
        client.reads = False
        client.send(b"get k\r\n" * 4)
        yield lambda: server.heard(b"get k\r\n" * 4)
        server.say(value * 4)
        yield lambda: not scene.poller.clients

    scene.run(play())
    assert scene.count("client_closed_unread") == 1


def test_a_reset_ends_only_the_client_and_its_reply_goes_nowhere(scene: Scene) -> None:
    gone, _ = scene.join(*tcp_pair())
    other, server = scene.client(), scene.server(0)

    def play() -> Play:
        gone.send(b"get a\r\n")
        yield lambda: server.heard(b"get a\r\n")
        gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        yield lambda: scene.count("client_closed_reset") == 1
        other.send(b"get b\r\n")
        yield lambda: server.heard(b"get b\r\n")
        server.say(b"VALUE a 0 1\r\n1\r\nEND\r\nEND\r\n")
        yield lambda: other.got(b"END\r\n")

    scene.run(play())
    assert scene.count("exchanges") == 0


class TestLingering:
    """After input that cannot be followed: the error, the end, and patience with what is still being sent."""

    @staticmethod
    def say_the_unreadable(scene: Scene) -> Peer:
        client, _ = scene.join(*tcp_pair())
        client.send(TOO_LONG)
        return client

    def test_the_error_arrives_although_the_client_goes_on_sending(self, scene: Scene) -> None:
        client = self.say_the_unreadable(scene)
        more = b"get a\r\n" * 50_000

        def play() -> Play:
            client.reads = False
            yield lambda: scene.count("client_errors") == 1
            client.send(more)
            yield lambda: scene.count("bytes_read") == len(TOO_LONG) + len(more)
            assert scene.count("curr_connections") == 1
            client.reads = True
            yield lambda: client.got(SAID)
            yield client.got_end
            assert not client.was_reset
            client.close()
            yield lambda: scene.count("curr_connections") == 0

        scene.run(play())
        assert scene.count("requests") == 1, "what came behind was looked at"
        assert scene.count("client_closed_protocol") == 1

    def test_a_client_that_does_not_hang_up_is_closed_after_2_s(self, scene: Scene) -> None:
        client = self.say_the_unreadable(scene)
        begin_s = time.monotonic()

        def play() -> Play:
            yield lambda: client.got(SAID)
            yield client.got_end
            assert scene.count("client_closed_protocol") == 0
            yield lambda: not scene.poller.clients

        scene.run(play())
        assert time.monotonic() - begin_s >= 1.9
        assert scene.count("client_closed_protocol") == 1
        assert not scene.poller.lingering

    def test_a_client_that_never_stops_sending_is_closed_before(self, scene: Scene) -> None:
        client = self.say_the_unreadable(scene)

        def play() -> Play:
            while scene.poller.clients:
                client.send(b"get a\r\n" * 10_000)
                yield lambda: not client.unsent or client.was_reset

        scene.run(play(), 1.9)
        assert scene.count("client_closed_protocol") == 1
        assert scene.count("requests") == 1

    def test_a_client_that_resets_meanwhile(self, scene: Scene) -> None:
        client = self.say_the_unreadable(scene)

        def play() -> Play:
            yield lambda: client.got(SAID)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            yield lambda: not scene.poller.clients

        scene.run(play())
        assert scene.count("client_closed_protocol") == 1
        assert scene.count("client_closed_reset") == 0


def test_replies_before_a_fatal_error_are_sent_first(scene: Scene) -> None:
    client, server = scene.client(), scene.server(0)

    def play() -> Play:
        client.send(b"get a\r\n" + TOO_LONG)
        yield lambda: server.heard(b"get a\r\n")
        server.say(b"END\r\n")
        yield lambda: client.got(b"END\r\n" + SAID)
        yield client.got_end

    scene.run(play())


def test_draining_answers_what_has_arrived_and_closes(scene: Scene) -> None:
    busy, idle, unread = scene.client(), scene.client(), scene.client()
    server = scene.server(0)

    def play() -> Play:
        busy.send(b"get a\r\n")
        yield lambda: server.heard(b"get a\r\n")
        unread.send(b"mn\r\nget b\r\n")
        scene.loop.drain(10_000)
        yield idle.got_end
        yield lambda: server.heard(b"get b\r\n")
        server.say(b"END\r\nEND\r\n")
        yield lambda: busy.got(b"END\r\n")
        yield lambda: unread.got(b"MN\r\nEND\r\n")
        yield lambda: busy.got_end() and unread.got_end()

    scene.run(play())
    assert scene.count("client_closed_drain") == 3


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_a_client_is_named_for_people(scene: Scene, tmp_path: Path, family: socket.AddressFamily) -> None:
    where = {
        socket.AF_INET: ("127.0.0.1", 0),
        socket.AF_INET6: ("::1", 0),
        socket.AF_UNIX: str(tmp_path / "s"),
    }
    with socket.socket(family) as listening, socket.socket(family) as theirs:
        listening.bind(where[family])
        listening.listen()
        theirs.connect(listening.getsockname())
        ours, _ = listening.accept()
        client = ClientConnection(scene.poller, ours.detach(), scene.world.routes)
        own = theirs.getsockname()
        form = {socket.AF_INET: "{}:{}", socket.AF_INET6: "[{}]:{}", socket.AF_UNIX: "unix"}[family]
        assert client.peer() == form.format(*own[:2]).encode()

        def play() -> Play:
            theirs.close()
            yield lambda: scene.count("curr_connections") == 0

        scene.run(play())
        assert client.peer() == b""
