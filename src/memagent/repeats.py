"""Lines that say the same again and again: so many are let through, the others are counted and said once.

    line ─▶ allows? ─▶ the first MOST of WINDOW_S │ counted ─▶ due ─▶ "123 more like this"

Pure: time is an argument.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

MOST: Final = 10
WINDOW_S: Final = 10.0

Line = TypeVar("Line", bound=Hashable)


class Repeats(Generic[Line]):
    """`Line` is what makes two lines the same. Nothing is kept of one that was not said for a while."""

    def __init__(self) -> None:
        self._windows: dict[Line, tuple[float, int]] = {}  # when it began, lines since then
        self._over: list[tuple[Line, int]] = []

    def allows(self, line: Line, now_s: float) -> bool:
        """Shall it be said? If not it will be in what is `due`."""
        began_s, count = self._windows.get(line, (now_s, 0))
        if now_s - began_s >= WINDOW_S:
            self._end(line)
            began_s, count = now_s, 0
        self._windows[line] = began_s, count + 1
        return count < MOST

    def due(self, now_s: float) -> list[tuple[Line, int]]:
        """What was not said in the windows that are over, and how often."""
        for line, (began_s, _) in list(self._windows.items()):
            if now_s - began_s >= WINDOW_S:
                self._end(line)
        over, self._over = self._over, []
        return over

    def rest(self) -> list[tuple[Line, int]]:
        """The same at the end, when there is no more time to wait."""
        return self.due(float("inf"))

    def _end(self, line: Line) -> None:
        _, count = self._windows.pop(line)
        if count > MOST:
            self._over.append((line, count - MOST))
