"""The screen as lines: as many as the terminal has, none wider than it, however small it is.

    memagent 0.1.0  127.0.0.1:12000  up 3 d  2 workers  50 clients          servers 1-18 of 40
    12,345 requests/s  hits 98.2%  p50 120us  p99 1.2ms  0 errors/s  3MiB/s
    pool main: copying: 42 %, 512,000 keys copied, ...                     while keys move to other servers
    what was done, or why not
      NAME  STATE  ...
    > a     up     ...
      b     down   ...
    d drain  r re-warm  e explain  s sort: as configured  ? help  q quit

A question, a prompt and a page stand where the list does, and say in the last line what they take.
Nothing is told by colour alone.
"""

import os
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from memagent.cli.migration import in_one_line
from memagent.cli.table import STATE_COLOURS, for_how_long, roughly
from memagent.cli.top.columns import BETWEEN, Column, how_long_us, per_cent, per_second
from memagent.cli.top.screen import Page, Prompt, Screen, wrapped
from memagent.questions import Question
from memagent.rates import Row, View
from memagent.snapshot import MigrationSnapshot

_MARK: Final = "> "
_NO_MARK: Final = "  "
_CUT: Final = "~"  # ASCII: there are terminals without more


def frame(screen: Screen, age_s: float = 0.0) -> list[Text]:
    """`age_s`: since when the numbers are what they are."""
    rows = screen.rows()
    page = screen.over if isinstance(screen.over, Page) else None
    body = _page(screen, page) if page is not None else _list(screen, rows)
    lines = [*_head(screen, rows, age_s), *body]
    room = max(0, screen.height - 1)
    lines += [Text()] * (room - len(lines))
    if isinstance(screen.over, Question):
        question = [Text(), *map(_bold, wrapped(screen.over.text, screen.width))][:room]
        lines = [*lines[: room - len(question)], *question]
    lines = [*lines[:room], _foot(screen)][: screen.height]
    for line in lines:
        line.truncate(screen.width)
        line.no_wrap = True
    return lines


# ---------------------------------------------------------------- above


def _head(screen: Screen, rows: list[Row], age_s: float) -> list[Text]:
    view = screen.view
    if view is None:
        return [_bold("magent top"), _trouble(screen, age_s), _message(screen)]
    second = _trouble(screen, age_s) if screen.trouble or age_s else _traffic(view)
    return [_about(screen, view, rows), second, *map(_moving, screen.moving()), _message(screen)]


def _about(screen: Screen, view: View, rows: list[Row]) -> Text:
    snapshot = view.snapshot
    alive, workers = sum(worker.pid != 0 for worker in snapshot.workers), len(snapshot.workers)
    parts = [
        f"memagent {snapshot.version}",
        *snapshot.listen[:1],
        "ENDING" if snapshot.draining else f"up {for_how_long(snapshot.now_s - snapshot.started_s)}",
        _n(workers, "worker") if alive == workers else f"{alive} of {_n(workers, 'worker')}",
        _n(view.clients, "client"),
    ]
    left = "  ".join(parts)
    first = _first(screen, rows)
    last = min(first + screen.n_lines, len(rows))
    right = f"servers {first + 1}-{last} of {len(rows)}" if len(rows) > screen.n_lines else ""
    gap = screen.width - cell_len(left) - len(right)
    return _bold(left + " " * gap + right if right and gap >= BETWEEN else left)


def _traffic(view: View) -> Text:
    traffic = view.traffic
    parts = [
        f"{per_second(traffic.requests_per_s)} requests/s",
        f"hits {per_cent(traffic.hit_ratio)}",
        f"p50 {how_long_us(traffic.p50_us)}",
        f"p99 {how_long_us(traffic.p99_us)}",
        f"{per_second(traffic.errors_per_s)} errors/s",
    ]
    if traffic.bytes_per_s is not None:
        parts.append(f"{roughly(round(traffic.bytes_per_s))}/s")
    return Text("  ".join(parts))


def _moving(moving: MigrationSnapshot) -> Text:
    waits = f", waits: {moving.waits_for}" if moving.waits_for else ""
    return Text(in_one_line(moving) + waits, style="yellow" if waits else "cyan")


def _trouble(screen: Screen, age_s: float) -> Text:
    what = screen.trouble or ("the proxy does not answer" if age_s else "asking the proxy")
    # first, because a path may be long
    old = f"{for_how_long(age_s)} old: " if screen.view is not None else ""
    return Text(old + what, style="bold red" if screen.trouble or age_s else "")


def _message(screen: Screen) -> Text:
    return Text(screen.message, style="red" if screen.is_error else "green")


# ---------------------------------------------------------------- the list


def _first(screen: Screen, rows: list[Row]) -> int:
    """Whole pages, so that little moves; the last one is full."""
    at, n = screen.selected_at(rows), screen.n_lines
    return max(0, min(at // n * n, len(rows) - n))


def _list(screen: Screen, rows: list[Row]) -> list[Text]:
    if screen.view is None:
        return []
    columns = screen.columns()
    lines = [_titles(screen, columns)]
    first, selected = _first(screen, rows), screen.selected_at(rows)
    for at, row in enumerate(rows[first : first + screen.n_lines], start=first):
        lines.append(_row(row, columns, screen.view.snapshot.now_s, at == selected))
    return lines


def _titles(screen: Screen, columns: list[tuple[Column, int]]) -> Text:
    line = Text(_NO_MARK)
    for column, width in columns:
        style = "bold underline" if column is screen.sorted_by else "bold"
        line.append(_cell(column.title, column, width), style=style)
        line.append(" " * BETWEEN)
    return line


def _row(row: Row, columns: list[tuple[Column, int]], now_s: float, is_selected: bool) -> Text:
    line = Text(_MARK if is_selected else _NO_MARK, style="reverse" if is_selected else "")
    for column, width in columns:
        style = STATE_COLOURS[row.server.state] if column.title == "STATE" else ""
        line.append(_cell(column.text(row, now_s), column, width), style=style)
        line.append(" " * BETWEEN)
    line.rstrip()
    return line


def _cell(text: str, column: Column, width: int) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, max(0, width - 1)) + _CUT
    spaces = " " * (width - cell_len(text))
    return spaces + text if column.is_number else text + spaces


# ---------------------------------------------------------------- what stands over it


def _page(screen: Screen, page: Page) -> list[Text]:
    lines = screen.lines_of(page)
    first = max(0, min(page.first, len(lines) - screen.n_lines))
    return [_bold(page.title), *map(Text, lines[first : first + screen.n_lines])]


def _foot(screen: Screen) -> Text:
    match screen.over:
        case Question(choices=choices):
            offered = "  ".join(f"{key} {choice.label}" for key, choice in choices.items())
            return _keys(f"{offered}  any other key: leave it")
        case Prompt(label=label, text=text):
            room = max(0, screen.width - cell_len(label) - 1)
            # the end is what is being typed
            shown = os.fsencode(text).decode(errors="backslashreplace")
            return _bold(f"{label}{shown[-room:] if room else ''}_")
        case Page():
            more = len(screen.lines_of(screen.over)) > screen.n_lines
            return _keys("up and down: more  any other key: back" if more else "any key: back")
    by = screen.sorted_by.title if screen.sorted_by is not None else "as configured"
    way = ", backwards" if screen.is_backwards else ""
    moving = "m migration  " if screen.moving() else ""
    return _keys(f"d drain  r re-warm  {moving}e explain  s sort: {by}{way}  ? help  q quit")


def _keys(text: str) -> Text:
    return Text(text, style="dim")


def _bold(text: str) -> Text:
    return Text(text, style="bold")


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
