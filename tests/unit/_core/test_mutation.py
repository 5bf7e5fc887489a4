"""Requests that change a key where keys have copies (behaviour section 2)."""

import pytest

from tests.support.copies import Pair


def filled(value: bytes = b"v1", **settings: object) -> Pair:
    pair = Pair(**settings)
    assert pair.say(b"set k 5 0 %d\r\n%b\r\n" % (len(value), value)) == b"STORED\r\n"
    pair.lines(0)
    pair.lines(1)
    return pair


def test_a_set_is_on_both_and_sent_to_both_at_once() -> None:
    pair = Pair()
    pair.servers[0].holds = True
    pair.someone.send(b"set k 5 0 2\r\nv1\r\n")
    pair.run()
    assert pair.held(b"k") == (b"v1", b"v1")
    assert pair.someone.take() == b""
    pair.servers[0].release()
    pair.run()
    assert pair.someone.take() == b"STORED\r\n"


@pytest.mark.parametrize(("acknowledge", "answered"), [("owner", b"STORED\r\n"), ("all", b"")])
def test_who_must_have_a_set_before_it_is_acknowledged(acknowledge: str, answered: bytes) -> None:
    pair = Pair(acknowledge=acknowledge)
    pair.servers[1].holds = True
    assert pair.say(b"set k 5 0 2\r\nv1\r\n") == answered
    pair.servers[1].release()
    pair.run()
    assert answered + pair.someone.take() == b"STORED\r\n"


def test_with_the_owner_dead_the_copy_stores_and_the_owner_is_left_a_note() -> None:
    pair = filled()
    pair.servers[0].die()
    assert pair.say(b"set k 5 0 2\r\nv2\r\n") == b"STORED\r\n"
    assert pair.on(1, b"k") == b"v2"
    assert pair.noted(0) == 1
    assert pair.say(b"get k\r\n") == b"VALUE k 5 2\r\nv2\r\nEND\r\n"


def test_with_the_copy_dead_the_owner_stores_and_the_copy_is_left_a_note() -> None:
    pair = filled()
    pair.servers[1].die()
    assert pair.say(b"set k 5 0 2\r\nv2\r\n") == b"STORED\r\n"
    assert (pair.on(0, b"k"), pair.noted(1)) == (b"v2", 1)


def test_with_both_dead_it_is_an_error() -> None:
    pair = filled()
    pair.servers[0].die()
    pair.servers[1].die()
    assert pair.say(b"set k 5 0 2\r\nv2\r\n").startswith(b"SERVER_ERROR server s0 is down")


def test_an_owner_lost_under_a_set_leaves_the_copys_answer() -> None:
    pair = filled()
    pair.servers[0].is_mute = True
    pair.someone.send(b"set k 5 0 2\r\nv2\r\n")
    pair.run()
    assert pair.someone.take() == b""
    pair.servers[0].die()
    pair.run()
    assert pair.someone.take() == b"STORED\r\n"
    assert pair.noted(0) == 1


@pytest.mark.parametrize(
    ("request_line", "reply", "after", "effect"),
    [
        (b"add n 5 0 2\r\nv2\r\n", b"STORED\r\n", (b"n", b"v2"), b"add n 5 0 2"),
        (b"replace k 5 0 2\r\nv2\r\n", b"STORED\r\n", (b"k", b"v2"), b"set k 5 0 2"),
        (b"append k 5 0 2\r\nv2\r\n", b"STORED\r\n", (b"k", b"7v2"), b"append k 5 0 2"),
        (b"prepend k 5 0 2\r\nv2\r\n", b"STORED\r\n", (b"k", b"v27"), b"prepend k 5 0 2"),
        (b"incr k 3\r\n", b"10\r\n", (b"k", b"10"), b"incr k 3"),
        (b"decr k 3\r\n", b"4\r\n", (b"k", b"4"), b"decr k 3"),
        (b"touch k 100\r\n", b"TOUCHED\r\n", (b"k", b"7"), b"touch k 100"),
        (b"delete k\r\n", b"DELETED\r\n", (b"k", None), b"delete k"),
    ],
)
def test_what_the_owner_has_done_reaches_the_copy(
    request_line: bytes, reply: bytes, after: tuple[bytes, bytes | None], effect: bytes
) -> None:
    pair = filled(b"7")
    assert pair.say(request_line) == reply
    assert pair.held(after[0]) == (after[1], after[1])
    assert effect in pair.lines(1)


def test_cas_that_stored_is_a_set_on_the_copy() -> None:
    pair = filled()
    unique = int(pair.say(b"gets k\r\n").split()[4])
    assert pair.say(b"cas k 5 0 2 %d\r\nv2\r\n" % unique) == b"STORED\r\n"
    assert pair.held(b"k") == (b"v2", b"v2")
    assert pair.say(b"cas k 5 0 2 %d\r\nv3\r\n" % unique) == b"EXISTS\r\n"
    assert pair.held(b"k") == (b"v2", b"v2")


