"""What waits for a time, as requests show it; see also test_careful_reads and test_mutation for who waits."""

from tests.support.copies import Pair

PAUSE_US = 10_000


def test_pools_that_are_given_none_have_their_own() -> None:
    first, second = Pair(workers=2), Pair(workers=2)
    first.say(b"set k 5 0 2\r\nv1\r\n")
    first.lose(0, b"k")
    first.other_worker.begin_key(b"k")
    assert first.say(b"get k\r\n") == b""
    first.other_worker.end_key(b"k")
    second.pass_time(PAUSE_US)
    second.run()
    assert first.someone.take() == b""
    first.pass_time(PAUSE_US)
    first.run()
    assert first.someone.take() == b"VALUE k 5 2\r\nv1\r\nEND\r\n"
