"""`magent reload`: put the configuration file in force without a dropped connection."""

import click

from memagent.cli.reach import print_json, reach_options
from memagent.cli.running import RunningProxy


@click.command()
@reach_options
def reload(socket_path: str | None, config_path: str | None, as_json: bool) -> None:
    """Read the configuration again and put it in force, as SIGHUP does.

    The file is the one that the proxy was started with. If there is a mistake in it nothing changes. Says
    what has changed, and which settings wait for the next start.
    """
    with RunningProxy.find(socket_path, config_path) as proxy:
        answer = proxy.ask("reload")
    if as_json:
        print_json({name: answer.get(name, []) for name in ("changes", "waiting", "moving")})
        return
    for change in answer.get("changes", []):
        click.echo(change)
    if not answer.get("changes"):
        click.echo("nothing has changed", err=True)
    if answer.get("moving"):
        pools = ", ".join(answer["moving"])
        click.echo(f"keys of {pools} are copied to their new servers: magent migration shows it", err=True)
    if answer.get("waiting"):
        click.echo(f"these wait for the next start: {', '.join(answer['waiting'])}", err=True)
