"""How keys and bytes spread over a pool, and which keys are not where they should be.

    lines ─┬─ all ──────▶ keys, bytes of each holder, against its part of the ring and what chance allows
           └─ a sample ─▶ at its owner? its copy there? ─ suspicious ─▶ asked for directly, twice ─▶ counted

    {"has_copies", "sampled_one_in", "sampled": keys,
     "holders": [{"name", "backup", "keys", "bytes", "keys_share", "bytes_share", "ring_share",
                  "expected_low", "expected_high", "strays", "no_copy", "only_copy"}],
     "totals": {"keys", "bytes", "owners", "no_copy", "only_copy", "strays"},
     "examples": {"no_copy": [{"key", "key_base64", "server"}], "only_copy", "strays"},
     "looked_at": {"keys", "confirmed"}}

- Shares are 0 to 1, of the servers that were read, or of the backups. `ring_share`: of all of them. With
  copies on the same ring a server has two reasons to list a key, and its part is the mean of both.
- What the sample tells is counted in keys of the sample: `owners`, listed by their owner; `no_copy`, those of
  them whose copy is not there; `only_copy`, listed by their copy, and their owner has them not; `strays`,
  listed by a server that is neither.
- Servers are listed one after the other, and keys are written and expire meanwhile: so what is suspicious is
  asked for once more. Of more than are asked for, as many are counted as held of those that were.
- null is what cannot be told: everything of a server that was not read; the bounds where keys are hashed by
  a tag, since keys of one tag stay together.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, Final, Literal, NamedTuple
from zlib import crc32

from memagent.errors import ServerError
from memagent.inspection.keys import problem_of
from memagent.inspection.places import Looker, Places
from memagent.inspection.shares import count_shares
from memagent.survey.chance import bounds
from memagent.survey.dump import Line, key_of
from memagent.survey.job import shown
from memagent.survey.sample import Sample

_SAMPLE_BYTES: Final = 28 * 1024 * 1024  # some 200,000 keys of usual length
_MADE_UP_KEYS: Final = 100_000
_MOST_LOOKED_AT: Final = 200
_LOOK_AGAIN_S: Final = 0.5
_MOST_EXAMPLES: Final = 20

Fault = Literal["no_copy", "only_copy", "strays"]
_FAULTS: Final[tuple[Fault, ...]] = ("no_copy", "only_copy", "strays")
_OF_READ: Final = ("keys", "bytes", "keys_share", "bytes_share", "expected_low", "expected_high", *_FAULTS)


class _Case(NamedTuple):
    """A key that is listed at `at`, and what is wrong with that."""

    key: bytes
    at: int
    fault: Fault


class Distribution:
    def __init__(
        self,
        places: Places,
        timeout_s: float,
        sample_bytes: int = _SAMPLE_BYTES,
        looked_at: int = _MOST_LOOKED_AT,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.wanted: Sequence[int] = range(len(places.holders))
        self._places = places
        self._timeout_s = timeout_s
        self._most_looked_at = looked_at
        self._pause = pause
        self._sample = Sample(len(places.holders), sample_bytes)
        self._counts = {at: [0, 0] for at in self.wanted}
        self._read: set[int] = set()

    def take(self, at: int, lines: list[Line]) -> None:
        counts = self._counts[at]
        counts[0] += len(lines)
        counts[1] += sum([int(size) for _, _, _, size in lines])
        self._sample.add(at, [key for key, _, _, _ in lines])

    def done(self, at: int) -> None:
        self._read.add(at)

    def forget(self, at: int) -> None:
        self._sample.forget(at)

    def result(self) -> dict[str, Any]:
        owners, cases = self._judge()
        found = self._look_at(cases)
        counts = _count(cases, found)
        read = sorted(self._read)
        return {
            "has_copies": self._places.pool.has_copies,
            "sampled_one_in": self._sample.one_in,
            "sampled": sum(len(self._sample.of[at]) for at in read),
            "holders": self._holders(counts),
            "totals": {
                "keys": sum(self._counts[at][0] for at in read),
                "bytes": sum(self._counts[at][1] for at in read),
                "owners": owners,
                **{fault: sum(counts[at, fault] for at in read) for fault in _FAULTS},
            },
            "examples": {fault: self._examples(cases, found, fault) for fault in _FAULTS},
            "looked_at": {"keys": len(found), "confirmed": sum(found.values())},
        }

    # ------------------------------------------------------------ where keys should be

    def _judge(self) -> tuple[int, list[_Case]]:
        """How many of the sample are listed by their owner, and what is wrong."""
        owners, cases = 0, []
        has_copies = self._places.pool.has_copies
        for at in sorted(self._read):
            for spelt in self._sample.of[at]:
                key = key_of(spelt)
                owner, copy = self._places.positions_of(key)
                owners += at == owner
                if at not in (owner, copy):
                    cases.append(_Case(key, at, "strays"))
                elif has_copies and copy >= 0:
                    other = copy if at == owner else owner
                    if other in self._read and spelt not in self._sample.of[other]:
                        cases.append(_Case(key, at, "no_copy" if at == owner else "only_copy"))
        return owners, cases

    def _look_at(self, cases: list[_Case]) -> dict[_Case, bool]:
        """Some of them, and whether it is still so. By their hash, so that all servers have their part."""
        missing = (each for each in cases if each.fault != "strays" and problem_of(each.key) is None)
        chosen = nsmallest(self._most_looked_at, missing, key=lambda each: crc32(each.key))
        found: dict[_Case, bool] = {}
        with Looker(self._timeout_s) as looker:
            self._look(looker, chosen, found)
            # A write may have come between the two looks at a key.
            if still := [each for each, holds in found.items() if holds]:
                self._pause(_LOOK_AGAIN_S)
                self._look(looker, still, found)
        return found

    def _look(self, looker: Looker, cases: list[_Case], found: dict[_Case, bool]) -> None:
        """One key at a time: a large value is no reason to give a server up."""
        for case in cases:
            owner, copy = self._places.positions_of(case.key)
            other = copy if case.fault == "no_copy" else owner
            try:
                [here] = looker.look(self._places.holders[case.at], [case.key])
                [there] = looker.look(self._places.holders[other], [case.key])
            except ServerError:
                continue
            found[case] = here is not None and there is None

    def _examples(self, cases: list[_Case], found: dict[_Case, bool], fault: Fault) -> list[dict[str, Any]]:
        """What has been confirmed first."""
        left = (each for each in cases if each.fault == fault and found.get(each, True))
        chosen = nsmallest(_MOST_EXAMPLES, left, key=lambda each: each not in found)
        return [{**shown(each.key), "server": self._places.holders[each.at].name} for each in chosen]

    # ------------------------------------------------------------ what holders have

    def _holders(self, faults: Mapping[tuple[int, Fault], int]) -> list[dict[str, Any]]:
        owned, copied = count_shares(self._places, _MADE_UP_KEYS)
        pool, n_servers = self._places.pool, len(self._places.pool.servers)
        both = pool.copies == 2 and not pool.backups
        rings = [(own + copy) / 2 if both else own for own, copy in zip(owned, copied, strict=True)]
        rings[n_servers:] = copied[n_servers:]
        holders = []
        for of_class in (range(n_servers), range(n_servers, len(rings))):
            read = [at for at in of_class if at in self._read]
            n_keys, n_bytes = (sum(self._counts[at][i] for at in read) for i in range(2))
            ring = sum(rings[at] for at in read)
            for at in of_class:
                holder = self._places.holders[at]
                told: dict[str, Any] = {
                    "name": holder.name,
                    "backup": holder.role == "backup",
                    **dict.fromkeys(_OF_READ),
                    "ring_share": rings[at],
                }
                if at in self._read:
                    keys, size = self._counts[at]
                    told.update(keys=keys, bytes=size, **{fault: faults[at, fault] for fault in _FAULTS})
                    told["keys_share"] = keys / n_keys if n_keys else None
                    told["bytes_share"] = size / n_bytes if n_bytes else None
                    if n_keys and ring and not pool.hash_tag:
                        low, high = bounds(rings[at] / ring, n_keys, _MADE_UP_KEYS)
                        told.update(expected_low=low, expected_high=high)
                holders.append(told)
        return holders


def _count(cases: Iterable[_Case], found: Mapping[_Case, bool]) -> Mapping[tuple[int, Fault], int]:
    """By holder and fault. Where not all were looked at, as many are counted as held of those that were."""
    looked_at = Counter(each.fault for each in found)
    held = Counter(each.fault for each, holds in found.items() if holds)
    part = {fault: held[fault] / looked_at[fault] if looked_at[fault] else 1.0 for fault in _FAULTS}
    counts: dict[tuple[int, Fault], float] = defaultdict(float)
    for case in cases:
        counts[case.at, case.fault] += found.get(case, part[case.fault])
    return Counter({each: round(count) for each, count in counts.items()})
