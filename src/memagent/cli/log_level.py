"""`magent log-level`: how much the running proxy logs."""

import click

from memagent.cli.reach import print_json, reach_options
from memagent.cli.running import RunningProxy


@click.command("log-level")
@click.argument("level", type=click.Choice(["info", "debug"]), required=False)
@reach_options
def log_level(level: str | None, socket_path: str | None, config_path: str | None, as_json: bool) -> None:
    """Show how much the running proxy logs, or let it log as LEVEL says.

    LEVEL is info or debug, which is what `verbose` stands for in the configuration. It holds for supervisor
    and workers until the next reload or start, when the configuration says it again.
    """
    with RunningProxy.find(socket_path, config_path) as proxy:
        now = str(proxy.ask("log_level", level=level).get("level"))
    if as_json:
        print_json({"level": now})
    else:
        click.echo(now)
