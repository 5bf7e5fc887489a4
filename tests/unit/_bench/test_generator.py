import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memagent._bench.generator import Generator
from memagent._bench.workload import Workload
from tests.unit._bench.scripted import Scripted, miss, scripted

DEADLINE_S = 20.0


@contextlib.contextmanager
def generator(server: Scripted, clients: int = 1, depth: int = 1, **changes: Any) -> Iterator[Generator]:
    timeout_s = changes.pop("timeout_s", 5.0)
    settings = {
        "mix": {"get": 1.0}, "keys": 100, "key_prefix": b"k", "key_bytes": 4, "value_bytes": 9, **changes
    }  # fmt: skip
    load = Generator(
        Workload(**settings),
        family=server.family,
        host=server.host,
        port=server.port,
        clients=clients,
        depth=depth,
        timeout_s=timeout_s,
    )
    load.connect()
    try:
        yield load
    finally:
        load.close()


def finish(load: Generator, until: str = "done") -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while load.step(0.05) != until:
        assert time.monotonic() < deadline, f"still {load.phase_name}"
    return load.counts()


@pytest.mark.parametrize(("clients", "depth"), [(1, 1), (7, 3), (3, 40)])
def test_a_number_of_requests_is_that_number(clients: int, depth: int) -> None:
    with scripted(miss) as server, generator(server, clients, depth) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=1000)
        counts = finish(load)
        assert (counts["requests"], counts["misses"]) == (1000, 1000)
        assert load.checker.latency.count == 1000
        assert load.elapsed_s() < DEADLINE_S
        assert server.accepted == clients


def test_a_second_measurement_starts_from_zero() -> None:
    with scripted(miss) as server, generator(server) as load:
        for requests in (100, 30):
            load.start(warmup_s=0, duration_s=DEADLINE_S, requests=requests)
            assert finish(load)["requests"] == requests
        assert load.answered == 130


def test_the_warm_up_is_not_counted() -> None:
    with scripted(miss) as server, generator(server) as load:
        load.start(warmup_s=0.1, duration_s=0.1)
        counts = finish(load)
        assert 0 < counts["requests"] < load.answered
        assert load.checker.latency.count == counts["requests"]


def test_a_unix_socket(tmp_path: Path) -> None:
    with scripted(miss, tmp_path / "s") as server, generator(server, 20) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=200)
        assert finish(load)["requests"] == 200
        assert server.accepted == 20


def test_the_depth_is_kept_in_flight() -> None:
    largest = 0

    def answer(data: bytes) -> bytes:
        nonlocal largest
        largest = max(largest, data.count(b"\r\n"))
        return miss(data)

    with scripted(answer) as server, generator(server, depth=25) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=500)
        finish(load)
        assert largest == 25


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


def test_a_silent_server_times_out_and_its_age_counts() -> None:
    with scripted(lambda _: b"") as server, generator(server, clients=2, depth=3, timeout_s=0.2) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=6)
        counts = finish(load)
        assert counts["requests"] == 0
        assert (counts["errors"]["timeouts"], counts["errors"]["lost_requests"]) == (2, 6)
        assert load.checker.latency.count == 6
        assert load.checker.latency.min_us >= 200_000


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


def test_open_loop_counts_from_the_intended_moment() -> None:
    """One client, a server that needs 20 ms, ten requests due within 10 ms: the last waits for all others."""

    def answer(data: bytes) -> bytes:
        time.sleep(0.02)  # the server's slowness is what is tested
        return miss(data)

    with scripted(answer) as server, generator(server) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=10, rate=1000)
        counts = finish(load)
        assert counts["requests"] == 10
        assert load.checker.latency.max_us >= 10 * 20_000 - 10_000
        assert load.checker.latency.percentile_us(50) >= 80_000


def test_open_loop_never_exceeds_its_rate() -> None:
    with scripted(miss) as server, generator(server, clients=5) as load:
        load.start(warmup_s=0, duration_s=0.5, rate=400)
        counts = finish(load)
        assert counts["requests"] + counts["errors"]["lost_requests"] == 200


def test_what_was_due_and_never_sent_is_in_the_figures() -> None:
    with scripted(lambda _: b"") as server, generator(server, timeout_s=0.3) as load:
        load.start(warmup_s=0, duration_s=0.2, rate=100)
        counts = finish(load)
        assert counts["requests"] == 0
        assert counts["errors"]["lost_requests"] == 20
        assert load.checker.latency.count == 20


def test_preload_sets_every_key_once_and_the_counters() -> None:
    stored: list[bytes] = []
    rest = b""

    def answer(data: bytes) -> bytes:
        nonlocal rest
        lines = (rest + data).split(b"\r\n")
        rest = lines.pop()
        stored.extend(line.split()[1] for line in lines if line.startswith(b"set "))
        return b"STORED\r\n" * sum(not line.startswith(b"set ") for line in lines)

    with scripted(answer) as server, generator(server, mix={"get": 1.0, "incr": 1.0}, keys=70) as load:
        load.preload()
        finish(load, "idle")
        assert sorted(stored) == sorted(b"k%03d%b" % (i, n) for i in range(70) for n in (b"", b"n"))
        assert load.preload_state() == {"keys": 140, "sent": 140, "stored": 140}


def test_preload_says_how_many_failed() -> None:
    with (
        scripted(lambda data: b"SERVER_ERROR no\r\n" * (data.count(b"\r\n") // 2)) as server,
        generator(server) as load,
    ):
        load.preload()
        finish(load, "idle")
        assert load.preload_state()["stored"] == 0


def test_preload_gives_up_on_a_target_that_only_hangs_up() -> None:
    with scripted(lambda _: None) as server, generator(server, keys=1000) as load:
        load.preload()
        finish(load, "idle")
        assert load.preload_state()["stored"] == 0
        assert server.accepted <= 5


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


def test_a_signal_ends_a_step_early() -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    done = threading.Event()

    def interrupt() -> None:
        # Again and again: one that comes between two waits has nothing to interrupt.
        while not done.wait(0.02):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    thread = threading.Thread(target=interrupt)
    try:
        with scripted(lambda _: b"") as server, generator(server, timeout_s=60) as load:
            load.start(warmup_s=0, duration_s=60)
            thread.start()
            began_s = time.monotonic()
            load.step(50)
            assert time.monotonic() - began_s < DEADLINE_S
            load.stop()
            assert load.phase_name == "done"
            assert load.counts()["errors"]["lost_requests"] == 0
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGALRM, before)


def test_a_path_that_is_too_long() -> None:
    workload = Workload(mix={"get": 1}, keys=1, key_prefix=b"", key_bytes=1, value_bytes=1)
    with pytest.raises(ValueError, match="107"):
        Generator(
            workload, family=socket.AF_UNIX, host="/" + "x" * 200, port=0, clients=1, depth=1, timeout_s=1
        )
