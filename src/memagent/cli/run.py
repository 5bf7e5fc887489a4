"""`magent run`: start the proxy from a configuration file."""

import os

import click

from memagent.cli.flags import load_any, read_whole, working_directory


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE",
    help="YAML, or magent's INI file if it ends in .conf. Without it, MEMAGENT_ variables say everything.",
)
@click.option("-D", "--foreground", is_flag=True, help="Stay in the foreground, whatever the file says.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def run(path: str | None, foreground: bool, verbose: bool) -> int:
    """Start the proxy with the settings in FILE and in the environment, which wins over FILE.

    It stays in the foreground unless the file says `daemon: true`. SIGTERM or Ctrl-C ends it after the
    requests that are under way.
    """
    config = load_any(path, foreground, verbose)
    here = working_directory()
    whole = None if path is None else os.path.join(here, path)

    from memagent.supervisor import run as run_proxy

    return run_proxy(config, lambda: read_whole(whole, foreground, verbose, here))
