"""What many episodes come to, as tables in Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.chaos.episode import Result

Row = Sequence[object]


def totals(results: Sequence[tuple[int, Result]]) -> str:
    """An episode a row, the sum of all; then the faults, then the violations by kind."""
    rows: list[Row] = []
    faults: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for seed, result in results:
        variant = result.variant
        settings = (variant.servers, variant.kind, variant.workers, variant.acknowledge)
        faults.update(result.faults)
        kinds.update(result.kinds())
        rows.append((seed, *settings, *_sums([result])))
    head = (
        "seed",
        "servers",
        "memcached",
        "workers",
        "acknowledge",
        "replies",
        "faults",
        "slowest ms",
        "violations",
    )
    total = (f"{len(results)} episodes", "", "", "", "", *_sums([result for _, result in results]))
    return "\n\n".join(
        [
            table(head, [*rows, total]),
            table(("fault", "times"), sorted(faults.items())),
            table(("violation", "times"), sorted(kinds.items()) or [("none", 0)]),
        ]
    )


def _sums(results: Sequence[Result]) -> tuple[int, int, str, int]:
    return (
        sum(result.replies for result in results),
        sum(sum(result.faults.values()) for result in results),
        f"{max((result.slowest_s for result in results), default=0) * 1000:.0f}",
        sum(len(result.violations) for result in results),
    )


def table(head: Row, rows: Iterable[Row]) -> str:
    """Columns as wide as they need to be, numbers on the right."""
    cells = [[f"{cell}" for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    is_right = [all(row[at].isdigit() or not row[at] for row in cells[1:]) for at in range(len(head))]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        )
        + " |"
        for row in cells
    ]
    marks = [
        "-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, is_right, strict=True)
    ]
    return "\n".join([lines[0], "|" + "|".join(marks) + "|", *lines[1:]])
