"""Arguments with a unit, as click takes them."""

from collections.abc import Callable
from typing import Any

import click

from memagent.units import parse_count, parse_us

Parser = Callable[[str], Any]


def unit(name: str, parse: Parser) -> Parser:
    """An argument that one of the parsers in `units` understands."""

    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    convert.__name__ = name
    return convert


def seconds(text: str) -> float:
    return float(parse_us(text if not text.replace(".", "", 1).isdigit() else text + "s") / 1e6)


def between(least: float, most: float, parse: Parser) -> Parser:
    """What `parse` makes of it, if it is in bounds."""

    def check(text: str) -> Any:
        value = parse(text)
        if not least <= value <= most:
            raise ValueError(f"must be from {least:,} to {most:,}")
        return value

    return check


SECONDS = unit("seconds", seconds)
TIMEOUT = unit("seconds", between(0.01, 600, seconds))  # 0 would not wait, and a socket takes no year
COUNT = unit("count", parse_count)
