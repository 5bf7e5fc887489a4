"""Hot keys, slow requests and taps, over all workers: read from the memory that they share.

    worker ─▶ HotKeys, Sightings (shared memory) ─▶ hot, slow
       ▲                                    └─────▶ tap: looks ten times a second while somebody listens
       └──────────── Taps: which there are ──────────┘

No worker is asked for anything; that there are taps is all that they are told.
"""

import asyncio
import base64
import math
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from memagent._core.observer import verbs
from memagent._core.sighting import Sightings
from memagent.admin.requests import InvalidError, RefusedError
from memagent.control import TapFilter, Taps, ToWorker
from memagent.fleet import Fleet
from memagent.inspection.keys import shown
from memagent.observed import Hot, HotKey, Phase, Seen, Slow, Tapped
from memagent.segment import Segment
from memagent.units import quoted

_MOST_TAPS: Final = 8
_LOOK_EVERY_S: Final = 0.1
_SPEAK_EVERY_S: Final = 1.0  # who has gone is noticed when something is said to him
_TELL_EVERY_S: Final = 2.0


@dataclass(slots=True)
class _Heat:
    """One key, over all workers; per s."""

    reads: float = 0.0
    writes: float = 0.0
    above: float = 0.0
    variance: float = 0.0
    most: float = 0.0
    server: int = -1


@dataclass(slots=True)
class _Place:
    """How far a tap has come with a worker."""

    ring: Sightings
    last: int
    matched: int = 0


@dataclass(slots=True)
class _Listener:
    places: list[_Place]
    matched: int = 0
    shown: int = 0
    told_s: float = field(default_factory=time.monotonic)
    spoke_s: float = 0.0


