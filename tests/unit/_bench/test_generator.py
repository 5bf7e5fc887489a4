import signal
import threading
import time

import pytest

from tests.unit._bench.scripted import DEADLINE_S, finish, generator, miss, scripted


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


def test_a_silent_server_times_out_and_its_age_counts() -> None:
    with scripted(lambda _: b"") as server, generator(server, clients=2, depth=3, timeout_s=0.2) as load:
        load.start(warmup_s=0, duration_s=DEADLINE_S, requests=6)
        counts = finish(load)
        assert counts["requests"] == 0
        assert (counts["errors"]["timeouts"], counts["errors"]["lost_requests"]) == (2, 6)
        assert load.checker.latency.count == 6
        assert load.checker.latency.min_us >= 200_000


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
