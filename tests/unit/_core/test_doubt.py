"""Two workers that write one key in the same instant (ARCHITECTURE.md, copies)."""

import pytest

from tests.support.copies import Pair

QUIET_US = 60_000


def overlapped(pair: Pair, request: bytes, on_owner: bytes, on_copy: bytes) -> None:
    """A write under way while another worker's reaches both servers, in another order each."""
    pair.servers[0].holds = True
    pair.someone.send(request)
    pair.run()
    pair.other_worker.stamp_key(b"k")
    for server, value in zip(pair.servers, (on_owner, on_copy), strict=True):
        server.store.apply(b"set", (b"k",), (b"5", b"0"), value)
    pair.servers[0].release()
    pair.run()


def test_servers_that_differ_afterwards_agree_when_the_key_is_quiet() -> None:
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v1", b"v2")
    assert pair.someone.take() == b"STORED\r\n"
    assert pair.held(b"k") == (b"v1", b"v2")
    pair.pass_time(QUIET_US)
    pair.run()
    assert pair.held(b"k") == (b"v1", b"v1")
    assert pair.count("divergences") == 1
    assert not pair.pool.doubted


def test_servers_that_agree_are_left_alone() -> None:
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v2", b"v2")
    pair.pass_time(QUIET_US)
    pair.run()
    assert (pair.held(b"k"), pair.count("divergences")) == ((b"v2", b"v2"), 0)


def test_a_key_that_is_written_again_waits() -> None:
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v1", b"v2")
    pair.say(b"set other 0 0 1\r\nx\r\n")
    pair.other_worker.stamp_key(b"k")
    pair.pass_time(QUIET_US)
    pair.run()
    assert pair.held(b"k") == (b"v1", b"v2")
    pair.pass_time(QUIET_US)
    pair.run()
    assert pair.held(b"k") == (b"v1", b"v1")


def test_what_is_on_the_copy_only_goes() -> None:
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v1", b"v2")
    pair.lose(0, b"k")
    pair.pass_time(QUIET_US)
    pair.run()
    assert pair.held(b"k") == (None, None)


def test_numbers_that_met_on_the_way_are_not_held_against_the_copy() -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 1\r\n7\r\n")
    pair.servers[0].holds = pair.servers[1].holds = True
    pair.someone.send(b"incr k 1\r\n")
    pair.run()
    pair.other_worker.stamp_key(b"k")
    pair.servers[1].store.apply(b"incr", (b"k",), (b"1",), None)  # theirs is first here, and second there
    pair.servers[0].release()
    pair.run()
    pair.servers[1].release()
    pair.run()
    pair.servers[0].store.apply(b"incr", (b"k",), (b"1",), None)
    assert pair.someone.take() == b"8\r\n"
    pair.pass_time(QUIET_US)
    pair.run()
    assert (pair.held(b"k"), pair.count("divergences")) == ((b"9", b"9"), 0)


@pytest.mark.parametrize("server", [0, 1])
def test_a_server_that_is_out_ends_the_doubt(server: int) -> None:
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v1", b"v2")
    pair.servers[server].die()
    pair.pass_time(QUIET_US)
    pair.run()
    assert not pair.pool.doubted
    assert pair.noted(server) == 1


def test_one_worker_has_no_doubts() -> None:
    pair = Pair()
    pair.say(b"set k 5 0 2\r\nv1\r\nset k 5 0 2\r\nv2\r\n")
    assert not pair.pool.doubted


def test_counters_that_agree_leave_no_doubt() -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 1\r\n7\r\n")
    pair.servers[0].holds = True
    pair.someone.send(b"incr k 1\r\n")
    pair.run()
    pair.other_worker.stamp_key(b"k")
    pair.servers[0].release()
    pair.run()
    assert pair.someone.take() == b"8\r\n"
    assert not pair.pool.doubted


def test_a_doubt_and_a_repair_do_not_wait_for_each_other() -> None:
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v1", b"v1")
    assert pair.pool.doubted
    pair.lose(0, b"k")
    pair.someone.send(b"touch k 0\r\n")
    pair.run()
    for _ in range(4):
        pair.pass_time(10_000)
        pair.run()
    assert pair.someone.take().count(b"\r\n") == 2, "the second request is answered too"
    assert not pair.pool.doubted


def test_an_ma_that_does_not_ask_for_the_number_leaves_a_doubt() -> None:
    pair = Pair(workers=2)
    for fake in pair.servers:
        fake.server.meta = True
    pair.servers[0].is_mute = pair.servers[1].is_mute = True
    pair.someone.send(b"ma k\r\n")
    pair.run()
    pair.other_worker.stamp_key(b"k")
    for fake in pair.servers:
        fake.wire.say(b"HD\r\n")
        pair.run()
    assert pair.someone.take() == b"HD\r\n"
    assert b"k" in pair.pool.doubted
