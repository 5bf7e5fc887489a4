"""What a server missed is played to it (behaviour section 3, returning)."""

import pytest

from memagent._core.buffer import Memory
from memagent._core.metrics import Block
from memagent._core.reply import ReplyParser
from memagent._core.server import Server
from memagent._core.turn import Turn
from memagent.counters import SERVER_COUNTERS, SERVER_INDEX

WINDOW = 256


class Return:
    """A server's journal and player, and the other ends of its channels."""

    def __init__(self, n_channels: int = 1) -> None:
        n = len(SERVER_COUNTERS)
        self.counters = Block(bytearray(8 * n), 0, n)
        self.turn = Turn()
        server = Server(
            "s", 0, self.counters, self.turn, Memory(1 << 20), ReplyParser(), n_channels=n_channels
        )
        self.journal, self.channels, self.player = server.journal, server.channels, server.player

    def missed(self, *keys: bytes) -> "Return":
        for key in keys:
            assert self.journal.add_key(key)
        return self

    def sent(self) -> list[bytes]:
        return b"".join(channel.output() for channel in self.channels).split(b"\r\n")[:-1]

    def count(self, name: str) -> int:
        return self.counters[SERVER_INDEX[name]]


def test_every_key_is_deleted_and_gone_when_that_is_answered() -> None:
    back = Return().missed(b"a", b"b")
    back.player.send()
    assert back.sent() == [b"delete a", b"delete b"]
    assert len(back.journal) == 2
    back.channels[0].feed(b"DELETED\r\nNOT_FOUND\r\n")
    assert (len(back.journal), len(back.player), back.count("journal_played")) == (0, 0, 2)
    assert [back.player.take_played() for _ in range(3)] == [b"a", b"b", None]


def test_no_more_than_a_window_waits() -> None:
    back = Return().missed(*(b"k%d" % i for i in range(2 * WINDOW)))
    back.player.send()
    assert len(back.sent()) == WINDOW
    back.channels[0].feed(b"DELETED\r\n" * 10)
    assert len(back.sent()) == 10
    back.channels[0].feed(b"DELETED\r\n" * WINDOW)
    assert len(back.sent()) == WINDOW - 10
    assert len(back.player) == WINDOW - 10


def test_a_delete_goes_the_way_of_its_key() -> None:
    keys = [b"k%d" % i for i in range(40)]
    back = Return(4).missed(*keys)
    back.player.send()
    ways = [set(channel.output().split()) & set(keys) for channel in back.channels]
    assert all(ways)
    assert set().union(*ways) == set(keys)
    assert sum(map(len, ways)) == 40


def test_what_is_missed_again_meanwhile_is_played_again() -> None:
    back = Return().missed(b"a")
    back.player.send()
    back.missed(b"a")
    back.channels[0].feed(b"DELETED\r\n") if back.sent() else None
    assert back.sent() == [b"delete a"]
    assert back.player.take_played() is None
    back.channels[0].feed(b"NOT_FOUND\r\n")
    assert len(back.journal) == 0
    assert back.player.take_played() == b"a"


def test_what_was_not_answered_is_played_again() -> None:
    back = Return().missed(b"a", b"b")
    back.player.send()
    back.sent()
    back.channels[0].feed(b"DELETED\r\n")
    back.channels[0].end()
    assert back.player.trouble == "its connection was lost while it was told what it had missed"
    back.player.give_up()
    assert (back.player.trouble, len(back.journal)) == (None, 1)
    assert back.player.take_played() is None
    back.player.send()
    assert back.sent() == [b"delete b"]


@pytest.mark.parametrize(
    "answer", [b"ERROR\r\n", b"SERVER_ERROR out of memory\r\n", b"CLIENT_ERROR bad command line format\r\n"]
)
def test_a_delete_that_is_refused_is_trouble(answer: bytes) -> None:
    back = Return().missed(b"a")
    back.player.send()
    back.sent()
    back.channels[0].feed(answer)
    assert back.player.trouble == f"it refused delete: {answer.decode().strip()}"
    assert len(back.journal) == 1


def test_a_key_that_no_classic_command_carries() -> None:
    back = Return().missed(b"a b")
    back.player.send()
    assert back.sent() == [b"md YSBi b"]
    back.channels[0].feed(b"NF\r\n")
    assert (len(back.journal), back.player.trouble) == (0, None)


def test_a_flush_in_place_of_all_and_one_more_for_what_that_spared() -> None:
    back = Return()
    back.turn.now_us = 5_000_000
    back.player.send_flush()
    assert back.sent() == [b"flush_all"]
    back.turn.now_us += 400_000
    back.channels[0].feed(b"OK\r\n")
    for after_us in (0, 1_100_000):  # no less, or one second of the server's may have seen both
        back.turn.now_us = 5_400_000 + after_us
        back.player.send_more()
        assert back.sent() == []
        assert (back.player.flushing, back.player.flushed) == (True, False)
    back.turn.now_us += 500_000
    back.player.send_more()
    back.player.send_more()
    assert back.sent() == [b"flush_all"]
    assert (back.player.flushing, back.player.flushed) == (True, False)
    back.channels[0].feed(b"OK\r\n")
    assert (back.player.flushing, back.player.flushed, back.count("flushes_played")) == (False, True, 2)


def test_one_that_falls_between_two_flushes_has_both_before_it() -> None:
    back = Return()
    back.player.send_flush()
    back.channels[0].feed(b"OK\r\n")
    back.player.give_up()
    back.turn.now_us += 5_000_000
    back.player.send_more()
    assert back.sent() == [b"flush_all"]  # the first one
    assert (back.player.flushing, back.player.flushed) == (False, False)
    back.player.send_flush()
    back.channels[0].feed(b"OK\r\n")
    assert (back.player.flushing, back.player.flushed) == (True, False)


def test_a_flush_that_is_refused_is_trouble() -> None:
    back = Return()
    back.player.send_flush()
    back.sent()
    back.channels[0].feed(b"CLIENT_ERROR flush_all not allowed\r\n")
    assert (back.player.flushed, back.player.trouble) == (
        False,
        "it refused flush_all: CLIENT_ERROR flush_all not allowed",
    )


def test_the_answer_to_what_was_given_up_proves_nothing() -> None:
    back = Return().missed(b"a")
    back.player.send()
    back.player.send_flush()
    back.sent()
    back.player.give_up()
    back.channels[0].feed(b"DELETED\r\nOK\r\n")
    assert (len(back.journal), back.player.flushed, back.player.trouble) == (1, False, None)
