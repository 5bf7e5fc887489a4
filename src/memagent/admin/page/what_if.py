"""What would a change of a pool move? Counted on a sample of the keys that its servers have.

    Wish ─▶ Config as it would be ─┐
    servers ─▶ sample of keys ─────┴▶ count, from server to server

Nothing is changed, and the servers only list keys, as for `magent verify`.
"""

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from memagent.addresses import parse_address
from memagent.admin.requests import InvalidError, UnknownError
from memagent.errors import ServerError
from memagent.inspection.listing import sample_keys
from memagent.inspection.moves import count_moves
from memagent.inspection.places import Places
from memagent.settings import Config, PoolConfig
from memagent.snapshot import Snapshot
from memagent.threads import in_thread
from memagent.topology import make_placement
from memagent.units import quoted

_KEYS_IN_ALL: Final = 20_000
_MOST_PER_SERVER: Final = 2_000
_TIMEOUT_S: Final = 2.0
_MOST_WAYS: Final = 100


class Wish(BaseModel):
    """`what`: remove the server `value`, add one at the address `value`, or have `value` as distribution."""

    model_config = ConfigDict(extra="forbid", strict=True)
    pool: str
    what: Literal["remove", "add", "distribution"]
    value: str


class Way(BaseModel):
    """Of the sample, so many keys would have `to` as their owner, and not `came_from`."""

    came_from: str
    to: str
    keys: int


class Answer(BaseModel):
    """`keys`: how many were in the sample. `lost`: no server that would be asked has them, so they miss."""

    keys: int
    moved: int
    copies_moved: int
    lost: int
    ways: list[Way]
    not_asked: list[str]


async def answer(wish: Wish, config: Config, snapshot: Snapshot) -> Answer:
    """InvalidError for what cannot be; UnknownError."""
    old = next((pool for pool in config.pools if pool.name == wish.pool), None)
    if old is None:
        raise UnknownError(f"there is no pool {quoted(wish.pool)}")
    new = changed(config, old, wish)
    servers = next(pool for pool in snapshot.pools if pool.name == wish.pool).servers
    up = [each.address for each in servers if each.state == "up" and not each.backup]
    out = [each.name for each in servers if each.state != "up" and not each.backup]
    return await in_thread(lambda: _count(old, new, up, out), "what if?")


def changed(config: Config, pool: PoolConfig, wish: Wish) -> PoolConfig:
    """The pool as it would be."""
    values = config.model_dump(mode="json")
    at = config.pools.index(pool)
    now: dict[str, Any] = values["pools"][at]
    match wish.what:
        case "remove":
            now["servers"] = [each for each in now["servers"] if each["name"] != wish.value]
            if len(now["servers"]) == len(pool.servers):
                raise UnknownError(f"there is no server {quoted(wish.value)} in the pool {pool.name}")
        case "add":
            now["servers"] = [*now["servers"], {"address": wish.value}]
        case "distribution":
            now["distribution"] = wish.value
    try:
        return Config.model_validate(values).pools[at]
    except ValidationError as error:
        raise InvalidError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _count(old: PoolConfig, new: PoolConfig, up: Iterable[str], out: list[str]) -> Answer:
    addresses, not_asked = list(up), list(out)
    most = max(1, min(_MOST_PER_SERVER, _KEYS_IN_ALL // max(1, len(addresses))))
    chance = random.Random()  # noqa: S311 - for a sample
    keys: list[bytes] = []
    for address in addresses:
        try:
            keys += sample_keys(parse_address(address), most, _TIMEOUT_S, chance).keys
        except ServerError:
            not_asked.append(address)
    before, after = (Places(pool, make_placement(pool)) for pool in (old, new))
    moves = count_moves(keys, before, after)
    ways: Counter[tuple[str, str]] = Counter()
    for key in keys:
        came_from, to = before.of(key)[0].name, after.of(key)[0].name
        if came_from != to:
            ways[came_from, to] += 1
    return Answer(
        keys=moves.keys,
        moved=moves.owners,
        copies_moved=moves.copies,
        lost=moves.lost,
        ways=[Way(came_from=a, to=b, keys=n) for (a, b), n in ways.most_common(_MOST_WAYS)],
        not_asked=not_asked,
    )