@pytest.mark.parametrize(
    ("request_line", "reply"),
    [
        (b"add k 5 0 2\r\nv2\r\n", b"NOT_STORED\r\n"),
        (b"replace n 5 0 2\r\nv2\r\n", b"NOT_STORED\r\n"),
        (b"append n 5 0 2\r\nv2\r\n", b"NOT_STORED\r\n"),
        (b"incr n 3\r\n", b"NOT_FOUND\r\n"),
        (b"touch n 100\r\n", b"NOT_FOUND\r\n"),
        (b"cas n 5 0 2 1\r\nv2\r\n", b"NOT_FOUND\r\n"),
        (b"delete n\r\n", b"NOT_FOUND\r\n"),
    ],
)
def test_what_the_owner_has_not_done_the_copy_does_not(request_line: bytes, reply: bytes) -> None:
    pair = filled(b"7")
    before = pair.held(b"k"), pair.held(b"n")
    assert pair.say(request_line) == reply
    assert (pair.held(b"k"), pair.held(b"n")) == before


def test_an_add_is_refused_where_only_the_copy_has_the_key() -> None:
    pair = filled(b"lock")
    pair.lose(0, b"k")
    assert pair.say(b"add k 5 0 2\r\nv2\r\n") == b"NOT_STORED\r\n"
    assert pair.on(1, b"k") == b"lock"
    assert pair.say(b"get k\r\n") == b"VALUE k 5 4\r\nlock\r\nEND\r\n"


@pytest.mark.parametrize(
    ("request_line", "reply", "value"),
    [
        (b"incr k 3\r\n", b"10\r\n", b"10"),
        (b"append k 5 0 1\r\n1\r\n", b"STORED\r\n", b"71"),
        (b"replace k 5 0 1\r\n8\r\n", b"STORED\r\n", b"8"),
        (b"touch k 100\r\n", b"TOUCHED\r\n", b"7"),
    ],
)
def test_what_only_the_copy_has_is_repaired_first(request_line: bytes, reply: bytes, value: bytes) -> None:
    pair = filled(b"7")
    pair.lose(0, b"k")
    assert pair.say(request_line) == reply
    assert pair.held(b"k") == (value, value)


def test_a_delete_says_deleted_if_any_of_them_has_deleted() -> None:
    pair = filled()
    pair.lose(0, b"k")
    assert pair.say(b"delete k\r\n") == b"DELETED\r\n"
    assert pair.held(b"k") == (None, None)


def test_a_copy_with_another_number_loses_the_key_and_gets_the_owners() -> None:
    pair = filled(b"7")
    pair.servers[1].store.apply(b"set", (b"k",), (b"5", b"0"), b"100")
    assert pair.say(b"incr k 1\r\n") == b"8\r\n"
    assert pair.held(b"k") == (b"8", b"8")
    assert pair.count("divergences") == 1


def test_a_copy_that_cannot_follow_is_filled_again() -> None:
    pair = filled(b"7")
    pair.lose(1, b"k")
    assert pair.say(b"append k 5 0 1\r\n1\r\n") == b"STORED\r\n"
    assert pair.held(b"k") == (b"71", b"71")


def test_an_unknown_outcome_is_an_error_and_the_owner_loses_the_key() -> None:
    pair = filled(b"7")
    pair.servers[0].is_mute = True
    pair.someone.send(b"incr k 1\r\n")
    pair.run()
    pair.servers[0].die()
    pair.run()
    assert pair.someone.take().startswith(b"SERVER_ERROR unknown outcome: server s0")
    assert pair.noted(0) == 1
    assert pair.say(b"incr k 1\r\n") == b"8\r\n"


def test_what_was_not_sent_runs_on_the_copy() -> None:
    pair = filled(b"7")
    wire = pair.servers[0].wire
    pair.someone.session.feed(b"incr k 1\r\n")  # type: ignore[union-attr]
    assert wire.channel.not_sent == 1
    pair.servers[0].die()
    pair.run()
    assert pair.someone.take() == b"8\r\n"


def test_both_see_the_writes_of_a_key_in_one_order() -> None:
    pair = filled(b"7")
    pair.servers[0].holds = True
    pair.someone.send(b"incr k 1\r\nset k 5 0 1\r\n1\r\nappend k 5 0 1\r\n2\r\ndelete other\r\n")
    pair.run()
    assert pair.lines(1) == [b"delete other"]
    pair.servers[0].release()
    pair.run()
    assert pair.someone.take() == b"8\r\nSTORED\r\nSTORED\r\nNOT_FOUND\r\n"
    assert pair.lines(1) == [b"incr k 1", b"set k 5 0 1", b"append k 5 0 1"]
    assert pair.held(b"k") == (b"12", b"12")


