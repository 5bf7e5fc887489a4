"""`magent check`: is a configuration good, what does it say and who says it, and what would it change?"""

import click

from memagent.cli.comparison import compare
from memagent.cli.flags import load_any, load_whole
from memagent.cli.running import RunningProxy
from memagent.cli.table import aligned
from memagent.cli.values import between, unit
from memagent.config import Loaded
from memagent.origins import origins
from memagent.schema import schema_text
from memagent.settings import Config, PoolConfig, ServerConfig
from memagent.units import parse_count, quoted

_SAMPLE = 100_000
_WIDEST_VALUE = 60


@click.command()
@click.option("--diff", is_flag=True, help="Show what it would change in the running proxy.")
@click.option("--old", "old_path", metavar="OLD", help="Show what it would change after the file OLD.")
@click.option("--socket", "socket_path", metavar="PATH", help="The control socket of the running proxy.")
@click.option(
    "--keys", "keys_path", metavar="KEYS", help="Count moved keys among these, one a line; - reads them."
)
@click.option(
    "--sample",
    type=unit("count", between(1, 10_000_000, parse_count)),
    default=str(_SAMPLE),
    help="Count moved keys among so many made-up ones.",
)
@click.option(
    "--schema",
    "show_schema",
    is_flag=True,
    help="Print the JSON Schema of a configuration file, for editors, and do nothing else.",
)
@click.argument("path", metavar="[FILE]", required=False)
def check(
    path: str | None,
    diff: bool,
    old_path: str | None,
    socket_path: str | None,
    keys_path: str | None,
    sample: int,
    show_schema: bool,
) -> None:
    """Check the configuration in FILE and in the environment.

    Prints what it means and where each setting comes from, or every mistake with its line; the exit code is
    2 if there is any. Names are not resolved and no server is contacted.

    With --diff or --old it prints what would change instead: settings, servers, and the part of the keys that
    would have another owner.
    """
    if show_schema:
        click.echo(schema_text(), nl=False)
        return
    if diff and old_path is not None:
        raise click.UsageError("give either --diff or --old: both say what to compare with")
    if not (diff or old_path is not None) and (socket_path is not None or keys_path is not None):
        raise click.UsageError("--socket and --keys say with what to compare: give --diff or --old too")
    loaded = load_whole(path)
    click.echo(f"{path or 'the environment'}: good")
    if old_path is not None:
        compare(load_any(old_path), loaded.config, old_path, keys_path, sample)
    elif diff:
        with RunningProxy.find(socket_path, None if socket_path else path) as proxy:
            compare(proxy.config(), loaded.config, f"the proxy at {proxy.path}", keys_path, sample)
    else:
        click.echo("\n".join([*_summary(loaded.config), "", *_origins(loaded)]))


def _origins(loaded: Loaded) -> list[str]:
    rows = [("SETTING", "VALUE", "FROM")]
    for origin in origins(loaded):
        value = origin.value
        if len(value) > _WIDEST_VALUE:
            value = value[: _WIDEST_VALUE - 3] + "..."
        place = f"{origin.place} (the default)" if origin.is_default else origin.place
        rows.append((f"{origin.where}: {origin.name}".removeprefix(": "), value, place))
    return list(aligned(rows))


def _summary(config: Config) -> list[str]:
    lines = []
    for name, addresses in config.listens.items():
        whose = f" (pool {name})" if name else ""
        lines.append(f"listen   {', '.join(map(str, addresses))}{whose}")
    lines.append(f"workers  {config.workers}")
    if len(config.pools) > 1:
        lines += _routes(config)
    for pool in config.pools:
        lines += _pool(pool)
    return lines


def _routes(config: Config) -> list[str]:
    """Longest first, as they are looked for."""
    ways = [(prefix, pool) for pool in config.pools for prefix in pool.takes]
    ways.sort(key=lambda way: (-len(way[0].encode()), way[0]))
    width = max((len(quoted(prefix)) for prefix, _ in ways), default=0)
    lines = []
    for prefix, pool in ways:
        stripped = ", which strips the prefix" if prefix and pool.strip_prefix else ""
        what = quoted(prefix) if prefix else "all else"
        lines.append(f"route    {what:<{width}} -> pool {pool.name}{stripped}")
    if ways and "" not in dict(ways):
        lines.append("route    all else is refused: CLIENT_ERROR no route for this key")
    return lines


def _pool(pool: PoolConfig) -> list[str]:
    tag = f", hash tag {pool.hash_tag}" if pool.hash_tag else ""
    copies = f", {pool.copies} copies" if pool.copies > 1 else ""
    lines = [f"pool     {pool.name}: distribution {pool.distribution}, key hash {pool.key_hash}{tag}{copies}"]
    width = max(len(server.name) for server in (*pool.servers, *pool.backups))
    for role, servers in ("server", pool.servers), ("backup", pool.backups):
        lines += [f"  {role} {index:<4} {_server(server, width)}" for index, server in enumerate(servers)]
    return lines


def _server(server: ServerConfig, width: int) -> str:
    address = f"  {server.address}" if server.named else ""
    weight = f"  weight {server.weight}" if server.weight != 1 else ""
    return f"{server.name:<{width}}{address}{weight}".rstrip()
