"""What Prometheus is told: read back by prometheus_client, and compared with what was counted."""

import dataclasses
import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from memagent._core.metrics import Block
from memagent.admin.families import OPENMETRICS, TEXT
from memagent.admin.metrics import exposition, families
from memagent.counters import (
    COUNTERS,
    SERVER_COUNTERS,
    SERVER_INDEX,
    VERB_CLASSES,
    WORKER_COUNTERS,
    WORKER_INDEX,
    metric_of,
)
from memagent.segment import LATENCY_BOUNDS_US, Segment
from memagent.snapshot import Snapshot, WorkerSnapshot
from tests.support.control_stand_in import MOVING, NOW_S, SERVER, WARM, snapshot_of
from tests.support.promtool import promtool

WORKERS = 2
READERS = {TEXT: read_text, OPENMETRICS: read_openmetrics}
ACCEPTS = ("", "application/openmetrics-text;version=1.0.0")
A = {"pool": "main", "server": "a", "role": "server"}
B = {"pool": "main", "server": "b", "role": "backup"}


def snapshot(**changed: Any) -> Snapshot:
    whole = snapshot_of(
        dataclasses.replace(SERVER, warm=WARM),
        dataclasses.replace(SERVER, name="b", address="10.0.0.2:11211", backup=True, state="down"),
    )
    workers = (WorkerSnapshot(0, os.getpid(), 0), WorkerSnapshot(1, 0, 3))
    return dataclasses.replace(whole, **{"pid": os.getpid(), "workers": workers, **changed})


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.create(WORKERS, servers=2)
    yield segment
    gc.collect()
    segment.close()


def count(segment: Segment, worker: int, **values: int) -> None:
    block = Block(segment.buffer, segment.worker_offset_slots(worker), len(WORKER_COUNTERS))
    for name, value in values.items():
        block.add(WORKER_INDEX[name], value)


def count_server(segment: Segment, worker: int, server: int, **values: int) -> None:
    block = Block(segment.buffer, segment.server_offset_slots(worker, server), len(SERVER_COUNTERS))
    for name, value in values.items():
        block.add(SERVER_INDEX[name], value)


class Scrape:
    """One exposition, read back."""

    def __init__(self, segment: Segment, accept: str = "", **changed: Any) -> None:
        self.content_type, self.text = exposition(snapshot(**changed), segment, accept)
        self.families = list(READERS[self.content_type](self.text.decode()))
        self.samples = [sample for family in self.families for sample in family.samples]

    def of(self, name: str) -> list[tuple[dict[str, str], float]]:
        return [(sample.labels, sample.value) for sample in self.samples if sample.name == name]

    def value(self, name: str, **labels: str) -> float:
        [value] = [value for found, value in self.of(name) if found == labels]
        return value


@pytest.mark.parametrize("accept", ACCEPTS)
def test_every_counter_of_the_table_is_there_with_its_kind_and_meaning(segment: Segment, accept: str):
    scrape = Scrape(segment, accept)
    assert scrape.content_type == (OPENMETRICS if accept else TEXT)
    by_name = {family.name: family for family in scrape.families}
    for counter in COUNTERS:
        if (counter.scope, counter.name) == ("server", "state"):
            continue
        metric = metric_of(counter)
        family = by_name[metric.name]
        assert (family.type, family.documentation) == (counter.kind, metric.meaning)
        assert counter.meaning in family.documentation
        assert all(sample.name.endswith("_total") == (counter.kind == "counter") for sample in family.samples)


def test_no_two_families_have_one_name(segment: Segment):
    names = [family.name for family in families(snapshot(), segment)]
    assert len(set(names)) == len(names)
    assert all(name.startswith("memagent_") for name in names)


def test_names_are_as_prometheus_wants_them(segment: Segment):
    assert promtool("check", "metrics", text=Scrape(segment).text) == ""


@pytest.mark.parametrize("accept", ACCEPTS)
def test_values_are_what_was_counted_in_base_units(segment: Segment, accept: str):
    for worker in range(WORKERS):
        count(segment, worker, get_hits=10 + worker, bytes_read=1000, total_connections=2)
        count(segment, worker, requests=7 + worker)
        count_server(segment, worker, 1, requests=5, pending=2, up_ms=0)
    segment.count_as_leader(1, "down_ms", 1500)
    segment.set_as_leader(0, "warm_per_cent", 40)
    segment.reset()
    scrape = Scrape(segment, accept)
    assert scrape.value("memagent_get_hits_total") == 21
    assert scrape.value("memagent_read_bytes_total") == 2000
    assert scrape.value("memagent_connections_total") == 4
    assert scrape.of("memagent_requests_total") == [({"worker": "0"}, 7), ({"worker": "1"}, 8)]
    assert scrape.value("memagent_server_requests_total", **B) == 10
    assert scrape.value("memagent_server_requests_total", **A) == 0
    assert scrape.value("memagent_server_pending", **B) == 4
    assert scrape.value("memagent_server_down_seconds_total", **B) == 1.5
    assert scrape.value("memagent_server_warm_ratio", **A) == pytest.approx(0.4)


