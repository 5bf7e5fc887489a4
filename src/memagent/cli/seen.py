"""How `magent slow` and `magent tap` show a request: nothing that came from a client steers a terminal."""

import time

from memagent.inspection.keys import visible
from memagent.observed import Seen


def clock(when_s: float, with_date: bool = False) -> str:
    """In this machine's time zone, with milliseconds."""
    told = time.localtime(when_s)
    form = "%Y-%m-%d %H:%M:%S" if with_date else "%H:%M:%S"
    return f"{time.strftime(form, told)}.{int(when_s * 1000) % 1000:03d}"


def took(us: int) -> str:
    """18 us, 250.1 ms, 2.31 s."""
    if us < 1_000:
        return f"{us} us"
    return f"{us / 1000:,.1f} ms" if us < 1_000_000 else f"{us / 1e6:,.2f} s"


def key_of(each: Seen) -> str:
    """The key, and of a multiget how many there were and how many it has found."""
    more = f" and {each.keys - 1} more, {each.found} found" if each.keys > 1 else ""
    return (visible(each.key) or "-") + more


def phases_of(each: Seen) -> str:
    """b, or: a 18 us, fallback b 100.0 ms."""
    names = [phase.server or "-" for phase in each.phases]
    if len(each.phases) == 1:
        return names[0]
    return ", ".join(
        f"{name} {took(phase.us)}" if phase.what == "first" else f"{phase.what} {name} {took(phase.us)}"
        for name, phase in zip(names, each.phases, strict=True)
    )
