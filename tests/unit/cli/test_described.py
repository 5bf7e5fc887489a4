"""Every command in words."""

import click

from memagent.cli import magent
from memagent.cli.described import OWN_COMMAND_LINE, commands


def test_every_command_is_described():
    titles = [each.title for each in commands()]
    names = magent.list_commands(click.Context(magent))
    assert titles == [*(f"magent {name}" for name in names), OWN_COMMAND_LINE]


def test_one_of_them():
    drain = next(each for each in commands() if each.title == "magent drain")
    assert drain.usage == ("magent drain", "[OPTIONS]", "SERVER")
    assert drain.text.startswith("Take SERVER out of service")
    assert dict(drain.options)["--pool NAME"].startswith("Its pool")


def test_no_help_is_empty():
    assert all(each.text for each in commands())
