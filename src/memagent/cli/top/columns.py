"""THE table of columns: what each says of a server, how it sorts, how wide it is, and when it gives way.

    rows ──▶ in_order ──▶ fit: as many columns as the terminal is wide enough for ──▶ text

What cannot be told is "-", and comes last whatever is sorted by.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.cells import cell_len

from memagent.cli.table import for_how_long, roughly
from memagent.rates import Row
from memagent.snapshot import WarmSnapshot

UNKNOWN: Final = "-"
BETWEEN: Final = 2  # spaces between two columns
_WIDEST_NAME: Final = 40
_WORTH_A_CUT_NAME: Final = 6  # of those that give way earlier none is
# What wants looking after comes first.
_BY_STATE: Final = ("down", "returning", "warming", "draining", "drained", "up")


@dataclass(frozen=True, slots=True)
class Column:
    """`value` is what is sorted by, None for what cannot be told; `text` shows it.

    Where there is no room for all, those of the highest `gives_way` go first; 0 stays. `least` is its width,
    so that nothing jumps while numbers change; one that is `elastic` can be cut to that.
    """

    title: str
    meaning: str
    value: Callable[[Row, float], Any]
    text: Callable[[Row, float], str]
    least: int
    gives_way: int
    is_number: bool = True
    falling: bool = False
    elastic: bool = False


# ---------------------------------------------------------------- numbers as text


def per_second(value: float | None) -> str:
    """4, 12,345, 123k, 12.3M."""
    if value is None:
        return UNKNOWN
    if 0 < value < 9.95:
        return f"{value:.1f}"
    if value < 99_999.5:
        return f"{value:,.0f}"
    if value < 999_500:
        return f"{value / 1e3:.0f}k"
    return f"{value / 1e6:.1f}M"


def how_long_us(value: float | None) -> str:
    """16us, 1.2ms, 34ms, 1.5s, 67s."""
    if value is None:
        return UNKNOWN
    if value < 999.5:
        return f"{value:.0f}us"
    for size, name in ((1e3, "ms"), (1e6, "s")):
        number = value / size
        if number < 999.5 or name == "s":
            return f"{number:.1f}{name}" if number < 9.95 else f"{number:.0f}{name}"
    raise AssertionError("seconds take any number")


def per_cent(ratio: float | None) -> str:
    """98.2%; 100% only if it is all."""
    if ratio is None:
        return UNKNOWN
    if ratio in (0, 1):
        return f"{100 * ratio:.0f}%"
    return f"{min(99.9, max(0.1, 100 * ratio)):.1f}%"


def _number(value: int) -> str:
    return f"{value:,}" if value else UNKNOWN


def _bytes_per_second(value: float | None) -> str:
    return UNKNOWN if value is None else roughly(round(value))


def _for_how_long(value: float | None) -> str:
    return UNKNOWN if value is None else for_how_long(value)


# ---------------------------------------------------------------- re-warms


def _warm_of(row: Row) -> WarmSnapshot | None:
    """The one under way."""
    warm = row.server.warm
    return warm if warm is not None and warm.state in ("running", "paused") else None


def _warm_per_cent(row: Row, _: float) -> float | None:
    warm = _warm_of(row)
    if warm is None:
        # about to begin
        return 0 if row.server.state == "warming" else None
    return warm.per_cent


def _how_warm(row: Row, now_s: float) -> str:
    warm, value = _warm_of(row), _warm_per_cent(row, now_s)
    if value is None:
        return UNKNOWN
    return f"{value:.0f}%" + (" paused" if warm is not None and warm.state == "paused" else "")


def _warm_eta_s(row: Row, _: float) -> float | None:
    warm = _warm_of(row)
    return warm.eta_s if warm is not None else None


# ---------------------------------------------------------------- the table


def _figure(
    title: str,
    meaning: str,
    value: Callable[[Row, float], float | None],
    shown: Callable[[Any], str],
    least: int,
    gives_way: int,
    falling: bool = True,
) -> Column:
    return Column(
        title, meaning, value, lambda row, now_s: shown(value(row, now_s)), least, gives_way, falling=falling
    )


def _word(
    title: str,
    meaning: str,
    value: Callable[[Row], str],
    least: int,
    gives_way: int,
    sort: Callable[[Row], Any] | None = None,
    elastic: bool = False,
) -> Column:
    by = sort or value
    return Column(
        *(title, meaning, lambda row, _: by(row), lambda row, _: value(row), least, gives_way),
        is_number=False,
        elastic=elastic,
    )


_POOL: Final = _word("POOL", "its pool", lambda row: row.server.pool, 6, 0, elastic=True)
_REASON: Final = _word("LAST REASON", "why its state changed last", lambda row: row.server.reason, 24, 13)

COLUMNS: Final[tuple[Column, ...]] = (
    _word("NAME", "the server", lambda row: row.server.name, 8, 0, elastic=True),
    _word("ROLE", "server or backup", lambda row: "backup" if row.server.backup else "server", 6, 9),
    _word(
        "STATE",
        "up, down, returning, warming, draining or drained",
        lambda row: row.server.state,
        9,
        0,
        sort=lambda row: _BY_STATE.index(row.server.state),
    ),
    _figure(
        "FOR",
        "how long it has been in that state",
        lambda row, now_s: now_s - row.server.since_s,
        for_how_long,
        6,
        8,
        falling=False,
    ),
    _figure(
        "OPS/S",
        "requests sent to it, a second",
        lambda row, _: row.traffic.requests_per_s,
        per_second,
        6,
        0,
    ),
    _figure(
        "HIT",
        "keys it had, of those it was asked for",
        lambda row, _: row.traffic.hit_ratio,
        per_cent,
        5,
        1,
        falling=False,
    ),
    _figure(
        "P50", "half of its replies took no longer", lambda row, _: row.traffic.p50_us, how_long_us, 5, 5
    ),
    _figure("P99", "99 of 100 replies took no longer", lambda r, _: r.traffic.p99_us, how_long_us, 5, 2),
    _figure(
        "ERR/S",
        "error replies, timeouts, refusals by a full queue, a second",
        lambda row, _: row.traffic.errors_per_s,
        per_second,
        5,
        6,
    ),
    _figure("QUEUE", "requests not answered yet", lambda row, _: row.queued, _number, 5, 10),
    _figure(
        "JOURNAL",
        "keys that it missed and that are set right on its return",
        lambda row, _: row.server.journal_keys,
        _number,
        7,
        3,
    ),
    Column("WARM", "how far it is refilled from its copies", _warm_per_cent, _how_warm, 4, 4),
    _figure("LEFT", "how long that still takes", _warm_eta_s, _for_how_long, 6, 7, falling=False),
    _figure(
        "NET/S",
        "bytes to and from it, a second",
        lambda row, _: row.traffic.bytes_per_s,
        _bytes_per_second,
        7,
        11,
    ),
    _word("ADDRESS", "where it is", lambda row: row.server.address, 9, 12),
    _REASON,
)


def columns_for(rows: Sequence[Row]) -> tuple[Column, ...]:
    """All of them; that of the pool only where there are several."""
    several = len({row.server.pool for row in rows}) > 1
    return (_POOL, *COLUMNS) if several else COLUMNS


def in_order(rows: Sequence[Row], now_s: float, by: Column | None, backwards: bool = False) -> list[Row]:
    """As configured, or by a column: equal ones as configured."""
    if by is None:
        return list(reversed(rows)) if backwards else list(rows)
    known = [row for row in rows if by.value(row, now_s) is not None]
    unknown = [row for row in rows if by.value(row, now_s) is None]
    return sorted(known, key=lambda row: by.value(row, now_s), reverse=by.falling != backwards) + unknown


def fit(rows: Sequence[Row], now_s: float, width: int) -> list[tuple[Column, int]]:
    """The columns that there is room for, and how wide each is."""
    chosen = {column: _wanted(column, rows, now_s) for column in columns_for(rows)}
    for column in sorted(chosen, key=lambda column: -column.gives_way):
        pressed = column.gives_way <= _WORTH_A_CUT_NAME
        if not column.gives_way or _total(chosen, pressed) <= width:
            break
        del chosen[column]
    spare = width - _total(chosen)
    for column in chosen:
        if column.elastic and spare < 0:
            given = min(-spare, chosen[column] - column.least)
            chosen[column] -= given
            spare += given
    *_, last = chosen
    if last is _REASON:
        chosen[last] += spare
    return list(chosen.items())


def _wanted(column: Column, rows: Sequence[Row], now_s: float) -> int:
    widest = max((cell_len(column.text(row, now_s)) for row in rows), default=0)
    if column is _REASON:
        return column.least
    if not column.is_number:
        widest = min(widest, _WIDEST_NAME)
    return max(column.least, len(column.title), widest)


def _total(chosen: Mapping[Column, int], pressed: bool = False) -> int:
    """How wide they are together; `pressed`: with names cut as far as they may be."""
    widths = [column.least if pressed and column.elastic else wide for column, wide in chosen.items()]
    return sum(widths) + BETWEEN * (len(widths) - 1)
