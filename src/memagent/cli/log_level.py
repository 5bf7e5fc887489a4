"""`magent log-level`: how much the running proxy logs."""

import click

from memagent.cli.reach import print_json, reach_options
from memagent.cli.running import RunningProxy
from memagent.cli.values import between, seconds, unit
from memagent.errors import ConfigError

_TIME = unit("time", between(1, 604_800, seconds))


@click.command("log-level")
@click.argument("level", type=click.Choice(["info", "debug"]), required=False)
@click.option("--for", "for_s", type=_TIME, help="Only for so long (10m, 1h); then as before.")
@reach_options
def log_level(
    level: str | None,
    for_s: float | None,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> None:
    """Show how much the running proxy logs, or let it log as LEVEL says.

    LEVEL is info or debug, which is what `verbose` stands for in the configuration. It holds for supervisor
    and workers until the next reload or start, when the configuration says it again.
    """
    if for_s is not None and level is None:
        raise ConfigError("--for makes no sense without a LEVEL", "magent log-level debug --for 10m")
    with RunningProxy.find(socket_path, config_path) as proxy:
        now = str(proxy.ask("log_level", level=level, for_s=for_s).get("level"))
    if as_json:
        print_json({"level": now})
    else:
        click.echo(now)
