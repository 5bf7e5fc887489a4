"""What systemd is told about this process (sd_notify): ready, reloading, draining, and that it is well.

    supervisor ─▶ READY=1, RELOADING=1, STOPPING=1, STATUS=..., WATCHDOG=1 ─▶ datagram to $NOTIFY_SOCKET

- Without $NOTIFY_SOCKET nothing is sent; what cannot be sent is dropped, and the proxy goes on.
- A reload says READY=1 at its end, but never before the start nor after the end has been said.
- The variables are for this process, and for who takes its place: workers and re-warms never see them.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Final

# systemd reads at once; one that does not must not hold the supervisor.
_SEND_S: Final = 0.5
# Beside what was promised: to kill who has not drained, to close and to end.
_END_S: Final = 10.0


class Notify:
    """`address`: a path, or "@name" for an abstract one; `watchdog_s`: the silence that gets us killed."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._watchdog_s = watchdog_s
        self._status = ""
        self._is_ready = False

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> "Notify":
        """What systemd has put into `environ`, and out of it. What makes no sense counts as not given."""
        address = environ.pop("NOTIFY_SOCKET", None)
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        watched_pid = environ.pop("WATCHDOG_PID", str(pid))
        is_watched = watchdog_us.isascii() and watchdog_us.isdigit() and watched_pid == str(pid)
        watchdog_s = int(watchdog_us) / 1e6 if is_watched else 0.0
        return cls(address, watchdog_s or None)

    def ready(self, status: str) -> None:
        self._is_ready, self._status = True, status
        self._send("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload, however that ends: a bad file leaves us as ready as we were."""
        if self._is_ready:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            if self._is_ready:
                self._send("READY=1")

    def stopping(self, drain_s: float) -> None:
        """The longest that it may take is said as well, so that a unit need not repeat `drain_ms`."""
        self._is_ready, self._status = False, f"draining, for at most {drain_s:g} s"
        longest_us = int((drain_s + _END_S) * 1e6)
        self._send("STOPPING=1", f"STATUS={self._status}", f"EXTEND_TIMEOUT_USEC={longest_us}")

    def successors(self) -> dict[str, str]:
        """The variables for a process that is to take our place."""
        given = {} if self._address is None else {"NOTIFY_SOCKET": self._address}
        if self._watchdog_s is not None:
            given["WATCHDOG_USEC"] = str(int(self._watchdog_s * 1e6))
        return given

    def hand_over(self, pid: int) -> None:
        """That process is the service from now on; what becomes of us is nobody's business."""
        self._send(f"MAINPID={pid}")
        self._address = None

    async def keep_watchdog(self, is_well: Callable[[], bool]) -> None:
        """Until cancelled: say twice in the time of the watchdog that we are, while we are."""
        while self._address is not None and self._watchdog_s is not None:
            if is_well():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, *lines: str) -> None:
        if not self._address or self._address[0] not in "/@":
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(_SEND_S)
            sender.sendto("\n".join(lines).encode(errors="backslashreplace"), address)
