"""Columns of text, wide enough for what is in them and no wider; numbers and colours as they are shown."""

from collections.abc import Iterator, Sequence
from typing import Final

from memagent.units import format_bytes

STATE_COLOURS: Final = {
    "up": "green",
    "down": "red",
    "returning": "yellow",
    "warming": "yellow",
    "draining": "cyan",
    "drained": "cyan",
}


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """A line for each row; the columns numbered in `right` are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def roughly(count_bytes: int) -> str:
    """A whole number of the largest unit that leaves two digits reads better than the exact count."""
    for size in (2**30, 2**20, 2**10):
        if count_bytes >= 10 * size:
            return format_bytes(count_bytes // size * size)
    return f"{count_bytes}B"


def for_how_long(seconds: float) -> str:
    """Roughly: 4 s, 12 min, 5 h, 3 d."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{max(0, int(seconds))} s"
