"""`magent flush`: forget everything on one server, or on all of them."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import click

from memagent.addresses import parse_address
from memagent.cli.reach import print_json, reach_options, server_options, talk, which
from memagent.cli.running import RunningProxy
from memagent.cli.table import roughly
from memagent.errors import ConfigError, ServerError
from memagent.inspection.client import Connection
from memagent.snapshot import PoolSnapshot, ServerSnapshot

_LOOK_S = 1.0
_AGREED: dict[str, Any] = {"confirm": "flush_all"}


@click.command()
@click.argument("server", metavar="[SERVER]", required=False)
@click.option("--all", "is_all", is_flag=True, help="Every server and backup, as a client's flush_all does.")
@server_options
@click.option("--yes", is_flag=True, help="Do not ask: for scripts.")
@reach_options
def flush(
    server: str | None,
    is_all: bool,
    pool: str | None,
    role: str | None,
    yes: bool,
    socket_path: str | None,
    config_path: str | None,
    as_json: bool,
) -> int:
    """Forget everything on SERVER, or with --all on every server and backup.

    Says what will be lost, and asks. In a pool with copies one server's keys are found at their copies, and
    written back as they are read; `magent rewarm` fills it at once. With --all every key misses until it is
    written anew. --all can be of one --pool.
    """
    if (server is None) is not is_all:
        raise ConfigError("give either a SERVER or --all", "magent servers lists them")
    if is_all and role is not None:
        raise ConfigError("--role makes no sense with --all: a flush is of servers and backups")
    if not yes and not sys.stdin.isatty():
        raise ConfigError("nothing is flushed without being agreed to", "--yes agrees, for scripts")
    with RunningProxy.find(socket_path, config_path) as proxy:
        if server is None:
            return _flush_all(proxy, pool, yes, as_json)
        words = which(server, pool, role)
        found = proxy.server(proxy.ask("server", **words))
        of_pool = next(each for each in proxy.snapshot().pools if each.name == found.pool)
        if not yes and not _agrees(_loss_of_one(found, of_pool)):
            return 1
        found = proxy.server(proxy.ask("flush_server", **words, **_AGREED))
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        click.echo(f"{'backup' if found.backup else 'server'} {found.name} ({found.address}) is flushed")
    return 0


def _flush_all(proxy: RunningProxy, pool: str | None, yes: bool, as_json: bool) -> int:
    pools = [each for each in proxy.snapshot().pools if pool in (None, each.name)]
    if not yes and pools and not _agrees(_loss_of_all(pools)):
        return 1
    # A pool that is not there is the proxy's to refuse.
    for name in [each.name for each in pools] or [str(pool)]:
        proxy.ask("flush", pool=name, **_AGREED)
    servers = [server for each in pools for server in each.servers]
    if as_json:
        print_json([dataclasses.asdict(server) for server in servers])
    else:
        click.echo("1 server is flushed" if len(servers) == 1 else f"{len(servers):,} servers are flushed")
    return 0


# ---------------------------------------------------------------- what is lost


def _agrees(loss: str) -> bool:
    talk(loss)
    agreed = click.confirm("Flush?", err=True)
    if not agreed:
        talk("nothing was flushed")
    return agreed


def _loss_of_one(server: ServerSnapshot, pool: PoolSnapshot) -> str:
    what = f"{server.name} ({server.address}) loses {_content([server])}."
    if not pool.has_copies:
        return f"{what} Their keys have no copies: they miss until they are written anew."
    return f"{what} Their copies are asked meanwhile, and written back as they are read."


def _loss_of_all(pools: Sequence[PoolSnapshot]) -> str:
    servers = [server for pool in pools for server in pool.servers]
    return (
        f"{len(servers):,} servers lose {_content(servers)}, copies included. Every key misses until it is "
        "written anew: what is behind the cache gets all the load."
    )


def _content(servers: Sequence[ServerSnapshot]) -> str:
    """As the servers themselves say, as far as they do."""
    items = size_bytes = unknown = 0
    for server in servers:
        try:
            with Connection.open(parse_address(server.address), _LOOK_S) as connection:
                stats = connection.stats()
            items += int(stats["curr_items"])
            size_bytes += int(stats["bytes"])
        except (ServerError, ValueError, KeyError):
            unknown += 1
    if unknown == len(servers):
        return "what it has" if unknown == 1 else "what they have"
    besides = f", and what {unknown:,} more have" if unknown else ""
    return f"{items:,} items of {roughly(size_bytes)} in all{besides}"
