"""A pool whose servers list what a test says, without servers; for where it asks, there are real ones."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote_from_bytes

from memagent.inspection.places import Places
from memagent.survey.dump import Line
from memagent.topology import make_placement
from tests.support.snapshots import config_of

NOW_S = 1_800_000_000


def places_of(servers: int = 3, backups: int = 0, **settings: Any) -> Places:
    """Called s0, s1, ... and b0, b1, ..."""
    pool = config_of(
        servers=[{"address": f"10.0.0.{n}:1", "name": f"s{n}"} for n in range(servers)],
        backups=[{"address": f"10.0.1.{n}:1", "name": f"b{n}"} for n in range(backups)],
        **settings,
    ).pools[0]
    return Places(pool, make_placement(pool))


def line(key: bytes, n_bytes: int = 100, expires_s: int = -1, last_s: int = NOW_S) -> Line:
    return quote_from_bytes(key, safe="").encode(), b"%d" % expires_s, b"%d" % last_s, b"%d" % n_bytes


def lines(keys: Iterable[bytes], n_bytes: int = 100) -> list[Line]:
    return [line(key, n_bytes) for key in keys]
