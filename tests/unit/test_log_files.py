"""A log's file that was moved away."""

import os
from pathlib import Path

import pytest

from memagent.log_files import reopen


def test_descriptors_go_on_in_the_new_file(tmp_path: Path):
    path, moved = tmp_path / "log", tmp_path / "log.1"
    with path.open("a") as stream, path.open("a") as other:
        os.set_inheritable(other.fileno(), True)
        before = set(os.listdir("/proc/self/fd"))
        path.rename(moved)
        os.write(stream.fileno(), b"old\n")
        reopen(str(path), [stream.fileno(), other.fileno()])
        os.write(stream.fileno(), b"new\n")
        os.write(other.fileno(), b"newer\n")
        assert [os.get_inheritable(each.fileno()) for each in (stream, other)] == [False, True]
        assert set(os.listdir("/proc/self/fd")) == before
    assert (moved.read_text(), path.read_text()) == ("old\n", "new\nnewer\n")


def test_what_logrotate_has_made_is_appended_to(tmp_path: Path):
    path = tmp_path / "log"
    with path.open("a") as stream:
        path.unlink()
        path.write_text("first\n")
        reopen(str(path), [stream.fileno()])
        os.write(stream.fileno(), b"second\n")
    assert path.read_text() == "first\nsecond\n"


def test_one_that_cannot_be_opened_changes_nothing(tmp_path: Path):
    path = tmp_path / "folder" / "log"
    with (tmp_path / "log").open("a") as stream:
        with pytest.raises(FileNotFoundError):
            reopen(str(path), [stream.fileno()])
        os.write(stream.fileno(), b"old\n")
    assert (tmp_path / "log").read_text() == "old\n"
