"""Copy what belongs to one server from the servers that hold its copies.

    sources ─list─▶ keys ─pace─▶ batch ─ask─▶ target ─fetch─▶ source ─store─▶ target ─▶ verify ─▶ end
                                   ▲                                                      │
                                   └────────── deleted at the target, once more ◀──moved──┘

One thread, one loop over its sockets.

- A batch under way always ends: stored, verified, and what has to be taken back deleted. Only then does
  the copier end, whatever the reason; what it could not verify it reports as `unverified`.
- A source that fails is given up and the others go on. When the target fails, all ends.
- So is one that the workers take for down, as it misses what they write. No more is fetched from it after
  that; a write that it misses later moves the marks of what was.
- A job that `cleans` lists the target itself, and each batch goes one step: deleted there.
- No more than `_MOST_IN_FLIGHT` batches a source and about `_MOST_UNSENT_BYTES` for the target are held.
"""

import selectors
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from memagent._core.copies import Route, Tally
from memagent._core.listing import Listing
from memagent._core.marks import Marks, marks_bytes
from memagent._core.standing import Standing
from memagent._core.warming import ASK, CLEAR, FETCH, GIVE_BACK, STORE
from memagent.errors import MemagentError, ServerError
from memagent.rewarm.job import Event, Job, Phase, Report
from memagent.rewarm.pace import Pace
from memagent.rewarm.progress import Progress
from memagent.rewarm.salvage import salvage
from memagent.rewarm.source import Source
from memagent.rewarm.talk import Talk, Trip
from memagent.rewarm.wire import Wire
from memagent.topology import make_placement

_MOST_IN_FLIGHT: Final = 4
_MOST_UNSENT_BYTES: Final = 4 * 1024 * 1024
_PIECE_BYTES: Final = 32 * 1024
_PROGRESS_S: Final = 0.5
_LATE_S: Final = 1.0  # how much too long an item may live
_SHORTEST_PATIENCE_S: Final = 5.0

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Handler = Callable[[int], None]


class TargetError(MemagentError):
    """The target failed: nothing can go on."""


