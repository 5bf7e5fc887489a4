"""What each reply about a key may say: what all classes of keys share, and registers.

    begin(verb, ...) ── an Op ──▶ request under way ──▶ the method for its reply ──▶ what is wrong is reported

`holders` says what is excused; counters, locks and logs are in `conditional`.

Every model sees requests begin and end in real time, one at a time; requests overlap. A write is

    pending    until its reply has come: it may be seen, or not
    done       acknowledged: later reads see it, or a write that did not end before it began
    unknown    answered by an error: it may be seen or not, at any time until a done write that began after
               that error; where no holder was sound all through it, it may also have cost the key
    lost       its worker was killed: unknown, and perhaps done a moment later
    void       answered by "no": never seen

All values are unique, so a value names its write.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.history import LOST, NEVER_ENDED, READS, History, Op
from tests.chaos.holders import NEVER, Keeping, Pair

FORGET_S = 10.0
"""No request lasts as long as this; what was over before that is of no use."""

LATE_LOST_S = 0.5
"""So long after its worker's death a server may still do what it was sent; one in trouble at any time."""

EARLY_S = 2.1
LATE_S = 1.2
"""memcached counts in whole seconds and by ticks of its own, a little more than a second apart. One that
falls just before a full second is followed by one just after the next but one: what was written between them
counts as written almost two seconds earlier."""


SPARED_S = 2.0
"""From 1.6.25 on memcached's flush_all does not go by cas uniques any more but by the second of an item's
last use (items.c: item_flush_expired, item_is_flushed, do_item_bump). It spares some items that were read or
written in the second before it: a noted read is worked off up to a second later and makes a flushed item new
again; and the walk over the newest items ends at the first old one, although a read does not always move an
item to their front.
Measured without any proxy, 300 keys read twice by one client, then flush_all: with 1.6.38 all 300 were there
after 5 of 28 flushes that came within half a second of the reads, none after 56 that came later; with 1.6.18
none ever. A seed that twice found 11 and 14 such keys twice found none when both was mended in a 1.6.38.
What was in use so long before, on such a server, may be there afterwards."""


@dataclass
class Violation:
    kind: str
    text: str
    op: Op | None
    key: str
    at: float
    rendered: str = ""


Report = Callable[[Violation], None]


@dataclass(eq=False, slots=True)
class Version:
    """A value that a write leaves, None where it leaves nothing."""

    value: bytes | None
    begun: float
    ended: float = NEVER_ENDED
    is_done: bool = False
    dies_from: float = NEVER
    dies_until: float = NEVER
    is_flush: bool = False
    superseded_at: float = NEVER
    """When a done write was over that had begun after this one was over."""


