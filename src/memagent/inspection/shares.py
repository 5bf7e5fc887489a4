"""What the rings of a pool give each of its servers and backups. Decides, asks nobody."""

from collections import Counter

from memagent.inspection.moves import made_up_keys
from memagent.inspection.places import Places


def count_shares(places: Places, n_keys: int) -> tuple[list[float], list[float]]:
    """0 to 1, of so many made-up keys, for each holder: the part that it owns, the part it has copies of."""
    found = list(map(places.positions_of, made_up_keys(n_keys)))
    owned = Counter(owner for owner, _ in found)
    copied = Counter(copy for _, copy in found)
    holders = range(len(places.holders))
    return [owned[at] / n_keys for at in holders], [copied[at] / n_keys for at in holders]
