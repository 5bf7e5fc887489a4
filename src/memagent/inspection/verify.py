"""Do the copies agree? A sample of keys is compared on owner and copy.

    sample of each server ─▶ owner and copy of each key ─▶ look at both ─┬─ agree, gone
                                                             ▲           └─ else ─▶ pause ─┐
                                                             └─── look again, a few times ─┘

- Writes under way do not count: two looks, a pause apart, must find the same on both sides. Where a side goes
  on changing, the key is `changing` and nothing is said of it.
- A server that is out of service has not got every write, and nobody is answered from it: it is not compared.
- `gone`: listed a moment ago, and now on neither side; deleted or expired.
- The load is bounded: so many keys and bytes a second, one question at a time.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from memagent.errors import ServerError
from memagent.inspection.client import Item
from memagent.inspection.comparing import Finding, Pair, knows_ttl
from memagent.inspection.keys import as_text
from memagent.inspection.listing import sample_keys
from memagent.inspection.places import Holder, Looker, Places

MOST_EXAMPLES: Final = 10
_AT_ONCE: Final = 20
_LOOKS_AGAIN: Final = 5
_PAUSE_S: Final = 0.5
_BYTES_PER_S: Final = 32 * 1024 * 1024
_OUT_OF_SERVICE: Final = ("down", "returning", "draining", "drained")
_WORST_FIRST: Final[tuple[Finding, ...]] = ("differ", "missing_owner", "missing_copy")

Progress = Callable[[str, int, int], None]
"""What is being done, how far, of how much."""


@dataclass(frozen=True, slots=True)
class Example:
    key: str
    finding: Finding
    owner: str
    copy: str
    differs_in: tuple[str, ...]


@dataclass
class Report:
    """`compared` is the whole that the shares are of."""

    counts: Counter[Finding] = field(default_factory=Counter)
    strays: int = 0  # listed by a server that is neither owner nor copy
    unspeakable: int = 0
    not_asked: int = 0
    ttl_unknown: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def compared(self) -> int:
        return sum(self.counts[finding] for finding in ("agree", *_WORST_FIRST))

    def share(self, finding: Finding) -> float:
        return self.counts[finding] / self.compared if self.compared else 0.0

    def as_dict(self) -> dict[str, Any]:
        findings: tuple[Finding, ...] = ("agree", *reversed(_WORST_FIRST))
        return {
            "compared": self.compared,
            **{finding: self.counts[finding] for finding in findings},
            **{f"{finding}_share": round(self.share(finding), 6) for finding in findings},
            "gone": self.counts["gone"],
            "changing": self.counts["changing"],
            "not_asked": self.not_asked,
            "ttl_unknown": self.ttl_unknown,
            "strays": self.strays,
            "unspeakable": self.unspeakable,
            "problems": self.problems,
            "examples": [
                {
                    "key": each.key,
                    "finding": each.finding,
                    "owner": each.owner,
                    "copy": each.copy,
                    "differs_in": list(each.differs_in),
                }
                for each in self.examples
            ],
            "seconds": round(self.seconds, 3),
        }


class Pace:
    """Holds back whoever is ahead of so many keys and bytes a second."""

    def __init__(self, keys_per_s: float, pause: Callable[[float], None] = time.sleep) -> None:
        self._keys_per_s = keys_per_s
        self._pause = pause
        self._start_s = time.monotonic()
        self._keys = 0

    def done(self, keys: int, bytes_in_all: int) -> None:
        self._keys += keys
        due_s = max(self._keys / self._keys_per_s, bytes_in_all / _BYTES_PER_S)
        ahead_s = self._start_s + due_s - time.monotonic()
        if ahead_s > 0:
            self._pause(ahead_s)


def verify(
    places: Places,
    count: int,
    keys_per_s: float,
    timeout_s: float,
    chance: random.Random,
    progress: Progress = lambda what, done, of: None,
    pause: Callable[[float], None] = time.sleep,
    states: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Report:
    """Compare up to `count` keys. `states` by role and name, as far as they are known."""
    start_s = time.monotonic()
    report = Report()
    out = {
        holder: f"is {state}: what it has is not compared"
        for holder in places.holders
        if (state := states.get((holder.role, holder.name))) in _OUT_OF_SERVICE
    }
    keys = _draw(places, out, count, timeout_s, chance, report, progress)
    with Looker(timeout_s, out) as looker:
        run = _Run(places, looker, Pace(keys_per_s, pause), report, progress)
        open_cases = run.look_at(keys, "comparing")
        for _ in range(_LOOKS_AGAIN):
            if not open_cases:
                break
            pause(_PAUSE_S)
            open_cases = run.look_again(open_cases)
        report.counts["changing"] += len(open_cases)
        report.problems.update(
            {f"{holder.role} {holder.name}": why for holder, why in looker.failures.items()}
        )
    report.examples.sort(key=lambda each: _WORST_FIRST.index(each.finding))
    del report.examples[MOST_EXAMPLES:]
    report.seconds = time.monotonic() - start_s
    return report


def _draw(
    places: Places,
    out: Container[Holder],
    count: int,
    timeout_s: float,
    chance: random.Random,
    report: Report,
    progress: Progress,
) -> list[bytes]:
    """As many keys from each server, owners and copies alike: what only one of them has is found too."""
    drawn: set[bytes] = set()
    for number, holder in enumerate(places.holders):
        progress("listing keys", number, len(places.holders))
        if holder in out:
            continue
        try:
            sample = sample_keys(holder.address, count, timeout_s, chance)
        except ServerError as error:
            report.problems[f"{holder.role} {holder.name}"] = error.message
            continue
        report.unspeakable += sample.unspeakable
        at_home = [key for key in sample.keys if _is_at(places, key, holder)]
        report.strays += len(sample.keys) - len(at_home)
        drawn.update(at_home)
    # a set's order changes from process to process, and a seed would mean nothing
    keys = sorted(drawn)
    chance.shuffle(keys)
    return keys[:count]


def _is_at(places: Places, key: bytes, holder: Holder) -> bool:
    return any(each is not None and each.address == holder.address for each in places.of(key))


class _Run:
    def __init__(
        self, places: Places, looker: Looker, pace: Pace, report: Report, progress: Progress
    ) -> None:
        self._places = places
        self._looker = looker
        self._pace = pace
        self._report = report
        self._progress = progress

    def look_at(self, keys: Sequence[bytes], what: str) -> dict[bytes, Pair]:
        """Count what is clear at once; the rest is to be looked at again."""
        unclear = {}
        for done, key, pair in self._pairs(keys):
            self._progress(what, done, len(keys))
            finding = pair.finding()
            if finding in ("agree", "gone"):
                self._count(key, pair, finding)
            else:
                unclear[key] = pair
        return unclear

    def look_again(self, before: dict[bytes, Pair]) -> dict[bytes, Pair]:
        now = self.look_at(list(before), "looking again")
        for key, pair in list(now.items()):
            if pair.is_as_before(before[key]):
                self._count(key, pair, pair.finding())
                del now[key]
        return now

    def _pairs(self, keys: Sequence[bytes]) -> Iterator[tuple[int, bytes, Pair]]:
        """Batch by batch: every owner is asked, then every copy."""
        waiting = iter(keys)
        done = 0
        while batch := list(islice(waiting, _AT_ONCE)):
            owned = self._look_at_all([(key, self._places.of(key)[0]) for key in batch])
            copied = self._look_at_all(
                [(key, copy) for key in batch if (copy := self._places.of(key)[1]) is not None]
            )
            self._pace.done(len(batch), self._looker.bytes_read)
            for key in batch:
                done += 1
                if key in owned and key in copied:
                    yield done, key, Pair(owned[key], copied[key])
                else:
                    self._report.not_asked += 1

    def _look_at_all(self, wanted: Sequence[tuple[bytes, Holder]]) -> dict[bytes, Item | None]:
        by_holder: dict[Holder, list[bytes]] = {}
        for key, holder in wanted:
            by_holder.setdefault(holder, []).append(key)
        found: dict[bytes, Item | None] = {}
        for holder, keys in by_holder.items():
            try:
                found.update(zip(keys, self._looker.look(holder, keys), strict=True))
            except ServerError:
                continue  # the looker keeps the reason
        return found

    def _count(self, key: bytes, pair: Pair, finding: Finding) -> None:
        self._report.counts[finding] += 1
        if finding not in _WORST_FIRST:
            self._report.ttl_unknown += finding == "agree" and not knows_ttl(pair)
            return
        if sum(each.finding == finding for each in self._report.examples) < MOST_EXAMPLES:
            owner, copy = self._places.of(key)
            assert copy is not None
            self._report.examples.append(
                Example(as_text(key), finding, owner.name, copy.name, pair.differences())
            )
