"""Some keys of a server, by chance: read from a dump of its keys, which is broken off when there are enough.

    mgdump hash ─▶ metadump hash ─▶ metadump all ─▶ stats cachedump       the first that is not refused

A dump by hash comes in an order that has nothing to do with what keys are about or how old they are, so a
stretch of it from a random place is a fair sample. The other two come by size of the items; of these the
sample is drawn from all that was read.
"""

import base64
import binascii
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from memagent.addresses import Address
from memagent.errors import ServerError
from memagent.inspection.client import Connection
from memagent.inspection.keys import problem_of
from memagent.units import quoted

_DUMPS: Final = (b"lru_crawler mgdump hash", b"lru_crawler metadump hash", b"lru_crawler metadump all")
_MOST_LINES: Final = 200_000
_BUSY_TRIES: Final = 20
_BUSY_PAUSE_S: Final = 0.25
_CACHEDUMP_KEYS: Final = 2_000
_Found = TypeVar("_Found")
_ITEM = re.compile(rb"ITEM (.+) \[\d+ b; \d+ s\]")


@dataclass(frozen=True, slots=True)
class Sample:
    """`unspeakable`: keys that can only be spelt in base64, and that are left out."""

    keys: list[bytes]
    unspeakable: int
    how: str


def sample_keys(
    address: Address,
    count: int,
    timeout_s: float,
    chance: random.Random,
    pause: Callable[[float], None] = time.sleep,
) -> Sample:
    """Up to `count` keys of one server. ServerError if it cannot be asked or refuses every way."""
    with Connection.open(address, timeout_s) as connection:
        items = item_count(connection)
    refusals: list[str] = []
    for dump in _DUMPS:

        def read(dump: bytes = dump) -> Sample | str:
            # a dump that is broken off leaves its connection useless
            with Connection.open(address, timeout_s) as connection:
                return _read_dump(connection, dump, count, items, chance)

        found = past_busy(read, pause)
        if isinstance(found, Sample):
            return found
        refusals.append(found)
    with Connection.open(address, timeout_s) as connection:
        return _cachedump(connection, count, chance, refusals)


def past_busy(read: Callable[[], _Found | str], pause: Callable[[float], None]) -> _Found | str:
    """What `read` gives, which is text where the server refuses. One that lists its keys for somebody else
    is asked again for some seconds.
    """
    for _ in range(_BUSY_TRIES):
        found = read()
        if not (isinstance(found, str) and found.startswith("BUSY")):
            break
        pause(_BUSY_PAUSE_S)
    return found


def item_count(connection: Connection) -> int:
    """0 where it does not say."""
    try:
        return int(connection.stats().get("curr_items", "0"))
    except (ServerError, ValueError):
        return 0


def _read_dump(
    connection: Connection, dump: bytes, count: int, items: int, chance: random.Random
) -> Sample | str:
    """The sample, or the server's refusal."""
    is_random_order = dump.endswith(b"hash")
    # twice as many as are wanted lie behind the start, should keys go meanwhile
    last_start = min(items - 2 * count, _MOST_LINES - 2 * count)
    skip = chance.randint(0, last_start) if is_random_order and last_start > 0 else 0
    keys: list[bytes] = []
    seen = unspeakable = 0
    enough = skip + 2 * count if is_random_order else _MOST_LINES
    for number, line in enumerate(connection.listing(dump, min(enough, _MOST_LINES))):
        key = _key_of(line)
        if key is None:
            if number == 0 and line not in (b"EN", b"END"):
                return printable(line)
            break
        if number < skip:
            continue
        if problem_of(key) is not None:
            unspeakable += 1
            continue
        seen += 1
        if len(keys) < count:
            keys.append(key)
        elif (place := chance.randrange(seen)) < count:
            keys[place] = key
    return Sample(keys, unspeakable, dump.decode())


def _key_of(line: bytes) -> bytes | None:
    """The key in a line of a dump of either kind; None for any other line."""
    words = line.split(b" ")
    if words[0] == b"mg" and len(words) >= 2:
        if words[2:3] != [b"b"]:
            return words[1]
        try:
            return base64.b64decode(words[1])
        except binascii.Error:
            return None
    return unquote_to_bytes(words[0][4:]) if line.startswith(b"key=") else None


def _cachedump(connection: Connection, count: int, chance: random.Random, refusals: list[str]) -> Sample:
    """What servers before 1.4.31, or without a crawler, tell: some keys of each size class."""
    found: list[bytes] = []
    try:
        classes = {name.split(":")[1] for name in connection.stats("items") if name.startswith("items:")}
        for number in sorted(classes):
            found += _cachedump_keys(connection, number)
    except ServerError as error:
        raise ServerError(f"lists no keys: {'; '.join([*dict.fromkeys(refusals), error.message])}") from None
    good = [key for key in found if problem_of(key) is None]
    return Sample(chance.sample(good, min(count, len(good))), len(found) - len(good), "stats cachedump")


def _cachedump_keys(connection: Connection, number: str) -> Iterator[bytes]:
    request = b"stats cachedump %b %d" % (number.encode(), _CACHEDUMP_KEYS)
    for line in connection.listing(request, 2 * _CACHEDUMP_KEYS):
        if line == b"END":
            return
        item = _ITEM.fullmatch(line)
        if item is None:
            raise ServerError(f"refuses stats cachedump: {printable(line)}")
        yield item[1]


def printable(line: bytes) -> str:
    """A line of a server's, which may hold anything, for people."""
    return quoted(line.decode(errors="replace"))[1:-1]