def test_a_set_that_the_owner_refuses_is_not_left_on_the_copy() -> None:
    pair = filled()
    pair.servers[0].holds = True
    pair.someone.send(b"set k 5 0 2\r\nv2\r\n")
    pair.run()
    pair.servers[0].store.forget(b"k")
    pair.servers[0].wire.replies = b"SERVER_ERROR out of memory storing object\r\n"
    pair.servers[0].release()
    pair.run()
    assert pair.someone.take() == b"SERVER_ERROR out of memory storing object\r\n"
    assert pair.on(1, b"k") is None


def test_quiet_writes_reach_both_and_say_nothing() -> None:
    pair = filled()
    assert pair.say(b"set k 5 0 2 noreply\r\nv2\r\nadd k 5 0 1 noreply\r\nx\r\ndelete q noreply\r\n") == b""
    assert pair.held(b"k") == (b"v2", b"v2")


def test_a_cas_unique_of_the_copy_never_fits_the_owner() -> None:
    pair = filled()
    pair.lose(0, b"k")
    reply = pair.say(b"gets k\r\n")
    unique = int(reply.split()[4])
    assert unique & 1 << 62
    assert unique < 1 << 63
    assert pair.say(b"cas k 5 0 2 %d\r\nv2\r\n" % unique) == b"EXISTS\r\n"


def test_nothing_is_left_over() -> None:
    pair = filled(b"7")
    for server in pair.servers:
        server.is_mute = True
    pair.someone.send(
        b"incr k 1\r\nset k 5 0 1\r\n1\r\nadd k 5 0 1\r\n2\r\ndelete k\r\nget k\r\nappend k 5 0 1\r\n2\r\n"
    )
    pair.run()
    for _ in range(150):
        pair.pass_time(10_000)
        pair.run()
    assert pair.someone.take().count(b"\r\n") == 6
    assert pair.finish() == {}


def slowly_repaired() -> Pair:
    """The owner has answered NOT_FOUND to an incr at once; its repair has heard the copy after 0.9 s."""
    pair = filled(b"7")
    pair.lose(0, b"k")
    for server in pair.servers:
        server.holds = True
    pair.someone.send(b"incr k 1\r\n")
    pair.run()
    pair.pass_time(10_000)
    pair.servers[0].wire.move_replies()
    pair.run()
    pair.pass_time(890_000)
    pair.servers[1].wire.move_replies()
    pair.run()
    pair.lines(0)
    return pair


def test_a_repair_is_no_reason_to_answer_much_later_than_one_step_may_take() -> None:
    pair = slowly_repaired()
    pair.pass_time(340_000)
    pair.run()
    assert pair.someone.take() == b"SERVER_ERROR server s0 did not answer in time\r\n", "the copy may have it"


def test_a_request_that_was_answered_before_its_repair_ended_delays_no_later_one() -> None:
    pair = slowly_repaired()
    pair.pass_time(340_000)
    for server in pair.servers:
        server.release()
    pair.run()
    assert pair.someone.take() == b"SERVER_ERROR server s0 did not answer in time\r\n"
    assert not any(line.startswith(b"incr") for line in pair.lines(0))
    pair.lines(1)
    pair.servers[0].holds = True
    pair.someone.send(b"set k 0 0 1\r\nx\r\n")
    pair.run()
    assert pair.lines(1) == [b"set k 0 0 1"]
    pair.servers[0].release()
    pair.run()


def test_an_add_that_is_undone_takes_no_later_set_with_it() -> None:
    pair = Pair(fallback="warming")
    pair.servers[1].store.apply(b"set", (b"k",), (b"0", b"0"), b"lock")
    pair.servers[1].holds = True
    pair.someone.send(b"add k 0 0 1\r\nx\r\n")
    pair.run()
    other = pair.client()
    assert pair.ask(other, b"set k 0 0 3\r\nset\r\n") == b"STORED\r\n"
    pair.servers[1].release()
    pair.run()
    pair.pass_time(10_000)
    pair.run()
    assert pair.someone.take() == b"NOT_STORED\r\n"
    assert pair.held(b"k") == (b"set", b"set")


# ---------------------------------------------------------------- meta


def meta(value: bytes = b"7", **settings: object) -> Pair:
    pair = filled(value, **settings)
    for fake in pair.servers:
        fake.server.meta = True
    return pair


