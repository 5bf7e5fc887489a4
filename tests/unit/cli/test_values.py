"""Arguments with a unit."""

import click
import pytest

from memagent.cli.values import COUNT, SECONDS, TIMEOUT, between, unit
from memagent.units import parse_count


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), ("0.5", 0.5), ("250ms", 0.25), ("2m", 120.0)])
def test_seconds(text, value):
    assert SECONDS(text) == value


def test_what_is_no_text_is_taken_as_it_is():
    assert SECONDS(2.5) == 2.5
    assert COUNT(None) is None


@pytest.mark.parametrize("text", ["x", "1kg", "-1", ""])
def test_mistakes(text):
    with pytest.raises(click.BadParameter):
        SECONDS(text)


def test_bounds():
    convert = unit("count", between(1, 1000, parse_count))
    assert convert("1000") == 1000
    for text in ("0", "1001"):
        with pytest.raises(click.BadParameter, match="must be from 1 to 1,000"):
            convert(text)


def test_a_timeout_is_what_a_socket_can_wait():
    assert TIMEOUT("10ms") == 0.01
    assert TIMEOUT("10m") == 600
    for text in ("0", "9ms", "601", "99999999999d"):
        with pytest.raises(click.BadParameter, match=r"must be from 0\.01 to 600"):
            TIMEOUT(text)
