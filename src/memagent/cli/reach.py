"""What the commands for a running proxy share: where it is, which server is meant, and JSON."""

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def reach_options(command: _Command) -> _Command:
    """--socket, -c and --json."""
    as_json = click.option("--json", "as_json", is_flag=True, help="JSON in place of text.")
    return proxy_options(as_json(command))


def proxy_options(command: _Command) -> _Command:
    """--socket and -c."""
    for option in (
        click.option(
            "-c",
            "--config",
            "config_path",
            metavar="FILE",
            help="The proxy's configuration file: it says where the socket is.",
        ),
        click.option(
            "--socket", "socket_path", metavar="PATH", help="The control socket of the running proxy."
        ),
    ):
        command = option(command)
    return command


def pool_option(command: _Command) -> _Command:
    """--pool, where a key or the only pool does not say it."""
    text = "This pool, as at an address of its own; else the key says which, or there is only one."
    return click.option("--pool", metavar="NAME", help=text)(command)


def server_argument(command: _Command) -> _Command:
    """SERVER, and what tells two of one name apart."""
    return click.argument("server", metavar="SERVER")(server_options(command))


def server_options(command: _Command) -> _Command:
    """--role and --pool."""
    for option in (
        click.option(
            "--role",
            type=click.Choice(["server", "backup"]),
            help="Which one, where a server and a backup have one name.",
        ),
        click.option("--pool", metavar="NAME", help="Its pool, where a name stands in several."),
    ):
        command = option(command)
    return command


def which(server: str, pool: str | None, role: str | None) -> dict[str, Any]:
    """A server as a request names it."""
    return {"server": server, "pool": pool, "backup": None if role is None else role == "backup"}


def print_json(value: Any) -> None:
    """One object on one line."""
    # JSON is UTF-8: a key's bytes that are not can only be written as escapes; nor may a key steer a terminal
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not text.isprintable():
        text = json.dumps(value, separators=(",", ":"))
    sys.stdout.buffer.write(text.encode() + b"\n")
    sys.stdout.flush()


def talk(text: str) -> None:
    """Progress and remarks: never in the way of who reads standard output."""
    click.echo(text, err=True)
