"""`magent servers`: how every server stands."""

import dataclasses

import click

from memagent.cli.reach import print_json, reach_options
from memagent.cli.running import RunningProxy
from memagent.cli.table import STATE_COLOURS, aligned, for_how_long
from memagent.snapshot import ServerSnapshot, Snapshot, WarmSnapshot

_HEADER = ("NAME", "ADDRESS", "ROLE", "STATE", "FOR", "JOURNAL", "WARM", "LEFT", "LAST REASON")
_STATE = _HEADER.index("STATE")
_NUMBERS = tuple(_HEADER.index(name) for name in ("FOR", "JOURNAL", "WARM", "LEFT"))


@click.command()
@reach_options
@click.option("--check", is_flag=True, help="Exit with 1 if anything is not up: for scripts and monitoring.")
def servers(socket_path: str | None, config_path: str | None, as_json: bool, check: bool) -> int:
    """Show how every server of the running proxy stands.

    FOR is how long it has been in its state, JOURNAL how many keys were written while it could not be
    reached and wait to be set right there, WARM how far it is refilled, and LEFT how long that will still
    take.
    """
    with RunningProxy.find(socket_path, config_path) as proxy:
        snapshot = proxy.snapshot()
    if as_json:
        print_json([dataclasses.asdict(server) for server in snapshot.servers()])
    else:
        _print(snapshot)
    return 1 if check and any(server.state != "up" for server in snapshot.servers()) else 0


def _print(snapshot: Snapshot) -> None:
    found = snapshot.servers()
    has_pools = len(snapshot.pools) > 1
    rows = [_HEADER, *(_row(server, snapshot.now_s, has_pools) for server in found)]
    for line, server in zip(aligned(rows, right=_NUMBERS), (None, *found), strict=True):
        if server is None:
            click.echo(line)
            continue
        # painted after the columns are laid out: colours have no width
        before, state, after = _around_state(line, rows)
        click.echo(before + click.style(state, fg=STATE_COLOURS[server.state]) + after)


def _around_state(line: str, rows: list[tuple[str, ...]]) -> tuple[str, str, str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    start = sum(widths[:_STATE]) + 2 * _STATE
    end = start + widths[_STATE]
    return line[:start], line[start:end], line[end:]


def _row(server: ServerSnapshot, now_s: float, has_pools: bool) -> tuple[str, ...]:
    warm = server.warm if server.state == "warming" or _is_going_on(server.warm) else None
    return (
        f"{server.pool}/{server.name}" if has_pools else server.name,
        server.address,
        "backup" if server.backup else "server",
        server.state,
        for_how_long(now_s - server.since_s),
        f"{server.journal_keys:,}" if server.journal_keys else "-",
        _warm(warm),
        for_how_long(warm.eta_s) if warm is not None and warm.eta_s is not None else "-",
        server.reason,
    )


def _is_going_on(warm: WarmSnapshot | None) -> bool:
    return warm is not None and warm.state in ("running", "paused")


def _warm(warm: WarmSnapshot | None) -> str:
    if warm is None:
        return "-"
    note = "" if warm.state == "running" else f" {warm.state}"
    return f"{warm.per_cent:.0f} %{note}"
