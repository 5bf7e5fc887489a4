"""`magent metrics`: what Prometheus is told, on standard output."""

import sys

import click

from memagent.cli.reach import proxy_options
from memagent.cli.running import RunningProxy


@click.command()
@proxy_options
@click.option("--openmetrics", is_flag=True, help="In the OpenMetrics format.")
def metrics(socket_path: str | None, config_path: str | None, openmetrics: bool) -> None:
    """Print the running proxy's metrics, as Prometheus reads them.

    To have them scraped through node_exporter, write them to a file of its textfile collector now and then,
    by way of another name: it must never see half a file.
    """
    accept = "application/openmetrics-text" if openmetrics else ""
    with RunningProxy.find(socket_path, config_path) as proxy:
        text = proxy.metrics(accept)
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()
