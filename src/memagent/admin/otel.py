"""Metrics for an OpenTelemetry collector: what Prometheus is told, sent there now and then (memagent[otel]).

    families ──▶ MetricsData ──▶ OpenTelemetry's exporter, in a thread ──OTLP over HTTP──▶ collector

- The supervisor's loop never waits for the collector, nor does its end: the thread is not waited for.
- Whether the collector takes what it is sent is logged when that changes, and costs nothing else.
- Besides the endpoint, OpenTelemetry's own environment variables hold: headers, time limit, interval.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from memagent.admin.families import Distribution, Family, Labels
from memagent.errors import StartError
from memagent.logs import Logger
from memagent.threads import in_thread
from memagent.units import quoted

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

_INTERVAL: Final = "OTEL_METRIC_EXPORT_INTERVAL"
_USUAL_INTERVAL_MS: Final = 60_000
_PATH: Final = "/v1/metrics"
_UNITS: Final = {"seconds": "s", "bytes": "By", "ratio": "1"}


class Sender:
    """`families` are asked for whenever it is time to send. StartError if memagent[otel] is not installed."""

    def __init__(
        self,
        endpoint: str,
        families: Callable[[], Iterable[Family]],
        started_s: float,
        log: Logger,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.resources import Resource
        except ImportError as error:
            missing = f"otel_endpoint needs what is not installed: {error.name}"
            raise StartError(missing, "pip install 'memagent[otel]'") from None
        self._interval_s = _interval_s(environ)
        self._endpoint = endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH
        self._exporter = OTLPMetricExporter(endpoint=self._endpoint)
        self._resource = Resource.create({"service.name": environ.get("OTEL_SERVICE_NAME", "memagent")})
        self._families = families
        self._started_ns = int(started_s * 1e9)
        self._log = log
        self._last_words = _LastWords()

    async def run(self) -> None:
        """Until it is cancelled."""
        was_taken: bool | None = None
        while True:
            data = self._data(time.time_ns())
            is_taken = await in_thread(partial(self._send, data), "metrics")
            if is_taken != was_taken:
                was_taken = is_taken
                if is_taken:
                    self._log.info("metrics are sent", to=self._endpoint)
                else:
                    reason = self._last_words.text
                    self._log.warning("metrics cannot be sent", to=self._endpoint, reason=reason)
            await asyncio.sleep(self._interval_s)

    def _send(self, data: "MetricsData") -> bool:
        """In the thread. It ends after the time limit of the exporter at the latest."""
        try:
            return self._exporter.export(data).name == "SUCCESS"
        except Exception as error:
            # Of a library: what it thinks of a collector must not end the sending.
            self._last_words.text = f"{type(error).__name__}: {error}"
            return False

    def _data(self, now_ns: int) -> "MetricsData":
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        metrics = [self._metric(family, now_ns) for family in self._families()]
        scope = ScopeMetrics(InstrumentationScope("memagent"), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _metric(self, family: Family, now_ns: int) -> "Metric":
        from opentelemetry.sdk.metrics import export

        def point(labels: Labels, value: float) -> export.NumberDataPoint:
            return export.NumberDataPoint(labels.pairs, self._started_ns, now_ns, value)

        def histogram(labels: Labels, value: Distribution) -> export.HistogramDataPoint:
            return export.HistogramDataPoint(
                labels.pairs,
                self._started_ns,
                now_ns,
                sum(value.counts),
                value.sum,
                value.counts,
                family.bounds,
                # Nobody knows them; in the protocol they may be left out.
                min=None,  # type: ignore[arg-type]
                max=None,  # type: ignore[arg-type]
            )

        data: export.Gauge | export.Sum | export.Histogram
        cumulative = export.AggregationTemporality.CUMULATIVE
        if family.kind == "histogram":
            data = export.Histogram([histogram(*each) for each in family.distributions], cumulative)
        elif family.kind == "counter":
            data = export.Sum([point(*each) for each in family.samples], cumulative, is_monotonic=True)
        else:
            data = export.Gauge([point(*each) for each in family.samples])
        unit = _UNITS.get(family.name.rpartition("_")[2], "")
        return export.Metric(family.name, family.meaning, unit, data)


class _LastWords(logging.Handler):
    """What OpenTelemetry last complained about, for our own log: its own would go to standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        logger = logging.getLogger("opentelemetry")
        logger.handlers = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _interval_s(environ: Mapping[str, str]) -> float:
    text = environ.get(_INTERVAL, str(_USUAL_INTERVAL_MS))
    if not text.isdecimal() or int(text) < 1:
        raise StartError(f"the environment's {_INTERVAL} is {quoted(text)}", "it is a number of milliseconds")
    return int(text) / 1000
