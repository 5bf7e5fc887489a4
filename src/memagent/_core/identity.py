"""Who answers at a server's address: what the first words on a new connection bring to light.

    GREETING ─▶ server ─▶ STAT pid 4711 ... STAT uptime 12 ... END, MN     a memcached that speaks meta
                          STAT ... END, ERROR                              one that does not
                          ERROR, ERROR                                     one that keeps to itself who it is

A memcached reckons its start, its time and its uptime by one clock, so that time - uptime is the same number
for as long as its data lives: one that restarts with its data (memcached -e) has another pid, the same start.
So has one that was restarted, empty, in the second in which it had begun: only what a process holds though
nobody has stored it there proves that it took over data. Without that proof another pid is another process.
"""

import re
from dataclasses import dataclass
from typing import Final

GREETING: Final = b"stats\r\nmn\r\n"
_LONGEST_BYTES: Final = 64 * 1024
_SLACK_S: Final = 2
_START_BITS: Final = 40
_RESTORED: Final = 1 << (_START_BITS - 1)
_STARTED: Final = _RESTORED - 1
# Requests that may each leave an item: a get with N and an incr that misses make one as well.
_STORING: Final = (b"cmd_set", b"cmd_get", b"cmd_meta", b"incr_misses", b"decr_misses")
_REFUSALS: Final = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")
_SPEAKS_META: Final = (1, 6, 10)  # before that with other words, and ms had its length among the flags
_KEEPS_CAS: Final = (1, 6, 27)


@dataclass(frozen=True, slots=True)
class Identity:
    """`mark` is 0 where the server does not say who it is; `time_s` is its clock, 0 if unknown."""

    mark: int
    time_s: int
    version: tuple[int, ...]
    meta: bool

    @property
    def keeps_cas(self) -> bool:
        """Can a write bring its own cas token (`ms` with E)?"""
        return self.meta and self.version >= _KEEPS_CAS


def make_mark(pid: int, started_s: int, restored: bool = False) -> int:
    """One number for a process, as it stands in shared memory. `restored`: it surely took over data."""
    return (pid & 0xFFFFFF) << _START_BITS | (_RESTORED if restored else 0) | started_s & _STARTED


def has_kept_its_data(known: int, mark: int) -> bool:
    """Is what answers now what answered then? One that is unknown is taken for the same."""
    if not known or not mark:
        return True
    apart_s = abs((known & _STARTED) - (mark & _STARTED))
    if known >> _START_BITS == mark >> _START_BITS:
        return apart_s <= _SLACK_S
    return apart_s == 0 and bool(mark & _RESTORED)


def read_greeting(data: bytes) -> Identity | None:
    """None: not complete yet. ValueError says why no memcached can have sent this."""
    facts: dict[bytes, bytes] = {}
    lines = data.split(b"\r\n")
    for at, line in enumerate(lines[:-1]):
        word, _, rest = line.partition(b" ")
        if word == b"STAT":
            name, _, value = rest.partition(b" ")
            facts[name] = value
        elif word == b"END" or (word in _REFUSALS and not facts):
            return _identity(facts, lines[at + 1 : -1])
        else:
            raise ValueError(f"{line[:80]!r} in answer to stats")
    if len(data) > _LONGEST_BYTES:
        raise ValueError(f"more than {_LONGEST_BYTES} bytes in answer to stats")
    return None


def _identity(facts: dict[bytes, bytes], rest: list[bytes]) -> Identity | None:
    if not rest:
        return None
    if len(rest) > 1 or rest[0].partition(b" ")[0] not in (b"MN", *_REFUSALS):
        raise ValueError(f"{rest[-1][:80]!r} in answer to mn")
    pid, uptime_s, time_s = (_number(facts.get(name, b"")) for name in (b"pid", b"uptime", b"time"))
    found = re.match(rb"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", facts.get(b"version", b""))
    version = tuple(int(part) for part in found.groups()) if found else ()
    stored = sum(_number(facts.get(name, b"")) for name in _STORING)
    held, linked = (_number(facts.get(name, b"")) for name in (b"curr_items", b"total_items"))
    # What was taken over counts as linked; after a `stats reset` the counts say nothing.
    restored = stored < held <= linked
    return Identity(
        mark=make_mark(pid, time_s - uptime_s, restored) if pid and time_s > uptime_s else 0,
        time_s=time_s,
        version=version,
        meta=rest[0] == b"MN" and (not version or version >= _SPEAKS_META),
    )


def _number(text: bytes) -> int:
    return int(text) if re.fullmatch(rb"\d{1,12}", text) else 0
