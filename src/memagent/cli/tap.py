"""`magent tap`: live requests as they pass, without their values."""

import click

from memagent.admin.requests import MOST_TAPPED_PER_S
from memagent.cli.reach import print_json, reach_options, talk
from memagent.cli.running import RunningProxy
from memagent.cli.seen import clock, key_of, phases_of, took
from memagent.observed import Seen, Tapped
from memagent.snapshot import as_json as to_json


@click.command()
@reach_options
@click.option("--prefix", default="", metavar="TEXT", help="Only requests about keys that begin so.")
@click.option("--server", metavar="SERVER", help="Only those that this server was asked, by name or address.")
@click.option("--pool", metavar="NAME", help="The server's pool, where a name stands in several.")
@click.option(
    "--role",
    type=click.Choice(["server", "backup"]),
    help="Which one, where a server and a backup have one name.",
)
@click.option("--verb", default="", metavar="VERB", help="Only requests with this verb: get, set, mg, ...")
@click.option(
    "--rate",
    default=100,
    show_default=True,
    type=click.IntRange(1, MOST_TAPPED_PER_S),
    help="At most so many a second of each worker.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many.")
def tap(
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
    prefix: str,
    server: str | None,
    pool: str | None,
    role: str | None,
    verb: str,
    rate: int,
    count: int | None,
) -> None:
    """Show live requests as they pass: when, verb, result, time, server, client, key. Never a value.

    It shows a sample, and says at the end how many there were. Requests do not wait for it: what it cannot
    take is left out. It ends with Ctrl-C, or after --count.
    """
    words = {
        "prefix": prefix,
        "server": server,
        "pool": pool,
        "backup": None if role is None else role == "backup",
        "of_verb": verb,
        "per_s": rate,
    }
    left = count
    last: Tapped | None = None
    with RunningProxy.find(socket_path, config_path) as proxy:
        try:
            for look in proxy.tap(words):
                last = look
                for each in look.requests[:left]:
                    _show(each, as_json)
                if left is not None:
                    left -= len(look.requests)
                    if left <= 0:
                        break
        finally:
            if last is not None and last.matched > last.shown:
                talk(f"{last.matched - last.shown:,} more of {last.matched:,} requests were left out")


def _show(each: Seen, as_json: bool) -> None:
    if as_json:
        print_json(to_json(each))
        return
    verdict, time = f"{each.verb} {each.result}".ljust(16), took(each.us).rjust(8)
    parts = (clock(each.ended_s), verdict, time, phases_of(each), each.client or "-", key_of(each))
    click.echo("  ".join(parts))
