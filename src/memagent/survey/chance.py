"""How unevenly may a ring's keys lie by chance alone? Decides, asks nobody.

A holder that the ring gives the part p has of n keys p ± 3 standard deviations, in 997 cases of 1,000: of two
hundred healthy ones, less than one is outside. The p is an estimate itself, of some made-up keys.
"""

import math
from typing import Final

_DEVIATIONS: Final = 3.0


def bounds(part: float, n_keys: int, n_made_up: int) -> tuple[float, float]:
    """The least and the most that it may have of the keys, 0 to 1. `n_keys` is not 0."""
    spread = _DEVIATIONS * math.sqrt(part * (1 - part) * (1 / n_keys + 1 / n_made_up))
    return max(0.0, part - spread), min(1.0, part + spread)
