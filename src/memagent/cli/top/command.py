"""`magent top`: arguments -> the live view, or one table."""

import asyncio
import contextlib
import dataclasses
import time
from typing import Any

import click

from memagent.cli.migration import in_one_line
from memagent.cli.reach import print_json, reach_options
from memagent.cli.running import RunningProxy
from memagent.cli.table import aligned
from memagent.cli.top.columns import COLUMNS, Column, columns_for, in_order
from memagent.cli.top.live import Live
from memagent.cli.top.proxy import TopProxy
from memagent.cli.top.screen import Screen
from memagent.cli.top.terminal import Terminal
from memagent.cli.values import between, seconds, unit
from memagent.rates import View, compare

_SORTS = {column.title.lower(): column for column in COLUMNS}


@click.command(context_settings={"show_default": True})
@click.option("--once", is_flag=True, help="Print one table and end: for scripts.")
@click.option(
    "--interval",
    "interval_s",
    type=unit("seconds", between(0.2, 60, seconds)),
    default="1s",
    help="How often the proxy is asked, and the time that rates are of.",
)
@click.option(
    "--sort",
    metavar="COLUMN",
    type=click.Choice(list(_SORTS)),
    help=f"By one of {', '.join(_SORTS)}.  [default: as configured]",
)
@reach_options
def top(
    once: bool,
    interval_s: float,
    sort: str | None,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> int:
    """Watch the running proxy live: what every server does, and how it stands.

    Requests a second, hits, how long replies take, errors, journals and re-warms, from counters that are
    there anyway. Keys sort, drain, undrain and re-warm (it asks first), hold or give up a migration, and
    explain a key; ? lists them. --json implies --once.
    """
    by = _SORTS[sort] if sort is not None else None
    if once or as_json:
        view = _over(interval_s, TopProxy(RunningProxy.find(socket_path, config_path)))
        if as_json:
            print_json(_as_dict(view))
        else:
            _print(view, by)
        return 0
    terminal = Terminal()
    # Never closed: a thread may be waiting for it, and must not be waited for.
    watched = TopProxy(RunningProxy.find(socket_path, config_path))
    return asyncio.run(Live(watched, terminal, Screen(by.title if by else None), interval_s).run())


def _over(seconds: float, proxy: TopProxy) -> View:
    """What happens in so long a time from now on."""
    with contextlib.closing(proxy):
        before = proxy.read()
        time.sleep(seconds)
        return compare(before, proxy.read())


def _print(view: View, by: Column | None) -> None:
    now_s = view.snapshot.now_s
    columns = columns_for(view.rows)
    rows = [[column.title for column in columns]]
    rows += [[column.text(row, now_s) for column in columns] for row in in_order(view.rows, now_s, by)]
    numbers = [at for at, column in enumerate(columns) if column.is_number]
    for line in aligned(rows, right=numbers):
        click.echo(line)
    for moving in view.snapshot.moving():
        click.echo(in_one_line(moving))


def _as_dict(view: View) -> dict[str, Any]:
    return {
        "clients": view.clients,
        **dataclasses.asdict(view.traffic),
        "servers": [
            {
                **dataclasses.asdict(row.server),
                **dataclasses.asdict(row.traffic),
                "queued": row.queued,
            }
            for row in view.rows
        ],
        "migrations": [dataclasses.asdict(each) for each in view.snapshot.migrations],
    }
