"""A key set or deleted by an operator: asked of the proxy as any client does, so its copies follow.

Change ─▶ is it a key, and whose? ─▶ the proxy's own address ─▶ set or delete ─▶ what it says

- What a look at (key, pool) shows is what a write to (key, pool) changes: a pool without an address of its
  own is reached through that of all pools, by the key that clients have for it there.
- Seconds are seconds here, however many; memcached takes more than 30 days for a date.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from memagent.addresses import Address, parse_address
from memagent.admin.keys import way_of
from memagent.admin.requests import InvalidError, RefusedError
from memagent.errors import ServerError
from memagent.inspection.client import ask
from memagent.inspection.keys import shown
from memagent.settings import Config
from memagent.snapshot import Snapshot
from memagent.threads import in_thread
from memagent.units import quoted

_TIMEOUT_S: Final = 5.0
_DONE: Final = (b"STORED", b"DELETED", b"NOT_FOUND")
_LONGEST_IN_SECONDS: Final = 30 * 24 * 3600
_LATEST_DATE: Final = 2**31 - 1
_ANY_HOST: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to connect to


@dataclass(frozen=True, slots=True)
class Change:
    """`value` None: delete it. `expiry_s`: to live; 0 is for ever. `pool`: as at an address of its own."""

    key: bytes
    value: bytes | None = None
    flags: int = 0
    expiry_s: int = 0
    pool: str | None = None


class KeyWriter:
    """`config` and `snapshot`: as they are now."""

    def __init__(self, config: Callable[[], Config], snapshot: Callable[[], Snapshot]) -> None:
        self._config = config
        self._snapshot = snapshot

    async def write(self, change: Change) -> str:
        """STORED, DELETED or NOT_FOUND. InvalidError for what is no key; RefusedError with anything else."""
        config = self._config()
        change = replace(change, key=_asked(config, change))
        address = self._address(config, change.pool)
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S):
                reply = await in_thread(lambda: ask(address, _request(change), _TIMEOUT_S), "write a key")
        except (ServerError, TimeoutError) as error:
            problem = error.message if isinstance(error, ServerError) else "no answer in time"
            raise RefusedError(f"the proxy: {problem}", "it may be done nevertheless") from None
        if reply not in _DONE:
            raise RefusedError(f"the proxy answers {shown(reply)}")
        return reply.decode()

    def _address(self, config: Config, pool: str | None) -> Address:
        if pool is not None and pool in config.listens:
            listen = config.listens[pool][0]
            address = Address(listen.host or "", listen.port, listen.path)
        else:
            address = parse_address(self._snapshot().listen[0])
        if address.path is not None:
            return address
        return Address(_ANY_HOST.get(address.host, address.host), address.port)


def _asked(config: Config, change: Change) -> bytes:
    """The key by which clients reach what this is to its pool's servers."""
    way = way_of(config, change.key, change.pool)
    if way.asked is None:
        raise InvalidError(
            f"no client reaches this key in the pool {quoted(way.pool.name)}: by its prefix it belongs to "
            "another one",
            "ask without a pool, with the key as clients have it",
        )
    return way.asked


def _request(change: Change) -> bytes:
    if change.value is None:
        return b"delete %b\r\n" % change.key
    head = b"set %b %d %d %d\r\n" % (change.key, change.flags, _expiry(change.expiry_s), len(change.value))
    return head + change.value + b"\r\n"


def _expiry(to_live_s: int) -> int:
    """As memcached takes it: seconds up to 30 days, beyond them a date."""
    if to_live_s <= _LONGEST_IN_SECONDS:
        return to_live_s
    return min(int(time.time()) + to_live_s, _LATEST_DATE)
