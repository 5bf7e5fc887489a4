"""An item copied from one of its servers to the other (behaviour section 2, repair; section 4)."""

from memagent._core.repair import refill
from tests.support.copies import Pair


def missing_on_owner(value: bytes = b"v1") -> Pair:
    pair = Pair()
    pair.say(b"set k 5 0 %d\r\n%b\r\n" % (len(value), value))
    pair.lose(0, b"k")
    return pair


def test_an_item_without_a_known_time_to_live_does_not_live_for_ever() -> None:
    pair = missing_on_owner()
    pair.lines(0)
    pair.say(b"get k\r\n")
    assert b"add k 5 60 2" in pair.lines(0)


def test_a_newer_value_on_the_target_stays() -> None:
    pair = missing_on_owner()
    pair.servers[1].holds = True
    pair.someone.send(b"get k\r\n")
    pair.run()
    pair.servers[0].store.apply(b"set", (b"k",), (b"0", b"0"), b"newer")
    pair.servers[1].release()
    pair.run()
    assert pair.on(0, b"k") == b"newer"
    assert pair.count("repairs_refused") == 1


def test_a_deletion_while_the_copy_was_being_read_is_not_undone() -> None:
    pair = missing_on_owner()
    pair.say(b"get k\r\n")
    pair.lose(0, b"k")
    pair.servers[1].holds = True
    pair.someone.send(b"get k\r\n")
    pair.run()
    pair.servers[1].wire.move_replies()
    pair.run()  # the repair has asked the copy, which holds its answer
    other = pair.client()
    other.send(b"delete k\r\n")
    pair.run()
    pair.servers[1].release()
    pair.run()
    assert pair.held(b"k") == (None, None)


def test_a_deletion_that_overtook_the_repair_takes_it_back() -> None:
    pair = missing_on_owner()
    pair.servers[0].holds = True
    pair.someone.send(b"get k\r\n")
    pair.run()
    pair.servers[0].wire.move_replies()
    for _ in range(4):
        pair.run()
    assert pair.on(0, b"k") == b"v1"
    # as another worker would: the mark moves, and both servers have deleted before our item came
    assert pair.pool.marks is not None
    pair.pool.marks.stamp_key(b"k")
    pair.lose(1, b"k")
    pair.servers[0].release()
    pair.run()
    assert pair.held(b"k") == (None, None)


def test_a_repair_waits_while_the_key_is_being_written() -> None:
    pair = missing_on_owner()
    assert pair.pool.marks is not None
    pair.pool.marks.begin_key(b"k")
    pair.say(b"get k\r\n")
    assert pair.on(0, b"k") is None
    pair.pool.marks.end_key(b"k")
    pair.pass_time(20_000)
    pair.run()
    assert pair.on(0, b"k") == b"v1"


def test_a_mark_that_a_dead_worker_left_open_holds_nobody_up_for_long() -> None:
    pair = missing_on_owner()
    assert pair.pool.marks is not None
    pair.pool.marks.begin_key(b"k")
    pair.say(b"get k\r\n")
    for _ in range(140):
        pair.pass_time(10_000)
        pair.run()
    assert pair.on(0, b"k") == b"v1"


def test_what_was_written_since_is_not_taken_back() -> None:
    """A counter that had to be repaired first, and counts on (seen under faults: it was lost)."""
    pair = Pair()
    pair.say(b"set k 5 0 1\r\n7\r\n")
    pair.lose(0, b"k")
    assert pair.say(b"incr k 1\r\n") == b"8\r\n"
    assert pair.say(b"incr k 1\r\n") == b"9\r\n"
    pair.pass_time(2_000_000)
    pair.run()
    assert pair.held(b"k") == (b"9", b"9")
    assert pair.count("repairs_undone") == 0


