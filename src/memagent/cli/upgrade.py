"""`magent upgrade`: the version that is installed now takes over from the one that runs."""

from typing import Any

import click

from memagent.cli.reach import print_json, reach_options, talk
from memagent.cli.running import RunningProxy
from memagent.cli.values import between, unit
from memagent.units import parse_us


def _milliseconds(text: str) -> int:
    return int(parse_us(text) // 1000)


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="Even if what a server has missed is forgotten by it, or the file is not what is in force.",
)
@click.option(
    "--ready-within",
    "ready_ms",
    type=unit("time", between(100, 600_000, _milliseconds)),
    default="60s",
    show_default=True,
    help="The longest that the new version may take until it is ready.",
)
@reach_options
def upgrade(
    force: bool, ready_ms: float, socket_path: str | None, config_path: str | None, as_json: bool
) -> None:
    """Start what is installed now and let it take over: no client is refused, no request fails.

    It is started as the running proxy was, with the same command line and environment, and gets its listening
    sockets. If it does not get ready nothing changes. Else it takes the clients that come, and the old one
    ends when its own have left, or after drain_ms.
    """
    with RunningProxy.find(socket_path, config_path) as proxy:
        last = _told(proxy, force, int(ready_ms))
    found = {"version": str(last.get("version")), "pid": last.get("pid")}
    if as_json:
        print_json(found)
    else:
        click.echo(f"memagent {found['version']} runs as process {found['pid']}")


def _told(proxy: RunningProxy, force: bool, ready_ms: int) -> dict[str, Any]:
    """The last line, after telling how it goes."""
    told = ""
    for line in proxy.steps("upgrade", force=force, ready_ms=ready_ms):
        if "progress" not in line:
            return line
        now = _progress(line["progress"])
        if now != told:
            talk(now)
            told = now
    raise AssertionError("an answer has a last line")


def _progress(step: dict[str, Any]) -> str:
    version = f"version {step['version']}" if step.get("version") else "the new version"
    if step.get("stage") == "starting":
        return f"{version} is starting, process {step.get('pid')}"
    clients = step.get("clients", 0)
    left = "one client" if clients == 1 else f"{clients:,} clients"
    return f"{version} has taken over; the old one has {left} left"
