"""magent's own command line: `magent -u root -n 51200 -l 192.168.1.2 -p 12000 -s ... -b ...`."""

import os
from typing import Any

import click

from memagent.cli.flags import load_magent, magent_flags, to_flags, warned, working_directory


def _show_overview(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from memagent.cli import magent

        click.echo(magent.get_help(click.Context(magent, info_name="magent")))
        ctx.exit()


@click.command("magent", add_help_option=False)
@click.option("-c", "config_path", metavar="FILE.conf", help="magent 0.7's INI file; flags win over it.")
@magent_flags()
@click.option(
    "-h",
    "--help",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_overview,
    help="This text.",
)
def legacy(config_path: str | None, **given: Any) -> int:
    """Start the proxy as magent was started: a daemon unless -D."""
    flags, way_out = to_flags(given), f"magent run -c {config_path}"
    config = warned(load_magent(config_path, flags, way_out)).config
    here = working_directory()
    whole = None if config_path is None else os.path.join(here, config_path)

    from memagent.supervisor import run as run_proxy

    return run_proxy(config, lambda: load_magent(whole, flags, way_out, here))
