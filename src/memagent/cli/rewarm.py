"""`magent rewarm`: refill a server from its copies, and watch it being filled."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from memagent.cli.reach import print_json, reach_options, server_argument, talk, which
from memagent.cli.running import RunningProxy
from memagent.cli.table import for_how_long, roughly
from memagent.errors import ConfigError
from memagent.snapshot import ServerSnapshot, WarmSnapshot

_NOT_DONE = ("failed", "aborted")
_DONE = ("done", *_NOT_DONE)


@click.command()
@server_argument
@click.option("--pause", "action", flag_value="pause", help="Hold the re-warm under way.")
@click.option("--resume", "action", flag_value="resume", help="Go on with one that is paused.")
@click.option("--abort", "action", flag_value="abort", help="End it; the server is up with what it has.")
@click.option("--no-wait", is_flag=True, help="Return at once; `magent servers` shows how it goes.")
@reach_options
def rewarm(
    server: str,
    pool: str | None,
    role: str | None,
    action: str | None,
    no_wait: bool,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> int:
    """Refill SERVER from the servers that hold its copies.

    A server that comes back empty gets this by itself. What SERVER has already stays as it is. Its copies
    answer until it is filled. Ctrl-C ends the watching, not the re-warm.
    """
    verb = f"rewarm_{action}" if action else "rewarm"
    words: dict[str, Any] = which(server, pool, role)
    if action is None:
        words["wait"] = not no_wait
    elif no_wait:
        raise ConfigError(f"--no-wait makes no sense with --{action}: it does not wait")
    with RunningProxy.find(socket_path, config_path) as proxy:
        steps = proxy.follow(verb, **words)
        try:
            last = _watched(steps) if Console(stderr=True).is_terminal else _told(steps)
        except KeyboardInterrupt:
            talk(f"the re-warm goes on: magent rewarm {server} --abort ends it")
            raise
        found = proxy.server(last)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _print(found, _current(found) if no_wait else found.warm)
    failed = action is None and not no_wait and found.warm is not None and found.warm.state in _NOT_DONE
    return 1 if failed else 0


def _watched(steps: Iterator[ServerSnapshot | dict[str, Any]]) -> dict[str, Any]:
    """On a terminal: a bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=100, text="")
        for step in steps:
            if isinstance(step, dict):
                return step
            warm = _current(step)
            per_cent = warm.per_cent if warm is not None else 0
            bar.update(task, description=f"{step.name} {step.state}", completed=per_cent, text=_how_far(warm))
    raise AssertionError("an answer has a last line")


def _told(steps: Iterator[ServerSnapshot | dict[str, Any]]) -> dict[str, Any]:
    """Elsewhere: a line whenever it is another tenth further, or something else has changed."""
    told: tuple[Any, ...] = ()
    for step in steps:
        if isinstance(step, dict):
            return step
        warm = _current(step)
        now = (step.state, warm.state, int(warm.per_cent // 10)) if warm is not None else (step.state,)
        if now != told:
            told = now
            per_cent = f"{warm.per_cent:.0f} %, " if warm is not None else ""
            talk(f"{step.name} {step.state}: {per_cent}{_how_far(warm)}")
    raise AssertionError("an answer has a last line")


def _current(server: ServerSnapshot) -> WarmSnapshot | None:
    """The re-warm under way; before it begins, what is known is the last one."""
    return server.warm if server.state == "warming" else None


def _how_far(warm: WarmSnapshot | None) -> str:
    if warm is None:
        return "about to begin"
    total = f" of {warm.keys_total:,}" if warm.keys_total is not None else ""
    parts = [f"{warm.keys_done:,}{total} keys"]
    if warm.state == "running":
        parts.append(f"{warm.keys_per_s:,.0f} copied/s")
        if warm.eta_s is not None:
            parts.append(f"{for_how_long(warm.eta_s)} left")
    else:
        parts.append(warm.state)
    return ", ".join(parts)


def _print(server: ServerSnapshot, warm: WarmSnapshot | None) -> None:
    click.echo(
        f"{'backup' if server.backup else 'server'} {server.name} ({server.address}) is {server.state}"
    )
    if warm is None:
        return
    copied = f"{warm.keys_copied:,} keys copied, {roughly(warm.bytes_copied)}"
    why = f": {warm.reason}" if warm.reason and warm.state != "done" else ""
    if warm.state in _DONE and warm.ended_s is not None:
        click.echo(f"re-warm {warm.state}{why}: {copied}, in {for_how_long(warm.ended_s - warm.started_s)}")
    else:
        click.echo(f"re-warm {warm.state}{why}: {copied}, {_how_far(warm)}")