@pytest.mark.parametrize(
    ("request_line", "reply", "key", "value", "effect"),
    [
        (b"ms k 2 T0 Oabc k\r\nv2\r\n", b"HD Oabc kk\r\n", b"k", b"v2", b"ms k 2 T0 Oabc k"),
        (b"ms n 2 ME\r\nv2\r\n", b"HD\r\n", b"n", b"v2", b"ms n 2 ME"),
        (b"ms k 2 MR F9\r\nv2\r\n", b"HD\r\n", b"k", b"v2", b"ms k 2 F9"),
        (b"ms k 2 MA\r\nv2\r\n", b"HD\r\n", b"k", b"7v2", b"ms k 2 MA"),
        (b"ms k 2 MP\r\nv2\r\n", b"HD\r\n", b"k", b"v27", b"ms k 2 MP"),
        (b"ma k D3 v\r\n", b"VA 2\r\n10\r\n", b"k", b"10", b"ma k D3 v"),
        (b"ma k MD D3\r\n", b"HD\r\n", b"k", b"4", b"ma k MD D3"),
        (b"md k\r\n", b"HD\r\n", b"k", None, b"md k"),
    ],
)
def test_meta_verbs_reach_the_copy_as_their_classic_twins(
    request_line: bytes, reply: bytes, key: bytes, value: bytes | None, effect: bytes
) -> None:
    pair = meta()
    assert pair.say(request_line) == reply
    assert pair.held(key) == (value, value)
    assert effect in pair.lines(1)


@pytest.mark.parametrize("flags", [b"", b" q"])
def test_a_meta_request_that_nobody_may_refuse_is_quiet_only_to_its_client(flags: bytes) -> None:
    pair = meta()
    assert pair.say(b"ms k 2%b\r\nv2\r\nmd n%b\r\nmn\r\n" % (flags, flags)).endswith(b"NF\r\nMN\r\n")
    assert pair.held(b"k") == (b"v2", b"v2")
    assert not any(b" q" in line for server in (0, 1) for line in pair.lines(server))


def test_a_meta_cas_is_unconditional_on_the_copy_and_fits_its_own_server_only() -> None:
    pair = meta()
    unique = int(pair.say(b"mg k c\r\n").split()[1][1:])
    assert pair.say(b"ms k 2 C%d\r\nv2\r\n" % unique) == b"HD\r\n"
    assert pair.held(b"k") == (b"v2", b"v2")
    assert b"ms k 2" in pair.lines(1)
    assert pair.say(b"ms k 2 C%d Ox\r\nv3\r\n" % unique) == b"EX Ox\r\n"
    pair.servers[0].die()
    assert pair.say(b"ms k 2 C%d Ox\r\nv3\r\n" % unique) == b"EX Ox\r\n"
    marked = int(pair.say(b"mg k c\r\n").split()[1][1:])
    assert marked & 1 << 62
    assert pair.say(b"ms k 2 C%d\r\nv3\r\n" % marked) == b"HD\r\n"
    assert pair.on(1, b"k") == b"v3"


def test_a_meta_lock_is_refused_where_only_the_copy_has_it() -> None:
    pair = meta()
    pair.lose(0, b"k")
    assert pair.say(b"ms k 1 ME\r\nx\r\n") == b"NS\r\n"
    assert pair.on(1, b"k") == b"7"


def test_a_meta_counter_that_only_the_copy_has_is_repaired_first() -> None:
    pair = meta()
    pair.lose(0, b"k")
    assert pair.say(b"ma k v\r\n") == b"VA 1\r\n8\r\n"
    assert pair.held(b"k") == (b"8", b"8")


def test_a_meta_delete_says_so_if_any_of_them_has_deleted() -> None:
    pair = meta()
    pair.lose(0, b"k")
    assert pair.say(b"md k Ox\r\n") == b"HD Ox\r\n"


def test_a_meta_set_survives_the_owner() -> None:
    pair = meta()
    pair.servers[0].is_mute = True
    pair.someone.send(b"ms k 2 Ox\r\nv2\r\nma k v\r\n")
    pair.run()
    pair.servers[0].die()
    pair.run()
    assert pair.someone.take().startswith(b"HD Ox\r\nSERVER_ERROR unknown outcome")
    assert pair.say(b"mg k v\r\n") == b"VA 2\r\nv2\r\n"


def test_a_meta_count_without_its_number_is_not_compared() -> None:
    pair = meta()
    pair.say(b"set long 0 0 1000\r\n%b\r\nmg long v\r\n" % (b"x" * 1000))
    for by in range(4):
        assert pair.say(b"ma k D%d\r\n" % by) == b"HD\r\n"
    assert pair.held(b"k") == (b"13", b"13")
    assert pair.count("divergences") == 0


@pytest.mark.parametrize("line", [b"touch k 9", b"incr k 1", b"replace k 0 0 1\r\nx"])
def test_what_was_not_done_the_one_that_is_out_has_not_missed(line: bytes) -> None:
    pair = Pair()
    pair.servers[1].die()
    assert pair.say(line + b"\r\n").startswith(b"NOT_")
    assert pair.noted(1) == 0, "it may be the only one that has the key"
    pair.say(b"delete k\r\n")
    assert pair.noted(1) == 1
