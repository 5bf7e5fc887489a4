"""The proxy's own processes: which worker serves whom, which were killed or frozen on purpose and when.

Promised is: a worker that is killed costs its own connections and nothing else; another is there at once; a
frozen one delays its own clients; without the supervisor everything goes on (docs/guides/running.md).
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from memagent.segment import Segment
from tests.chaos.holders import NEVER
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

PHASES = ("up", "down", "returning", "warming")

START_S = 1.0
"""What a worker may take from being there to serving clients."""


NOTICED_S = 0.5
"""A client hears of the end of its connection so soon."""


SETTLED_S = 0.5
"""Nobody waits for what a worker had begun so long after it goes on, or another has its place."""


@dataclass
class Absence:
    """A worker could not do anything."""

    pid: int
    since: float
    until: float = NEVER

    def within_s(self, since: float, until: float) -> float:
        return max(0.0, min(self.until, until) - max(self.since, since))


class Workers:
    def __init__(self, proxy: Proxy, count: int) -> None:
        self.count = count
        self.killed: list[Absence] = []
        """Until its successor was there."""
        self.frozen: list[Absence] = []
        self.has_supervisor = True
        self._proxy = proxy
        self._known = proxy.worker_pids()
        self._segment = _shared_memory(proxy.pid)

    def pids(self) -> list[int]:
        if self.has_supervisor:
            self._known = self._proxy.worker_pids()
        return list(self._known)

    # --- what is done to them ---

    def kill(self, pid: int) -> None:
        """Returns when another is there."""
        absence = Absence(pid, time.monotonic())
        self.killed.append(absence)
        os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: pid not in (pids := self.pids()) and len(pids) == self.count,
            15,
            lambda: f"a successor of worker {pid}, only {self.pids()}: {self._proxy.process.describe()}",
        )
        absence.until = time.monotonic()

    def freeze(self, pid: int) -> None:
        self.frozen.append(Absence(pid, time.monotonic()))
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)
        self.frozen[-1].until = time.monotonic()

    def kill_supervisor(self) -> None:
        self.pids()
        self.has_supervisor = False
        self._proxy.process.signal(signal.SIGKILL)
        self._proxy.process.wait()

    def close(self) -> None:
        """End those whom no supervisor ends."""
        self._segment.close()
        if not self.has_supervisor:
            for pid in self._known:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # --- what they say to each other ---

    def words(self, server: int) -> str:
        """How a server stands with each worker, from their shared memory."""
        row = self._segment.standing(server)
        said = []
        for place, pid in enumerate(self._segment.pids()[1:]):
            _, outage, phase, is_emptied = row.word(place)
            said.append(
                f"worker {place} ({pid}) {PHASES[phase]} in {outage}{', emptied' if is_emptied else ''}"
            )
        return f"outage {row.outage}, opened {row.opened}, {', '.join(said)}"

    # --- what that excuses ---

    def was_killed(self, pid: int, began_at: float, gone_at: float) -> bool:
        """By whom a connection was served that began and ended then.

        Where that is not known (`pid` is 0) it is the one whose death it met: killed before anybody looked
        whose connection it was.
        """
        return any(
            each.pid == pid
            or (not pid and began_at <= each.until and each.since <= gone_at <= each.until + NOTICED_S)
            for each in self.killed
        )

    def was_absent(self, pid: int, begun: float, asked: float) -> bool:
        """Since it had begun something, and not long over it when somebody asked?"""
        return any(
            each.pid == pid and each.until >= begun and each.until + SETTLED_S >= asked
            for each in (*self.killed, *self.frozen)
        )

    def frozen_s(self, pid: int, since: float) -> float:
        now = time.monotonic()
        return sum(each.within_s(since, now) for each in self.frozen if each.pid == pid)

    def absent_s(self, since: float) -> float:
        """How long a client that connects since then may have to wait for a worker that is not there."""
        now = time.monotonic()
        return sum(
            each.within_s(since, now) for each in (*self.frozen, *(_with_start(each) for each in self.killed))
        )

    def serving(self, port: int) -> int:
        """Who has the other end of a client's connection; 0 if nobody has, any more.

        It need not be the only one that is left of two: the other one may just have been killed.
        """
        pids = self.pids() if self.killed else self._known
        if self.count == 1:
            return pids[0]
        inode = ""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            here, there = (int(fields[at].rpartition(":")[2], 16) for at in (1, 2))
            if (here, there) == (self._proxy.port, port):
                inode = f"socket:[{fields[9]}]"
        for pid in pids:
            with contextlib.suppress(OSError):
                if inode in _open_files(pid).values():
                    return pid
        return 0


def _open_files(pid: int) -> dict[str, str]:
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        with contextlib.suppress(FileNotFoundError):
            found[path] = os.readlink(path)
    return found


def _shared_memory(pid: int) -> Segment:
    """The supervisor's, which names itself in /proc."""
    for path, target in _open_files(pid).items():
        if "memfd:memagent-counters" in target:
            return Segment.attach(os.open(path, os.O_RDWR))
    raise RuntimeError(f"process {pid} shares no counters")


def _with_start(absence: Absence) -> Absence:
    return Absence(absence.pid, absence.since, absence.until + START_S)
