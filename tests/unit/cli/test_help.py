"""`magent --help` fits a terminal and its examples are true."""

import shlex

import click
import pytest

from memagent import cli
from memagent.cli import magent
from memagent.cli.help import _EXAMPLES
from memagent.cli.legacy import legacy


def text(width: int) -> str:
    return magent.get_help(
        click.Context(magent, info_name="magent", max_content_width=width, terminal_width=width)
    )


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_wider_than_the_terminal(width):
    example = max(map(len, _EXAMPLES)) + 2
    assert max(map(len, text(width).splitlines())) <= max(width, example)


def test_the_usage_comes_first_and_on_lines_of_its_own():
    assert text(80).splitlines()[:3] == [
        "Usage: magent run -c FILE",
        "       magent -s HOST:PORT [-s HOST:PORT]... [FLAG]...",
        "       magent COMMAND --help",
    ]


@pytest.mark.parametrize("example", _EXAMPLES)
def test_every_example_can_be_parsed(example):
    program, *arguments = shlex.split(example)
    assert program == "magent"
    command: click.Command = legacy
    if not arguments[0].startswith("-"):
        found = magent.get_command(click.Context(magent), arguments.pop(0))
        assert found is not None
        command = found
    command.make_context("magent", arguments)


def test_help_as_a_command(capsys):
    assert cli.call(["help"]) == 0
    whole = capsys.readouterr().out
    assert cli.call(["--help"]) == 0
    assert capsys.readouterr().out == whole
    assert cli.call(["help", "drain"]) == 0
    one = capsys.readouterr().out
    assert one.startswith("Usage: magent drain [OPTIONS] SERVER")
    assert cli.call(["drain", "--help"]) == 0
    assert capsys.readouterr().out == one


def test_help_for_what_is_no_command(capsys):
    assert cli.call(["help", "drian"]) == 2
    assert 'no such command: "drian" (did you mean "drain"?)' in capsys.readouterr().err


def test_every_command_is_in_the_overview():
    context = click.Context(magent)
    shown = text(100)
    names = set(magent.list_commands(context)) - {"help"}
    assert {"servers", "drain", "undrain", "replace", "rewarm", "explain", "verify"} <= names
    assert all(f"\n  {name} " in shown for name in names)
