import socket
from pathlib import Path

import pytest

from memagent._bench.generator import Generator
from memagent._bench.workload import Workload
from tests.unit._bench.scripted import DEADLINE_S, finish, generator, miss, scripted


def test_a_unix_socket(tmp_path: Path) -> None:
    with scripted(miss, tmp_path / "s") as server, generator(server, 20) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=200)
        assert finish(load)["requests"] == 200
        assert server.accepted == 20


def test_nobody_listens() -> None:
    with scripted(miss) as server:
        pass
    with pytest.raises(ConnectionRefusedError), generator(server):
        pass


def test_a_connection_that_is_closed_is_made_again() -> None:
    seen = 0

    def answer(data: bytes) -> bytes | None:
        nonlocal seen
        seen += 1
        return None if seen % 10 == 0 else miss(data)

    with scripted(answer) as server, generator(server) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=55)
        counts = finish(load)
        assert counts["errors"]["connections_lost"] == counts["errors"]["lost_requests"] == 5
        assert counts["requests"] == 50
        assert server.accepted == 6


def test_framing_that_is_lost_costs_the_connection() -> None:
    with scripted(lambda _: b"STORED\r\n") as server, generator(server) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=3)
        errors = finish(load)["errors"]
        assert (errors["mismatches"], errors["connections_lost"], errors["lost_requests"]) == (3, 3, 3)


def test_replies_that_arrive_in_pieces(tmp_path: Path) -> None:
    values = Workload(mix={"get": 1.0}, keys=100, key_prefix=b"k", key_bytes=4, value_bytes=9)

    def answer(data: bytes) -> bytes:
        keys = [line.split()[1] for line in data.split(b"\r\n") if line]
        return b"".join(
            b"VALUE %b 0 9\r\n%b\r\nEND\r\n" % (key, values.value_of(values.number_of(key))) for key in keys
        )

    # A Unix socket hands over each piece as it is sent.
    with scripted(answer, tmp_path / "s", piece_bytes=5) as server, generator(server, 3, 4) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=300)
        counts = finish(load)
        assert (counts["requests"], counts["hits"]) == (300, 300)
        assert not any(counts["errors"].values())


def test_values_that_the_socket_does_not_take_at_once() -> None:
    received = 0

    def answer(data: bytes) -> bytes:
        nonlocal received
        before, size = received, len(b"set k000 0 0 3000000\r\n\r\n") + 3_000_000
        received += len(data)
        return b"STORED\r\n" * (received // size - before // size)

    with (
        scripted(answer) as server,
        generator(server, mix={"set": 1.0}, value_bytes=3_000_000, depth=4) as load,
    ):
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=12)
        counts = finish(load)
        assert counts["stored"] == 12
        assert counts["bytes_out"] == received


def test_a_path_that_is_too_long() -> None:
    workload = Workload(mix={"get": 1}, keys=1, key_prefix=b"", key_bytes=1, value_bytes=1)
    with pytest.raises(ValueError, match="107"):
        Generator(
            workload, family=socket.AF_UNIX, host="/" + "x" * 200, port=0, clients=1, depth=1, timeout_s=1
        )
