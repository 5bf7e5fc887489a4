"""A retrieval of one key where keys have copies (behaviour section 2, row get)."""

import pytest

from tests.support.copies import Pair

SET = b"set k 5 0 2\r\nv1\r\n"
HIT = b"VALUE k 5 2\r\nv1\r\nEND\r\n"


def test_the_owner_answers_and_the_copy_is_not_asked() -> None:
    pair = Pair()
    pair.say(SET)
    pair.lines(1)
    assert pair.say(b"get k\r\n") == HIT
    assert pair.lines(1) == []


def test_what_the_owner_missed_comes_from_the_copy_and_is_repaired() -> None:
    pair = Pair()
    pair.say(SET)
    pair.lose(0, b"k")
    assert pair.say(b"get k\r\n") == HIT
    assert pair.held(b"k") == (b"v1", b"v1")
    assert (pair.count("fallbacks"), pair.count("fallback_hits"), pair.count("repairs")) == (1, 1, 1)
    assert pair.count("get_hits") == 1


def test_a_true_miss_asks_both_and_is_one_miss() -> None:
    pair = Pair()
    assert pair.say(b"get k\r\n") == b"END\r\n"
    assert (pair.count("get_misses"), pair.count("fallbacks"), pair.count("fallback_hits")) == (1, 1, 0)
    assert pair.count("repairs") == 0


@pytest.mark.parametrize("fallback", ["never", "warming"])
def test_without_fallback_a_miss_of_the_owner_is_believed(fallback: str) -> None:
    pair = Pair(fallback=fallback)
    pair.say(SET)
    pair.lose(0, b"k")
    assert pair.say(b"get k\r\n") == b"END\r\n"
    assert pair.on(0, b"k") is None


def test_a_dead_owner_is_not_asked() -> None:
    pair = Pair()
    pair.say(SET)
    pair.servers[0].die()
    assert pair.say(b"get k\r\n") == HIT
    assert pair.count("failovers") == 1


def test_an_owner_that_dies_under_a_request_costs_no_error() -> None:
    pair = Pair()
    pair.say(SET)
    pair.servers[0].is_mute = True
    pair.someone.send(b"get k\r\n")
    pair.run()
    pair.servers[0].die()
    pair.run()
    assert pair.someone.take() == HIT


def test_with_both_dead_a_get_is_a_miss() -> None:
    pair = Pair()
    pair.say(SET)
    pair.servers[0].die()
    pair.servers[1].die()
    assert pair.say(b"get k\r\n") == b"END\r\n"


def test_both_mute_is_an_answer_in_the_time_of_one_and_a_little_more() -> None:
    pair = Pair()
    pair.say(SET)
    for server in pair.servers:
        server.is_mute = True
    pair.someone.send(b"get k\r\n")
    pair.run()
    waited_us = 0
    while not pair.someone.received and waited_us < 3_000_000:
        pair.pass_time(10_000)
        pair.run()
        waited_us += 10_000
    assert pair.someone.take() == b"END\r\n"
    assert 1_000_000 <= waited_us <= 1_250_000


def test_a_new_time_to_live_reaches_the_copy() -> None:
    pair = Pair()
    pair.say(SET)
    pair.lines(1)
    assert pair.say(b"gat 100 k\r\n") == HIT
    assert pair.lines(1) == [b"touch k 100"]
    assert pair.say(b"gat -1 k\r\n") == HIT
    assert pair.held(b"k") == (None, None)


def test_a_new_time_to_live_that_only_the_copy_has_confirmed_reaches_the_owner_too() -> None:
    pair = Pair()
    pair.say(SET)
    pair.servers[0].holds = True
    pair.someone.send(b"gat 100 k\r\n")
    pair.run()
    pair.pass_time(1_000_000)
    pair.run()
    assert pair.someone.take() == HIT
    assert b"touch k 100" in pair.lines(0) or pair.noted(0)


def test_an_error_of_the_owner_is_not_the_last_word() -> None:
    pair = Pair()
    pair.say(SET)
    pair.servers[0].holds = True
    pair.someone.send(b"get k\r\n")
    pair.run()
    pair.servers[0].wire.replies = b"SERVER_ERROR out of memory\r\n"
    pair.servers[0].release()
    pair.run()
    assert pair.someone.take() == HIT


# ---------------------------------------------------------------- meta


def meta() -> Pair:
    pair = Pair()
    pair.say(SET)
    for fake in pair.servers:
        fake.server.meta = True
    return pair


def test_mg_falls_back_and_is_repaired() -> None:
    pair = meta()
    pair.lose(0, b"k")
    assert pair.say(b"mg k v f Oabc\r\n") == b"VA 2 f5 Oabc\r\nv1\r\n"
    assert pair.held(b"k") == (b"v1", b"v1")
    assert pair.say(b"mg n v Oabc k\r\nmg n q\r\nmn\r\n") == b"EN Oabc kn\r\nMN\r\n"


def test_mg_of_a_dead_owner_asks_the_copy() -> None:
    pair = meta()
    pair.servers[0].die()
    assert pair.say(b"mg k v\r\n") == b"VA 2\r\nv1\r\n"
    pair.servers[1].die()
    assert pair.say(b"mg k v k Ox\r\n") == b"EN kk Ox\r\n"


def test_mg_that_touches_touches_the_copy() -> None:
    pair = meta()
    pair.lines(1)
    assert pair.say(b"mg k v T100\r\n") == b"VA 2\r\nv1\r\n"
    assert pair.lines(1) == [b"touch k 100"]


def test_mg_makes_an_item_only_where_neither_server_has_it() -> None:
    pair = meta()
    pair.lose(0, b"k")
    assert pair.say(b"mg k v N30\r\n") == b"VA 2\r\nv1\r\n"
    pair.lines(0)
    pair.say(b"mg n v N30\r\n")
    assert pair.lines(0) == [b"mg n v", b"mg n v N30"]
