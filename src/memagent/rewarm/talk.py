"""A conversation with a server: pieces of batches go out, and their replies come back in that order."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memagent._core.warming import FETCH, Batch
from memagent.errors import ServerError
from memagent.rewarm.wire import Wire

if TYPE_CHECKING:
    from memagent.rewarm.source import Source


@dataclass(slots=True, eq=False)
class Trip:
    """A batch under way, from its first request until its copies are verified."""

    batch: Batch
    source: "Source"
    fetch_sent_s: float = 0.0
    store_sent_s: float = 0.0


class Talk:
    def __init__(self, wire: Wire, now_s: float) -> None:
        self.wire = wire
        self._expected: deque[tuple[Trip, int]] = deque()
        self._moved_at_s = now_s

    @property
    def is_quiet(self) -> bool:
        """Nothing is awaited."""
        return not self._expected

    def say(self, data: bytes, trip: Trip, step: int, now_s: float) -> None:
        """Sent with the next `flush`."""
        if not self._expected:
            self._moved_at_s = now_s
        self._expected.append((trip, step))
        self.wire.queue(data)

    def flush(self, now_s: float) -> None:
        if self.wire.out_bytes and self.wire.flush():
            self._moved_at_s = now_s

    def hear(self, now_s: float) -> Iterator[tuple[Trip, int, bool]]:
        """Read once; each step that something was heard of, and whether it is complete."""
        wire = self.wire
        wire.receive(self._expected[0][0].batch.need if self._expected else 0)
        self._moved_at_s = now_s
        while wire.start < wire.end:
            if not self._expected:
                raise ServerError("it says something that nobody asked for")
            trip, step = self._expected[0]
            batch = trip.batch
            if step == FETCH:
                batch.waited_s = int(now_s - trip.fetch_sent_s)
                batch.source_now_s = trip.source.facts.now_s()
                batch.target_now_s = trip.source.target_facts.now_s()
            wire.start = batch.hear(step, wire.buffer, wire.start, wire.end)
            is_complete = batch.heard
            if is_complete:
                self._expected.popleft()
            yield trip, step, is_complete
            if not is_complete:
                return

    def silent_s(self, now_s: float) -> float:
        """For how long nothing has moved though an answer is awaited."""
        return now_s - self._moved_at_s if self._expected else 0.0

    def excuse(self, now_s: float) -> None:
        """It could not answer: nobody listened."""
        self._moved_at_s = now_s

    def drop(self) -> list[tuple[Trip, int]]:
        """What is awaited and will not come."""
        dropped = list(self._expected)
        self._expected.clear()
        return dropped
