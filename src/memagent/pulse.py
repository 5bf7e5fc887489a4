"""Which workers turn their loop no more? One that hangs holds its clients, and keeps servers from opening.

    every beat: a message goes to each worker, which turns its loop ─▶ its count of turns ─▶ has it moved?

- Only beats count that came in time, and nothing that was missed while we did not run ourselves: after a
  machine was suspended, or the proxy stopped as a whole, all begin with a clean slate.
"""

from typing import Final

BEAT_S: Final = 2.0
_BEATS_MISSED: Final = 5


class Pulse:
    """What the last beats have shown, by the process."""

    def __init__(self) -> None:
        self._beat_at_s: float | None = None
        self._seen: dict[int, tuple[int, int]] = {}

    @property
    def any_turns(self) -> bool:
        """Is there a worker that does not hang? So it is until a beat has shown something else."""
        if self._beat_at_s is None:
            return True
        return any(missed < _BEATS_MISSED for _, missed in self._seen.values())

    def beat(self, now_s: float, turns: dict[int, int]) -> list[int]:
        """`turns` of each living process by its pid; those that hang."""
        is_late = self._beat_at_s is None or now_s - self._beat_at_s > 2 * BEAT_S
        self._beat_at_s = now_s
        seen = {}
        for pid, count in turns.items():
            before, missed = self._seen.get(pid, (-1, 0))
            seen[pid] = (count, 0 if count != before or is_late else missed + 1)
        self._seen = seen
        return [pid for pid, (_, missed) in seen.items() if missed >= _BEATS_MISSED]
