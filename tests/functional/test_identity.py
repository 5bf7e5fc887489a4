"""Whether a restarted memcached has kept its data, as real ones tell it (behaviour 3)."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memagent._core.identity import GREETING, Identity, has_kept_its_data, read_greeting
from tests.support.memcached import Memcached, Version
from tests.support.wait import wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that memcached may write to after it has become another user."""
    made = Path(tempfile.mkdtemp(prefix="memagent-data-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def greet(server: Memcached) -> Identity:
    with server.connect() as wire:
        wire.send(GREETING)
        who = read_greeting(wire.read_until(b"MN\r\n"))
    assert who is not None
    return who


def test_one_that_takes_its_data_over_is_the_same(
    memcached_factory: Callable[..., Memcached], version: Version, folder: Path
) -> None:
    server = memcached_factory(version, args=["-e", str(folder / "data")])
    before = greet(server)
    server.set(b"key", b"value")
    os.kill(server.pid, signal.SIGUSR1)
    wait_until(lambda: not server.alive, what="its data to be saved")
    ended_s = int(time.time())
    wait_until(
        lambda: time.time() >= ended_s + 1, what="the next second: memcached takes nothing over sooner"
    )
    server.restart()
    after = greet(server)
    assert server.get(b"key") == b"value"
    assert has_kept_its_data(before.mark, after.mark)


def test_one_that_starts_twice_in_a_second_is_another(
    memcached_factory: Callable[..., Memcached], version: Version
) -> None:
    server = memcached_factory(version)

    def marks_of_one_second() -> tuple[int, int] | None:
        server.restart()
        before = greet(server)
        server.restart()
        after = greet(server)
        is_one_second = (before.mark ^ after.mark) & 0xFFFFFFFF == 0
        return (before.mark, after.mark) if is_one_second else None

    pair = wait_until(marks_of_one_second, what="two starts in a second")
    assert pair is not None
    assert not has_kept_its_data(*pair)