class Copier:
    """`selector` may have other descriptors: their data is a function that takes the events."""

    def __init__(self, job: Job, marks_buffer: memoryview | None, report: Callable[[Report], None]) -> None:
        pool = job.pool
        servers = (*pool.servers, *pool.backups)
        now_s = time.monotonic()
        self.selector = selectors.DefaultSelector()
        self._job = job
        self._report = report
        self._target_server = servers[job.target]
        self._marks_buffer = marks_buffer
        self._marks: Marks | None = None
        if marks_buffer is not None:
            rows, in_use_bytes = job.marks_rows, job.marks_in_use_offset_bytes
            self._marks = Marks(marks_buffer, job.marks_offset_bytes, rows, in_use_offset_bytes=in_use_bytes)
        placement = make_placement(pool)
        self._sources = [
            Source(
                pool,
                servers[index],
                job.addresses[index],
                Listing(placement, job.target, index, tally),
                tally,
                Standing(marks_buffer, job.standings[index])
                if marks_buffer is not None and job.standings
                else None,
            )
            for index, tally in ((index, Tally()) for index in job.sources)
        ]
        self._target_wire: Wire | None = None
        self._trips: set[Trip] = set()
        self._watched: dict[Wire, tuple[int, int]] = {}
        self._is_paused = False
        self._ending = ""  # why it ends early
        self._end_by_s = float("inf")
        self._progress = Progress(now_s)
        self._rates = (job.keys_per_s, job.bytes_per_s)
        self._pace = Pace(*self._rates, now_s)
        self._patience_s = max(_SHORTEST_PATIENCE_S, 3 * pool.request_timeout_ms / 1000)

    # ---------------------------------------------------------------- commands

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False

    def set_rates(self, keys_per_s: int, bytes_per_s: int) -> None:
        self._rates = (keys_per_s, bytes_per_s)
        self._pace.set_rates(keys_per_s, bytes_per_s, time.monotonic())

    def end(self, reason: str) -> None:
        """Begin nothing more; end once what is under way is verified."""
        if self._ending:
            return
        self._ending = reason
        self._end_by_s = time.monotonic() + 2 * self._job.pool.request_timeout_ms / 1000
        for source in self._sources:
            source.stop_listing()

    # ---------------------------------------------------------------- the run

    def run(self) -> Report:
        """Returns the last report, which is not written yet."""
        problem = ""
        try:
            self._connect()
            self._copy()
        except TargetError as error:
            problem = f"server {self._target_server.name}: {error}"
        finally:
            for source in self._sources:
                source.close()
            for wire in list(self._watched):
                self._unwatch(wire)
            if self._target_wire is not None:
                self._target_wire.close()
            self.selector.close()
        return self._last_report(problem)

    def _connect(self) -> None:
        self._report(self._state("progress", "connecting"))
        now_s = time.monotonic()
        try:
            wire = self._wire_to_target()
            self._target_facts = wire.introduce(settings=True)
        except ServerError as error:
            raise TargetError(str(error)) from error
        self._target = Talk(wire, now_s)
        self._target_wire = wire
        for source in self._sources:
            try:
                source.connect(self._copy_of_marks, now_s)
            except MemagentError as error:
                source.lose(str(error))
                continue
            route = Route(
                source.tally,
                self._marks,
                source.marks_before,
                source_meta=source.facts.has_meta,
                target_meta=self._target_facts.has_meta,
                keeps_cas=source.facts.takes_cas and self._target_facts.takes_cas,
                largest_bytes=self._target_facts.number("item_size_max", 128 << 20),
                unknown_ttl_s=max(1, self._job.pool.repair_ttl_ms // 1000),
            )
            source.set_target(self._target_facts, route)
        sizes = [source.item_bytes for source in self._sources if not source.problem]
        if sizes:
            self._pace = Pace(*self._rates, now_s, sum(sizes) / len(sizes))

    def _copy(self) -> None:
        report_at_s = 0.0
        while True:
            now_s = time.monotonic()
            self._begin_listings(now_s)
            wait_s = self._begin_batches(now_s)
            self._flush_all(now_s)
            if not self._trips and (self._ending or all(source.is_done for source in self._sources)):
                return
            if now_s > self._end_by_s:
                return
            if now_s >= report_at_s:
                report_at_s = now_s + _PROGRESS_S
                self._report(self._state("progress", self._phase()))
                self._check_silence(now_s)
            self._watch_all()
            for key, events in self.selector.select(max(0.0, min(wait_s, report_at_s - now_s))):
                key.data(events)

    def _begin_listings(self, now_s: float) -> None:
        for source in self._sources:
            try:
                source.begin_listing(now_s)
            except MemagentError as error:
                self._lose(source, str(error), now_s)

    def _flush_all(self, now_s: float) -> None:
        try:
            self._target.flush(now_s)
        except ServerError as error:
            raise TargetError(str(error)) from error
        for source in self._sources:
            if source.talk is None or source.problem:
                continue
            try:
                source.talk.flush(now_s)
            except ServerError as error:
                self._lose(source, str(error), now_s)

    # ---------------------------------------------------------------- a batch's way

    def _begin_batches(self, now_s: float) -> float:
        """As many as may begin now; how long to wait for the next."""
        begun = not (self._is_paused or self._ending)
        while begun:
            begun = False
            for source in self._sources:
                if source.in_flight >= _MOST_IN_FLIGHT or not source.has_keys or self._is_choked:
                    continue
                wait_s = self._pace.wait_s(now_s)
                if wait_s:
                    return wait_s
                self._begin(Trip(source.next_batch(self._pace.batch_keys()), source), now_s)
                begun = True
        return _PROGRESS_S

    @property
    def _is_choked(self) -> bool:
        return self._target.wire.out_bytes > _MOST_UNSENT_BYTES

    def _begin(self, trip: Trip, now_s: float) -> None:
        self._trips.add(trip)
        trip.source.trips += 1
        trip.source.in_flight += 1
        self._pace.begin(len(trip.batch))
        if self._job.cleans:
            trip.batch.condemn()
            self._target.say(trip.batch.clear(), trip, CLEAR, now_s)
        elif self._target_facts.has_meta:
            self._target.say(trip.batch.ask(), trip, ASK, now_s)
        else:
            self._fetch(trip, now_s)

    def _fetch(self, trip: Trip, now_s: float) -> None:
        batch, source = trip.batch, trip.source
        self._pace.asked(batch.n_there)
        if source.problem or source.talk is None:
            batch.abandon()
        elif request := batch.fetch():
            # Looked at after the marks were read: a write that it misses from here on moves them.
            if source.is_out:
                batch.abandon()
                self._lose(source, "it went down", now_s)
            else:
                trip.fetch_sent_s = now_s
                source.talk.say(request, trip, FETCH, now_s)
        if batch.is_stored:
            self._stored(trip, now_s)

    def _fetched(self, trip: Trip, is_complete: bool, now_s: float) -> None:
        """All of a batch, or a part: send on what there is."""
        batch = trip.batch
        if is_complete or batch.unsent_bytes > _PIECE_BYTES:
            self._send_on(trip, now_s)
        if not is_complete:
            return
        self._pace.fetched(len(batch) - batch.n_there, batch.fetched_bytes)
        if batch.n_won and trip.source.talk is not None:
            trip.source.talk.say(batch.give_back(), trip, GIVE_BACK, now_s)
        if batch.is_stored:
            self._stored(trip, now_s)

    def _send_on(self, trip: Trip, now_s: float) -> None:
        if piece := trip.batch.stores():
            trip.store_sent_s = trip.store_sent_s or now_s
            self._target.say(piece, trip, STORE, now_s)

    def _stored(self, trip: Trip, now_s: float) -> None:
        stored = trip.batch.finish()
        trip.source.in_flight -= 1
        is_late = bool(trip.store_sent_s) and now_s - trip.store_sent_s > _LATE_S
        if stored and (self._marks is not None or is_late) and trip.batch.verify(is_late):
            self._target.say(trip.batch.clear(), trip, CLEAR, now_s)
        else:
            self._end_trip(trip)

    def _cleared(self, trip: Trip) -> None:
        source = trip.source
        self._end_trip(trip)
        if self._job.cleans:
            source.in_flight -= 1
            return
        batch = trip.batch.again()
        if batch is None:
            return
        if source.problem or self._ending:
            source.tally.failed += len(batch)
        else:
            source.again.append(batch)

    def _end_trip(self, trip: Trip) -> None:
        self._trips.discard(trip)
        trip.source.trips -= 1

    # ---------------------------------------------------------------- events

    def _hear_target(self, events: int) -> None:
        now_s = time.monotonic()
        if not events & _READ:
            return
        try:
            for trip, step, is_complete in self._target.hear(now_s):
                if not is_complete:
                    continue
                if step == ASK:
                    self._fetch(trip, now_s)
                elif step == STORE and trip.batch.is_stored:
                    self._stored(trip, now_s)
                elif step == CLEAR:
                    self._cleared(trip)
        except MemagentError as error:
            raise TargetError(str(error)) from error

    def _hear_source(self, source: Source, events: int) -> None:
        now_s = time.monotonic()
        if not events & _READ or source.talk is None or source.problem:
            return
        try:
            for trip, step, is_complete in source.talk.hear(now_s):
                if step == FETCH:
                    self._fetched(trip, is_complete, now_s)
        except MemagentError as error:
            self._lose(source, str(error), now_s)

    def _hear_listing(self, source: Source, _: int) -> None:
        now_s = time.monotonic()
        if source.dump is None:
            return
        try:
            source.hear_listing(now_s)
        except MemagentError as error:
            self._lose(source, str(error), now_s)

    def _lose(self, source: Source, problem: str, now_s: float) -> None:
        """Give a source up; what has been fetched from it goes on its way."""
        if source.problem:
            return
        source.lose(problem)
        for trip, step in source.talk.drop() if source.talk is not None else ():
            if step == FETCH:
                trip.batch.abandon()
                self._send_on(trip, now_s)
                if trip.batch.is_stored:
                    self._stored(trip, now_s)

    def _check_silence(self, now_s: float) -> None:
        problem = f"no answer for {self._patience_s:g} s"
        if self._target.silent_s(now_s) > self._patience_s:
            raise TargetError(problem)
        for source in self._sources:
            if source.problem or source.talk is None:
                continue
            if self._is_choked:
                source.talk.excuse(now_s)
            if source.talk.silent_s(now_s) > self._patience_s:
                self._lose(source, problem, now_s)
            try:
                source.check_silence(now_s)
            except ServerError as error:
                self._lose(source, str(error), now_s)

    def _watch_all(self) -> None:
        """Read where something may come that we can take, write where something is left to send."""
        wanted: dict[Wire, tuple[int, Handler]] = {}
        wire = self._target.wire
        wanted[wire] = (_READ | (_WRITE if wire.out_bytes else 0), self._hear_target)
        for source in self._sources:
            if source.problem:
                continue
            if source.dump is not None:
                wanted[source.dump] = (_READ, partial(self._hear_listing, source))
            if source.talk is not None:
                wire = source.talk.wire
                events = (0 if self._is_choked else _READ) | (_WRITE if wire.out_bytes else 0)
                if events:
                    wanted[wire] = (events, partial(self._hear_source, source))
        # First, since a new socket may have got the number of a closed one.
        for wire in [wire for wire in self._watched if wire not in wanted]:
            self._unwatch(wire)
        for wire, (events, handler) in wanted.items():
            fd, before = self._watched.get(wire, (-1, 0))
            if fd < 0:
                self.selector.register(wire.fileno(), events, handler)
            elif before != events:
                self.selector.modify(fd, events, handler)
            self._watched[wire] = (wire.fileno(), events)

    def _unwatch(self, wire: Wire) -> None:
        fd, _ = self._watched.pop(wire)
        self.selector.unregister(fd)

    # ---------------------------------------------------------------- around it

    def _wire_to_target(self) -> Wire:
        pool = self._job.pool
        return Wire(
            self._target_server,
            self._job.addresses[self._job.target],
            pool.connect_timeout_ms / 1000,
            pool.request_timeout_ms / 1000,
        )

    def _copy_of_marks(self) -> Marks | None:
        if self._marks_buffer is None or self._marks is None:
            return None
        # a worker that comes later begins with a row where nothing was ever written
        rows, offset = self._marks.rows_in_use, self._job.marks_offset_bytes
        return Marks(bytearray(self._marks_buffer[offset : offset + marks_bytes(rows)]), 0, rows)

    # ---------------------------------------------------------------- reports

    def _phase(self) -> Phase:
        sources = [source for source in self._sources if not source.problem]
        if self._is_paused:
            return "paused"
        if any(source.in_flight or source.has_keys for source in sources):
            return "copying"
        if any(source.is_locked for source in sources):
            return "locked"
        return "listing" if any(source.is_listing for source in sources) else "verifying"

    def _state(self, event: Event, phase: Phase, reason: str = "", unverified: int = 0) -> Report:
        return self._progress.report(time.monotonic(), event, phase, reason, self._sources, unverified)

    def _last_report(self, problem: str) -> Report:
        unverified = 0
        if self._trips and self._marks is not None:
            unverified = salvage(
                [trip.batch for trip in self._trips],
                self._wire_to_target,
                self._target_facts.identity,
                self._job.pool.request_timeout_ms / 1000,
            )
        again = "what was copied stays, and another run goes on from there"
        if problem:
            return self._state("failed", "ended", f"{problem}; start it again once it is up", unverified)
        if self._ending:
            return self._state("aborted", "ended", f"{self._ending}; {again}", unverified)
        if not self._sources:
            return self._state("failed", "ended", "no server that holds its copies is up, so nothing to copy")
        lost = "; ".join(
            f"server {source.name}: {source.problem}" for source in self._sources if source.problem
        )
        if lost:
            return self._state("failed", "ended", f"{lost}; {again}")
        mute = "; ".join(
            f"server {source.name} cannot list keys ({source.cannot_list})"
            for source in self._sources
            if source.cannot_list
        )
        short = ", ".join(source.name for source in self._sources if source.is_cut_short)
        if short:
            reason = (
                f"only a part of the keys of {short} was listed, there are too many; start it again to go on"
            )
            return self._state("failed", "ended", reason)
        if mute:
            return self._state("done", "ended", f"{mute}: what it holds comes back as clients ask for it")
        return self._state("done", "ended")
