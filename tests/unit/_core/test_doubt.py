"""Two workers that write one key in the same instant (ARCHITECTURE.md, copies)."""

import pytest

from memagent._core.doubt import adopt
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


def test_a_write_that_has_reached_one_server_only_is_waited_for() -> None:
    """Its worker may stand still, and the owner die meanwhile: then the copy has the only value."""
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v1", b"v2")
    pair.other_worker.begin_key(b"k")
    note = pair.other_worker.note_key(b"k", 1, decided=True)
    for _ in range(100):
        pair.pass_time(10_000)
        pair.run()
        assert pair.held(b"k") == (b"v1", b"v2")
    pair.servers[1].store.apply(b"set", (b"k",), (b"5", b"0"), b"v1")
    pair.other_worker.forget_note(note)
    pair.other_worker.end_key(b"k")
    pair.pass_time(QUIET_US)
    pair.run()
    assert (pair.held(b"k"), pair.count("divergences")) == ((b"v1", b"v1"), 0)
    assert not pair.pool.doubted


def test_doubts_do_not_wait_for_each_other() -> None:
    pair = Pair(workers=2)
    overlapped(pair, b"set k 5 0 2\r\nv1\r\n", b"v1", b"v2")
    pair.other_worker.begin_key(b"k")
    pair.other_worker.note_key(b"k", 1, in_doubt=True)
    for _ in range(2):
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


# What a dead worker has left: `other_worker` is its row.


def orphaned(pair: Pair, server: int = 1, *, decided: bool = True, key: bytes = b"k") -> None:
    """It had written the key, and this server may have missed that."""
    pair.other_worker.begin_key(key)
    pair.other_worker.note_key(key, server, decided)
    assert adopt(pair.other_worker, [pair.pool], pair.counters) == (1, 0)


def differing(key: bytes = b"k", **settings: object) -> Pair:
    pair = Pair(workers=2, **settings)
    for server, value in zip(pair.servers, (b"new", b"old"), strict=True):
        server.store.apply(b"set", (key,), (b"5", b"0"), value)
    return pair


def let_compare(pair: Pair) -> None:
    for _ in range(4):
        pair.pass_time(QUIET_US)
        pair.run()
    assert not pair.pool.doubted
    assert pair.other_worker.read_key(b"k")[0] == pair.other_worker.read_key(b"k")[1]


@pytest.mark.parametrize(("server", "value"), [(0, b"old"), (1, b"new")])
@pytest.mark.parametrize("decided", [False, True])
def test_a_server_that_a_dead_worker_had_not_told_gets_what_the_other_one_has(
    server: int, value: bytes, decided: bool
) -> None:
    pair = differing()
    orphaned(pair, server, decided=decided)
    let_compare(pair)
    assert pair.held(b"k") == (value, value)


def test_servers_that_agree_lose_nothing_by_a_dead_worker() -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 5 0 3\r\nnew\r\n")
    for server in (0, 1):
        pair.lines(server)
    orphaned(pair)
    let_compare(pair)
    assert pair.lines(0) == pair.lines(1) == [b"get k", b"get k"]


@pytest.mark.parametrize("decided", [False, True])
def test_a_mark_is_kept_where_a_client_may_have_been_answered(decided: bool) -> None:
    pair = differing()
    orphaned(pair, decided=decided)
    begun, ended = pair.other_worker.read_key(b"k")
    assert begun - ended == decided
    let_compare(pair)


def test_readers_of_its_heir_wait_too() -> None:
    pair = differing()
    pair.lose(0, b"k")
    orphaned(pair)
    assert pair.say(b"get k\r\n") == b""
    assert pair.say(b"get k x\r\n") == b""
    let_compare(pair)
    assert pair.someone.take() == b"END\r\nEND\r\n"
    assert pair.held(b"k") == (None, None)


def test_without_the_server_that_has_decided_the_other_ones_value_is_not_used() -> None:
    pair = differing()
    pair.servers[0].die()
    orphaned(pair)
    let_compare(pair)
    assert pair.on(1, b"k") is None
    assert pair.noted(0) == 0, "it keeps what was acknowledged"


def test_what_nobody_was_told_stays_where_it_is() -> None:
    pair = differing()
    pair.servers[0].die()
    orphaned(pair, decided=False)
    let_compare(pair)
    assert pair.on(1, b"k") == b"old"
    assert pair.noted(0) == 1


def test_one_that_is_out_loses_the_key_when_it_returns() -> None:
    pair = differing()
    pair.servers[1].die()
    orphaned(pair)
    let_compare(pair)
    assert pair.noted(1) == 1


def test_one_that_stands_still_is_asked_until_it_falls() -> None:
    pair = differing()
    pair.servers[1].freeze()
    orphaned(pair)
    for _ in range(100):
        pair.pass_time(100_000)
        pair.run()
    assert not pair.pool.doubted
    assert (pair.servers[1].server.state_name, pair.noted(1)) == ("down", 1)


