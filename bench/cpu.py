"""CPU time of a process and all its descendants, fine enough for a measurement of a second.

The total is the scheduler's own count in nanoseconds (schedstat, summed over threads). Its split into user
and system comes from utime and stime: hundredths of a second, sampled by the timer and never going back, so a
process whose habits change shows it late. Only the split is coarse, and most so after other kinds of work.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    total_s: float
    user_ticks: int
    system_ticks: int

    def since(self, before: "Cpu") -> tuple[float, float]:
        """(user seconds, system seconds) from `before` to here."""
        total_s = self.total_s - before.total_s
        user = self.user_ticks - before.user_ticks
        system = self.system_ticks - before.system_ticks
        share = user / (user + system) if user + system else 0.0
        return total_s * share, total_s * (1 - share)


def descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            # A thread may end while we look.
            with suppress(FileNotFoundError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def of_process(pid: int) -> Cpu:
    """Without those that it has started."""
    run_ns = sum(
        int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
    )
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Cpu(run_ns / 1e9, int(fields[11]), int(fields[12]))


def of_tree(pid: int) -> Cpu:
    each = [of_process(process) for process in descendants(pid)]
    return Cpu(
        sum(one.total_s for one in each),
        sum(one.user_ticks for one in each),
        sum(one.system_ticks for one in each),
    )


def busy_s(core: int) -> float:
    """Seconds in which the core did anything at all, for anybody, the machine below included."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) * TICK_S
    raise ValueError(f"there is no core {core}")


def rss_bytes(pid: int) -> int:
    """Resident memory of the tree, shared pages counted once per process."""
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in descendants(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")
