"""One key: its hash, who holds it, and what each holder has of it at this moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from memagent.errors import ServerError
from memagent.inspection.client import Item
from memagent.inspection.comparing import Pair, Part
from memagent.inspection.keys import as_text
from memagent.inspection.places import Holder, Looker, Places, Placing
from memagent.inspection.routing import Routed

Verdict = Literal["agree", "differ", "missing_copy", "missing_owner", "nowhere", "no_copy", "not_known"]


class Hashing(Placing, Protocol):
    def hash_of(self, key: bytes) -> int: ...

    def point_of(self, key: bytes) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """A holder of the key and what it has: an item, nothing, or a `problem` in place of an answer."""

    holder: Holder
    state: str | None
    item: Item | None = None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        item = self.item
        return {
            "name": self.holder.name,
            "role": self.holder.role,
            "address": str(self.holder.address),
            "state": self.state,
            "present": None if self.problem else item is not None,
            "size_bytes": item.size_bytes if item else None,
            "flags": item.flags if item else None,
            "ttl_s": item.ttl_s if item else None,
            "idle_s": item.idle_s if item else None,
            "cas": item.cas if item else None,
            "stale": item.is_stale if item else None,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    key: bytes
    stored: bytes  # as the servers know it
    prefix: str | None  # that led to the pool
    pool: str
    key_hash: str
    hash_value: int
    point: int | None  # of the ring, where it has points
    distribution: str
    owner: Found
    copy: Found | None
    verdict: Verdict
    differs_in: tuple[Part, ...] = ()
    reachable: bool = True  # for clients: or does the key's prefix lead them to another pool?
    moving: bool = False  # to its new server: owner is who decides about it now, copy the other one

    def as_dict(self) -> dict[str, Any]:
        return {
            "key": as_text(self.key),
            "stored_key": as_text(self.stored),
            "prefix": self.prefix,
            "pool": self.pool,
            "key_hash": self.key_hash,
            "hash": self.hash_value,
            "point": self.point,
            "distribution": self.distribution,
            "owner": self.owner.as_dict(),
            "copy": self.copy.as_dict() if self.copy else None,
            "verdict": self.verdict,
            "differs_in": list(self.differs_in),
            "reachable": self.reachable,
            "moving": self.moving,
        }


def explain(
    key: bytes,
    way: Routed,
    placement: Hashing,
    states: Mapping[tuple[str, str], str],
    timeout_s: float,
    keep_bytes: int = 0,
) -> Explanation:
    """`states` of the pool's servers by role and name, as far as they are known. `key` is valid.

    So much of each value is kept.
    """
    pool, stored, prefix, asked = way
    owner, copy = Places(pool, placement).of(stored)
    with Looker(timeout_s) as looker:
        at_owner = _look(looker, owner, stored, states, keep_bytes)
        at_copy = _look(looker, copy, stored, states, keep_bytes) if copy is not None else None
    verdict, differs_in = _judge(at_owner, at_copy)
    hash_value, point = placement.hash_of(stored), placement.point_of(stored)
    return Explanation(
        *(key, stored, prefix, pool.name, pool.key_hash, hash_value, point, pool.distribution),
        *(at_owner, at_copy, verdict, differs_in),
        reachable=asked is not None,
        moving=pool.migration is not None and copy is not None,
    )


def _look(
    looker: Looker, holder: Holder, key: bytes, states: Mapping[tuple[str, str], str], keep_bytes: int
) -> Found:
    state = states.get((holder.role, holder.name))
    try:
        return Found(holder, state, looker.look(holder, [key], keep_bytes)[0])
    except ServerError as error:
        return Found(holder, state, problem=error.message)


def _judge(owner: Found, copy: Found | None) -> tuple[Verdict, tuple[Part, ...]]:
    if owner.problem or (copy is not None and copy.problem):
        return "not_known", ()
    if copy is None:
        return "no_copy", ()
    pair = Pair(owner.item, copy.item)
    finding = pair.finding()
    if finding == "gone":
        return "nowhere", ()
    assert finding != "changing"
    return finding, pair.differences()
