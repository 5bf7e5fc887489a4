"""What two proxies say to each other when one takes over; whole processes are in tests/functional."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from memagent import takeover
from memagent.errors import StartError
from memagent.takeover import VARIABLE, Failed, Go, Handover, Hello, Predecessor, Ready, Taken, hear, say


class Older:
    """The proxy that hands over. `fds`: what the newer one inherits, by their numbers."""

    def __init__(self, folder: str) -> None:
        self.channel, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(f"{folder}/control")
        self.control.listen()

    def hand_over(self) -> None:
        log = os.open(os.devnull, os.O_WRONLY)
        fds = self.listening.detach(), self.control.detach()
        say(self.channel, Handover((fds[0],), ("/a",), fds[1], log))

    def environ(self) -> dict[str, str]:
        return {VARIABLE: str(self.theirs.detach()), "HOME": "/"}

    def close(self) -> None:
        for each in (self.channel, self.theirs, self.listening, self.control):
            each.close()


@pytest.fixture
def older(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Older]:
    # The tests' own standard error stays what it is.
    monkeypatch.setattr(takeover.os, "dup2", lambda *_: None)
    made = Older(str(tmp_path_factory.mktemp("older")))
    yield made
    made.close()


def take(older: Older) -> Predecessor:
    environ = older.environ()
    taken = Predecessor.take(environ, "2.0")
    assert taken is not None
    assert environ == {"HOME": "/"}
    return taken


def test_nobody_hands_over():
    assert Predecessor.take({}, "2.0") is None


def test_what_is_handed_over_and_who_takes_over_when(older: Older):
    where = older.listening.getsockname()
    older.hand_over()
    newer = take(older)

    async def test() -> None:
        assert await hear(older.channel) == Hello("2.0")
        waits = asyncio.create_task(newer.ready())
        assert await hear(older.channel) == Ready()
        assert not waits.done()
        say(older.channel, Go())
        await waits
        waits = asyncio.create_task(newer.taken())
        assert await hear(older.channel) == Taken()
        assert not waits.done()
        older.channel.close()
        await waits

    asyncio.run(test())
    [each] = newer.activated.claim(socket.AF_INET, where)
    assert (each.getblocking(), os.get_inheritable(each.fileno())) == (False, False)
    assert newer.activated.files == ("/a",)
    assert not newer.control.getblocking()
    each.close()
    newer.close()


def test_the_older_one_goes_on_by_itself(older: Older):
    older.hand_over()
    newer = take(older)
    older.channel.close()
    with pytest.raises(StartError, match="goes on by itself"):
        asyncio.run(newer.ready())
    newer.failed(StartError("nobody hears it"))
    newer.close()


def test_why_it_failed_and_what_it_does_not_claim(older: Older):
    older.hand_over()
    newer = take(older)
    newer.failed(StartError("no room", "make some"))

    async def test() -> None:
        assert await hear(older.channel) == Hello("2.0")
        assert await hear(older.channel) == Failed("no room", "make some")

    asyncio.run(test())
    with pytest.raises(StartError, match="the running proxy hands over sockets that neither") as caught:
        newer.activated.check_none_left()
    assert str(caught.value.hint).startswith("an upgrade keeps every address; magent reload changes")
    newer.close()


@pytest.mark.parametrize("packet", [b"nonsense", b'{"type": "ready"}', b"{}"])
def test_a_handover_that_makes_no_sense(older: Older, packet: bytes):
    older.channel.send(packet)
    with pytest.raises(StartError, match="makes no sense"):
        Predecessor.take(older.environ(), "2.0")


@pytest.mark.parametrize("number", ["x", "-1", "99999"])
def test_a_channel_that_is_none(number: str):
    with pytest.raises(StartError, match="hands nothing over"):
        Predecessor.take({VARIABLE: number}, "2.0")


def test_what_another_version_says_beside_it_is_passed_over(older: Older):
    older.theirs.send(b'{"type": "hello", "version": "9", "mood": "fine"}')
    older.theirs.send(b'{"type": "song"}')

    async def test() -> None:
        assert await hear(older.channel) == Hello("9")
        assert await hear(older.channel) is None

    asyncio.run(test())
