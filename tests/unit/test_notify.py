"""What systemd is told."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memagent.notify import Notify


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """Its end of the socket; nothing in it is an error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


def heard(systemd: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in systemd.recv(4096).decode().split("\n"))


def test_ready_reloading_and_stopping(systemd: socket.socket):
    notify = Notify(systemd.getsockname())
    notify.ready("2 workers")
    assert heard(systemd) == {"READY": "1", "STATUS": "2 workers", "MAINPID": str(os.getpid())}
    before_us = time.monotonic_ns() // 1000
    with notify.reloading():
        told = heard(systemd)
        assert before_us <= int(told.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
        assert told == {"RELOADING": "1"}
    assert heard(systemd) == {"READY": "1"}
    notify.stopping(2.5)
    told = heard(systemd)
    assert (told["STOPPING"], told["EXTEND_TIMEOUT_USEC"]) == ("1", "12500000")


def test_a_reload_never_says_ready_before_the_start_or_after_the_end(systemd: socket.socket):
    notify = Notify(systemd.getsockname())
    with notify.reloading():
        pass
    notify.ready("")
    assert heard(systemd)["READY"] == "1"
    with notify.reloading():
        notify.stopping(1)
    assert [next(iter(heard(systemd))) for _ in range(2)] == ["RELOADING", "STOPPING"]
    with pytest.raises(BlockingIOError):
        heard(systemd)


def test_another_process_takes_our_place(systemd: socket.socket):
    notify = Notify(systemd.getsockname(), 2.5)
    given = notify.successors()
    assert given == {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "2500000"}
    assert Notify.take(given, 1).successors() == {
        "NOTIFY_SOCKET": systemd.getsockname(),
        "WATCHDOG_USEC": "2500000",
    }
    assert Notify().successors() == {}
    notify.hand_over(77)
    assert heard(systemd) == {"MAINPID": "77"}
    notify.stopping(1)
    asyncio.run(notify.keep_watchdog(lambda: True))
    with pytest.raises(BlockingIOError):
        heard(systemd)


def test_a_status_is_said_when_it_is_another_one(systemd: socket.socket):
    notify = Notify(systemd.getsockname())
    notify.status("a")
    notify.status("a")
    notify.status("b")
    assert [heard(systemd), heard(systemd)] == [{"STATUS": "a"}, {"STATUS": "b"}]
    with pytest.raises(BlockingIOError):
        heard(systemd)


def test_an_abstract_socket():
    name = f"memagent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        end.settimeout(5)
        Notify(f"@{name}").status("a")
        assert heard(end) == {"STATUS": "a"}


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "vsock:2:1234", "relative"])
def test_nobody_who_listens_is_no_harm(address: str | None):
    Notify(address).ready("")


def test_a_watchdog_is_told_while_all_is_well(systemd: socket.socket):
    well = [True, True, False, True]

    async def feed() -> None:
        with pytest.raises(IndexError):
            await Notify(systemd.getsockname(), 0.01).keep_watchdog(lambda: well.pop(0))

    asyncio.run(feed())
    assert [heard(systemd) for _ in range(3)] == [{"WATCHDOG": "1"}] * 3
    with pytest.raises(BlockingIOError):
        heard(systemd)


def test_without_a_watchdog_nobody_is_asked():
    asyncio.run(Notify("/nowhere/notify").keep_watchdog(lambda: pytest.fail("asked")))
    asyncio.run(Notify(None, 1.0).keep_watchdog(lambda: pytest.fail("asked")))


@pytest.mark.parametrize(
    ("given", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({}, None),
    ],
)
def test_what_is_taken_from_the_environment(given: dict[str, str], watchdog_s: float | None):
    environ = {"NOTIFY_SOCKET": "@a", "HOME": "/", **given}
    notify = Notify.take(environ, 7)
    assert (notify._address, notify._watchdog_s) == ("@a", watchdog_s)
    assert environ == {"HOME": "/"}