class Observing:
    def __init__(self, fleet: Fleet, segment: Segment, tell_all: Callable[[ToWorker], None]) -> None:
        self._fleet = fleet
        self._segment = segment
        self._tell_all = tell_all
        self._filters: dict[int, TapFilter] = {}
        self._numbers = count(1)

    def hot(self, most: int) -> Hot:
        """So many keys at most. RefusedError where they are not looked for."""
        if not self._fleet.config.hot_keys:
            raise RefusedError("hot keys are not looked for", "hot_keys: true, and magent reload")
        heats: dict[bytes, _Heat] = {}
        total_per_s, unseen_per_s = 0.0, 0.0
        now_us = time.monotonic_ns() // 1000
        for worker in range(self._segment.workers):
            found = self._segment.hot_keys(worker).read(now_us)
            if found is None:
                continue
            keys, per_s, unseen = found
            total_per_s += per_s
            unseen_per_s += unseen
            for key, reads, writes, before, spread, server in keys:
                heat = heats.setdefault(key, _Heat())
                heat.reads += reads
                heat.writes += writes
                # what this worker may have had more of it than one that does not know it
                heat.above += before - unseen
                heat.variance += spread * spread
                if reads + writes > heat.most:
                    heat.most, heat.server = reads + writes, server
        ranked = sorted(heats.items(), key=lambda each: _least(each[1]), reverse=True)
        hottest = [self._hot_key(key, heat, total_per_s, unseen_per_s) for key, heat in ranked[:most]]
        return Hot(total_per_s, unseen_per_s, tuple(each for each in hottest if each.at_least_per_s > 0))

    def _hot_key(self, key: bytes, heat: _Heat, total_per_s: float, unseen_per_s: float) -> HotKey:
        known = heat.reads + heat.writes
        member = self._fleet.members.get(heat.server)
        return HotKey(
            *_texts(key),
            requests_per_s=known,
            at_least_per_s=_least(heat),
            at_most_per_s=known + max(0.0, unseen_per_s + heat.above) + math.sqrt(heat.variance),
            share=known / total_per_s if total_per_s else 0.0,
            reads_per_s=heat.reads,
            writes_per_s=heat.writes,
            server=None if member is None else member.server.name,
        )

    def slow(self, most: int) -> Slow:
        """So many requests at most. RefusedError where none are kept."""
        slow_ms = self._fleet.config.slow_ms
        if not slow_ms:
            raise RefusedError("no slow log is kept", "slow_ms: 100, and magent reload")
        total, found = 0, []
        for worker in range(self._segment.workers):
            log = self._segment.slow_log(worker)
            total += log.count + log.dropped
            found += [_seen(worker, each) for each in log.read()]
        found.sort(key=lambda each: each.ended_s, reverse=True)
        return Slow(slow_ms, total, tuple(found[:most]))

    async def tap(
        self, *, prefix: str, server: int | None, verb: str, per_s: int
    ) -> AsyncGenerator[Tapped, None]:
        """Live requests about keys with this prefix, at this server, with this verb, until it is closed.

        At most `per_s` of each worker. InvalidError for what is no verb; RefusedError if there are too many.
        """
        if verb and verb not in verbs():
            raise InvalidError(f"{quoted(verb)} is no verb of requests", f"there are {', '.join(verbs())}")
        if len(self._filters) >= _MOST_TAPS:
            raise RefusedError(f"{_MOST_TAPS} taps are open already", "end one of them")
        number = next(self._numbers)
        listener = _Listener([])
        self._fit(listener)
        self._filters[number] = TapFilter(number, prefix, server, verb, per_s)
        try:
            self._tell()
            while True:
                found = self._look(number, listener)
                now_s = time.monotonic()
                if found or now_s - listener.spoke_s >= _SPEAK_EVERY_S:
                    listener.spoke_s = now_s
                    yield Tapped(found, listener.matched, listener.shown)
                if now_s - listener.told_s >= _TELL_EVERY_S:
                    # a worker may have been replaced
                    listener.told_s = now_s
                    self._tell()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            del self._filters[number]
            self._tell()

    def _tell(self) -> None:
        self._tell_all(Taps(tuple(self._filters.values())))

    def _fit(self, listener: _Listener) -> None:
        """There may be more workers by now."""
        for worker in range(len(listener.places), self._segment.workers):
            ring = self._segment.tapped(worker)
            listener.places.append(_Place(ring, ring.count))

    def _look(self, number: int, listener: _Listener) -> tuple[Seen, ...]:
        self._fit(listener)
        found = []
        for worker, place in enumerate(listener.places):
            for sighting in place.ring.read(place.last):
                place.last = sighting[0]
                if sighting[1] == number:
                    found.append(_seen(worker, sighting))
            matched = place.ring.matched(number)
            # a worker that was replaced counts anew
            listener.matched += matched - place.matched if matched >= place.matched else matched
            place.matched = matched
        listener.shown += len(found)
        return tuple(sorted(found, key=lambda each: each.ended_s))


def _least(heat: _Heat) -> float:
    return max(0.0, heat.reads + heat.writes - math.sqrt(heat.variance))


def _texts(key: bytes) -> tuple[str, str]:
    return shown(key), base64.b64encode(key).decode()


def _seen(
    worker: int,
    sighting: tuple[int, int, int, int, int, bytes, bytes, int, int, bytes, bytes, bytes, bytes, str | None],
) -> Seen:
    _, _, ended_us, us, first_us, verb, key, keys, found, result, client, server, before, step = sighting
    phases: tuple[Phase, ...]
    if step is None:
        phases = (Phase("first", _name(server), us),)
    else:
        phases = (Phase("first", _name(before), first_us), Phase(step, _name(server), us - first_us))
    return Seen(
        round(time.time() - time.monotonic() + ended_us / 1e6, 3),
        worker,
        verb.decode(),
        *_texts(key),
        keys,
        found,
        result.decode(errors="replace"),
        client.decode(errors="replace"),
        us,
        phases,
    )


def _name(name: bytes) -> str | None:
    # cut off in the middle of a character, perhaps
    return name.decode(errors="replace") or None
