"""How full servers are, by their own word: `stats`, asked every few seconds while somebody watches.

Each is asked in a thread, some at once, and none that is down: one that hangs costs a thread for a second.
What it says is known by the address that was asked: by the time that it is shown, a reload may have given its
number, or its name, to another machine.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from memagent.addresses import parse_address
from memagent.errors import ServerError
from memagent.inspection.client import Connection
from memagent.snapshot import ServerSnapshot
from memagent.threads import in_thread
from memagent.units import whole_number

_TIMEOUT_S: Final = 1.0
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Fill:
    """`limit_bytes`: what it may use; None of what a server has not said."""

    items: int | None = None
    used_bytes: int | None = None
    limit_bytes: int | None = None
    evictions: int | None = None
    version: str | None = None


async def ask_all(servers: Iterable[ServerSnapshot]) -> dict[str, Fill]:
    """By the servers' addresses; who does not answer is not there."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def ask(address: str) -> tuple[str, Fill | None]:
        async with free:
            return address, await in_thread(lambda: ask_one(address), "how full is it?")

    addresses = {each.address for each in servers if each.state != "down"}
    found = await asyncio.gather(*map(ask, addresses))
    return {address: fill for address, fill in found if fill is not None}


def ask_one(address: str) -> Fill | None:
    try:
        with Connection.open(parse_address(address), _TIMEOUT_S) as connection:
            stats = connection.stats()
    except (ServerError, ValueError):
        return None
    items, used_bytes, limit_bytes, evictions = (
        whole_number(stats.get(name, "")) for name in ("curr_items", "bytes", "limit_maxbytes", "evictions")
    )
    return Fill(items, used_bytes, limit_bytes, evictions, stats.get("version"))
