"""Bytes as keys, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent.cli.top.keys import NAMED, Keys


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"djk", ["d", "j", "k"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~x\x1b[6~", ["page up", "x", "page down"]),
        (b"\r\n\x7f\x08\x15", ["enter", "enter", "backspace", "backspace", "clear"]),
        ("ключ".encode(), list("ключ")),
        (b"\xff", ["\udcff"]),
        (b"\x1b[1;5Cx", ["x"]),
        (b"\x1bxy", ["y"]),
        (b"\x00\x01\t", []),
        (b"\x1b\x1b[A", ["escape", "up"]),
    ],
)
def test_whole(data, keys):
    assert Keys().feed(data) == keys


@pytest.mark.parametrize("data", [text.encode() for text in NAMED if len(text) > 1] + ["ж".encode()])
def test_byte_by_byte(data):
    whole, keys = Keys(), Keys()
    found = [key for at in range(len(data)) for key in keys.feed(data[at : at + 1])]
    assert found == whole.feed(data) != []
    assert not keys.is_waiting


def test_escape_is_known_when_nothing_follows():
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.is_waiting
    assert keys.flush() == ["escape"]
    assert not keys.is_waiting
    assert keys.flush() == []


def test_half_a_sequence_is_given_up():
    keys = Keys()
    assert keys.feed(b"\x1b[1;") == []
    assert keys.flush() == []
    assert keys.feed(b"q") == ["q"]


def test_an_endless_sequence_is_given_up():
    keys = Keys()
    assert keys.feed(b"\x1b[" + b"1" * 100) == []
    assert keys.feed(b"q") == ["q"]


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_any_bytes(pieces):
    keys = Keys()
    for piece in pieces:
        for key in keys.feed(piece):
            assert len(key) == 1 or key in NAMED.values()
    keys.flush()
    assert not keys.is_waiting
