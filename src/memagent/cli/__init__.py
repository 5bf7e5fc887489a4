"""The command `magent`: arguments -> a call; prints, exits; no logic.

    magent run -c FILE, check, route, bench     what needs a configuration, or nothing
    magent servers, drain, explain, ...         what needs a running proxy (see `running`)
    magent -s 10.0.0.1:11211 ...                magent's own command line: what starts with a flag

Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 the machine or a server refuses,
2 a mistake in what was asked for, 130 interrupted.
"""

import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from memagent import __version__
from memagent.cli.help import write_overview
from memagent.errors import MemagentError
from memagent.reading import nearest
from memagent.units import quoted

# What `magent --help` shows together: a command, and the module that has it.
_SECTIONS = {
    "With a configuration file (conf/ has examples)": {
        "run": "run",
        "check": "check",
        "route": "route",
        "bench": "bench",
    },
    "With a running proxy (-c FILE or --socket PATH)": {
        "servers": "servers",
        "top": "top.command",
        "reload": "reload",
        "upgrade": "upgrade",
        "explain": "explain",
        "verify": "verify",
        "metrics": "metrics",
        "hot": "hot",
        "slow": "slow",
        "tap": "tap",
        "drain": "operate",
        "undrain": "operate",
        "replace": "operate",
        "rewarm": "rewarm",
        "migration": "migration",
        "flush": "flush",
        "log-level": "log_level",
    },
}
_COMMANDS = {name: module for section in _SECTIONS.values() for name, module in section.items()}
_COMMANDS["help"] = "help"
_OWN_FLAGS = ("-h", "--help", "--version")
_INTERRUPTED = 130


class Commands(click.Group):
    """Imports a command when it is asked for: `magent check` needs nothing compiled."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"memagent.cli.{_COMMANDS[cmd_name]}")
        command = getattr(module, "show_help" if cmd_name == "help" else cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            ctx.fail(f"no such command: {quoted(args[0])}{nearest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_overview(self, ctx, formatter, _SECTIONS)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="memagent %(version)s")
def magent() -> None:
    """A proxy for memcached: clients talk to it as to one server, and it spreads the keys over many."""


def main() -> NoReturn:
    """The entry point of `magent` and of `python -m memagent`."""
    _open_what_is_closed()
    _show_what_the_terminal_cannot()
    code = call(sys.argv[1:])
    gc.freeze()  # or the interpreter walks over all that was loaded once more, and a stop takes longer
    sys.exit(code)


def call(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code. A user's mistake never gets past here as a traceback."""
    command: click.Command = magent
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in _OWN_FLAGS):
        command = importlib.import_module("memagent.cli.legacy").legacy
    color = False if os.environ.get("NO_COLOR") else None
    try:
        result = command.main(list(arguments), prog_name="magent", standalone_mode=False, color=color)
        sys.stdout.flush()
    except MemagentError as error:
        return _report(error.message, error.hint, error.exit_code, color)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "magent"
        return _report(error.format_message().removesuffix("."), f"{path} --help", error.exit_code, color)
    except click.ClickException as error:
        return _report(error.format_message(), None, error.exit_code, color)
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has enough: let nothing more be written when the interpreter exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _report(str(error), None, 1, color)
    return result if isinstance(result, int) else 0


def _open_what_is_closed() -> None:
    """A start script may close standard streams; a client's socket must not become our standard output."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115


def _show_what_the_terminal_cannot() -> None:
    """A name that its encoding lacks is written with escapes, as on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _report(message: str, hint: str | None, exit_code: int, color: bool | None) -> int:
    for line in message.splitlines():
        click.echo(f"magent: {click.style('error', fg='red', bold=True)}: {line}", err=True, color=color)
    if hint:
        click.echo(f"{click.style('hint', fg='cyan')}: {hint}", err=True, color=color)
    return exit_code
