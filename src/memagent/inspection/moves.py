"""Which part of the keys would live elsewhere by another configuration. Decides, asks nobody."""

from collections.abc import Iterable
from dataclasses import dataclass

from memagent.inspection.places import Holder, Places


@dataclass
class Moves:
    """Counts of keys. A machine is told by its address, an owner by its name or its address."""

    keys: int = 0
    owners: int = 0
    """that have another owner"""
    machines: int = 0
    """whose owner is another machine: it may have taken over the name"""
    copies: int = 0
    """whose copy is on another machine, or that have one now"""
    lost: int = 0
    """that no machine has which will be asked: they miss until they are written anew"""


def count_moves(keys: Iterable[bytes], old: Places, new: Places) -> Moves:
    moves = Moves()
    for key in keys:
        owner_before, copy_before = old.of(key)
        owner, copy = new.of(key)
        moves.keys += 1
        if owner.address != owner_before.address:
            moves.machines += 1
            moves.owners += owner.name != owner_before.name
        moves.copies += copy is not None and (copy_before is None or copy.address != copy_before.address)
        asked = _machines(owner, copy if new.pool.fallback == "always" else None)
        moves.lost += asked.isdisjoint(_machines(owner_before, copy_before))
    return moves


def made_up_keys(count: int) -> Iterable[bytes]:
    """As good as any: a hash spreads them all alike."""
    return (b"key:%d" % number for number in range(count))


def _machines(*holders: Holder | None) -> set[object]:
    return {holder.address for holder in holders if holder is not None}
