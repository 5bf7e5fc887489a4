"""The load generator against a real memcached: the server's own counters are the oracle."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from memagent._bench.job import Job, Outcome, run
from tests.support.memcached import Memcached
from tests.support.processes import ROOT
from tests.support.wait import PATIENCE, wait_until

Factory = Callable[..., Memcached]


def load(server: Memcached, **settings: Any) -> Outcome:
    outcome = run(
        Job(target=server.address, **{"keys": 500, "warmup_s": 0, "duration_s": 60, "clients": 5, **settings})
    )
    errors = {name: n for name, n in outcome.counts["errors"].items() if n}
    assert not errors, (errors, outcome.counts["error_sample"], outcome.counts["mismatch_sample"])
    return outcome


@pytest.mark.parametrize("unix", [False, True])
def test_the_server_counted_the_same(memcached_factory: Factory, unix: bool) -> None:
    server = memcached_factory(unix=unix)
    mix = {"get": 4.0, "gets": 1.0, "set": 2.0, "delete": 1.0, "incr": 1.0, "touch": 1.0}
    outcome = load(server, mix=mix, requests=5000, depth=7)
    counts, stats = outcome.counts, server.stats()
    verbs = counts["by_verb"]
    assert counts["requests"] == sum(verbs.values()) == 5000
    assert set(verbs) == set(mix)
    # The counters that incr needs are preloaded as well.
    assert outcome.preload_keys == outcome.preload_stored == 1000
    assert int(stats["cmd_get"]) == verbs["get"] + verbs["gets"]
    assert int(stats["cmd_set"]) == verbs["set"] + 1000
    assert int(stats["cmd_touch"]) == verbs["touch"]
    assert int(stats["delete_hits"]) + int(stats["delete_misses"]) == verbs["delete"]
    assert int(stats["incr_hits"]) == verbs["incr"]
    hits = sum(int(stats[f"{verb}_hits"]) for verb in ("get", "delete", "incr", "touch"))
    misses = sum(int(stats[f"{verb}_misses"]) for verb in ("get", "delete", "incr", "touch"))
    assert (counts["hits"], counts["misses"]) == (hits, misses)
    assert counts["stored"] == verbs["set"]
    assert counts["bytes_out"] == pytest.approx(int(stats["bytes_read"]), abs=500 * 160 * 2)


def test_multigets_with_repeated_keys(memcached_factory: Factory) -> None:
    server = memcached_factory()
    outcome = load(server, mix={"get": 1.0}, keys=50, multiget=100, requests=200, value_shape="range",
                   value_bytes=1, value_bytes_max=5000)  # fmt: skip
    assert outcome.counts["hits"] == outcome.counts["keys_asked"] == int(server.stats()["cmd_get"]) == 20_000


def test_large_values_and_skewed_sizes(memcached_factory: Factory) -> None:
    server = memcached_factory(args=["-m", "256"])
    outcome = load(
        server, mix={"get": 1.0, "set": 1.0}, keys=20, value_bytes=600_000, depth=4, requests=200, zipf=1.1
    )
    assert outcome.counts["misses"] == 0
    assert outcome.counts["bytes_in"] > 200 * 0.3 * 600_000


def test_keys_that_were_not_set_are_misses(memcached_factory: Factory) -> None:
    outcome = load(memcached_factory(), mix={"get": 1.0}, preload=False, requests=300)
    assert (outcome.counts["hits"], outcome.counts["misses"]) == (0, 300)


def test_another_value_under_the_key_is_a_mismatch(memcached_factory: Factory) -> None:
    server = memcached_factory()
    server.set(b"bench-00000000000000", b"x" * 100)
    outcome = run(
        Job(
            target=server.address, mix={"get": 1.0}, keys=1, preload=False, requests=10, warmup_s=0, clients=1
        )
    )
    assert outcome.counts["errors"]["mismatches"] == 10


def test_a_failed_preload_is_told(memcached_factory: Factory) -> None:
    server = memcached_factory(args=["-I", "1m"])
    outcome = run(
        Job(
            target=server.address,
            keys=5,
            value_bytes=2**21,
            mix={"get": 1.0},
            requests=1,
            warmup_s=0,
            clients=1,
        )
    )
    assert (outcome.preload_keys, outcome.preload_stored) == (5, 0)


def test_the_open_loop_keeps_its_rate(memcached_factory: Factory) -> None:
    server = memcached_factory()
    outcome = load(server, mix={"get": 1.0}, rate=500, duration_s=1)
    assert outcome.counts["requests"] == int(server.stats()["cmd_get"]) == 500


@contextlib.contextmanager
def stalls(server: Memcached, after_gets: int, for_s: float) -> Iterator[None]:
    def stall() -> None:
        wait_until(lambda: int(server.stats()["cmd_get"]) >= after_gets, 20, "load")
        server.pause()
        time.sleep(for_s)  # the length of the stall is what is measured
        server.resume()

    thread = threading.Thread(target=stall)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_stall_shows_in_the_open_loop(memcached_factory: Factory) -> None:
    """A server that stands still for 0.6 of 2 seconds delays 30 % of what was due, by 0.3 s in the middle."""
    server = memcached_factory()
    with stalls(server, after_gets=250, for_s=0.6):
        outcome = load(server, mix={"get": 1.0}, rate=500, duration_s=2, clients=4)
    assert outcome.counts["requests"] == 1000
    assert outcome.latency_us["p99"] > 500_000
    assert outcome.latency_us["p90"] > 250_000


def test_a_server_that_dies_and_comes_back(memcached_factory: Factory) -> None:
    server = memcached_factory()
    port = server.port
    outcome: list[Outcome] = []
    job = Job(
        target=server.address, mix={"get": 1.0}, keys=50, duration_s=4 * PATIENCE, warmup_s=0, clients=3
    )
    thread = threading.Thread(target=lambda: outcome.append(run(job)))
    thread.start()
    wait_until(lambda: int(server.stats()["cmd_get"]) > 100, what="load")
    server.restart()
    assert server.port == port
    wait_until(lambda: int(server.stats()["cmd_get"]) > 100, what="load again")
    thread.join()
    errors = outcome[0].counts["errors"]
    assert errors["connections_lost"] == errors["lost_requests"] == 3
    assert outcome[0].counts["misses"] > 100
    assert errors["mismatches"] == 0


def command(*arguments: str) -> list[str]:
    script = "from memagent.cli.bench import bench; bench(prog_name='magent bench')"
    return [sys.executable, "-c", script, *arguments]


def test_ctrl_c_prints_what_it_has(memcached_factory: Factory) -> None:
    server = memcached_factory()
    process = subprocess.Popen(
        command(server.address, "-t", "1h", "--warmup", "0", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    try:
        wait_until(lambda: int(server.stats()["cmd_get"]) > 100, what="load")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20 * PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert stderr == b""
    data = json.loads(stdout)
    assert data["complete"] is False
    assert data["requests"] > 100
