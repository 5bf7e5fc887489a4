"""Reads of what another worker is writing (behaviour section 2; ARCHITECTURE.md, copies)."""

import pytest

from memagent._core.routes import Route
from tests.support.copies import Pair

PAUSE_US = 10_000
REQUEST_US = 1_000_000
GRACE_US = 200_000
SETTLED_US = 1_300_000

GETS = [(b"get k\r\n", b"VALUE k 5 2\r\nv1\r\nEND\r\n"), (b"get k x\r\n", b"VALUE k 5 2\r\nv1\r\nEND\r\n")]


def on_the_copy_only() -> Pair:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.lose(0, b"k")
    return pair


def without_owner() -> Pair:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[0].die()
    return pair


def pause(pair: Pair) -> bytes:
    pair.pass_time(PAUSE_US)
    pair.run()
    return pair.someone.take()


@pytest.mark.parametrize(("request_", "reply"), GETS)
def test_a_fallback_waits_until_the_others_have_written(request_: bytes, reply: bytes) -> None:
    pair = on_the_copy_only()
    pair.other_worker.begin_key(b"k")
    assert pair.say(request_) == b""
    assert pause(pair) == b""
    assert pair.on(0, b"k") is None, "it must not be repaired either"
    pair.other_worker.end_key(b"k")
    assert pause(pair) == reply
    assert pair.count("reads_again") == 2


@pytest.mark.parametrize("request_", [b"get k\r\n", b"get k x\r\n"])
def test_what_was_deleted_while_the_copy_was_slow_is_a_miss(request_: bytes) -> None:
    pair = on_the_copy_only()
    pair.servers[1].holds = True
    pair.someone.send(request_)
    pair.run()
    pair.other_worker.stamp_key(b"k")
    pair.lose(1, b"k")
    pair.servers[1].release()
    pair.run()
    assert pair.someone.take() == b""
    assert pause(pair) == b"END\r\n"
    assert pair.held(b"k") == (None, None)


@pytest.mark.parametrize("request_", [b"get x\r\n", b"get x y\r\n"])
def test_a_true_miss_does_not_wait(request_: bytes) -> None:
    pair = Pair(workers=2)
    pair.other_worker.begin_key(b"x")
    assert pair.say(request_) == b"END\r\n"