@pytest.mark.parametrize("accept", ACCEPTS)
def test_latencies_by_verb_and_server(segment: Segment, accept: str):
    for worker in range(WORKERS):
        verbs = segment.pool_histograms(worker, 0)
        verbs.record(list(VERB_CLASSES).index("set"), 100)
        verbs.record(list(VERB_CLASSES).index("set"), 2_000_000)
        segment.server_histogram(worker, 1).record(0, 10**9)
    scrape = Scrape(segment, accept)
    name = "memagent_request_duration_seconds"
    found = scrape.of(f"{name}_bucket")
    assert {labels["verb"] for labels, _ in found} == set(VERB_CLASSES)
    buckets = {float(labels["le"]): value for labels, value in found if labels["verb"] == "set"}
    assert list(buckets) == [*(bound / 1e6 for bound in LATENCY_BOUNDS_US), float("inf")]
    assert list(buckets.values()) == sorted(buckets.values())
    assert [buckets[le] for le in (96e-6, 128e-6, 1.572864, 2.097152, float("inf"))] == [0, 2, 2, 4, 4]
    assert scrape.value(f"{name}_count", pool="main", verb="set") == 4
    assert scrape.value(f"{name}_sum", pool="main", verb="set") == pytest.approx(4.0002)
    assert scrape.value(f"{name}_count", pool="main", verb="get") == 0
    name = "memagent_server_request_duration_seconds"
    assert scrape.value(f"{name}_bucket", **B, le="67.108864") == 0
    assert scrape.value(f"{name}_bucket", **B, le="+Inf") == scrape.value(f"{name}_count", **B) == 2
    assert scrape.value(f"{name}_count", **A) == 0


def test_latencies_that_are_not_measured_are_not_shown(segment: Segment):
    assert "duration" not in Scrape(segment, latency_metrics=False).text.decode()


def test_states_processes_and_limits(segment: Segment):
    scrape = Scrape(segment)
    states = {
        labels["state"]: value
        for labels, value in scrape.of("memagent_server_state")
        if B.items() <= labels.items()
    }
    assert states == {"up": 0, "down": 1, "returning": 0, "warming": 0, "draining": 0, "drained": 0}
    assert scrape.value("memagent_server_info", **B, address="10.0.0.2:11211") == 1
    assert scrape.value("memagent_server_state_start_time_seconds", **A) == NOW_S - 7200
    assert scrape.value("memagent_rewarm_state", **A, state="running") == 1
    assert scrape.value("memagent_rewarm_state", **A, state="failed") == 0
    assert scrape.value("memagent_rewarm_start_time_seconds", **A) == NOW_S - 60
    assert {labels["server"] for labels, _ in scrape.of("memagent_rewarm_state")} == {"a"}
    assert [value for _, value in scrape.of("memagent_worker_up")] == [1, 0]
    assert {labels["worker"] for labels, _ in scrape.of("memagent_worker_cpu_seconds_total")} == {"0"}
    assert scrape.value("memagent_worker_resident_memory_bytes", worker="0") > 2**20
    assert scrape.value("memagent_supervisor_resident_memory_bytes") > 2**20
    assert scrape.value("memagent_max_connections") == 4096
    assert scrape.value("memagent_draining") == 0
    [(build, _)] = scrape.of("memagent_build_info")
    assert build["version"] == "0"


def test_keys_that_move(segment: Segment):
    held = dataclasses.replace(MOVING, waits_for="b is down", left_out=("c is down",))
    gone = dataclasses.replace(MOVING, pool="not configured any more")
    scrape = Scrape(segment, migrations=(held, gone))
    assert {labels["pool"] for labels, _ in scrape.of("memagent_migration_state")} == {"main"}
    assert scrape.value("memagent_migration_state", pool="main", state="running") == 1
    assert scrape.value("memagent_migration_state", pool="main", state="done") == 0
    assert scrape.value("memagent_migration_phase", pool="main", phase="copy") == 1
    assert scrape.value("memagent_migration_phase", pool="main", phase="mirror") == 0
    for name, value in (
        ("start_time_seconds", NOW_S - 60),
        ("keys_total", 1200),
        ("bytes_total", 5000),
        ("progress_ratio", 0.5),
        ("eta_seconds", 60),
        ("waits", 1),
        ("servers_left_out", 1),
    ):
        assert scrape.value(f"memagent_migration_{name}", pool="main") == value
    assert scrape.of("memagent_migration_end_time_seconds") == []
    assert promtool("check", "metrics", text=scrape.text) == ""
    ended = dataclasses.replace(MOVING, state="done", phase="settle", ended_s=NOW_S, eta_s=None)
    scrape = Scrape(segment, migrations=(ended,))
    assert scrape.value("memagent_migration_state", pool="main", state="done") == 1
    assert scrape.value("memagent_migration_end_time_seconds", pool="main") == NOW_S
    assert scrape.of("memagent_migration_phase") == scrape.of("memagent_migration_eta_seconds") == []


def test_a_queue_is_as_full_as_the_fullest_of_all_workers(segment: Segment):
    assert Scrape(segment).value("memagent_server_queue_ratio", **A) == 0
    count_server(segment, 0, 0, pending=65536 // 4, in_flight=65536 // 4)
    count_server(segment, 1, 0, pending=65536 // 8)
    assert Scrape(segment).value("memagent_server_queue_ratio", **A) == 0.5
    count_server(segment, 1, 0, queued_bytes=67108864 * 3 // 4)
    assert Scrape(segment).value("memagent_server_queue_ratio", **A) == 0.75


def test_no_label_grows_with_what_clients_do(segment: Segment):
    before = {(sample.name, *sample.labels.items()) for sample in Scrape(segment).samples}
    for worker in range(WORKERS):
        count(segment, worker, **{counter.name: 10**15 for counter in WORKER_COUNTERS})
        for server in range(2):
            count_server(segment, worker, server, **{counter.name: 10**15 for counter in SERVER_COUNTERS})
            segment.server_histogram(worker, server).record(0, 10**15)
    assert {(sample.name, *sample.labels.items()) for sample in Scrape(segment).samples} == before
