"""The supervisor's log."""

import asyncio
import errno
import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from memagent.errors import StartError
from memagent.logs import Logger, Sieve, open_log, set_verbose
from memagent.logs import set_up as set_up_with
from memagent.repeats import MOST


@pytest.fixture(autouse=True)
def _structlog_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TextIO]:
    with open_log(str(tmp_path / "log")) as stream:
        yield stream


def set_up(stream: TextIO, verbose: bool = False) -> Logger:
    return set_up_with(stream, Sieve(), verbose)


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


def test_what_is_said_too_often_is_counted_and_said_once(file: TextIO):
    sieve = Sieve()
    log = set_up_with(file, sieve)

    async def run() -> None:
        async with sieve.telling(log):
            for number in range(MOST + 123):
                log.warning("server is down", server="a", worker=0, reason=f"{number}")
            log.warning("server is down", server="b", worker=0)
            log.warning("server is down", server="a", worker=1)
            log.log(30, "server is down", server="a", worker=0)

    asyncio.run(run())
    said = lines(file)
    assert len(said) == MOST + 3
    last = said.pop()
    assert last.pop("timestamp")
    assert last == {
        "event": "server is down", "level": "warning", "server": "a", "worker": 0, "more_like_this": 124,
    }  # fmt: skip
    assert [line.get("reason") for line in said] == [*map(str, range(MOST)), None, None]


@pytest.mark.parametrize("as_tuple", [False, True])
def test_a_mistake_of_ours_does_not_fill_the_log(file: TextIO, as_tuple: bool):
    log = set_up(file)
    for error in (*[KeyError("a")] * 2 * MOST, ValueError("b")):
        log.error("a look failed", exc_info=(type(error), error, None) if as_tuple else error)
    said = lines(file)
    assert len(said) == MOST + 1
    assert "KeyError: 'a'" in str(said[0]["exception"])
    assert "ValueError: b" in str(said[-1]["exception"])


def test_what_names_nobody_is_always_said(file: TextIO):
    log = set_up(file)
    for _ in range(3 * MOST):
        log.info("configuration reloaded", changes="none")
    assert len(lines(file)) == 3 * MOST


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


def test_a_log_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StartError, match="Is a directory") as caught:
        open_log(str(tmp_path))
    assert caught.value.hint == "give a path that may be written"

    def may_not(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", may_not)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(StartError, match="log_file /var/log/m: Permission denied") as caught:
        open_log("/var/log/m")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("chown 4711 /var/log/m")


def test_only_a_log_file_that_is_made_is_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given: list[tuple[str, int, int]] = []

    def fchown(fd: int, uid: int, gid: int) -> None:
        given.append((os.readlink(f"/proc/self/fd/{fd}"), uid, gid))

    monkeypatch.setattr(os, "fchown", fchown)
    new, old, target, link = (tmp_path / name for name in ("new", "old", "target", "link"))
    old.write_text("before\n")
    link.symlink_to(target)
    for path in (new, old, link, new):
        with open_log(str(path), (4711, 4712)) as file:
            file.write("line\n")
    assert given == [(str(new), 4711, 4712)]
    assert (new.read_text(), old.read_text()) == ("line\nline\n", "before\nline\n")
    assert target.exists()
