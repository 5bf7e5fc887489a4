"""What a follower is told without anybody waiting for its answer."""

from tests.support.copies import Pair


def test_a_follower_that_is_out_is_left_a_note() -> None:
    pair = Pair()
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[1].die()
    assert pair.say(b"gat 100 k\r\n").startswith(b"VALUE k")
    assert pair.noted(1) == 1


def test_a_follower_that_dies_under_it_is_left_a_note() -> None:
    pair = Pair()
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[1].is_mute = True
    assert pair.say(b"gat 100 k\r\n").startswith(b"VALUE k")
    pair.servers[1].die()
    pair.run()
    assert pair.noted(1) == 1
    assert pair.count("effects_failed") == 1


def test_a_follower_that_answers_with_an_error_is_left_a_note() -> None:
    pair = Pair()
    pair.say(b"set k 5 0 2\r\nv1\r\n")
    pair.servers[1].holds = True
    pair.say(b"gat 100 k\r\n")
    pair.servers[1].wire.replies = b"SERVER_ERROR out of memory\r\n"
    pair.servers[1].release()
    pair.run()
    assert pair.noted(1) == 1
