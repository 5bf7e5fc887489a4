import json
from pathlib import Path
from typing import Any

import pytest

from memagent._bench.generator import Generator
from memagent._bench.job import Job, prepare, resolve, run
from memagent.addresses import parse_address
from memagent.errors import ConfigError, StartError
from tests.unit._bench.scripted import miss, scripted


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"target": "host:0"}, "port"),
        ({"clients": 0}, "clients"),
        ({"depth": 0}, "depth"),
        ({"keys": 0}, "keys"),
        ({"value_bytes": -1}, "value-bytes"),
        ({"value_shape": "range", "value_bytes": 9, "value_bytes_max": 8}, "largest value"),
        ({"multiget": 10_001}, "multiget"),
        ({"zipf": -0.1}, "zipf"),
        ({"zipf": float("nan")}, "zipf"),
        ({"duration_s": 0}, "duration"),
        ({"warmup_s": -1}, "warmup"),
        ({"requests": -1}, "requests"),
        ({"rate": -1}, "rate"),
        ({"timeout_s": 0}, "timeout"),
        ({"mix": {}}, "mix"),
        ({"mix": {"get": 0.0}}, "mix"),
        ({"mix": {"get": 1.0, "fly": 1.0}}, "'fly' is none of get, gets"),
        ({"mix": {"get": -1.0, "set": 5.0}}, "share of get"),
        ({"key_prefix": "with space "}, "key-prefix"),
        ({"key_prefix": "ü"}, "key-prefix"),
        ({"key_bytes": 9}, "key-bytes"),
        ({"key_bytes": 27}, "key-bytes"),
        ({"key_prefix": "x" * 245, "key_bytes": 250}, "key-bytes"),
        ({"clients": 60_000, "depth": 1000}, "in flight"),
    ],
)
def test_each_mistake_is_named(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        Job(**{"target": "127.0.0.1:1", **changes}).check()
    assert caught.value.exit_code == 2


def test_all_mistakes_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Job(target="127.0.0.1:99999", clients=0, depth=0).check()
    assert len(caught.value.message.splitlines()) == 3


def test_the_defaults_are_right() -> None:
    Job(target="127.0.0.1").check()


def test_nobody_there() -> None:
    with scripted(miss) as server:
        port = server.port
    with pytest.raises(StartError, match=f"127.0.0.1:{port}: cannot connect 50 clients: Connection refused"):
        prepare(Job(target=f"127.0.0.1:{port}"))


def test_no_such_name() -> None:
    with pytest.raises(StartError, match="cannot be resolved"):
        resolve(parse_address("no-such-host.invalid:11211"))


def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file"):
        prepare(Job(target=f"unix:{tmp_path}/none"))


def test_an_outcome_is_json_with_its_settings() -> None:
    with scripted(miss) as server:
        job = Job(
            target=f"127.0.0.1:{server.port}",
            clients=2,
            mix={"get": 1.0},
            preload=False,
            requests=50,
            warmup_s=0,
        )
        outcome = run(job)
    data = json.loads(json.dumps(outcome.as_dict()))
    assert data["complete"] is True
    assert data["settings"]["clients"] == 2
    assert (data["requests"], data["misses"]) == (50, 50)
    assert data["requests_per_s"] == pytest.approx(50 / data["elapsed_s"], rel=0.01)
    latency_us = list(data["latency_us"].values())
    assert data["latency_us"]["p50"] <= data["latency_us"]["p99.9"] <= data["latency_us"]["max"]
    assert min(latency_us) > 0


def test_an_interrupt_keeps_what_there_is() -> None:
    def interrupt(generator: Generator, phase: str) -> None:
        if generator.counts()["requests"] >= 10:
            raise KeyboardInterrupt

    with scripted(miss) as server:
        job = Job(
            target=f"127.0.0.1:{server.port}", mix={"get": 1.0}, preload=False, duration_s=60, warmup_s=0
        )
        outcome = run(job, interrupt)
    assert not outcome.complete
    assert outcome.counts["requests"] >= 10
    assert 0 < outcome.elapsed_s < 60
    assert outcome.counts["errors"]["lost_requests"] == 0


def test_an_interrupt_before_the_load_starts() -> None:
    def interrupt(generator: Generator, phase: str) -> None:
        raise KeyboardInterrupt

    with scripted(lambda _: b"") as server:
        outcome = run(Job(target=f"127.0.0.1:{server.port}"), interrupt)
    assert not outcome.complete
    assert (outcome.counts["requests"], outcome.throughput) == (0, 0.0)
