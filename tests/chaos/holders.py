"""What the holders of a key went through, and so which replies are excused. This is the whole rule:

A holder (the key's owner or its copy) is *sound* from the moment when the proxy, asked after the last fault
of that holder had ended, called it up, until the moment before its next fault begins.
A holder *surely has* a value when it was sound from before the write began until the write was acknowledged,
or when it was found to have it once all servers were up again; until it loses its memory, or is not sound
while the key is written once more: then it may lose the key when it returns.

1. A miss where the writes leave no room for one is excused only if no holder that surely has the value was
   sound all through the request. Where nobody surely has it, because no holder was sound all through the
   write, it is not excused either if both are sound all through the request and neither has lost its memory
   since the write began: one of them must have it. Where a write was acknowledged meanwhile, all this must be
   so for what was there before as well.
   A miss is also excused if one of the two was not sound all through the request, and a write of the key was
   under way at a worker that was killed or frozen meanwhile: what that has told its client nobody knows.
2. An old value is never excused, but for what a server's own flush_all has spared (`models.SPARED_S`).
3. An error reply is excused if no holder was sound all through the request; one that says "unknown outcome",
   to a verb that must not be repeated, if one of the two was not.
4. A lock given twice, or a counter or a log that starts anew, is excused only as a miss would be.
5. A lost connection and a late reply are never excused.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

NEVER = float("inf")


@dataclass(eq=False)
class Holder:
    """A server or a backup."""

    name: str
    sound_since: float = NEVER
    lost_memory_at: float = -NEVER
    is_owed_a_flush: bool = False
    """A worker died while it was out: nobody knows what it missed, so it is flushed when it returns."""
    may_spare: bool = False
    """Its flush_all spares some of the items that are in use, see `models.SPARED_S`."""

    def is_sound_since(self, begun: float) -> bool:
        """From `begun` until now."""
        return self.sound_since <= begun

    def fault_begins(self) -> None:
        """Called before anything is done to it."""
        self.sound_since = NEVER

    def loses_memory(self, now: float) -> None:
        """Called before the process is killed, and once more when its successor answers.

        Between the two nothing can have been stored that is still there.
        """
        self.fault_begins()
        self.lost_memory_at = now

    def is_called_up(self, asked_at: float) -> None:
        if self.sound_since == NEVER:
            self.sound_since = asked_at
            if self.is_owed_a_flush:
                self.is_owed_a_flush, self.lost_memory_at = False, asked_at

    def worker_dies(self) -> bool:
        """Called before one is killed: does it take along what this server has missed?"""
        self.is_owed_a_flush |= self.sound_since == NEVER
        return self.is_owed_a_flush


@dataclass
class Pair:
    """The owner of a key and its copy."""

    owner: Holder
    copy: Holder
    was_absent: Callable[[int, float, float], bool] = lambda pid, begun, asked: False
    """`Workers.was_absent`"""

    def __iter__(self) -> Iterator[Holder]:
        return iter((self.owner, self.copy))

    def any_sound(self, begun: float) -> bool:
        return self.owner.is_sound_since(begun) or self.copy.is_sound_since(begun)

    def both_sound(self, begun: float) -> bool:
        return self.owner.is_sound_since(begun) and self.copy.is_sound_since(begun)


@dataclass(frozen=True)
class Having:
    """Who surely has the value of a write that began then, as is known since `known`."""

    begun: float
    known: float
    surely: tuple[Holder, ...]

    def must_hit(self, pair: Pair, begun: float) -> bool:
        if self.surely:
            return any(
                each.is_sound_since(begun) and each.lost_memory_at < self.begun for each in self.surely
            )
        return pair.both_sound(begun) and all(each.lost_memory_at < self.begun for each in pair)


@dataclass
class Keeping:
    """Who must have the value that was last acknowledged, and those that were before."""

    pair: Pair
    past: deque[Having] = field(default_factory=lambda: deque([Having(NEVER, -NEVER, ())], maxlen=256))

    def acknowledged(self, op_begun: float, now: float) -> None:
        """A write that began then has just been acknowledged."""
        surely = tuple(each for each in self.pair if each.is_sound_since(op_begun))
        self.past.append(Having(op_begun, now, surely))

    def weakened(self, begun: float) -> None:
        """By a write that began then: a holder that may have missed it loses the key rather than keep it."""
        last = self.past.pop()
        surely = tuple(each for each in last.surely if each.is_sound_since(begun))
        self.past.append(replace(last, surely=surely))

    def found(self, holders: Iterable[Holder], now: float) -> None:
        """All servers are up, and these were looked at and have it."""
        self.past.append(Having(now, now, tuple(holders)))

    def must_hit(self, begun: float) -> bool:
        """Was a holder that has it there all through a request that began then and ends now?

        Whatever was so at any time since: such a request may have been done before a write that it met.
        """
        for having in reversed(self.past):
            if not having.must_hit(self.pair, begun):
                return False
            if having.known < begun:
                return True
        return False

    @property
    def begun(self) -> float:
        return self.past[-1].begun

    @property
    def is_whole(self) -> bool:
        """Do both surely have it?"""
        surely = self.past[-1].surely
        return len(surely) == 2 and all(each.lost_memory_at < self.begun for each in surely)
