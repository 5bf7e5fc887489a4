"""The supervisor's log."""

import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from memagent.errors import StartError
from memagent.logs import open_log, set_up, set_verbose


@pytest.fixture(autouse=True)
def _structlog_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TextIO]:
    with open_log(str(tmp_path / "log")) as stream:
        yield stream


def lines(stream: TextIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(stream.name).read_text().splitlines()]


def test_a_line_is_a_json_object(file: TextIO):
    log = set_up(file)
    log.info("a thing", server="a", count=3)
    log.debug("not shown")
    (line,) = lines(file)
    assert line.pop("timestamp")
    assert line == {"event": "a thing", "level": "info", "server": "a", "count": 3}


def test_verbose_shows_more_and_a_file_is_appended_to(file: TextIO):
    set_up(file).error("one")
    with open_log(file.name) as again:
        set_up(again, verbose=True).debug("two")
    assert [line["event"] for line in lines(file)] == ["one", "two"]


def test_a_logger_that_is_there_already_becomes_verbose(file: TextIO):
    log = set_up(file)
    for verbose in (True, False):
        set_verbose(verbose)
        log.debug("a thing")
    assert [line["event"] for line in lines(file)] == ["a thing"]


def test_a_terminal_gets_text():
    ours, theirs = pty.openpty()
    with open(theirs, "w", closefd=True) as terminal:
        set_up(terminal).warning("a thing", server="a")
        text = os.read(ours, 1000).decode()
    os.close(ours)
    assert "a thing" in text
    assert not text.startswith("{")


def test_text_that_is_no_utf8_is_written_all_the_same(file: TextIO):
    set_up(file).info("\udcff\n")
    assert "udcff" in Path(file.name).read_text()


def test_a_log_that_cannot_be_written_costs_only_the_line():
    with open("/dev/full", "w") as full:
        set_up(full).error("lost")
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        set_up(broken).error("lost")


def test_a_log_file_that_cannot_be_opened(tmp_path: Path):
    with pytest.raises(StartError, match="Is a directory"):
        open_log(str(tmp_path))
