"""How far a re-warm is, how fast it goes, and how long it will take."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from memagent.rewarm.job import Event, Phase, Report
from memagent.rewarm.source import Source

_WINDOW: Final = 10  # progress reports over which a rate is taken
_ENDS: Final = ("copied", "there", "gone", "expired", "changed", "too_big", "failed")


class Progress:
    def __init__(self, now_s: float) -> None:
        self._began_at_s = now_s
        self._samples: deque[tuple[float, int, int, int]] = deque([(now_s, 0, 0, 0)], maxlen=_WINDOW)

    def report(
        self,
        now_s: float,
        event: Event,
        phase: Phase,
        reason: str,
        sources: Sequence[Source],
        unverified: int,
    ) -> Report:
        """The rates are those of the last seconds, in the last report those of the whole.

        What was at the target already costs little: it shortens the time left and counts in no rate.
        """
        counts = {
            name: sum(getattr(source.tally, name) for source in sources)
            for name in ("listed", "kept", "again", "bytes", *_ENDS)
        }
        handled = sum(counts[name] for name in _ENDS)
        total = max(counts["kept"], round(sum(source.expected_keys for source in sources)))
        self._samples.append((now_s, handled, counts["copied"], counts["bytes"]))
        first_s, first_handled, first_copied, first_bytes = self._samples[0]
        if event != "progress":
            first_s, first_handled, first_copied, first_bytes = self._began_at_s, 0, 0, 0
        passed_s = now_s - first_s

        def per_s(count: int) -> float:
            return max(0, count) / passed_s if passed_s > 0 else 0.0

        handled_per_s = per_s(handled - first_handled)
        left_s = (total - handled) / handled_per_s if handled_per_s and event == "progress" else None
        return Report(
            event,
            phase,
            reason,
            source=", ".join(source.name for source in sources if not source.problem and not source.is_done),
            unverified=unverified,
            total=total,
            keys_per_s=round(per_s(counts["copied"] - first_copied), 1),
            bytes_per_s=round(per_s(counts["bytes"] - first_bytes), 1),
            eta_s=None if left_s is None else round(left_s, 1),
            elapsed_s=round(now_s - self._began_at_s, 3),
            **counts,
        )
