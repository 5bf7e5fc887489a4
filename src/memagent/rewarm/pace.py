"""How fast to copy: two buckets, one of keys and one of bytes, that fill with time and hold 20 ms of it.

Pure: time is an argument. What a batch takes may overdraw a bucket; the next one waits until it is paid back.
"""

from typing import Final

MOST_KEYS: Final = 512
_HOLDS_S: Final = 0.02
_BATCH_S: Final = 0.005
_BATCH_BYTES: Final = 256 * 1024


class _Bucket:
    def __init__(self, per_s: float, now_s: float) -> None:
        self.per_s = per_s
        self._tokens = 0.0
        self._at_s = now_s

    def set_rate(self, per_s: float, now_s: float) -> None:
        self._fill(now_s)
        self.per_s = per_s
        self._tokens = min(self._tokens, per_s * _HOLDS_S)

    def spend(self, amount: float) -> None:
        if self.per_s:
            self._tokens -= amount

    def wait_s(self, now_s: float) -> float:
        """Until something may be spent; 0 is now."""
        if not self.per_s:
            return 0.0
        self._fill(now_s)
        return max(0.0, -self._tokens / self.per_s)

    def _fill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._at_s)
        self._tokens = min(self.per_s * _HOLDS_S, self._tokens + passed_s * self.per_s)
        self._at_s = now_s


class Pace:
    """0 is no limit."""

    def __init__(self, keys_per_s: int, bytes_per_s: int, now_s: float, item_bytes: float = 256.0) -> None:
        self._keys = _Bucket(keys_per_s, now_s)
        self._bytes = _Bucket(bytes_per_s, now_s)
        self._item_bytes = max(1.0, item_bytes)

    def set_rates(self, keys_per_s: int, bytes_per_s: int, now_s: float) -> None:
        self._keys.set_rate(keys_per_s, now_s)
        self._bytes.set_rate(bytes_per_s, now_s)

    def wait_s(self, now_s: float) -> float:
        """Until the next batch may begin; 0 is now."""
        return max(self._keys.wait_s(now_s), self._bytes.wait_s(now_s))

    def batch_keys(self) -> int:
        """How many keys the next batch should have: a few milliseconds' worth, and not too many bytes."""
        most = min(MOST_KEYS, _BATCH_BYTES / self._item_bytes)
        if self._keys.per_s:
            most = min(most, self._keys.per_s * _BATCH_S)
        if self._bytes.per_s:
            most = min(most, self._bytes.per_s * _BATCH_S / self._item_bytes)
        return max(1, int(most))

    def begin(self, keys: int) -> None:
        """A batch begins; its bytes are guessed until it was fetched."""
        self._keys.spend(keys)
        self._bytes.spend(keys * self._item_bytes)

    def asked(self, there: int) -> None:
        """So many of a batch need no copy: asking costs a quarter of copying."""
        self._keys.spend(-0.75 * there)
        self._bytes.spend(-there * self._item_bytes)

    def fetched(self, keys: int, bytes_: int) -> None:
        """The batch was fetched: so many keys, so many bytes."""
        if not keys:
            return
        self._bytes.spend(bytes_ - keys * self._item_bytes)
        share = keys / (keys + MOST_KEYS)
        self._item_bytes = max(1.0, self._item_bytes + share * (bytes_ / keys - self._item_bytes))
