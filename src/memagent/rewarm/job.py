"""What a re-warm is told and what it says: one JSON object a line, on its standard input and output.

    supervisor ── Job, then Pause, Resume, Rates, Abort ──▶ re-warm
    supervisor ◀─ Report: progress ..., and one last ────── re-warm

- The last report's `event` is done, aborted or failed. Its `unverified` is 0 unless the target itself
  could not be reached any more: these copies may be old, so the target must be emptied (`flush_all`) before
  it may answer alone. So it must after a process that ended without a last report.
- The end of standard input means what Abort means. Both, and SIGTERM, end it in an orderly way: what is
  under way is stored and verified first.
- A progress report is dropped when nobody reads; the last one waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from memagent import __version__
from memagent.plain import from_json, kinds_of, parsed, read_one, write_one
from memagent.told import told_pool

if TYPE_CHECKING:
    from memagent.settings import PoolConfig
else:
    PoolConfig = Any  # what from_json makes of it is left to read_job

Event = Literal["progress", "done", "aborted", "failed"]
Phase = Literal["connecting", "locked", "listing", "copying", "verifying", "paused", "ended"]


@dataclass(frozen=True)
class Job:
    """The first line.

    `target` and `sources` are positions among the pool's servers and then its backups; `addresses` has one
    entry for each of them: IP addresses as in `control.Start`, none for a Unix socket. `sources` are the
    servers that are up. The marks are in the file descriptor `marks_fd`, which the process inherits; without
    them nothing can be verified. `standings` has for each server where in it, in slots, its row is.

    `cleans`: nothing is copied. Its one source is the target, where those of its keys are deleted that
    another server decides about; in the report they are `gone`.
    """

    pool: PoolConfig
    target: int
    sources: tuple[int, ...]
    addresses: tuple[tuple[str, ...], ...]
    keys_per_s: int = 0
    bytes_per_s: int = 0
    marks_fd: int | None = None
    marks_offset_bytes: int = 0
    marks_rows: int = 1
    marks_in_use_offset_bytes: int = -1
    standings: tuple[int, ...] = ()
    cleans: bool = False
    version: str = __version__  # of whoever has written it
    type: Literal["job"] = "job"


@dataclass(frozen=True)
class Pause:
    """Begin no more copies until Resume; those under way end."""

    type: Literal["pause"] = "pause"


@dataclass(frozen=True)
class Resume:
    """Go on."""

    type: Literal["resume"] = "resume"


@dataclass(frozen=True)
class Abort:
    """End early: what was copied stays, and another run goes on from there."""

    type: Literal["abort"] = "abort"


@dataclass(frozen=True)
class Rates:
    """New limits; 0 is none."""

    keys_per_s: int
    bytes_per_s: int
    type: Literal["rates"] = "rates"


Command = Pause | Resume | Abort | Rates


@dataclass(frozen=True)
class Report:
    """How far it is. Counts are keys, over all sources, from the beginning.

    Of the keys `kept` (the target's own among those `listed`): `copied`; `there` were at the target already;
    `gone` from the source since they were listed; `expired` meanwhile; `changed` too often while they were
    copied, or stale; `too_big` for the target; `failed` for another reason. `again` counts copies that were
    taken back because the key was written meanwhile. `total` is what `kept` will be, an estimate until all is
    listed. `keys_per_s` and `bytes_per_s` are of what was copied.
    """

    event: Event
    phase: Phase
    reason: str = ""
    source: str = ""
    listed: int = 0
    kept: int = 0
    copied: int = 0
    there: int = 0
    gone: int = 0
    expired: int = 0
    changed: int = 0
    too_big: int = 0
    failed: int = 0
    again: int = 0
    unverified: int = 0
    bytes: int = 0
    total: int = 0
    keys_per_s: float = 0.0
    bytes_per_s: float = 0.0
    eta_s: float | None = None
    elapsed_s: float = 0.0


_COMMANDS: Final[Mapping[str, type[Command]]] = kinds_of(Command)


def read_job(line: bytes | str) -> Job:
    """ValueError says what is wrong with it."""
    job = from_json(Job, parsed(line), strict=True)
    try:
        job = replace(job, pool=told_pool(vars(job)["pool"], job.version))
        count = len(job.pool.servers) + len(job.pool.backups)
    except (AttributeError, TypeError):
        raise ValueError("pool: this is none") from None
    if len(job.addresses) != count:
        raise ValueError(f"{len(job.addresses)} addresses for {count} servers")
    for server in (job.target, *job.sources):
        if not 0 <= server < count:
            raise ValueError(f"server {server} of {count}")
    if job.cleans and job.sources != (job.target,):
        raise ValueError("only a server itself is cleaned")
    if job.target in job.sources and not job.cleans:
        raise ValueError(f"server {job.target} cannot be its own source")
    return job


def read_command(line: bytes | str) -> Command:
    """ValueError says what is wrong with it."""
    return read_one(_COMMANDS, line, strict=True)


def read_report(line: bytes | str) -> Report:
    """ValueError says what is wrong with it."""
    return from_json(Report, parsed(line), strict=True)


def write(message: Job | Command | Report) -> bytes:
    """The line."""
    return write_one(message) + b"\n"
