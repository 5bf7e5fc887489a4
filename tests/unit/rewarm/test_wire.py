"""A connection to a server that may say anything."""

import time

import pytest

from memagent.errors import ServerError
from memagent.rewarm.wire import Facts, Wire
from memagent.settings import ServerConfig
from tests.support.liar import Liar, Talk
from tests.support.ports import free_port
from tests.support.wait import wait_until


def wire_to(port: int, request_timeout_s: float = 5.0) -> Wire:
    server = ServerConfig.model_validate(f"127.0.0.1:{port}")
    return Wire(server, ["127.0.0.1"], 5.0, request_timeout_s)


def test_a_server_introduces_itself() -> None:
    with Liar(Talk.honest, says_who=False) as liar:
        wire = wire_to(liar.port)
        facts = wire.introduce()
        wire.close()
    assert (facts.version, facts.identity, facts.has_meta, facts.takes_cas) == ((1, 6, 18), "1", True, False)
    assert abs(facts.now_s() - 1_700_000_000) <= 2


def test_a_server_that_refuses_is_taken_as_it_is() -> None:
    def refuse(talk: Talk) -> None:
        while True:
            talk.line()
            talk.say(b"ERROR\r\n")

    with Liar(refuse, says_who=False) as liar:
        wire = wire_to(liar.port)
        facts = wire.introduce(settings=True)
        wire.close()
    assert facts.stats == {}
    assert not facts.has_meta
    assert abs(facts.now_s() - time.time()) <= 1.5


@pytest.mark.parametrize(
    ("version", "mn", "has_meta", "takes_cas"),
    [
        ("1.4.31", False, False, False),
        ("1.6.9", True, False, False),
        ("1.6.18", True, True, False),
        ("1.6.27", True, True, True),
        ("1.6.38-rc1", True, True, True),
        ("1.10", True, True, True),
        ("nonsense", True, True, False),
    ],
)
def test_the_version_says_what_it_can_do(version: str, mn: bool, has_meta: bool, takes_cas: bool) -> None:
    facts = Facts({"version": version}, mn)
    assert (facts.has_meta, facts.takes_cas) == (has_meta, takes_cas)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"STAT a 1\r\n" * 200_000, "no end"),
        (b"x" * 10_000, "without an end"),
        (b"STAT a 1\r\n", "took too long"),
        (b"", "took too long"),
    ],
)
def test_a_server_that_never_comes_to_an_end_is_given_up(answer: bytes, problem: str) -> None:
    def script(talk: Talk) -> None:
        talk.line()
        talk.say(answer)
        talk.silence()

    with Liar(script, says_who=False) as liar:
        wire = wire_to(liar.port, 0.2)
        with pytest.raises(ServerError, match=problem):
            wire.introduce()
        wire.close()


def test_a_server_that_cannot_be_reached_says_so() -> None:
    with pytest.raises(ServerError, match="cannot connect: Connection refused"):
        wire_to(free_port())
    with pytest.raises(ServerError, match="no address"):
        Wire(ServerConfig.model_validate("127.0.0.1:1"), [], 1.0, 1.0)
    with pytest.raises(ServerError, match="No such file"):
        Wire(ServerConfig.model_validate("unix:/nowhere/at/all"), [], 1.0, 1.0)


def test_much_is_sent_and_received_without_blocking() -> None:
    size = 3_000_000

    def echo(talk: Talk) -> None:
        talk.say(b"STAT pid 1\r\nEND\r\nERROR\r\n")
        talk.line(), talk.line()
        talk.say(talk.block(size))
        talk.silence()

    with Liar(echo, says_who=False) as liar:
        wire = wire_to(liar.port)
        wire.introduce()
        data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        wire.queue(data)
        wire.queue(b"\r\n")
        assert wire.out_bytes == size + 2

        def all_there() -> bool:
            wire.flush()
            wire.receive(need_bytes=size)
            return wire.end - wire.start == size

        wait_until(all_there)
        assert wire.buffer[wire.start : wire.end] == data
        liar.hang_up()

        def is_closed() -> bool:
            try:
                wire.receive()
            except ServerError:
                return True
            return False

        wait_until(is_closed)
        wire.close()


def test_room_is_made_by_moving_what_is_left() -> None:
    def script(talk: Talk) -> None:
        talk.say(b"END\r\nERROR\r\n")
        while True:
            talk.say(b"y" * 50_000)
            talk.line()

    with Liar(script, says_who=False) as liar:
        wire = wire_to(liar.port)
        wire.introduce()
        for _ in range(20):
            wire.queue(b"\r\n")
            held = wire.end - wire.start

            def has_come(held: int = held) -> bool:
                wire.flush()
                wire.receive()
                return wire.end - wire.start > held

            wait_until(has_come)
            wire.start = wire.end - min(100, wire.end - wire.start)
        assert len(wire.buffer) <= 1 << 20
        wire.close()
        assert wire.fileno() == -1