class Model:
    """What all classes of keys share."""

    kind = "key"

    def __init__(self, key: bytes, pair: Pair, report: Report) -> None:
        self.key = key
        self.pair = pair
        self.keeping = Keeping(pair)
        self.lost_until = -NEVER
        """Until then a lost write may still be done; its holders may differ until the next one after it."""
        self.history = History(key.decode(), pair.owner.name, pair.copy.name)
        self._report = report

    def begin(self, verb: str, text: str, client: str, now: float) -> Op:
        return self.history.add(Op(verb, text, client, now))

    def end(self, op: Op, reply: str, now: float) -> None:
        op.ended, op.reply = now, reply
        if op.verb not in READS and reply not in ("NOT_STORED", "EXISTS", "NOT_FOUND"):
            self.keeping.weakened(op.begun)
        if reply == LOST:
            op.ended = now + LATE_LOST_S if self.pair.both_sound(op.begun) else NEVER_ENDED
            if op.verb not in READS:
                self.lost_until = max(self.lost_until, op.ended)

    def flush_begins(self, client: str, now: float) -> Op:
        """All keys at once."""
        return self.begin("flush_all", "", client, now)

    def flush_ends(self, op: Op, reply: str, now: float, is_done: bool) -> None:
        self.end(op, reply, now)

    def may_be_spared(self, flush: Op) -> bool:
        """By a flush_all that is over. Repairs and refills read, too."""
        since = flush.begun - SPARED_S
        return any(each.may_spare for each in self.pair) and (
            not self.pair.both_sound(since)
            or any(each.ended >= since for each in self.history.ops if each is not flush)
        )

    def settles(self, op: Op) -> None:
        """A write that leaves its holders equal, whatever they had before."""
        if op.begun > self.lost_until:
            self.lost_until = -NEVER

    @property
    def has_lost(self) -> bool:
        return self.lost_until != -NEVER

    def wrong(self, kind: str, text: str, op: Op | None, now: float) -> None:
        self._report(Violation(kind, text, op, self.key.decode(), now))

    def must_hit(self, op: Op) -> bool:
        """One that ends now."""
        return self.keeping.must_hit(op.begun) and (
            self.pair.both_sound(op.begun) or not self._is_doubtful(op)
        )

    def _is_doubtful(self, op: Op) -> bool:
        """Did it meet a write of a worker that was not there?"""
        return any(
            each.verb not in READS
            and each.ended >= op.begun
            and self.pair.was_absent(each.worker, each.begun, op.begun)
            for each in self.history.ops
        )

    def judge_miss(self, op: Op, now: float) -> bool:
        """A miss that the writes do not explain: is it excused?"""
        if self.must_hit(op):
            self.wrong("lost key", "a holder that has the key was there all the time", op, now)
            return False
        return True

    def judge_error(self, op: Op, reply: str, now: float, repeatable: bool = True) -> None:
        if reply == LOST or not self.pair.any_sound(op.begun):
            return
        if not repeatable and "unknown outcome" in reply and not self.pair.both_sound(op.begun):
            return
        if "unknown outcome" in reply:
            self.wrong("error reply", "unknown outcome, of what could be repeated or met no fault", op, now)
        else:
            self.wrong("error reply", "a holder was there all the time", op, now)


