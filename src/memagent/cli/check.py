"""`magent check`: is a configuration file good, and what does it say?"""

import click

from memagent.cli.flags import load_any
from memagent.schema import schema_text
from memagent.settings import Config, PoolConfig, ServerConfig


@click.command()
@click.option(
    "--schema",
    "show_schema",
    is_flag=True,
    help="Print the JSON Schema of a configuration file, for editors, and do nothing else.",
)
@click.argument("path", metavar="[FILE]", required=False)
def check(path: str | None, show_schema: bool) -> None:
    """Check the configuration in FILE and in the environment.

    Prints what it means, or every mistake with its line; the exit code is 2 if there is any. Names are not
    resolved and nothing is contacted.
    """
    if show_schema:
        click.echo(schema_text(), nl=False)
        return
    config = load_any(path)
    click.echo(f"{path or 'the environment'}: good")
    click.echo("\n".join(_summary(config)))


def _summary(config: Config) -> list[str]:
    lines = [f"listen   {', '.join(map(str, config.listen))}", f"workers  {config.workers}"]
    for pool in config.pools:
        lines += _pool(pool)
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
