"""How often may a token be guessed? Decides; time is an argument, and what a right one is others know.

    a token, or a cookie made with one ─▶ check ─▶ is it right? ─ no ─▶ note: a guess more
                                            └ HeldError: it is not looked at

- A peer (an address, of IPv6 its /64; a user at a Unix socket) has a few guesses at once, then one every few
  seconds. Who has not guessed of late is always heard, whatever others do; all who have share a bound, too.
- Behind a proxy everybody is one peer. So nobody is held for long after the last guess; what was wrong before
  costs once (a script with an old token holds nobody); and a cookie that was right once is no guess at all.
- Memory is bounded: whoever has not guessed for longest, and the oldest cookie, are forgotten first.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Final

from memagent.admin.requests import RefusedError

AT_ONCE: Final = 10
EACH_S: Final = 5.0
ALL_AT_ONCE: Final = 100
ALL_EACH_S: Final = 0.5
MOST_PEERS: Final = 1024
_MOST_KNOWN: Final = 1024


class HeldError(RefusedError):
    """`wait_s`: when to try again, in whole seconds."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = math.ceil(wait_s)
        super().__init__(f"too many wrong tokens have come from there: try again in {self.wait_s} s")


@dataclass(slots=True)
class _Debt:
    """Each guess costs so many seconds; `paid_s` is when it is as if there had been none."""

    paid_s: float
    seen: deque[int] = field(default_factory=lambda: deque(maxlen=AT_ONCE))


class Guesses:
    """`peer` is a Caller's. `now_s` never goes back."""

    def __init__(self) -> None:
        self._debts: dict[str, _Debt] = {}  # who has guessed last stands last
        self._all_paid_s = -math.inf
        self._known: dict[int, None] = {}

    def knows(self, cookie: bytes) -> bool:
        """Was it right once? Whoever sends it need not guess."""
        return hash(cookie) in self._known

    def remember(self, cookie: bytes) -> None:
        self._known[hash(cookie)] = None
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def check(self, peer: str, now_s: float) -> None:
        """HeldError if a token from there is not to be looked at now."""
        debt = self._debts.get(_place(peer))
        if debt is None or debt.paid_s <= now_s:
            return
        wait_s = max(
            debt.paid_s - now_s - (AT_ONCE - 1) * EACH_S,
            self._all_paid_s - now_s - (ALL_AT_ONCE - 1) * ALL_EACH_S,
        )
        if wait_s > 0:
            raise HeldError(wait_s)

    def note(self, peer: str, given: bytes, now_s: float) -> None:
        """What was given was wrong."""
        place = _place(peer)
        debt = self._debts.pop(place, None)
        if debt is None or debt.paid_s <= now_s:
            debt = _Debt(now_s)
        guess = hash(given)
        if guess not in debt.seen:
            debt.seen.append(guess)
            debt.paid_s += EACH_S
            self._all_paid_s = max(self._all_paid_s, now_s) + ALL_EACH_S
        self._debts[place] = debt
        if len(self._debts) > MOST_PEERS:
            del self._debts[next(iter(self._debts))]


def _place(peer: str) -> str:
    """What one machine, or one user of this one, cannot easily have many of."""
    try:
        address = ip_address(peer.rpartition(":")[0].strip("[]"))
    except ValueError:
        return peer.partition(" pid ")[0]
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(getattr(address, "ipv4_mapped", None) or address)
