"""What a process has used of the machine, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/PID/stat, counted from the one behind the name.
_UTIME, _STIME, _RSS = 11, 12, 21


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time since it was started; memory that is resident now, shared pages included."""

    user_s: float = 0.0
    system_s: float = 0.0
    resident_bytes: int = 0


def usage_of(pid: int) -> Usage | None:
    """None for a process that is not there (any more)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user_ticks, system_ticks, pages = (int(fields[at]) for at in (_UTIME, _STIME, _RSS))
    except (OSError, ValueError, IndexError):
        return None
    return Usage(user_ticks / _TICKS_PER_S, system_ticks / _TICKS_PER_S, pages * _PAGE_BYTES)
