"""Every command in words, for who writes pages about them: the reference and the man page."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from typing import Final

import click

from memagent.cli import magent
from memagent.cli.legacy import legacy

OWN_COMMAND_LINE: Final = "magent's own command line"

EXIT_CODES: Final = (
    ("0", "done"),
    ("1", "the machine, a server or the running proxy refuses: a port in use, no rights, nobody there"),
    ("1", "also what was looked for is not so: `servers --check`, `verify`; or not agreed to: `flush`"),
    ("2", "a mistake in the command line or the configuration; every mistake is named"),
    ("130", "interrupted with Ctrl-C"),
)

HOW_TO_REACH: Final = (
    "A running proxy is reached over its control socket, by the user it runs as or by root. `--socket` "
    "says where that is; `-c` with the file that the proxy was started with says it too; without either, "
    "the only proxy of this machine is found."
)


@dataclass(frozen=True, slots=True)
class Described:
    """`options`: as they are written, and what they mean. `text` has a paragraph between empty lines."""

    title: str
    usage: tuple[str, ...]
    text: str
    options: tuple[tuple[str, str], ...]


def commands() -> Iterator[Described]:
    """All commands as the overview has them, and magent's own command line."""
    context = click.Context(magent, info_name="magent")
    for name in magent.list_commands(context):
        command = magent.get_command(context, name)
        assert command is not None
        yield _describe(f"magent {name}", command)
    yield _describe("magent", legacy, OWN_COMMAND_LINE)


def _describe(path: str, command: click.Command, title: str | None = None) -> Described:
    context = click.Context(command, info_name=path, **command.context_settings)
    options = []
    for parameter in command.params:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            options.append((record[0], " ".join(record[1].split())))
    usage = (path, *command.collect_usage_pieces(context))
    return Described(title or path, usage, cleandoc(command.help or ""), tuple(options))
