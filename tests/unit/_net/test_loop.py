"""Turns of the loop: who waits for whom, what time ends, and how it all ends."""

import socket
from collections.abc import Callable

import pytest

from tests.support.net import Play, Scene

MakeScene = Callable[..., Scene]


def test_a_stopped_loop_can_go_on(scene: Scene) -> None:
    client = scene.client()

    def play() -> Play:
        client.send(b"mn\r\n")
        yield lambda: client.got(b"MN\r\n")

    for _ in range(3):
        scene.run(play())


def test_a_ready_reply_does_not_wait_for_a_slow_server(make_scene: MakeScene) -> None:
    """Replies of a batch leave together, but a ready one waits a millisecond at most."""
    scene = make_scene(2)
    client, quick, slow = scene.client(), scene.server(0), scene.server(1)
    (here,), (there,) = scene.world.keys(0, 1), scene.world.keys(1, 1)
    for_here, for_there = b"get %b\r\n" % here, b"get %b\r\n" % there

    def play() -> Play:
        client.send(for_here + for_there + for_here)
        yield lambda: quick.heard(for_here * 2)
        yield lambda: slow.heard(for_there)
        quick.say(b"VALUE %b 0 1\r\n1\r\nEND\r\n" % here + b"END\r\n")
        yield lambda: client.got(b"VALUE %b 0 1\r\n1\r\nEND\r\n" % here)
        turns = scene.count("loop_turns")
        yield lambda: scene.count("loop_turns") > turns + 20
        assert not client.received, "the third reply must not overtake the second"
        slow.say(b"END\r\n")
        yield lambda: client.got(b"END\r\nEND\r\n")

    scene.run(play())


def test_the_request_time_ends_a_wait_and_a_late_reply_meets_nobody(make_scene: MakeScene) -> None:
    scene = make_scene(request_timeout_us=50_000, failure_limit=100)
    client, server = scene.client(), scene.server(0)

    def play() -> Play:
        begin_us = scene.world.turn.now_us
        client.send(b"get a\r\n")
        yield lambda: client.got(b"END\r\n")
        assert scene.world.turn.now_us - begin_us >= 50_000
        client.send(b"get b\r\n")
        yield lambda: server.heard(b"get a\r\nget b\r\n")
        server.say(b"VALUE a 0 1\r\n1\r\nEND\r\n" + b"VALUE b 0 1\r\n2\r\nEND\r\n")
        yield lambda: client.got(b"VALUE b 0 1\r\n2\r\nEND\r\n")

    scene.run(play())
    assert scene.server_count("timeouts") == 1


def test_a_multigets_deadline_is_kept(make_scene: MakeScene) -> None:
    scene = make_scene(2, multiget_deadline_us=50_000)
    client, quick, slow = scene.client(), scene.server(0), scene.server(1)
    (here,), (there,) = scene.world.keys(0, 1), scene.world.keys(1, 1)

    def play() -> Play:
        begin_us = scene.world.turn.now_us
        client.send(b"get %b %b\r\n" % (here, there))
        yield lambda: quick.heard(b"get %b\r\n" % here)
        quick.say(b"VALUE %b 0 1\r\n1\r\nEND\r\n" % here)
        yield lambda: client.got(b"VALUE %b 0 1\r\n1\r\nEND\r\n" % here)
        assert scene.world.turn.now_us - begin_us >= 50_000
        yield lambda: slow.heard(b"get %b\r\n" % there)
        slow.say(b"END\r\n")
        yield lambda: scene.server_count("in_flight", 1) == 0

    scene.run(play())
    assert scene.count("misses_deadline") == 1