@pytest.mark.parametrize(("request_", "_"), GETS)
def test_a_fallback_that_would_wait_too_long_is_a_miss(request_: bytes, _: bytes) -> None:
    pair = on_the_copy_only()
    pair.other_worker.begin_key(b"k")
    pair.someone.send(request_)
    for _ in range(REQUEST_US // PAUSE_US):
        pair.run()
        assert pause(pair) == b""
    pair.pass_time(250_000)
    pair.run()
    assert pair.someone.take() == b"END\r\n"


@pytest.mark.parametrize(("request_", "reply"), GETS)
def test_after_the_owner_has_fallen_the_copy_may_lack_what_the_owner_had_acknowledged(
    request_: bytes, reply: bytes
) -> None:
    pair = without_owner()
    pair.other_worker.begin_key(b"k")
    assert pair.say(request_) == b""
    pair.other_worker.end_key(b"k")
    assert pause(pair) == reply


@pytest.mark.parametrize(("request_", "reply"), GETS)
def test_who_waits_for_a_write_does_not_ask_the_server_again_that_has_failed_him(
    request_: bytes, reply: bytes
) -> None:
    """It would take the time that is left."""
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[0].freeze()
    pair.someone.send(request_)
    pair.run()
    pair.other_worker.begin_key(b"k")
    pair.pass_time(REQUEST_US)
    pair.run()
    assert [pause(pair) for _ in range(3)] == [b""] * 3
    pair.other_worker.end_key(b"k")
    assert pause(pair) == reply


@pytest.mark.parametrize(("request_", "reply"), GETS)
def test_a_write_that_hangs_as_long_as_the_reader_may_wait_costs_him_no_key(
    request_: bytes, reply: bytes
) -> None:
    """No client can know of it, so what the copy has may be shown; before that it may be over in a moment."""
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[0].freeze()
    pair.someone.send(request_)
    pair.run()
    pair.other_worker.begin_key(b"k")
    pair.other_worker.note_key(b"k", 1)
    pair.pass_time(REQUEST_US)
    pair.run()
    waits = 0
    while (found := pause(pair)) == b"":
        waits += 1
    assert found == reply
    assert 15 <= waits < GRACE_US // PAUSE_US


@pytest.mark.parametrize(
    "doubtful", ["decided", "without a note", "of another key", "of a dead worker before"]
)
def test_what_a_client_may_know_of_is_not_answered_from_the_copy_even_then(doubtful: str) -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[0].freeze()
    pair.someone.send(b"get k\r\n")
    pair.run()
    other = pair.other_worker
    other.begin_key(b"k")
    other.note_key(b"another" if doubtful == "of another key" else b"k", 1, doubtful == "decided")
    if doubtful == "without a note":
        other.begin_key(b"k")
    elif doubtful == "of a dead worker before":
        other.take_notes()
    pair.pass_time(REQUEST_US)
    pair.run()
    while (found := pause(pair)) == b"":
        pass
    assert found == b"END\r\n"


@pytest.mark.parametrize(("request_", "reply"), GETS)
def test_so_it_is_when_an_operator_has_taken_the_owner_out(request_: bytes, reply: bytes) -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[0].server.hold("drained")
    pair.other_worker.begin_key(b"k")
    assert pair.say(request_) == b""
    pair.other_worker.end_key(b"k")
    assert pause(pair) == reply


@pytest.mark.parametrize(("request_", "reply"), GETS)
def test_some_time_after_it_has_fallen_nothing_of_that_is_left(request_: bytes, reply: bytes) -> None:
    pair = without_owner()
    pair.pass_time(SETTLED_US)
    pair.other_worker.begin_key(b"k")
    assert pair.say(request_) == reply


def test_a_gat_is_touched_once_more_and_ends_its_mark() -> None:
    pair = on_the_copy_only()
    pair.other_worker.begin_key(b"k")
    assert pair.say(b"gat 0 k\r\n") == b""
    pair.other_worker.end_key(b"k")
    assert pause(pair) == GETS[0][1]
    pair.run()
    assert pair.pool.marks is not None
    begun, ended = pair.pool.marks.read_key(b"k")
    assert begun == ended


def test_what_an_add_finds_on_a_copy_that_is_not_clean_does_not_count() -> None:
    pair = Pair()
    pair.servers[1].server.miss(b"lock")
    pair.run()
    pair.servers[1].server.hold("to be sure that it comes back")
    pair.servers[1].server.release()
    pair.servers[1].greet()
    assert pair.servers[1].server.state_name == "returning"
    pair.pass_time(1)
    pair.run()
    pair.pass_time(1)
    assert pair.servers[1].server.state_name == "warming"
    # another worker's journal is not played yet
    pair.servers[1].store.apply(b"set", (b"k",), (b"0", b"0"), b"old")
    row = pair.servers[1].server.standing
    row.say_word(row.outage, 1)
    assert pair.say(b"add k 0 0 3\r\nnew\r\n") == b"STORED\r\n"
    assert pair.held(b"k") == (b"new", b"new")


@pytest.mark.parametrize(("request_", "reply"), GETS)
def test_it_ends_also_where_its_pool_was_configured_away_meanwhile(request_: bytes, reply: bytes) -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[0].server.hold("drained")
    pair.servers[1].holds = True
    pair.other_worker.begin_key(b"k")
    pair.someone.send(request_)
    pair.run()
    pair.routes.configure([Route(b"", Pair().pool)])
    pair.pass_time(PAUSE_US)
    pair.servers[1].release()
    pair.run()
    pair.other_worker.end_key(b"k")
    assert pause(pair) == reply
