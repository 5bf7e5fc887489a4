"""`magent --help` fits a terminal and its examples are true."""

import shlex

import click
import pytest

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
