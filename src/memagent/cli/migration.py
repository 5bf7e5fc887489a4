"""`magent migration`: how far keys are on their way to other servers, and what can be done about it."""

import dataclasses
import time
from typing import Any

import click

from memagent.cli.reach import print_json, reach_options
from memagent.cli.running import RunningProxy
from memagent.cli.table import for_how_long, roughly
from memagent.snapshot import MigrationSnapshot

_UNDER_WAY = ("running", "paused", "aborting")
_PHASES = {
    "mirror": "getting ready",
    "copy": "copying",
    "settle": "about to end",
}
_LOOK_S = 0.5


@click.command()
@click.option("--pool", metavar="POOL", help="Of this pool; needed where keys of several are moving.")
@click.option("--pause", "action", flag_value="pause", help="Copy no more for the time being.")
@click.option("--resume", "action", flag_value="resume", help="Go on copying.")
@click.option(
    "--abort",
    "action",
    flag_value="abort",
    help="Let the former servers go: what is not copied will miss.",
)
@click.option("--wait", is_flag=True, help="Return when none is under way any more.")
@reach_options
def migration(
    pool: str | None,
    action: str | None,
    wait: bool,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> int:
    """Show how far keys are on their way to other servers, after a reload with `on_change: migrate`.

    A migration that is under way, or the last one of each pool. To call one off without a loss, reload the
    servers of before.
    """
    with RunningProxy.find(socket_path, config_path) as proxy:
        if action is not None:
            proxy.ask(f"migration_{action}", **({} if pool is None else {"pool": pool}))
        found = _of(proxy, pool)
        while wait and any(each.state in _UNDER_WAY for each in found):
            time.sleep(_LOOK_S)
            found = _of(proxy, pool)
    if as_json:
        print_json({"migrations": [dataclasses.asdict(each) for each in found]})
    elif not found:
        click.echo("no keys are moving", err=True)
    for each in () if as_json else found:
        click.echo("\n".join(_lines(each)))
    return 1 if wait and any(each.state == "aborted" or each.left_out for each in found) else 0


def _of(proxy: RunningProxy, pool: str | None) -> list[MigrationSnapshot]:
    return [each for each in proxy.snapshot().migrations if pool in (None, each.pool)]


def in_one_line(moving: MigrationSnapshot) -> str:
    """How far it is, or was at its end."""
    how = _PHASES[moving.phase] if moving.state == "running" else moving.state
    copied = f"{moving.keys_copied:,} keys copied, {roughly(moving.bytes_copied)}"
    if moving.ended_s is not None:
        took = for_how_long(moving.ended_s - moving.started_s)
        return f"pool {moving.pool}: {how}: {copied}, in {took}"
    rate = f", {moving.keys_per_s:,.0f} copied/s" if moving.keys_per_s else ""
    left = f", {for_how_long(moving.eta_s)} left" if moving.eta_s is not None else ""
    return f"pool {moving.pool}: {how}: {moving.per_cent:.0f} %, {copied}{rate}{left}"


def _lines(moving: MigrationSnapshot) -> list[str]:
    parts: dict[str, Any] = {
        "coming": ", ".join(moving.coming),
        "leaving": ", ".join(moving.leaving),
        "now at": moving.target if moving.ended_s is None else None,
        "waits": moving.waits_for,
        "not copied": ", ".join(moving.left_out),
    }
    return [in_one_line(moving), *(f"  {name}: {text}" for name, text in parts.items() if text)]
