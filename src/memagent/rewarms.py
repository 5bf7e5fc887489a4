"""The re-warms of a proxy: a process each, how far it is, and what becomes of it.

    start ─▶ Job ─▶ process ─▶ Report ─▶ log (start, every 10 s, end), counters, snapshot
    stop ──▶ Abort ─▶ time to verify ─▶ killed if it must be      ended ─▶ (how, verified)

- `ended` is called once for each start, whatever happened: with `verified` false where a copy may have stayed
  that nobody has compared with what was written meanwhile.
- One that runs knows all that it needs to end: its server, or a source, may be configured no more.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from memagent.fleet import Fleet
from memagent.logs import Logger
from memagent.rewarm.job import Command, Job, Report
from memagent.rewarm_process import RewarmProcess
from memagent.segment import Segment
from memagent.snapshot import WarmSnapshot, WarmState
from memagent.tasks import Tasks

_LOG_EVERY_S: Final = 10.0
_STOP_MARGIN_S: Final = 3.0

Ending = Literal["done", "failed", "aborted"]
Start = Callable[[Job], Awaitable[RewarmProcess]]


@dataclass(slots=True)
class Warm:
    """A re-warm under way, or the last one of a server."""

    name: str  # of its server, as it was when this began
    what: str
    sources: tuple[str, ...]
    uses: frozenset[int]  # the numbers of all these
    stop_grace_s: float
    started_s: float
    report: Report = field(default_factory=lambda: Report("progress", "connecting"))
    process: RewarmProcess | None = None
    ended_s: float | None = None
    stopping: bool = False
    reason: str = ""
    logged_s: float = 0.0


class Rewarms:
    """At most one of each server at a time, and what is known of the last one."""

    def __init__(
        self,
        fleet: Fleet,
        segment: Segment,
        log: Logger,
        start: Start,
        addresses_of: Callable[[int], tuple[str, ...]],
        ended: Callable[[int, Ending, bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._segment = segment
        self._log = log
        self._start = start
        self._addresses_of = addresses_of
        self._ended = ended
        self._clock = clock
        self._warms: dict[int, Warm] = {}
        self._tasks = Tasks(log)

    def start(
        self, number: int, sources: tuple[int, ...], what: str = "re-warm", cleans: bool = False
    ) -> None:
        """Answered by `ended`. `what` it is called in the log. `cleans`: see `Job`."""
        member = self._fleet.members[number]
        warm = self._warms[number] = Warm(
            name=member.server.name,
            what=what,
            sources=tuple(self._fleet.members[each].server.name for each in sources),
            uses=frozenset((number, *sources)),
            stop_grace_s=member.pool.request_timeout_ms / 1000 * 2 + _STOP_MARGIN_S,
            started_s=time.time(),
            logged_s=self._clock(),
        )
        self._log.info(f"{what} starts", server=warm.name, sources=warm.sources)
        self._tasks.spawn(self._run(number, warm, self._job(number, sources, cleans)))

    def stop(self, number: int, why: str) -> None:
        """In an orderly way, if it runs."""
        warm = self._warms[number]
        warm.reason, warm.stopping = why, True
        if warm.process is not None:
            self._tasks.spawn(warm.process.stop(warm.stop_grace_s))

    def tell(self, number: int, command: Command) -> None:
        warm = self._warms.get(number)
        if warm is not None and warm.process is not None:
            warm.process.tell(command)

    def forget(self, number: int) -> bool:
        """Another server gets this number; False while a re-warm runs that uses the one that had it."""
        if any(warm.ended_s is None and number in warm.uses for warm in self._warms.values()):
            return False
        self._warms.pop(number, None)
        return True

    async def close(self) -> None:
        """End what runs in an orderly way: an old value that stayed would be read by others."""
        for number, warm in self._warms.items():
            if warm.ended_s is None and not warm.stopping:
                self.stop(number, "the proxy ends")
        await self._tasks.settled()

    def snapshot(self, number: int, paused: bool = False) -> WarmSnapshot | None:
        warm = self._warms.get(number)
        if warm is None:
            return None
        report, state = warm.report, _state(warm, paused)
        done = report.copied + report.there + report.gone + report.expired
        done += report.changed + report.too_big + report.failed
        part = 1.0 if state == "done" else min(1.0, done / report.total) if report.total else 0.0
        return WarmSnapshot(
            state=state,
            started_s=warm.started_s,
            ended_s=warm.ended_s,
            sources=warm.sources,
            keys_total=report.total or None,
            keys_done=done,
            keys_copied=report.copied,
            bytes_copied=report.bytes,
            keys_per_s=report.keys_per_s,
            per_cent=100.0 * part,
            eta_s=report.eta_s,
            reason=warm.reason or report.reason,
        )

    async def _run(self, number: int, warm: Warm, job: Job) -> None:
        last: Report | None = None
        started = False
        try:
            process = await self._start(job)
            started = True
            warm.process = process
            if warm.stopping:
                self._tasks.spawn(process.stop(warm.stop_grace_s))
            last = await process.ended(lambda report: self._progress(number, warm, report))
        except OSError as error:
            warm.reason = f"could not be started: {error.strerror}"
        finally:
            self._over(number, warm, last, started)

    def _over(self, number: int, warm: Warm, last: Report | None, started: bool) -> None:
        how: Ending = "failed"
        if last is not None:
            self._progress(number, warm, last)
            warm.reason = warm.reason or last.reason
            how = "done" if last.event == "done" else "aborted" if last.event == "aborted" else "failed"
        elif started:
            warm.reason = "the process was killed"
        warm.process, warm.ended_s = None, time.time()
        self._segment.set_as_leader(number, "warm_per_cent", 0)
        verified = not started or (last is not None and last.unverified == 0)
        level = self._log.info if how == "done" else self._log.warning
        level(
            f"{warm.what} {how}",
            server=warm.name,
            keys=warm.report.copied,
            bytes=warm.report.bytes,
            seconds=round(warm.ended_s - warm.started_s, 1),
            reason=warm.reason,
        )
        self._ended(number, how, verified)

    def _job(self, number: int, sources: tuple[int, ...], cleans: bool) -> Job:
        member = self._fleet.members[number]
        pool = member.pool
        return Job(
            pool=pool,
            target=member.place,
            sources=tuple(self._fleet.members[each].place for each in sources),
            addresses=tuple(self._addresses_of(each.number) for each in self._fleet.of_pool(pool)),
            keys_per_s=pool.rewarm_keys_per_s,
            bytes_per_s=pool.rewarm_bytes_per_s,
            marks_fd=self._segment.fd,
            marks_offset_bytes=self._segment.marks_offset_bytes,
            marks_rows=self._segment.places,
            marks_in_use_offset_bytes=self._segment.in_use_offset_bytes,
            standings=tuple(
                self._segment.standing_offset_slots(each.number) for each in self._fleet.of_pool(pool)
            ),
            cleans=cleans,
        )

    def _progress(self, number: int, warm: Warm, report: Report) -> None:
        before, warm.report = warm.report, report
        self._segment.count_as_leader(number, "warm_keys", max(0, report.copied - before.copied))
        self._segment.count_as_leader(number, "warm_bytes", max(0, report.bytes - before.bytes))
        snapshot = self.snapshot(number)
        assert snapshot is not None
        self._segment.set_as_leader(number, "warm_per_cent", int(snapshot.per_cent))
        if self._clock() - warm.logged_s >= _LOG_EVERY_S:
            warm.logged_s = self._clock()
            self._log.info(
                f"{warm.what} goes on",
                server=warm.name,
                per_cent=round(snapshot.per_cent, 1),
                keys=report.copied,
                keys_per_s=round(report.keys_per_s),
                eta_s=report.eta_s if report.eta_s is None else round(report.eta_s),
            )


def _state(warm: Warm, paused: bool) -> WarmState:
    if warm.ended_s is None:
        return "paused" if paused else "running"
    return "failed" if warm.report.event == "progress" else warm.report.event
