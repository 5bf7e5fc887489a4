"""What a running proxy tells Prometheus, against what was asked of it."""

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.functional.tools import magent
from tests.support.collector import Collector
from tests.support.memcached import Memcached
from tests.support.promtool import promtool
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

VALUE = b"v" * 100


class Watched:
    """A proxy of two workers before two servers and their backup, and its metrics."""

    def __init__(self, proxy: Proxy, control_path: str) -> None:
        self.proxy = proxy
        self._control_path = control_path

    def scrape(self) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(self._control_path)
            connection.sendall(b'{"verb": "metrics"}\n')
            answer = json.loads(connection.makefile("rb").readline())
        text = answer["text"]
        assert isinstance(text, str)
        return text

    def sum_of(self, name: str, **labels: str) -> float:
        return sum_of(self.scrape(), name, **labels)


def sum_of(scraped: str, name: str, **labels: str) -> float:
    """Over all samples of this name that have these labels."""
    return sum(
        sample.value
        for family in read_text(scraped)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.fixture
def watched(
    memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy], tmp_path: Path
) -> Callable[..., Watched]:
    def start(**settings: Any) -> Watched:
        servers = [memcached_factory() for _ in range(3)]
        path = str(tmp_path / "control.sock")
        proxy = proxy_factory(
            servers[:2],
            servers[2:],
            workers=2,
            pool={"probe_max_ms": 100},
            settings={"control_socket": path, **settings},
        )
        return Watched(proxy, path)

    return start


def test_every_request_is_counted_and_timed(watched: Callable[..., Watched]):
    here = watched()
    wires = [here.proxy.connect() for _ in range(8)]
    for number, wire in enumerate(wires):
        key = b"key%d" % number
        wire.expect(b"set %b 0 0 100\r\n%b\r\n" % (key, VALUE), b"STORED\r\n")
        wire.expect(b"get %b\r\n" % key, b"VALUE %b 0 100\r\n%b\r\nEND\r\n" % (key, VALUE))
        wire.expect(b"get %b-none\r\n" % key, b"END\r\n")
        wire.expect(b"get x%b y%b\r\n" % (key, key), b"END\r\n")
        wire.expect(b"delete %b\r\n" % key, b"DELETED\r\n")
        wire.expect(b"incr %b 1\r\n" % key, b"NOT_FOUND\r\n")
    expected = {"set": 8, "get": 16, "multiget": 8, "delete": 8, "incr": 8, "touch": 0}
    for verb, count in expected.items():
        name = "memagent_request_duration_seconds"
        assert here.sum_of(f"{name}_count", verb=verb) == count
        assert here.sum_of(f"{name}_bucket", verb=verb, le="67.108864") == count
        assert (here.sum_of(f"{name}_sum", verb=verb) > 0) == (count > 0)
    assert here.sum_of("memagent_get_hits_total") == 8
    assert here.sum_of("memagent_get_misses_total") == 24
    assert here.sum_of("memagent_cmd_set_total") == 8
    assert here.sum_of("memagent_curr_connections") >= 8
    # a set and a delete ask two servers, a miss may
    replies = here.sum_of("memagent_server_replies_total")
    assert replies >= 8 * 8
    assert here.sum_of("memagent_server_request_duration_seconds_count") == replies
    for wire in wires:
        wire.close()


def test_the_text_is_good_in_both_formats(watched: Callable[..., Watched]):
    here = watched()
    config = str(here.proxy.config)
    text = magent("metrics", "-c", config)
    assert promtool("check", "metrics", text=text.encode()) == ""
    plain = {family.name for family in read_text(text)}
    assert plain == {
        family.name for family in read_openmetrics(magent("metrics", "--openmetrics", "-c", config))
    }


def test_what_is_not_measured_is_not_shown(watched: Callable[..., Watched]):
    here = watched(latency_metrics=False)
    with here.proxy.connect() as wire:
        wire.expect(b"get a\r\n", b"END\r\n")
    assert "duration" not in here.scrape()
    assert here.sum_of("memagent_cmd_get_total") == 1


def test_workers_that_hang_are_shown_and_not_waited_for(watched: Callable[..., Watched]):
    here = watched()
    pids = here.proxy.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        first, second = here.scrape(), here.scrape()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    for scraped in (first, second):
        assert sum_of(scraped, "memagent_worker_up") == 2
        assert sum_of(scraped, "memagent_server_state", state="up") == 3
    # what a dashboard sees of one that is frozen
    turns = "memagent_loop_turns_total"
    assert sum_of(first, turns) == sum_of(second, turns) > 0


def test_counters_outlive_a_worker_and_its_processor_time_does_not(watched: Callable[..., Watched]):
    here = watched()
    with here.proxy.connect() as wire:
        wire.expect(b"get a\r\n", b"END\r\n")
    before = here.sum_of("memagent_request_duration_seconds_count")
    os.kill(here.proxy.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: here.sum_of("memagent_restarts_total") == 1, 20, "the worker to be replaced")
    wait_until(lambda: here.sum_of("memagent_worker_up") == 2, 20, "its successor")
    assert here.sum_of("memagent_request_duration_seconds_count") >= before == 1


def test_a_collector_is_sent_what_was_counted(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with Collector.running() as collector:
        here = watched(otel_endpoint=collector.url)
        with here.proxy.connect() as wire:
            wire.expect(b"set a 0 0 1\r\n1\r\n", b"STORED\r\n")
        before = len(collector.taken)
        wait_until(lambda: len(collector.taken) > before + 1, 20, "two more of what the proxy sends")
        sent = collector.taken[-1][1].resource_metrics[0].scope_metrics[0].metrics
        [metric] = [metric for metric in sent if metric.name == "memagent_cmd_set"]
        assert [point.as_int for point in metric.sum.data_points] == [1]
    here.proxy.wait_for_log("metrics cannot be sent")
    assert here.proxy.stop() == 0
