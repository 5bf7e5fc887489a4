"""A server's list of keys, as real servers give it and as none should."""

import time
from collections.abc import Callable
from urllib.parse import quote_from_bytes

import pytest

from memagent.addresses import Address, parse_address
from memagent.errors import ServerError
from memagent.survey import dump
from memagent.survey.dump import Line, key_of, keys_of, read_dump
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.scripted import Answer, Scripted
from tests.unit.survey.listed import lines

LINE = b"key=%b exp=-1 la=1700000000 cas=3 fetch=no cls=1 size=63\n"
ALL_BYTES = [bytes([byte]) * 3 for byte in range(0x21, 0x100) if byte != 0x7F]


def lines_of(address: Address, **settings: Callable[[float], None]) -> list[Line]:
    return [line for lines in read_dump(address, 5.0, **settings) for line in lines]


def said(*lists: Answer) -> Scripted:
    """Answers so, dump after dump; the last one again and again."""
    answers = list(lists)
    return Scripted(lambda line: answers.pop(0) if len(answers) > 1 else answers[0])


@pytest.mark.parametrize("version", ["old", "new"])
def test_all_keys_of_a_real_server(memcached_factory: Callable[..., Memcached], version: str):
    server = memcached_factory(version)
    address = parse_address(server.address)
    assert lines_of(address) == []
    before_s = time.time()
    with server.connect() as wire:
        for number in range(3000):
            wire.send(b"set user:%d 0 %d 100\r\n%b\r\n" % (number, number % 2 * 1000, b"x" * 100))
        for _ in range(3000):
            assert wire.read_line() == b"STORED\r\n"
    found = lines_of(address)
    assert {key_of(key) for key, _, _, _ in found} == {b"user:%d" % number for number in range(3000)}
    assert all(100 < int(size) < 250 for _, _, _, size in found)
    assert all(abs(int(last_s) - before_s) < 60 for _, _, last_s, _ in found)
    assert sum(expires_s == b"-1" for _, expires_s, _, _ in found) == 1500
    assert all(900 < int(at) - before_s < 1100 for _, at, _, _ in found if at != b"-1")


@pytest.mark.parametrize("version", ["old", "new"])
def test_keys_of_any_bytes(memcached_factory: Callable[..., Memcached], version: str):
    server = memcached_factory(version)
    keys = [*ALL_BYTES, b"%41", b"key=x", b"END", b"\xff" * 250]
    for key in keys:
        server.set(key, b"value")
    assert sorted(key_of(line[0]) for line in lines_of(parse_address(server.address))) == sorted(keys)


def test_a_key_as_it_is_spelt():
    assert key_of(b"plain") == b"plain"
    for key in (b"a b\n", b"%", b"\xff\x00"):
        assert key_of(quote_from_bytes(key).encode()) == key


def test_many_keys_as_they_are_spelt():
    for keys in ([], [b"a"], ALL_BYTES, [b"%41", b"%%3A", b"%25", b"a:b", b":"], [b"a\nb", b"c:d"]):
        assert keys_of(lines(keys)) == keys


def test_pieces_of_any_size():
    whole = b"".join(LINE % b"key%d" % number for number in range(5)) + b"END\r\n"
    with Scripted(lambda _: whole) as server:
        assert len(lines_of(server.address)) == 5
    for cut in range(len(whole)):
        pieces = iter([whole[:cut], whole[cut:]])
        start = next(pieces) or next(pieces)
        if b"\n" in start:
            got = [line for lines in dump._read(_Nobody(), start, pieces) for line in lines]  # type: ignore[arg-type]
            assert [key for key, _, _, _ in got] == [b"key%d" % number for number in range(5)]


class _Nobody:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_what_later_servers_may_add():
    answer = b"key=a exp=-1 la=1 new=x cas=3 fetch=no size=63 flags=7\r\nEND\r\n"
    with said(answer) as server:
        assert lines_of(server.address) == [(b"a", b"-1", b"1", b"63")]


def test_the_second_way_where_the_first_is_refused():
    with said(b"ERROR\r\n", LINE % b"a" + b"END\r\n") as server:
        assert [line[0] for line in lines_of(server.address)] == [b"a"]
        assert server.asked == [b"lru_crawler metadump hash", b"lru_crawler metadump all"]


def test_a_server_that_refuses_both():
    with (
        said(b"ERROR \x1b[2J\r\n", b"CLIENT_ERROR disabled\r\n") as server,
        pytest.raises(ServerError, match=r"^lists no keys: ERROR \\x1b\[2J; CLIENT_ERROR disabled$"),
    ):
        lines_of(server.address)


def test_a_server_that_is_busy_is_asked_again():
    busy = b"BUSY currently processing crawler request\r\n"
    pauses: list[float] = []
    with said(busy, busy, LINE % b"a" + b"END\r\n") as server:
        assert len(lines_of(server.address, pause=pauses.append)) == 1
    assert len(pauses) == 2
    with said(busy) as server, pytest.raises(ServerError, match="lists no keys: BUSY"):
        lines_of(server.address, pause=lambda _: None)


GARBAGE = [
    (LINE % b"a" + b"garbage\r\n" + b"END\r\n", "lists what is no key: garbage"),
    (LINE % b"a" + b"END\r\n" + LINE % b"b", "lists what is no key: END"),
    (b"key=a exp=-1 la=1\nEND\r\n", "lists what is no key: key=a exp=-1 la=1"),
    (LINE % b"a" + b"x " + LINE % b"b" + b"END\r\n", "lists what is no key: x key=b"),
    (LINE % b"a" + b"x" * 100_000, "a line without an end"),
    (b"x" * 100_000, "a line without an end"),
    (LINE % b"" + b"END\r\n", "lists what is no key: key= exp"),
    (LINE.replace(b"63", b"6" * 5000) % b"a" + b"END\r\n", "lists what is no key: key=a"),
]


@pytest.mark.parametrize(("answer", "problem"), GARBAGE)
def test_what_is_no_list(answer: bytes, problem: str):
    with said(answer) as server, pytest.raises(ServerError, match=problem):
        lines_of(server.address)


def test_a_server_that_goes_in_the_middle():
    listed = [LINE % b"a" * 10, None]
    with Scripted(lambda line: listed[0] if line else None) as server:
        connection = read_dump(server.address, 5.0)
        assert len(next(connection)) == 10
        server.close()
        with pytest.raises(ServerError, match=r"closes the connection|reset"):
            list(connection)


def test_a_server_that_falls_silent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dump, "_SILENCE_S", 0.1)
    with said(LINE % b"a") as server, pytest.raises(ServerError, match="does not answer in time"):
        lines_of(server.address)


def test_nobody_there():
    with pytest.raises(ServerError, match="refused"):
        lines_of(Address("127.0.0.1", free_port()))
