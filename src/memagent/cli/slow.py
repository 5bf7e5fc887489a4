"""`magent slow`: the requests that took long, and where their time went."""

import click

from memagent.admin.requests import MOST_SHOWN
from memagent.cli.reach import print_json, reach_options, talk
from memagent.cli.running import RunningProxy
from memagent.cli.seen import clock, key_of, phases_of, took
from memagent.cli.table import aligned
from memagent.observed import Seen
from memagent.snapshot import as_json as to_json

_HEADER = ("WHEN", "TOOK", "VERB", "RESULT", "CLIENT", "WHERE THE TIME WENT", "KEY")
_TOOK = _HEADER.index("TOOK")


@click.command()
@reach_options
@click.option(
    "--count",
    default=100,
    show_default=True,
    type=click.IntRange(1, MOST_SHOWN),
    help="Requests to show at most.",
)
def slow(socket_path: str | None, config_path: str | None, as_json: bool, count: int) -> None:
    """Show the requests that took slow_ms or longer, the newest last.

    WHERE THE TIME WENT names the server that was waited for. Where a second one had to answer, it shows both
    with their times: a fallback after a miss, a failover after a failure, a repair, a copy. Of a multiget,
    KEY and server are those that were waited for longest. "client left": it hung up before the answer.
    """
    with RunningProxy.find(socket_path, config_path) as proxy:
        found = proxy.slow(count)
    if as_json:
        print_json(to_json(found))
        return
    if found.requests:
        rows = [_HEADER, *map(_row, reversed(found.requests))]
        for line in aligned(rows, right=[_TOOK]):
            click.echo(line)
    more = found.total - len(found.requests)
    if more:
        talk(f"and {more:,} more since the proxy was started, which are older or were too many at once")
    elif not found.requests:
        talk(f"no request took {found.slow_ms} ms or longer")


def _row(each: Seen) -> tuple[str, ...]:
    return (
        clock(each.ended_s, with_date=True),
        took(each.us),
        each.verb,
        each.result,
        each.client or "-",
        phases_of(each),
        key_of(each),
    )
