"""Mistakes are noted one by one and reported together."""

import os
import threading
from pathlib import Path

import pytest

from memagent.errors import ConfigError
from memagent.reading import Mistakes, nearest, read_text, under_way
from tests.support.wait import wait_until


def test_no_mistake_no_error():
    Mistakes("hint").raise_if_any()


def test_mistakes_come_in_the_order_of_their_lines_and_once_each():
    mistakes = Mistakes("look there")
    mistakes.note("f:7", "", "seven", line=7)
    mistakes.note("f:2", 'pool "a"', "two", line=2)
    mistakes.note("f:7", "seven", line=7)
    mistakes.note("-p", "none")
    with pytest.raises(ConfigError) as caught:
        mistakes.raise_if_any()
    assert caught.value.message == '-p: none\nf:2: pool "a": two\nf:7: seven'
    assert caught.value.hint == "look there"
    assert caught.value.exit_code == 2


def test_enough_is_enough():
    mistakes = Mistakes()
    for number in range(99):
        mistakes.note(f"x{number}")
    with pytest.raises(ConfigError, match="x0\n") as caught:
        mistakes.note("x99")
    assert len(caught.value.message.splitlines()) == 100
    assert caught.value.hint == "there are more mistakes: these are the first"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wokers", ' (did you mean "workers"?)'),
        ("Workers", ' (did you mean "workers"?)'),
        ("zzz", ""),
        ("", ""),
        ("workers" * 100_000, ""),
    ],
)
def test_nearest(name, text):
    assert nearest(name, ["workers", "listen"]) == text


def test_a_file_as_text(tmp_path):
    path = tmp_path / "f"
    path.write_bytes("\ufeffé\r\n".encode())
    assert read_text(str(path)) == "é\r\n"


def test_the_file_that_is_being_read_is_known(tmp_path: Path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(read_text(str(path))), daemon=True)
    reader.start()
    wait_until(lambda: under_way == [str(path)], 10, "a read that hangs")
    path.write_text("late")
    reader.join(10)
    assert (found, under_way) == (["late"], [])
    with pytest.raises(ConfigError):
        read_text(str(tmp_path / "nothing"))
    assert under_way == []
