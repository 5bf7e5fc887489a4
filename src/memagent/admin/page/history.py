"""The last hour of the proxy and of each server, a point every five seconds; bounded, whatever comes.

    View ─▶ add ─▶ rings of numbers ─▶ since ─▶ columns, as a chart wants them

- A number takes two bytes: whole ones are exact up to 2,048, any other loses a thousandth at most.
- A column takes memory from the first number on that differs from those before, so that what is idle or has
  no errors costs next to nothing: 7.2 KB a server at most, 5.8 KB as long as it has no errors.
- A server that is configured away is forgotten. What cannot be told is None.
"""

import math
from array import array
from typing import Any, Final

from memagent.rates import Identity, Traffic, View

STEP_S: Final = 5.0
STEPS: Final = 720
COLUMNS: Final = ("requests_per_s", "hit_ratio", "p50_us", "p99_us", "errors_per_s")
_EMPTY: Final = Traffic()

# A number as two bytes: six bits of exponent, and the ten that follow the leading one of its binary digits.
_UNKNOWN: Final = 0
_ZERO: Final = 1
_DIGITS: Final = 10
_LEAST_EXPONENT: Final = -24
_MOST_EXPONENT: Final = 38


class _Column:
    """A ring of numbers that is there when it is needed: until then all of them are `_same`."""

    __slots__ = ("_codes", "_same")

    def __init__(self) -> None:
        self._same = _UNKNOWN
        self._codes: array[int] | None = None

    def write(self, at: int, value: float | None, steps: int, is_first: bool) -> None:
        code = packed(value)
        if self._codes is None:
            if is_first:
                self._same = code
            if code == self._same:
                return
            self._codes = array("H", [self._same]) * steps
        self._codes[at] = code

    def read(self, at: int) -> float | None:
        return unpacked(self._same if self._codes is None else self._codes[at])


class _Series:
    """Its columns, and the point that they begin with."""

    __slots__ = ("columns", "first")

    def __init__(self) -> None:
        self.first: int | None = None
        self.columns = tuple(_Column() for _ in COLUMNS)

    def add(self, number: int, traffic: Traffic, steps: int) -> None:
        # Of one that has just come nothing can be told.
        if self.first is None and traffic == _EMPTY:
            return
        is_first = self.first is None
        if self.first is None:
            self.first = number
        for name, column in zip(COLUMNS, self.columns, strict=True):
            column.write(number % steps, getattr(traffic, name), steps, is_first)

    def column(self, which: int, numbers: list[int], steps: int) -> list[float | None]:
        first = math.inf if self.first is None else self.first
        column = self.columns[which]
        return [column.read(n % steps) if n >= first else None for n in numbers]


class History:
    def __init__(self, steps: int = STEPS) -> None:
        self._steps = steps
        self._count = 0
        self._at_s = array("d", [math.nan]) * steps
        self._proxy = _Series()
        self._servers: dict[Identity, _Series] = {}

    @property
    def last_s(self) -> float:
        """When the last point was, since 1970; 0 if there is none."""
        return self._at_s[(self._count - 1) % self._steps] if self._count else 0.0

    def add(self, view: View) -> None:
        self._at_s[self._count % self._steps] = view.snapshot.now_s
        self._proxy.add(self._count, view.traffic, self._steps)
        known = {row.identity: row for row in view.rows}
        self._servers = {each: self._servers.get(each) or _Series() for each in known}
        for identity, series in self._servers.items():
            series.add(self._count, known[identity].traffic, self._steps)
        self._count += 1

    def since(self, after_s: float, identity: Identity | None = None) -> dict[str, list[float | None]] | None:
        """Points later than that, of a server or of the proxy: `at_s` and COLUMNS. None: no such server."""
        series = self._proxy if identity is None else self._servers.get(identity)
        if series is None:
            return None
        first = max(0, self._count - self._steps)
        numbers = [n for n in range(first, self._count) if self._at_s[n % self._steps] > after_s]
        columns: dict[str, list[Any]] = {"at_s": [self._at_s[n % self._steps] for n in numbers]}
        for which, name in enumerate(COLUMNS):
            columns[name] = series.column(which, numbers, self._steps)
        return columns


def packed(value: float | None) -> int:
    """Cut, not rounded: a ratio is 1 only if it was."""
    if value is None:
        return _UNKNOWN
    if value <= 0:
        return _ZERO
    mantissa, exponent = math.frexp(value)
    if exponent < _LEAST_EXPONENT:
        return _ZERO
    if exponent > _MOST_EXPONENT:
        mantissa, exponent = 1 - 2 ** -(_DIGITS + 1), _MOST_EXPONENT
    digits = int(mantissa * 2 ** (_DIGITS + 1)) - 2**_DIGITS
    return (exponent - _LEAST_EXPONENT + 1 << _DIGITS) + digits


def unpacked(code: int) -> float | None:
    if code == _UNKNOWN:
        return None
    if code == _ZERO:
        return 0.0
    exponent, digits = divmod(code, 2**_DIGITS)
    return _short(math.ldexp(digits + 2**_DIGITS, exponent - 1 + _LEAST_EXPONENT - _DIGITS - 1))


def _short(value: float) -> float:
    """What a chart can show."""
    return float(f"{value:.4g}")
