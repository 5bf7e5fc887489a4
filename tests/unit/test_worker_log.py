"""A worker's log: through the supervisor, and alone once that has gone."""

import json
import os
import pty
from pathlib import Path

from memagent import control
from memagent.control import Log
from memagent.repeats import MOST
from memagent.worker_log import WorkerLog


def test_a_worker_logs_through_its_supervisor_and_alone_once_it_has_gone(tmp_path: Path):
    supervisor, theirs = control.pair()
    channel = control.connect(theirs.detach())
    file = tmp_path / "log"
    stream = file.open("w")
    log = WorkerLog(channel, worker=3, stream=stream)
    log.info("one")
    log.debug("not shown")
    assert supervisor.receive() == [Log("info", "one")]
    assert file.read_text() == ""
    supervisor.close()
    log.warning("two")
    log.error("\udcff")
    log.debug("not shown")
    first, second = map(json.loads, file.read_text().splitlines())
    assert first.pop("timestamp")
    assert first == {"worker": 3, "event": "two", "level": "warning"}
    assert second["level"] == "error"
    channel.close()
    stream.close()


def test_a_worker_alone_on_a_terminal_writes_text():
    supervisor, theirs = control.pair()
    supervisor.close()
    channel = control.connect(theirs.detach())
    ours, tty = pty.openpty()
    with open(tty, "w", closefd=True) as terminal:
        log = WorkerLog(channel, worker=3, stream=terminal)
        log.verbose = True
        log.debug("two")
        text = os.read(ours, 1000).decode()
    os.close(ours)
    channel.close()
    assert "two worker=3" in text
    assert not text.startswith("{")


def test_a_worker_alone_counts_what_it_repeats_and_follows_a_file_that_was_moved(tmp_path: Path):
    supervisor, theirs = control.pair()
    supervisor.close()
    channel = control.connect(theirs.detach())
    file, moved = tmp_path / "log", tmp_path / "log.1"
    with file.open("a") as stream:
        log = WorkerLog(channel, worker=3, stream=stream)
        for _ in range(MOST + 4):
            log.warning("again")
        file.rename(moved)
        log.reopen(str(file))
        log.info("other")
        log.close()
        log.reopen(str(tmp_path / "nowhere" / "log"))
    channel.close()
    assert len(moved.read_text().splitlines()) == MOST
    other, again, kept = map(json.loads, file.read_text().splitlines())
    assert other["event"] == "other"
    assert (again["event"], again["level"], again["more_like_this"]) == ("again", "warning", 4)
    assert "the old file is kept: No such file" in kept["event"]
