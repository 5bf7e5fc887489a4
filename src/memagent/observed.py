"""What single requests tell, as values: `magent hot`, `magent slow` and `magent tap` show these.

Made of plain values, and the same after a way through JSON (`snapshot.as_json`, `from_json`). A key is there
twice: `key` for people, where bytes that are no UTF-8, steer a terminal or are not seen stand as escapes, and
`key_base64`. Times are seconds since 1970. What a key has for a value is nowhere.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HotKey:
    """How often a key is asked for. `share`: of all requests, where each key of a request counts as one."""

    key: str
    key_base64: str
    requests_per_s: float
    at_least_per_s: float
    at_most_per_s: float
    share: float
    reads_per_s: float
    writes_per_s: float
    server: str | None


@dataclass(frozen=True, slots=True)
class Hot:
    """The hottest first. A key that is nowhere known had at most `unseen_per_s`."""

    requests_per_s: float
    unseen_per_s: float
    keys: tuple[HotKey, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a request's time, and the server that it was spent on, if it was one.

    `what`: "first", then "fallback" (that one has missed the key), "failover" (it has failed), "repair" (it
    has got the item back from its copy and was asked again), "copy" (the copy had to answer too), or
    "again" (another worker was writing the key).
    """

    what: str
    server: str | None
    us: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. It is about so many `keys`; `key` is the first, or the one that it waited for longest."""

    ended_s: float
    worker: int
    verb: str
    key: str
    key_base64: str
    keys: int
    found: int
    result: str
    client: str
    us: int
    phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True)
class Slow:
    """The newest first. `total`: how many there were since the start, those that were not kept included."""

    slow_ms: int
    total: int
    requests: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Tapped:
    """What has come since the last time. `matched` and `shown` count since the tap was opened."""

    requests: tuple[Seen, ...]
    matched: int
    shown: int
