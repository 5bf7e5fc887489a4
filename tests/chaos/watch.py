"""What every request goes through: is its reply late, did its connection live; minus what the checker slept.

A reply counts as late by its own clock less the time in which the checker's loop stood still or a worker of
the proxy stood in the kernel's queue for a processor, or its own was frozen: nobody's flaw.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tests.chaos.client import Reply

BEAT_S = 0.02
GIVE_UP_S = 8.0


class Watch:
    def __init__(self, limit_s: float, workers: Callable[[], list[int]]) -> None:
        self.limit_s = limit_s
        self.replies = 0
        self.slowest_s = 0.0
        self.late: list[tuple[Reply, str, float]] = []
        """Late ones, with their request and their time less the stalls."""
        self._workers = workers
        self._candidates: deque[tuple[Reply, str, float]] = deque()
        self._stalls: deque[tuple[float, float, float]] = deque(maxlen=int(30 / BEAT_S))
        """From when to when, and how much of it the workers waited for a processor."""

    def note(self, reply: Reply, request: str, absent_s: float) -> None:
        """`absent_s`: for so long its worker was made to stand still, or there was none."""
        self.replies += 1
        took_s = reply.at - reply.sent_at - absent_s
        if took_s > self.limit_s:
            self._candidates.append((reply, request, absent_s))
        elif took_s > self.slowest_s:
            self.slowest_s = took_s

    async def beat(self) -> None:
        """For ever: how long did who stand still?"""
        waited = self._waited_s()
        pids_at = time.monotonic()
        while True:
            begin = time.monotonic()
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            if now - pids_at > 1:
                self._pids, pids_at = None, now
            waited_now = self._waited_s()
            self._stalls.append((begin + BEAT_S, now, max(0.0, waited_now - waited)))
            waited = waited_now
            self._judge(now)

    def stalls_s(self, begun: float, ended: float) -> float:
        return sum(
            max(0.0, min(until, ended + BEAT_S) - max(since, begun)) + waited_s
            for since, until, waited_s in self._stalls
            if until >= begun and since <= ended + BEAT_S
        )

    async def all_judged(self) -> None:
        while self._candidates:
            await asyncio.sleep(BEAT_S)

    def _judge(self, now: float) -> None:
        while self._candidates and self._candidates[0][0].at < now - 10 * BEAT_S:
            reply, request, absent_s = self._candidates.popleft()
            took_s = reply.at - reply.sent_at - absent_s - self.stalls_s(reply.sent_at, reply.at)
            if took_s > self.limit_s:
                self.late.append((reply, request, took_s))
            self.slowest_s = max(self.slowest_s, took_s)

    _pids: list[int] | None = None

    def _waited_s(self) -> float:
        """How long the workers have waited for a processor so far."""
        if self._pids is None:
            self._pids = self._workers()
        total_ns = 0
        for pid in self._pids:
            try:
                total_ns += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
            except (OSError, IndexError):
                continue
        return total_ns / 1e9
