"""The last hour of the proxy and of each server, a point every five seconds; bounded, whatever comes.

    View ─▶ add ─▶ rings of numbers ─▶ since ─▶ columns, as a chart wants them

A server that is configured away is forgotten. What cannot be told is None.
"""

import math
from array import array
from collections.abc import MutableSequence
from typing import Any, Final

from memagent.rates import Identity, Traffic, View

STEP_S: Final = 5.0
STEPS: Final = 720
COLUMNS: Final = ("requests_per_s", "hit_ratio", "p50_us", "p99_us", "errors_per_s")
_UNKNOWN: Final = math.nan

Ring = MutableSequence[float]


class History:
    def __init__(self, steps: int = STEPS) -> None:
        self._steps = steps
        self._count = 0
        self._at_s = array("d", [_UNKNOWN] * steps)
        self._proxy = self._rings()
        self._servers: dict[Identity, list[Ring]] = {}

    @property
    def last_s(self) -> float:
        """When the last point was, since 1970; 0 if there is none."""
        return self._at_s[(self._count - 1) % self._steps] if self._count else 0.0

    def add(self, view: View) -> None:
        at = self._count % self._steps
        self._at_s[at] = view.snapshot.now_s
        _write(self._proxy, at, view.traffic)
        known = {row.identity: row for row in view.rows}
        self._servers = {each: self._servers.get(each) or self._rings() for each in known}
        for identity, rings in self._servers.items():
            _write(rings, at, known[identity].traffic)
        self._count += 1

    def since(self, after_s: float, identity: Identity | None = None) -> dict[str, list[float | None]] | None:
        """Points later than that, of a server or of the proxy: `at_s` and COLUMNS. None: no such server."""
        rings = self._proxy if identity is None else self._servers.get(identity)
        if rings is None:
            return None
        first = max(0, self._count - self._steps)
        places = [n % self._steps for n in range(first, self._count) if self._at_s[n % self._steps] > after_s]
        columns: dict[str, list[Any]] = {"at_s": [self._at_s[at] for at in places]}
        for name, ring in zip(COLUMNS, rings, strict=True):
            columns[name] = [None if math.isnan(ring[at]) else _short(ring[at]) for at in places]
        return columns

    def _rings(self) -> list[Ring]:
        return [array("f", [_UNKNOWN] * self._steps) for _ in COLUMNS]


def _write(rings: list[Ring], at: int, traffic: Traffic) -> None:
    for name, ring in zip(COLUMNS, rings, strict=True):
        value: float | None = getattr(traffic, name)
        ring[at] = _UNKNOWN if value is None else value


def _short(value: float) -> float:
    """What a chart can show."""
    return float(f"{value:.4g}")