def test_a_crowd_before_a_slow_server_is_served_right(scene: Scene) -> None:
    """With many requests under way at a server that takes long, the loop naps; nobody must be forgotten."""
    server = scene.server(0)
    clients = [scene.client() for _ in range(80)]

    def play() -> Play:
        for round_ in range(6):
            for number, client in enumerate(clients):
                client.send(b"incr n%02d 1\r\n" % number)
            yield lambda: len(server.connections) and len(server.last.received) == 80 * len(b"incr n00 1\r\n")
            lines = bytes(server.last.received).splitlines()
            server.last.received.clear()
            asked_us = scene.world.turn.now_us
            yield lambda asked_us=asked_us: scene.world.turn.now_us > asked_us + 15_000  # type: ignore[misc]
            for line in lines:
                server.say(b"%d%b\r\n" % (round_ + 1, line[6:8]))
            for number, client in enumerate(clients):
                reply = b"%d%02d\r\n" % (round_ + 1, number)
                yield lambda client=client, reply=reply: client.got(reply)  # type: ignore[misc]

    scene.run(play())


class TestAccepting:
    def test_when_told_and_until_told(self, scene: Scene) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            scene.listen_on(listening.dup())
            scene.loop.accepting = False
            client, inside = scene.call(listening.getsockname()), scene.client()

            def play() -> Play:
                client.send(b"mn\r\n")
                inside.send(b"mn\r\n")
                yield lambda: inside.got(b"MN\r\n")
                assert scene.count("total_connections") == 0
                scene.loop.accept()
                yield lambda: client.got(b"MN\r\n")
                scene.loop.accept_no_more()
                assert scene.loop.listeners == []
                late = scene.call(listening.getsockname())
                late.send(b"mn\r\n")
                client.send(b"mn\r\n")
                yield lambda: client.got(b"MN\r\n")

            scene.run(play())
            assert scene.count("total_connections") == 1
            waiting, _ = listening.accept()
            waiting.close()


class TestDraining:
    def test_it_ends_with_the_last_client(self, scene: Scene) -> None:
        client, server = scene.client(), scene.server(0)

        def play() -> Play:
            client.send(b"get a\r\n")
            yield lambda: server.heard(b"get a\r\n")
            scene.loop.drain(60_000)
            scene.loop.drain(60_000)  # a second word changes nothing
            server.say(b"END\r\n")
            yield lambda: False

        scene.run(play(), 60)  # the loop ends by itself, before the play is seen through
        client.step()
        assert client.got(b"END\r\n")
        assert client.got_end()
        assert not scene.poller.clients

    def test_it_ends_when_the_time_is_over(self, scene: Scene) -> None:
        client, server = scene.client(), scene.server(0)
        begin_us: list[int] = []

        def play() -> Play:
            client.send(b"get a\r\n")
            yield lambda: server.heard(b"get a\r\n")
            begin_us.append(scene.world.turn.now_us)
            scene.loop.drain(100)
            yield lambda: False

        scene.run(play(), 60)
        assert scene.world.turn.now_us - begin_us[0] >= 100_000
        assert len(scene.poller.clients) == 1
        client.close()

    @pytest.mark.parametrize("waits", [False, True])
    def test_told_before_it_runs(self, scene: Scene, waits: bool) -> None:
        """Whoever waits at the door is still served; nobody else is."""
        address = scene.listener()
        client = scene.call(address) if waits else None
        if client:
            client.send(b"mn\r\n")
        scene.loop.drain(10_000)
        scene.loop.run()
        if client:
            client.step()
            assert client.got(b"MN\r\n")
            assert client.got_end()
        with socket.socket() as late:
            assert late.connect_ex(address) != 0

    def test_where_nobody_was_accepted_nobody_is(self, scene: Scene) -> None:
        """Who waits at the door is for another process that has the socket."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            scene.listen_on(listening.dup())
            scene.call(listening.getsockname()).send(b"mn\r\n")
            scene.loop.accepting = False
            scene.loop.drain(10_000)
            scene.loop.run()
            assert scene.count("total_connections") == 0
            waiting, _ = listening.accept()
            with waiting:
                assert waiting.recv(10) == b"mn\r\n"

    def test_told_before_it_runs_with_a_request_for_a_server(self, scene: Scene) -> None:
        client, server = scene.call(scene.listener()), scene.server(0)
        client.send(b"get a\r\n")
        scene.loop.drain(10_000)

        def play() -> Play:
            yield lambda: server.heard(b"get a\r\n")
            server.say(b"END\r\n")
            yield lambda: False

        scene.run(play(), 60)
        client.step()
        assert client.got(b"END\r\n")
        assert client.got_end()
