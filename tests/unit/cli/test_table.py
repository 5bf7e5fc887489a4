"""Columns, and how long ago something was."""

import pytest

from memagent.cli.table import aligned, for_how_long, roughly


def test_columns():
    rows = [("A", "NUMBER", "B"), ("long one", "7", ""), ("x", "12", "y")]
    assert list(aligned(rows, right=[1])) == [
        "A         NUMBER  B",
        "long one       7",
        "x             12  y",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_for_how_long(seconds, text):
    assert for_how_long(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (10_239, "10239B"), (10_240, "10KiB"), (99_000, "96KiB"), (2**34, "16GiB")]
)
def test_roughly(count, text):
    assert roughly(count) == text
