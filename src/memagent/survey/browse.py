"""Keys by prefix or pattern, a page of them, and how much lies under each prefix that goes on from there.

    lines ─▶ fits, and is looked for here? ─┬─ all ─────────────▶ how many, how large, and by group
                                            └─ behind `after` ──▶ the smallest, in the order of their bytes

    {"matched": {"keys", "bytes"},
     "keys": [{"key", "key_base64", "bytes", "expires_in_s", "last_access_s_ago", "server", "backup"}],
     "more": are there more behind these?
     "groups": [{"prefix", "prefix_base64", "keys", "bytes"}], "groups_left_off", "groups_counted_whole"}

- A key counts once: where the pool would look for it now, at its owner, or at its copy while the owner is not
  up. Of one server only, all counts that it lists.
- `bytes` are whole items. A group is what follows the prefix up to the next separator; `prefix_base64` is
  null for the keys without one. The heaviest come first, and the others are `groups_left_off`.
- So many groups at most are known at a time: what is met later is in `matched` only, and
  `groups_counted_whole` is false. A list by hash comes in random order, so the heavy ones are met early.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any, Final, NamedTuple

from memagent.inspection.places import Places
from memagent.snapshot import State
from memagent.survey.dump import Line, keys_of
from memagent.survey.job import shown

_MOST_KEYS: Final = 1_000
_MOST_GROUPS: Final = 100
_MOST_GROUPS_KNOWN: Final = 50_000
_TO_SEPARATOR: Final = re.compile(rb"[^:/._|-]*[:/._|-]")

Groups = dict[bytes | None, list[int]]
"""Keys and bytes of each."""


class Found(NamedTuple):
    """In the order of pages."""

    key: bytes
    at: int
    n_bytes: int
    expires_s: int
    last_access_s: int


@dataclass(slots=True)
class Tally:
    """Of one server, or of all that were read whole."""

    n_keys: int = 0
    n_bytes: int = 0
    groups: Groups = field(default_factory=dict)
    knows_all_groups: bool = True
    page: list[Found] = field(default_factory=list)
    last: bytes | None = None
    """No key behind it can be on the page."""

    def cut(self, most_keys: int) -> None:
        """Leave a page, and one more if there is one."""
        self.page.sort()
        if len(self.page) > most_keys:
            del self.page[most_keys + 1 :]
            self.last = self.page[-1].key


class Browse:
    """`only`: one holder, by its position. `after`: only keys behind it are shown."""

    def __init__(
        self,
        places: Places,
        states: Sequence[State],
        prefix: bytes = b"",
        pattern: str = "",
        only: int | None = None,
        after: bytes = b"",
        most_keys: int = _MOST_KEYS,
        most_groups_known: int = _MOST_GROUPS_KNOWN,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._places = places
        self._states = states
        self._prefix = prefix
        self._fits = pattern_of(pattern) if pattern else None
        self._only = only
        self._after = after
        self._most_keys = most_keys
        self._most_groups_known = most_groups_known
        self._now_s = now_s
        self._tally, self._under_way = Tally(), Tally()
        self.wanted = self._holders()

    def _holders(self) -> Sequence[int]:
        if self._only is not None:
            return [self._only]
        n_servers = len(self._places.pool.servers)
        all_up = all(state == "up" for state in self._states[:n_servers])
        return range(n_servers if all_up else len(self._states))

    def take(self, at: int, lines: list[Line]) -> None:
        tally, groups, start, after = self._under_way, self._under_way.groups, len(self._prefix), self._after
        wanted = self._wanted(at, lines)
        sizes = [int(size) for _, (_, _, _, size) in wanted]
        tally.n_keys += len(wanted)
        tally.n_bytes += sum(sizes)
        for n_bytes, (key, (_, expires_s, last_access_s, _)) in zip(sizes, wanted, strict=True):
            to_separator = _TO_SEPARATOR.match(key, start)
            group = key[: to_separator.end()] if to_separator else None
            counts = groups.get(group)
            if counts is not None:
                counts[0] += 1
                counts[1] += n_bytes
            elif len(groups) < self._most_groups_known:
                groups[group] = [1, n_bytes]
            else:
                tally.knows_all_groups = False
            if key > after and (tally.last is None or key <= tally.last):
                tally.page.append(Found(key, at, n_bytes, int(expires_s), int(last_access_s)))
        if len(tally.page) > 4 * self._most_keys:
            tally.cut(self._most_keys)

    def done(self, at: int) -> None:
        whole, ended = self._tally, self._under_way
        whole.n_keys += ended.n_keys
        whole.n_bytes += ended.n_bytes
        whole.knows_all_groups &= ended.knows_all_groups
        for group, (n_keys, n_bytes) in ended.groups.items():
            if group in whole.groups or len(whole.groups) < self._most_groups_known:
                counts = whole.groups.setdefault(group, [0, 0])
                counts[0] += n_keys
                counts[1] += n_bytes
            else:
                whole.knows_all_groups = False
        whole.page += ended.page
        whole.cut(self._most_keys)
        self._under_way = Tally(last=whole.last)

    def forget(self, at: int) -> None:
        self._under_way = Tally(last=self._tally.last)

    def result(self) -> dict[str, Any]:
        tally = self._tally
        groups = sorted(tally.groups.items(), key=lambda each: each[1][1], reverse=True)
        return {
            "matched": {"keys": tally.n_keys, "bytes": tally.n_bytes},
            "keys": [self._shown(each) for each in tally.page[: self._most_keys]],
            "more": len(tally.page) > self._most_keys,
            "groups": [_shown_group(group, *counts) for group, counts in groups[:_MOST_GROUPS]],
            "groups_left_off": max(0, len(groups) - _MOST_GROUPS),
            "groups_counted_whole": tally.knows_all_groups,
        }

    def _wanted(self, at: int, lines: list[Line]) -> list[tuple[bytes, Line]]:
        """Those that fit and count here, with their keys."""
        wanted = list(zip(keys_of(lines), lines, strict=True))
        prefix, fits = self._prefix, self._fits
        if prefix:
            wanted = [each for each in wanted if each[0].startswith(prefix)]
        if fits is not None:
            wanted = [each for each in wanted if fits(each[0])]
        if self._only is None:
            wanted = [each for each in wanted if self._place_of(each[0]) == at]
        return wanted

    def _place_of(self, key: bytes) -> int:
        """Where the pool would look for it now."""
        owner, copy = self._places.positions_of(key)
        if copy >= 0 and self._states[owner] != "up" and self._states[copy] == "up":
            return copy
        return owner

    def _shown(self, found: Found) -> dict[str, Any]:
        now_s, holder = int(self._now_s()), self._places.holders[found.at]
        return {
            **shown(found.key),
            "bytes": found.n_bytes,
            "expires_in_s": None if found.expires_s < 0 else max(0, found.expires_s - now_s),
            "last_access_s_ago": max(0, now_s - found.last_access_s),
            "server": holder.name,
            "backup": holder.role == "backup",
        }


def pattern_of(pattern: str) -> Callable[[bytes], object]:
    """Does a whole key fit? `*` is any bytes, `?` one byte, nothing else is special."""
    as_bytes = pattern.encode().decode("latin-1")
    # Its regular expressions do not try again what did not fit: no pattern takes for ever.
    return re.compile(translate(as_bytes.replace("[", "[[]")).encode("latin-1")).match


def _shown_group(group: bytes | None, n_keys: int, n_bytes: int) -> dict[str, Any]:
    named = {"prefix": "", "prefix_base64": None} if group is None else shown(group, "prefix")
    return {**named, "keys": n_keys, "bytes": n_bytes}