class Register(Model):
    """get, gets, multiget, set, delete, touch, gat."""

    kind = "register"

    def __init__(self, key: bytes, pair: Pair, report: Report) -> None:
        super().__init__(key, pair, report)
        self.versions = [Version(None, -NEVER, -NEVER, is_done=True)]
        self.is_being_written = False

    # --- writes ---

    def begin_write(
        self, verb: str, value: bytes | None, client: str, now: float, ttl_s: float = 0
    ) -> tuple[Op, Version]:
        """A set, or with None a delete; `ttl_s` 0 is for ever, less is none."""
        shown = "" if value is None else value[:24].decode()
        op = self.begin(verb, f"{shown} ttl={ttl_s:g}" if ttl_s else shown, client, now)
        version = Version(value, now)
        if ttl_s:
            version.dies_from = now + ttl_s - EARLY_S
        self.versions.append(version)
        return op, version

    def stored(self, op: Op, version: Version, reply: str, now: float, ttl_s: float = 0) -> None:
        self.end(op, reply, now)
        if ttl_s:
            version.dies_until = now + max(ttl_s, 0) + LATE_S
        self._done(op, version, now)

    def deleted(self, op: Op, version: Version, had_it: bool, now: float) -> None:
        self.end(op, "DELETED" if had_it else "NOT_FOUND", now)
        before = [each for each in self.versions if each is not version]
        may_be = any(each.value is not None and self._may_be(each, op) for each in before)
        # Any of the two may have had it: one that is coming back still has what nobody reads from it.
        if had_it and not may_be and self.pair.both_sound(op.begun):
            self.wrong("old value", "deleted, although there was nothing that could be", op, now)
        explained = any(
            self._may_be(each, op) and (each.value is None or each.dies_from <= now) for each in before
        )
        # Where a holder fell out meanwhile it may have been repeated.
        if not had_it and not explained and self.pair.both_sound(op.begun):
            self.judge_miss(op, now)
        self._done(op, version, now)

    def refused(self, op: Op, version: Version, reply: str, now: float) -> None:
        """An error: nobody knows."""
        self.end(op, reply, now)
        self.judge_error(op, reply, now)
        self._unknown(op, version, now)

    def no_reply(self, op: Op, version: Version, now: float, later: str) -> None:
        """None was asked for; `later` is the reply to the next request of the same connection."""
        self.end(op, LOST if later == LOST else "(none)", now)
        if self.pair.both_sound(op.begun) and later != LOST:
            self._done(op, version, now)
        else:
            self._unknown(op, version, now)

    def _done(self, op: Op, version: Version, now: float) -> None:
        version.ended, version.is_done = now, True
        for each in self.versions:
            if each is not version and each.ended < version.begun:
                each.superseded_at = min(each.superseded_at, now)
        self.settles(op)
        if version.value is not None:
            self.keeping.acknowledged(op.begun, now)
        self._forget(now)

    def _unknown(self, op: Op, version: Version, now: float) -> None:
        version.ended = op.ended
        if not self.pair.any_sound(op.begun):
            # what cannot follow loses the key rather than keep an old value
            self.versions.append(Version(None, version.begun, now))

    def _forget(self, now: float) -> None:
        self.versions = [each for each in self.versions if each.superseded_at > now - FORGET_S]

    # --- flushes ---

    def flush_begins(self, client: str, now: float) -> Op:
        self.versions.append(Version(None, now, is_flush=True))
        return super().flush_begins(client, now)

    def flush_ends(self, op: Op, reply: str, now: float, is_done: bool) -> None:
        super().flush_ends(op, reply, now, is_done)
        [version] = [each for each in self.versions if each.is_flush and each.begun == op.begun]
        if is_done and self.may_be_spared(op):
            version.ended, version.is_done = now, True
        elif is_done:
            self._done(op, version, now)
        else:
            self._unknown(op, version, now)

    # --- touches ---

    def begin_touch(self, client: str, now: float, ttl_s: float) -> Op:
        for each in self.versions:
            if ttl_s:
                each.dies_from = min(each.dies_from, now + ttl_s - EARLY_S)
            each.dies_until = NEVER
        return self.begin("touch", f"ttl={ttl_s:g}", client, now)

    def touched(self, op: Op, now: float, ttl_s: float) -> None:
        self.end(op, "TOUCHED", now)
        living = [each for each in self.versions if each.superseded_at == NEVER]
        if not any(each.value is not None for each in living):
            self.wrong("old value", "touched, although there was nothing", op, now)
        # What may have died already on one holder, by its own clock, may be touched on the other alone.
        if len(living) == 1 and living[0].dies_from > now:
            living[0].dies_from = op.begun + ttl_s - EARLY_S if ttl_s else NEVER
            living[0].dies_until = now + ttl_s + LATE_S if ttl_s else NEVER

    def not_touched(self, op: Op, reply: str, now: float) -> None:
        """NOT_FOUND, or an error."""
        self.end(op, reply, now)
        if reply != "NOT_FOUND":
            self.judge_error(op, reply, now)
        elif not self._may_be_absent(op, now):
            self.judge_miss(op, now)

    # --- reads ---

    def read(self, op: Op, value: bytes | None, now: float, shown: str = "") -> None:
        self.end(op, shown or ("miss" if value is None else value[:24].decode(errors="replace")), now)
        if value is None:
            if not self._may_be_absent(op, now):
                self.judge_miss(op, now)
            return
        found = next((each for each in self.versions if each.value == value), None)
        if found is None:
            self.wrong("old value", "overwritten long ago, or never written", op, now)
        elif found.superseded_at < op.begun:
            over = op.begun - found.superseded_at
            self.wrong("old value", f"a newer write had been acknowledged {over:.3f} s before", op, now)
        elif found.dies_until + LATE_S < op.begun:
            over = op.begun - found.dies_until
            self.wrong("expired value", f"it had to be gone {over:.3f} s before", op, now)

    def _may_be(self, version: Version, op: Op) -> bool:
        """May a request see this?"""
        return version.superseded_at >= op.begun

    def _may_be_absent(self, op: Op, now: float) -> bool:
        return any(
            self._may_be(each, op) and (each.value is None or each.dies_from <= now) for each in self.versions
        )

    @property
    def may_be_there(self) -> bool:
        return any(each.value is not None and each.superseded_at == NEVER for each in self.versions)
