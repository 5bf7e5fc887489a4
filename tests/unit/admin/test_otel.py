"""Metrics sent to a collector: a real exporter, and an HTTP server that reads what comes."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from memagent.admin.families import NO_LABELS, Distribution, Family, Labels
from memagent.admin.otel import Sender
from memagent.errors import StartError
from tests.support.collector import Collector
from tests.support.ports import free_port

FAMILIES = (
    Family("a_requests", "counter", "how many", [(Labels(x="1"), 5), (Labels(x="2"), 6)]),
    Family("a_ratio", "gauge", "how full", [(NO_LABELS, 0.25)]),
    Family(
        "a_seconds", "histogram", "how long", [], [(Labels(x="1"), Distribution((1, 0, 2), 7.5))], (0.5, 1.0)
    ),
)


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.told = asyncio.Event()

    def info(self, text: str, **facts: Any) -> None:
        self.lines.append((text, facts))
        self.told.set()

    warning = info


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector.running() as collector:
        yield collector


async def send(endpoint: str, n_lines: int = 1, before_line: Any = None, interval_ms: str = "10") -> Log:
    """Until so many lines were logged."""
    log = Log()
    environ = {"OTEL_METRIC_EXPORT_INTERVAL": interval_ms}
    sender = Sender(endpoint, lambda: FAMILIES, 1_000.5, log, environ)  # type: ignore[arg-type]
    sending = asyncio.create_task(sender.run())
    for number in range(n_lines):
        if before_line is not None:
            before_line(number)
        await asyncio.wait_for(log.told.wait(), 20)
        log.told.clear()
    sending.cancel()
    return log


@pytest.mark.parametrize("path", ["", "/", "/v1/metrics"])
def test_a_collector_gets_every_family(collector: Collector, path: str):
    log = asyncio.run(send(collector.url + path))
    assert log.lines == [("metrics are sent", {"to": f"{collector.url}/v1/metrics"})]
    where, request = collector.taken[0]
    assert where == "/v1/metrics"
    [resource] = request.resource_metrics
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert attributes["service.name"] == "memagent"
    [scope] = resource.scope_metrics
    counter, gauge, histogram = scope.metrics
    assert (counter.name, counter.description, counter.sum.is_monotonic) == ("a_requests", "how many", True)
    assert counter.sum.aggregation_temporality == 2
    assert [(point.as_int, point.attributes[0].value.string_value) for point in counter.sum.data_points] == [
        (5, "1"),
        (6, "2"),
    ]
    assert counter.sum.data_points[0].start_time_unix_nano == 1_000_500_000_000
    assert (gauge.name, gauge.unit, gauge.gauge.data_points[0].as_double) == ("a_ratio", "1", 0.25)
    [point] = histogram.histogram.data_points
    assert histogram.unit == "s"
    assert (list(point.bucket_counts), list(point.explicit_bounds)) == ([1, 0, 2], [0.5, 1.0])
    assert (point.count, point.sum, point.HasField("min")) == (3, 7.5, False)


def test_a_collector_that_refuses_is_told_of_once_and_again_when_it_takes_them(collector: Collector):
    def before_line(number: int) -> None:
        collector.status = 200 if number else 400

    log = asyncio.run(send(collector.url, 2, before_line))
    assert [text for text, _ in log.lines] == ["metrics cannot be sent", "metrics are sent"]
    assert "400" in log.lines[0][1]["reason"]


def test_nobody_waits_for_a_collector_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    log = asyncio.run(send(f"http://127.0.0.1:{free_port()}"))
    assert log.lines[0][0] == "metrics cannot be sent"
    assert log.lines[0][1]["reason"]


def test_what_is_missing_or_wrong_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StartError, match="OTEL_METRIC_EXPORT_INTERVAL"):
        asyncio.run(send("http://127.0.0.1:1", interval_ms="soon"))
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    with pytest.raises(StartError, match="not installed") as caught:
        asyncio.run(send("http://127.0.0.1:1"))
    assert "memagent[otel]" in str(caught.value.hint)