def test_a_key_that_only_meta_commands_carry_is_compared_by_them() -> None:
    key = b"a b"
    pair = differing(key)
    for fake in pair.servers:
        fake.server.meta = True
        fake.holds = True
    orphaned(pair, key=key)
    for _ in range(2):
        pair.pass_time(QUIET_US)
        pair.run()
        for fake, reply in zip(pair.servers, (b"VA 1 f0 t-1\r\nx\r\n", b"VA 1 f0 t-1\r\nx\r\n"), strict=True):
            assert fake.lines == [b"mg YSBi b f t v"]
            fake.lines.clear()
            fake.wire.replies = b""
            fake.wire.say(reply)
    let_compare(pair)


def test_a_key_that_cannot_be_compared_is_copied_anew() -> None:
    key = b"a b"
    pair = differing(key)
    orphaned(pair, key=key)
    pair.pass_time(QUIET_US)
    pair.run()
    assert not pair.pool.doubted
    assert pair.lines(1)[0] == b"md YSBi b"


@pytest.mark.parametrize(
    ("on_copy", "is_same"),
    [
        (b"VA 1 f0 t100\r\nx\r\n", True),
        (b"VA 1 f0 t98\r\nx\r\n", True),
        (b"VA 1 f0 t900\r\nx\r\n", False),
        (b"VA 1 f0 t-1\r\nx\r\n", False),
        (b"VA 1 f1 t100\r\nx\r\n", False),
        (b"VA 1 f0 t100\r\ny\r\n", False),
        (b"VA 1 f0 t100 X\r\nx\r\n", False),
    ],
)
def test_items_are_the_same_in_value_flags_and_time_to_live(on_copy: bytes, is_same: bool) -> None:
    pair = Pair(workers=2)
    for fake in pair.servers:
        fake.server.meta = True
        fake.is_mute = True
    orphaned(pair)
    for _ in range(2):
        pair.pass_time(QUIET_US)
        pair.run()
        for fake, reply in zip(pair.servers, (b"VA 1 f0 t100\r\nx\r\n", on_copy), strict=True):
            fake.wire.say(reply)
    assert not pair.pool.doubted
    assert len(pair.servers[1].wire.channel) == (0 if is_same else 1), "the copy loses it, to get it anew"
    assert pair.count("divergences") == (not is_same)


def test_a_note_of_a_server_that_has_not_the_key_means_nothing() -> None:
    pair = differing()
    orphaned(pair, server=9)
    assert not pair.pool.doubted
    let_compare(pair)


def test_a_key_in_doubt_already_is_doubted_once() -> None:
    pair = differing()
    for _ in range(2):
        orphaned(pair, decided=False)
    orphaned(pair)
    begun, ended = pair.other_worker.read_key(b"k")
    assert begun - ended == 1
    let_compare(pair)
    assert pair.held(b"k") == (b"new", b"new")


def test_an_heir_that_dies_leaves_its_doubts() -> None:
    pair = differing()
    orphaned(pair)
    assert pair.pool.marks.take_notes() == ([(1, b"k", True)], 0)


@pytest.mark.parametrize(
    ("request_", "holding", "notes"),
    [
        (b"set k 0 0 1\r\nx\r\n", {0, 1}, [(1, b"k", False)]),
        (b"set k 0 0 1\r\nx\r\n", {1}, [(1, b"k", True)]),
        (b"incr k 1\r\n", {1}, [(1, b"k", True)]),
        (b"gat 9 k\r\n", {0}, [(1, b"k", False)]),
        (b"gat 9 k\r\n", {1}, [(1, b"k", True)]),
        (b"set k 0 0 1\r\nx\r\n", set(), []),
        (b"get k\r\n", {0}, []),
    ],
)
def test_what_is_under_way_is_noted(
    request_: bytes, holding: set[int], notes: list[tuple[int, bytes, bool]]
) -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 0 0 1\r\n1\r\n")
    for server in holding:
        pair.servers[server].holds = True
    pair.say(request_)
    assert pair.pool.marks.take_notes() == (notes, 0)
    for fake in pair.servers:
        fake.release()
    pair.run()


def test_an_item_on_its_way_to_the_other_server_is_noted_until_it_is_verified() -> None:
    pair = Pair(workers=2)
    pair.say(b"set k 0 0 1\r\n1\r\n")
    pair.lose(0, b"k")
    pair.say(b"get k\r\n")
    assert pair.on(0, b"k") == b"1"
    assert pair.pool.marks.take_notes() == ([], 0)
    pair.lose(0, b"k")
    pair.someone.send(b"get k\r\n")
    while not pair.pool.repairing:
        pair.step()
    pair.servers[0].holds = True
    pair.run()
    assert pair.on(0, b"k") == b"1"
    assert pair.pool.marks.take_notes() == ([(0, b"k", True)], 0)


@pytest.mark.parametrize(
    "request_bytes",
    [b"set k 0 0 1\r\nx\r\n", b"delete k\r\n", b"touch k 9\r\n"],
)
def test_a_write_that_another_server_decides_blames_the_one_that_failed(request_bytes: bytes) -> None:
    pair = Pair(workers=2)
    pair.servers[1].holds = True
    pair.servers[0].freeze()
    pair.someone.send(request_bytes)
    pair.run()
    pair.servers[0].die()
    pair.run()
    assert pair.pool.marks.take_notes() == ([(0, b"k", False)], 0)
