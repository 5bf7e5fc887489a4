"""epoll as the loop uses it: who is called, how often, and who is forgotten."""

import fcntl
import os
import resource
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from memagent._net.poller import Poller
from tests.support.core import World
from tests.support.net import Play, Scene


@pytest.fixture
def pipes() -> Iterator[Callable[[], tuple[int, int]]]:
    made: list[int] = []

    def make() -> tuple[int, int]:
        made.extend(os.pipe())
        return made[-2], made[-1]

    yield make
    for fd in made:
        os.close(fd)


@pytest.fixture
def _many_files() -> Iterator[None]:
    """Room for file descriptors above the poller's first 1024."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert before[1] == resource.RLIM_INFINITY or before[1] >= 4096, "ulimit -Hn is below 4096"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_function_is_called_until_all_is_read(scene: Scene, pipes: Callable[[], tuple[int, int]]) -> None:
    read_end, write_end = pipes()
    read = bytearray()
    scene.poller.watch_readable(read_end, lambda: read.extend(os.read(read_end, 1)))

    def play() -> Play:
        turns = scene.count("loop_turns")
        yield lambda: scene.count("loop_turns") > turns + 5
        assert not read
        os.write(write_end, b"abc")
        yield lambda: read == b"abc"

    scene.run(play())


def test_what_is_no_longer_watched_is_not_called_and_may_be_watched_again(
    scene: Scene, pipes: Callable[[], tuple[int, int]]
) -> None:
    read_end, write_end = pipes()
    os.write(write_end, b"a")
    first, second = [], []
    callback = scene.poller.watch_readable(read_end, lambda: first.append(1))

    def play() -> Play:
        yield lambda: first
        scene.poller.unwatch(callback)
        scene.poller.unwatch(callback)
        calls, turns = len(first), scene.count("loop_turns")
        yield lambda: scene.count("loop_turns") > turns + 5
        assert len(first) == calls
        scene.poller.watch_readable(read_end, lambda: second.append(os.read(read_end, 1)))
        yield lambda: second == [b"a"]
        assert len(first) == calls

    scene.run(play())


def test_a_handler_that_another_ends_in_the_same_turn_is_not_called(
    scene: Scene, pipes: Callable[[], tuple[int, int]]
) -> None:
    ends = [pipes(), pipes()]
    called: list[int] = []

    def call(number: int) -> None:
        called.append(number)
        for each in callbacks:
            scene.poller.unwatch(each)

    callbacks = [
        scene.poller.watch_readable(ends[0][0], lambda: call(0)),
        scene.poller.watch_readable(ends[1][0], lambda: call(1)),
    ]
    for _, write_end in ends:
        os.write(write_end, b"!")

    def play() -> Play:
        yield lambda: called
        turns = scene.count("loop_turns")
        yield lambda: scene.count("loop_turns") > turns + 5

    scene.run(play())
    assert len(called) == 1


def test_more_events_than_are_taken_at_once(scene: Scene, pipes: Callable[[], tuple[int, int]]) -> None:
    called: set[int] = set()

    def call(fd: int) -> None:
        os.read(fd, 1)
        called.add(fd)

    for _ in range(300):
        read_end, write_end = pipes()
        os.write(write_end, b"!")
        scene.poller.watch_readable(read_end, partial(call, read_end))

    def play() -> Play:
        yield lambda: len(called) == 300

    scene.run(play())


@pytest.mark.usefixtures("_many_files")
@pytest.mark.parametrize("lowest", [1023, 1024, 3000])
def test_high_file_descriptors(scene: Scene, pipes: Callable[[], tuple[int, int]], lowest: int) -> None:
    read_end, write_end = pipes()
    high = fcntl.fcntl(read_end, fcntl.F_DUPFD_CLOEXEC, lowest)
    assert high >= lowest
    called: list[bytes] = []
    try:
        scene.poller.watch_readable(high, lambda: called.append(os.read(high, 1)))
        os.write(write_end, b"a")

        def play() -> Play:
            yield lambda: called == [b"a"]

        scene.run(play())
    finally:
        os.close(high)


def test_what_cannot_be_watched_is_an_error(scene: Scene) -> None:
    with pytest.raises(OSError, match="epoll_ctl"):
        scene.poller.watch_readable(0x7FFF, lambda: None)
    with open("/dev/null") as file, pytest.raises(OSError, match="epoll_ctl"):
        scene.poller.watch_readable(file.fileno(), lambda: None)


def test_an_error_in_a_function_ends_the_loop(scene: Scene, pipes: Callable[[], tuple[int, int]]) -> None:
    read_end, write_end = pipes()

    def fail() -> None:
        os.read(read_end, 1)
        raise LookupError("no")

    scene.poller.watch_readable(read_end, fail)

    def play() -> Play:
        os.write(write_end, b"!")
        yield lambda: False

    with pytest.raises(LookupError, match="no"):
        scene.run(play())


def test_the_clock_is_read_once_a_turn(scene: Scene) -> None:
    def play() -> Play:
        for _ in range(3):
            before_us, turns = time.monotonic_ns() // 1000, scene.count("loop_turns")
            seen_us = scene.world.turn.now_us
            assert seen_us <= before_us
            time.sleep(
                0.002
            )  # a clock that stands still within a turn would otherwise not be told from one that runs
            assert scene.world.turn.now_us == seen_us
            yield lambda turns=turns: scene.count("loop_turns") > turns  # type: ignore[misc]
            assert before_us < scene.world.turn.now_us <= time.monotonic_ns() // 1000

    scene.run(play())


def test_a_signal_wakes_a_sleeping_loop(scene: Scene) -> None:
    """A Python handler runs although nothing is readable."""
    before = signal.signal(signal.SIGUSR1, lambda *_: scene.loop.stop())
    try:
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -USR1 {os.getpid()}"])
        scene.loop.run()
        assert killer.wait(10) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_poller_lets_go_of_what_it_watched(pipes: Callable[[], tuple[int, int]]) -> None:
    class Function:
        def __call__(self) -> None: ...

    world = World()
    poller = Poller(world.context, world.counters)
    kept, dropped = Function(), Function()
    poller.watch_readable(pipes()[0], kept)
    poller.unwatch(poller.watch_readable(pipes()[0], dropped))
    watched, unwatched = weakref.ref(kept), weakref.ref(dropped)
    del kept, dropped
    assert watched()
    assert not unwatched()
    del poller
    assert not watched()
    assert not world.finish()
