"""`magent hot`: which keys are asked for most, now."""

import sys
import time
from collections.abc import Iterator

import click

from memagent.admin.requests import MOST_SHOWN
from memagent.cli.reach import print_json, reach_options
from memagent.cli.running import RunningProxy
from memagent.cli.table import aligned
from memagent.inspection.keys import visible
from memagent.observed import Hot
from memagent.snapshot import as_json as to_json

_HEADER = ("REQUESTS/S", "AT LEAST", "AT MOST", "SHARE", "READS/S", "WRITES/S", "SERVER", "KEY")
_NUMBERS = range(6)
_EVERY_S = 2.0


@click.command()
@reach_options
@click.option(
    "--count", default=20, show_default=True, type=click.IntRange(1, MOST_SHOWN), help="Keys to show at most."
)
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
def hot(socket_path: str | None, config_path: str | None, as_json: bool, count: int, watch: bool) -> None:
    """Show which keys are asked for most, now: over the last ten to twenty seconds.

    The proxy looks at some of the requests: about a thousand a second of each worker, or all while they are
    fewer. AT LEAST and AT MOST are the bounds that follow from that. SHARE is the key's part of all requests,
    where a get of ten keys counts as ten. SERVER is the one that it was asked of last.
    """
    with RunningProxy.find(socket_path, config_path) as proxy:
        while True:
            found = proxy.hot(count)
            if as_json:
                print_json(to_json(found))
            else:
                if watch and sys.stdout.isatty():
                    click.clear()
                _print(found)
            if not watch:
                return
            time.sleep(_EVERY_S)


def _print(found: Hot) -> None:
    click.echo(f"{found.requests_per_s:,.0f} requests/s")
    for line in aligned([_HEADER, *_rows(found)], right=_NUMBERS):
        click.echo(line)
    if not found.keys:
        click.echo("no key stands out", err=True)


def _rows(found: Hot) -> Iterator[tuple[str, ...]]:
    for each in found.keys:
        yield (
            _rate(each.requests_per_s),
            _rate(each.at_least_per_s),
            _rate(each.at_most_per_s),
            f"{each.share:.1%}",
            _rate(each.reads_per_s),
            _rate(each.writes_per_s),
            each.server or "-",
            visible(each.key),
        )


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}"
