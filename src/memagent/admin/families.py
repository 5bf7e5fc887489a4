"""Metric families as text: Prometheus' own format, or OpenMetrics where the reader asks for it.

    Family ─▶ # HELP, # TYPE ─▶ a line for each sample; a histogram's: its buckets, sum and count

Written here and not by prometheus_client: a scrape every second shall not be felt (`python -m bench.metrics`
measures what it costs). Tests read every line with its parsers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Labels:
    """What tells the samples of one family apart. Made once and used in many families."""

    __slots__ = ("pairs", "text")

    def __init__(self, **pairs: str) -> None:
        self.pairs = pairs
        self.text = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs.items())

    def and_also(self, **pairs: str) -> "Labels":
        return Labels(**self.pairs, **pairs)


NO_LABELS: Final = Labels()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's value. `counts`: how many in each bucket alone, the last one without an end."""

    counts: Sequence[int]
    sum: float


@dataclass(frozen=True, slots=True)
class Family:
    """`name` without a counter's _total; `bounds`: the upper ends of a histogram's buckets."""

    name: str
    kind: Kind
    meaning: str
    samples: Sequence[tuple[Labels, float]] = field(default_factory=list)
    distributions: list[tuple[Labels, Distribution]] = field(default_factory=list)
    bounds: Sequence[float] = ()


def wants_openmetrics(accept: str) -> bool:
    """Does this Accept header name it? Who knows both formats puts it first."""
    return any(part.split(";")[0].strip() == "application/openmetrics-text" for part in accept.split(","))


def render(families: Iterable[Family], openmetrics: bool = False) -> bytes:
    lines: list[str] = []
    for family in families:
        total = "_total" if family.kind == "counter" else ""
        about = family.name if openmetrics else family.name + total
        meaning = _escape(family.meaning) if openmetrics else _escape(family.meaning).replace('\\"', '"')
        lines += (f"# HELP {about} {meaning}", f"# TYPE {about} {family.kind}")
        name = family.name + total
        lines += [
            f"{name}{{{labels.text}}} {value}" if labels.text else f"{name} {value}"
            for labels, value in family.samples
        ]
        if family.distributions:
            lines += _histograms(family)
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def _histograms(family: Family) -> Iterator[str]:
    ends = [*map(repr, map(float, family.bounds)), "+Inf"]
    for labels, value in family.distributions:
        start = f'{family.name}_bucket{{{labels.text}{"," if labels.text else ""}le="'
        so_far = 0
        for end, so_far in zip(ends, accumulate(value.counts), strict=True):
            yield f'{start}{end}"}} {so_far}'
        own = f"{{{labels.text}}}" if labels.text else ""
        yield f"{family.name}_sum{own} {value.sum}"
        yield f"{family.name}_count{own} {so_far}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
