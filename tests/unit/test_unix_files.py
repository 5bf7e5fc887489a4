"""Files of Unix sockets."""

import os
import socket
from pathlib import Path

import pytest

from memagent.unix_files import InUseError, NotASocketError, UnixFile, remove_stale


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen(0)
    return made


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path):
    path = tmp_path / "s"
    remove_stale(str(path))
    listening(path).close()
    remove_stale(str(path))
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(NotASocketError):
        remove_stale(str(path))
    assert path.read_text() == "precious"


def test_who_listens_is_left_alone_even_with_a_full_backlog(tmp_path: Path):
    path = tmp_path / "s"
    with listening(path):
        with pytest.raises(InUseError):
            remove_stale(str(path))
        waiting = []
        for _ in range(4):
            each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            waiting.append(each)
            if each.connect_ex(str(path)):
                break
        with pytest.raises(InUseError):
            remove_stale(str(path))
        for each in waiting:
            each.close()
    assert path.exists()


def test_ones_own_file_is_removed_and_anothers_is_not(tmp_path: Path):
    path = tmp_path / "s"
    with listening(path):
        mine = UnixFile.at(str(path))
        os.rename(path, tmp_path / "aside")
        with listening(path):
            mine.remove()
            assert path.exists()
            UnixFile.at(str(path)).remove()
            assert not path.exists()
    mine.remove()