def test_a_flush_counts_for_every_key() -> None:
    pair = missing_on_owner()
    assert pair.pool.marks is not None
    pair.servers[0].holds = True
    pair.someone.send(b"get k\r\n")
    pair.run()
    pair.servers[0].wire.move_replies()
    pair.run()
    pair.pool.marks.stamp_flush()
    pair.lose(1, b"k")
    pair.servers[0].release()
    pair.run()
    assert pair.held(b"k") == (None, None)


def test_one_repair_of_a_key_at_a_time() -> None:
    pair = missing_on_owner()
    pair.say(b"get k\r\n" * 20)
    assert pair.count("repairs") + pair.count("repairs_refused") == 1


def test_a_refill_brings_a_key_back_and_is_counted_meanwhile() -> None:
    pair = missing_on_owner()
    server = pair.servers[0].server
    refill(pair.pool, pair.counters, server, b"k")
    refill(pair.pool, pair.counters, server, b"nowhere")
    assert server.refilling == 2
    pair.run()
    assert pair.on(0, b"k") == b"v1"
    assert server.refilling == 0


def test_many_refills_wait_for_each_other() -> None:
    pair = Pair()
    for i in range(500):
        pair.say(b"set k%d 0 0 1\r\nx\r\n" % i)
        pair.lose(0, b"k%d" % i)
    server = pair.servers[0].server
    for i in range(500):
        refill(pair.pool, pair.counters, server, b"k%d" % i)
    assert len(pair.pool.refills) == 500 - 128
    pair.run()
    assert not pair.pool.refills
    assert all(pair.on(0, b"k%d" % i) == b"x" for i in range(500))


def test_a_source_or_target_that_is_out_ends_it() -> None:
    pair = missing_on_owner()
    pair.servers[1].die()
    server = pair.servers[0].server
    refill(pair.pool, pair.counters, server, b"k")
    pair.run()
    assert (server.refilling, pair.count("repairs_failed")) == (0, 1)


def test_a_return_ends_though_a_key_is_written_all_the_time() -> None:
    pair = missing_on_owner()
    assert pair.pool.marks is not None
    server = pair.servers[0].server
    pair.pool.marks.begin_key(b"k")
    refill(pair.pool, pair.counters, server, b"k")
    for _ in range(400):
        pair.pool.marks.begin_key(b"k")
        pair.pool.marks.end_key(b"k")
        pair.pass_time(10_000)
        pair.run()
    assert (server.refilling, pair.count("repairs_failed")) == (0, 1)


def test_a_wrong_value_is_replaced_and_gives_way_to_a_set_that_comes_meanwhile() -> None:
    pair = Pair()
    pair.say(b"set k 0 0 1\r\n5\r\n")
    pair.servers[1].store.apply(b"set", (b"k",), (b"0", b"0"), b"9")
    owner = pair.servers[0]
    owner.holds = True
    pair.someone.send(b"incr k 1\r\n")
    pair.run()
    for _ in range(3):
        # until the owner has been asked for its value, and has not been heard
        pair.lines(0)
        owner.wire.move_replies()
        pair.run()
        if b"gets k" in pair.lines(0):
            break
    assert pair.on(1, b"k") is None
    other = pair.client()
    other.send(b"set k 0 0 3\r\nnew\r\n")
    pair.run()
    owner.release()
    pair.run()
    assert pair.held(b"k") == (b"new", b"new")
    pair.pass_time(2_000_000)
    pair.run()
    assert pair.held(b"k") == (b"new", b"new")


def test_a_wrong_value_that_cannot_be_deleted_is_noted() -> None:
    pair = Pair()
    pair.say(b"set k 0 0 1\r\n5\r\n")
    pair.servers[1].store.apply(b"set", (b"k",), (b"0", b"0"), b"9")
    pair.servers[1].holds = True
    pair.say(b"incr k 1\r\n")
    pair.servers[1].wire.move_replies()
    pair.run()
    assert b"delete k" in pair.lines(1)
    pair.pass_time(1_100_000)
    pair.run()
    assert pair.noted(1) == 1
    assert not pair.pool.repairing
